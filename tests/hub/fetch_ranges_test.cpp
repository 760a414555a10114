// A large file in ranges over several connections, hashed as it is written, from a server that does its worst. Whatever
// happens, what lies on the disk is a beginning of the file.
#include "hub/curl_request.h"

#include "content.h"
#include "index_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Span {
    std::size_t first = 0, last = 0;
};

class FetchRanges : public ::testing::Test {
protected:
    static constexpr std::size_t range_bytes = 50'000, total = 9 * range_bytes + 1234;
    fs::path path = fs::temp_directory_path() / fmt::format("lucebox-ranges-{}-{}.part", ::getpid(), counter_++);
    const std::string content = random_bytes(total, 7);
    HubSettings settings;
    IndexServer::Handler handler = [this](const IndexRequest& request) { return sent(request); };
    IndexServer server{[this](const IndexRequest& request) { return handler(request); }};
    std::uint64_t last_told = 0;

    FetchRanges() {
        settings.connections = 3;
        settings.range_bytes = range_bytes;
        settings.attempts = 2;
        settings.retry_delay = std::chrono::milliseconds(1);
        settings.stall_timeout = std::chrono::seconds(10);
    }
    ~FetchRanges() override {
        std::error_code ignored;
        fs::remove(path, ignored);
    }

    static std::optional<Span> asked(const IndexRequest& request) {
        const auto at = request.head.find("Range: bytes=");
        if (at == std::string::npos) return std::nullopt;
        const std::string text = request.head.substr(at + 13, request.head.find('\r', at) - at - 13);
        const auto dash = text.find('-');
        return Span{std::stoul(text), dash + 1 < text.size() ? std::stoul(text.substr(dash + 1)) : total - 1};
    }
    IndexAnswer sent(const IndexRequest& request) const {
        const auto span = asked(request);
        if (!span) return {http_answer(200, "", content)};
        return {http_answer(206, fmt::format("Content-Range: bytes {}-{}/{}\r\n", span->first, span->last, total), content.substr(span->first, span->last + 1 - span->first))};
    }

    Result<Sha256Digest> fetch(std::uint64_t stop_at = total + 1) {
        LUCEBOX_TRY(PartFile part, PartFile::open(path, total, {}));
        last_told = part.done();
        LUCEBOX_CHECK(fetch_file(settings, server.url() + "/file", part, [&](std::uint64_t done) {
            EXPECT_GE(done, last_told);
            last_told = done;
            return done < stop_at;
        }));
        return part.finish();
    }
    void expect_whole(const Result<Sha256Digest>& digest) {
        ASSERT_TRUE(digest) << digest.error().message;
        EXPECT_EQ(hex(*digest), sha256_of(content));
        EXPECT_TRUE(content_of(path) == content);
        EXPECT_EQ(last_told, total);
    }
    void expect_a_beginning() {
        const std::string there = content_of(path);
        EXPECT_TRUE(content.starts_with(there));
    }
    std::string expect_refused(const Result<Sha256Digest>& digest) {
        EXPECT_FALSE(digest);
        expect_a_beginning();
        return digest ? "" : digest.error().message;
    }

private:
    static inline int counter_ = 0;
};

TEST_F(FetchRanges, SeveralMakeOneFileThatIsHashedOnTheWay) {
    expect_whole(fetch());
    std::vector<std::size_t> firsts;
    for (const auto& request : server.requests()) {
        ASSERT_TRUE(asked(request));
        firsts.push_back(asked(request)->first);
        EXPECT_LE(asked(request)->last - asked(request)->first, range_bytes - 1);
    }
    std::ranges::sort(firsts);
    ASSERT_EQ(firsts.size(), 10u);
    for (std::size_t i = 0; i < firsts.size(); ++i) EXPECT_EQ(firsts[i], i * range_bytes);
}

TEST_F(FetchRanges, TheyRunSideBySide) {
    settings.stall_timeout = std::chrono::seconds(1);
    // The second range stalls in its middle: those behind it are asked for all the same, as far ahead as memory is given.
    handler = [this](const IndexRequest& request) {
        IndexAnswer answer = sent(request);
        if (asked(request)->first != range_bytes) return answer;
        answer.bytes.resize(answer.bytes.size() - range_bytes / 2);
        answer.hold = true;
        return answer;
    };
    expect_whole(fetch());
    std::vector<std::size_t> order;
    for (const auto& request : server.requests()) order.push_back(asked(request)->first);
    const auto resumed = std::ranges::find(order, range_bytes + range_bytes / 2);
    ASSERT_NE(resumed, order.end()); // went on where it stalled
    EXPECT_LT(std::ranges::find(order, 5 * range_bytes), resumed);
    EXPECT_GT(std::ranges::find(order, 8 * range_bytes), resumed);
}

TEST_F(FetchRanges, CutConnectionsGoOnWhereTheyWereCut) {
    handler = [this](const IndexRequest& request) {
        IndexAnswer answer = sent(request);
        const auto span = asked(request);
        if (request.number % 3 != 2) answer.bytes.resize(answer.bytes.size() - (span->last + 1 - span->first) / 3);
        return answer;
    };
    expect_whole(fetch());
    EXPECT_GT(server.requests().size(), 10u);
}

TEST_F(FetchRanges, AServerWithoutRangesSendsItInOnePiece) {
    handler = [this](const IndexRequest&) { return IndexAnswer{http_answer(200, "", content)}; };
    expect_whole(fetch());
    EXPECT_EQ(server.requests().size(), 2u);
}

TEST_F(FetchRanges, AServerThatSendsMoreThanAskedIsTakenAtItsBeginning) {
    handler = [this](const IndexRequest& request) {
        const auto span = asked(request);
        return IndexAnswer{http_answer(206, fmt::format("Content-Range: bytes {}-{}/{}\r\n", span->first, total - 1, total), content.substr(span->first))};
    };
    expect_whole(fetch());
}

TEST_F(FetchRanges, LiesAboutTheRangeOrTheLengthAreRefused) {
    handler = [this](const IndexRequest& request) {
        IndexAnswer answer = sent(request);
        const auto at = answer.bytes.find("bytes ") + 6;
        answer.bytes.insert(at, "1");
        return answer;
    };
    EXPECT_THAT(expect_refused(fetch()), HasSubstr("another byte than asked"));
    handler = [this](const IndexRequest& request) {
        const auto span = asked(request);
        return IndexAnswer{http_answer(206, fmt::format("Content-Range: bytes {}-{}/{}\r\n", span->first, span->last, total + 5), content.substr(span->first, 10))};
    };
    EXPECT_THAT(expect_refused(fetch()), HasSubstr("instead of"));
}

TEST_F(FetchRanges, TooManyConnectionsBecomeFewer) {
    int refusals = 0;
    handler = [&](const IndexRequest& request) {
        if (asked(request)->first >= range_bytes && asked(request)->first < 5 * range_bytes && ++refusals <= 4) return IndexAnswer{http_answer(503, "", "busy")};
        return sent(request);
    };
    expect_whole(fetch());
    EXPECT_GE(refusals, 4);
}

TEST_F(FetchRanges, RefusalsEndAtOnce) {
    handler = [](const IndexRequest&) { return IndexAnswer{http_answer(403, "", "no")}; };
    EXPECT_THAT(expect_refused(fetch()), HasSubstr("403"));
    EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(FetchRanges, WrongBytesHaveAnotherHash) {
    handler = [this](const IndexRequest& request) {
        IndexAnswer answer = sent(request);
        if (asked(request)->first == 4 * range_bytes) answer.bytes.back() ^= 1;
        return answer;
    };
    const auto digest = fetch();
    ASSERT_TRUE(digest);
    EXPECT_NE(hex(*digest), sha256_of(content));
    EXPECT_EQ(hex(*digest), sha256_of(content_of(path)));
}

TEST_F(FetchRanges, AStoppedOneGoesOnWhereItWasStopped) {
    const auto stopped = fetch(3 * range_bytes);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
    expect_a_beginning();
    const std::size_t there = fs::file_size(path), requests = server.requests().size();
    EXPECT_GE(there, 3 * range_bytes);
    expect_whole(fetch());
    for (std::size_t i = requests; i < server.requests().size(); ++i) EXPECT_GE(asked(server.requests()[i])->first, there);
}

TEST_F(FetchRanges, ALongerPartIsOfAnotherFile) {
    std::ofstream(path) << std::string(total + 1, 'x');
    expect_whole(fetch());
}

TEST(ContentRangeHeader, IsReadOrNot) {
    EXPECT_FALSE(content_range("Content-Length: 5\r\n").is_one);
    const auto plain = content_range("CONTENT-range:  bytes 100-199/200\r\n");
    EXPECT_TRUE(plain.reads);
    EXPECT_EQ(plain.first, 100u);
    EXPECT_EQ(plain.total, 200u);
    EXPECT_EQ(content_range("content-range: bytes 7-8/*").total, 0u);
    EXPECT_TRUE(content_range("content-range: bytes 7-8/*").reads);
    for (const char* wrong : {"content-range:", "content-range: ", "content-range: 7-8/9", "content-range: bytes", "content-range: bytes x-8/9", "content-range: bytes 7",
                              "content-range: bytes 99999999999999999999-8/9", "content-range: bytes 7-8/", "content-range: bytes 7-8/9x"}) {
        EXPECT_FALSE(content_range(wrong).reads) << wrong;
    }
}

} // namespace
} // namespace lucebox::hub
