// Files of a repository, fetched from an endpoint that keeps them on another server, with both doing their worst.
#include "hub/hugging_face.h"

#include "content.h"
#include "hub/fetch.h"
#include "index_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class HuggingFace : public ::testing::Test {
protected:
    fs::path folder = fs::temp_directory_path() / fmt::format("lucebox-hf-{}-{}", ::getpid(), counter_++);
    const std::string target = random_bytes(400'000, 5), draft = random_bytes(50'000, 6); // contents
    Model model;
    HubSettings settings;
    std::vector<std::string> said;
    IndexServer::Handler at_endpoint, at_storage; // in place of honest()
    std::string storage_folder = "/blobs/";       // where the endpoint leads
    bool states_hash = true;
    std::unique_ptr<IndexServer> storage = std::make_unique<IndexServer>([this](const IndexRequest& request) { return at_storage ? at_storage(request) : sent(request); });
    std::unique_ptr<IndexServer> endpoint = std::make_unique<IndexServer>([this](const IndexRequest& request) { return at_endpoint ? at_endpoint(request) : led(request); });

    HuggingFace() {
        model.name = "big";
        model.file = "big.gguf";
        model.licence = "MIT";
        model.target = {.repository = "them/big-GGUF", .path = "big.gguf"};
        model.draft = {.repository = "us/big-draft", .path = "draft-q8_0.gguf"};
        settings.cache = folder;
        settings.hf_endpoint = endpoint->url();
        settings.hf_token = "hf_secret";
        settings.allow_local_redirects = true;
        settings.attempts = 2;
        settings.retry_delay = std::chrono::milliseconds(1);
        settings.stall_timeout = std::chrono::seconds(10);
    }
    ~HuggingFace() override {
        std::error_code ignored;
        fs::remove_all(folder, ignored);
    }

    const std::string& content(const std::string& path) const { return path.find("draft") != std::string::npos ? draft : target; }

    // The endpoint knows the file and leads to where it is kept.
    IndexAnswer led(const IndexRequest& request) const {
        if (request.path != "/them/big-GGUF/resolve/main/big.gguf" && request.path != "/us/big-draft/resolve/main/draft-q8_0.gguf") return {http_answer(404, "", "")};
        const std::string& bytes = content(request.path);
        std::string headers = fmt::format("Location: {}{}{}\r\nX-Repo-Commit: 0123abcd\r\nX-Linked-Size: {}\r\n", storage->url(), storage_folder,
                                          request.path.substr(request.path.rfind('/') + 1), bytes.size());
        if (states_hash) headers += fmt::format("X-Linked-Etag: \"{}\"\r\n", sha256_of(bytes));
        return {http_answer(302, headers, "")};
    }
    IndexAnswer sent(const IndexRequest& request) const {
        const std::string& bytes = content(request.path);
        if (request.is_head()) return {http_answer(200, "", "", bytes.size())};
        if (!request.range) return {http_answer(200, "", bytes)};
        return {http_answer(206, fmt::format("Content-Range: bytes {}-{}/{}\r\n", *request.range, bytes.size() - 1, bytes.size()), bytes.substr(*request.range))};
    }

    Result<fs::path> fetch() {
        Progress progress;
        progress.say = [this](std::string_view line) { said.emplace_back(line); };
        return resolve("big", settings, progress, {&model, 1});
    }
    void expect_whole(const Result<fs::path>& result) {
        ASSERT_TRUE(result) << result.error().message;
        EXPECT_EQ(*result, folder / "big.gguf");
        EXPECT_TRUE(content_of(*result) == target);
        EXPECT_TRUE(content_of(folder / "draft" / "draft-q8_0.gguf") == draft);
        EXPECT_FALSE(fs::exists(folder / "big.gguf.part"));
    }
    Error expect_refused(const Result<fs::path>& result) {
        EXPECT_FALSE(result);
        EXPECT_FALSE(fs::exists(folder / "big.gguf"));
        return result ? Error{} : result.error();
    }

private:
    static inline int counter_ = 0;
};

TEST_F(HuggingFace, TargetAndDraftAreFetchedOnceCheckedAndNoted) {
    expect_whole(fetch());
    EXPECT_THAT(said, Contains(AllOf(HasSubstr("big.gguf"), HasSubstr(sha256_of(target)))));
    const auto note = source_note(folder / "big.gguf");
    ASSERT_TRUE(note);
    EXPECT_EQ(note->repository, "them/big-GGUF");
    EXPECT_EQ(note->commit, "0123abcd");
    EXPECT_EQ(note->sha256, sha256_of(target));
    EXPECT_TRUE(note->checked);
    EXPECT_EQ(find_draft(model, settings), folder / "draft" / "draft-q8_0.gguf");
    const std::size_t requests = endpoint->requests().size();
    expect_whole(fetch());
    EXPECT_EQ(endpoint->requests().size(), requests);
}

TEST_F(HuggingFace, TheTokenIsForTheEndpointAlone) {
    expect_whole(fetch());
    for (const auto& request : endpoint->requests()) EXPECT_THAT(request.head, HasSubstr("Authorization: Bearer hf_secret"));
    ASSERT_FALSE(storage->requests().empty());
    for (const auto& request : storage->requests()) EXPECT_THAT(request.head, Not(HasSubstr("hf_secret")));
    for (const auto& line : said) EXPECT_THAT(line, Not(HasSubstr("hf_secret")));
}

TEST_F(HuggingFace, AnUnknownHashIsSaidToBeUnknown) {
    states_hash = false;
    expect_whole(fetch());
    EXPECT_THAT(said, Contains(HasSubstr("its SHA-256 is not known, so it could not be checked")));
    EXPECT_FALSE(source_note(folder / "big.gguf")->checked);
}

TEST_F(HuggingFace, WrongBytesAreDeletedAndFetchedAnewNextTime) {
    bool lies = true;
    at_storage = [&](const IndexRequest& request) {
        IndexAnswer answer = sent(request);
        if (lies && !request.is_head()) answer.bytes[answer.bytes.size() - 3] ^= 1;
        return answer;
    };
    const Error error = expect_refused(fetch());
    EXPECT_EQ(error.kind, ErrorKind::invalid_data);
    EXPECT_THAT(error.message, HasSubstr(sha256_of(target)));
    EXPECT_FALSE(fs::exists(folder / "big.gguf.part"));
    lies = false;
    expect_whole(fetch());
}

TEST_F(HuggingFace, TheRegistrysHashWinsOverTheServers) {
    const std::string other(64, 'a');
    model.target.sha256 = other;
    EXPECT_THAT(expect_refused(fetch()).message, HasSubstr(other));
    model.target.sha256 = {};
    model.target.bytes = 17;
    EXPECT_THAT(expect_refused(fetch()).message, HasSubstr("instead of 17"));
}

TEST_F(HuggingFace, ACutDownloadGoesOnAlsoWhenItsAddressExpired) {
    at_storage = [&](const IndexRequest& request) {
        if (request.path.starts_with("/old/") && request.number > 1) return IndexAnswer{http_answer(403, "", "expired")}; // behind HEAD and one GET
        IndexAnswer answer = sent(request);
        if (request.path.starts_with("/old/") && !request.is_head()) {
            answer.bytes.resize(answer.bytes.size() / 2);
            storage_folder = "/new/";
        }
        return answer;
    };
    storage_folder = "/old/";
    expect_whole(fetch());
    bool resumed = false;
    for (const auto& request : storage->requests()) resumed |= request.path.starts_with("/new/big") && request.range && *request.range > 100'000;
    EXPECT_TRUE(resumed);
}

TEST_F(HuggingFace, LargeFilesComeInRanges) {
    settings.range_bytes = 60'000;
    expect_whole(fetch());
    EXPECT_EQ(std::ranges::count_if(storage->requests(), [](const auto& request) { return request.path == "/blobs/big.gguf" && !request.is_head() && request.range; }), 7);
    EXPECT_EQ(source_note(folder / "big.gguf")->sha256, sha256_of(target));
}

TEST_F(HuggingFace, ItLeadsNeitherToPlainHttpNorToPrivateAddresses) {
    settings.allow_local_redirects = false;
    const Error plain = expect_refused(fetch());
    EXPECT_THAT(plain.message, HasSubstr("not HTTPS"));
    EXPECT_THAT(plain.hint, HasSubstr("LUCEBOX_ALLOW_LOCAL_REDIRECTS=1"));
    at_endpoint = [&](const IndexRequest&) { return IndexAnswer{http_answer(302, fmt::format("Location: https{}/x\r\n", storage->url().substr(4)), "")}; };
    EXPECT_THAT(expect_refused(fetch()).message, HasSubstr("private address"));
    at_endpoint = [&](const IndexRequest&) { return IndexAnswer{http_answer(302, "Location: file:///etc/passwd\r\n", "")}; };
    expect_refused(fetch());
    EXPECT_TRUE(storage->requests().empty()); // nobody knocked
}

TEST_F(HuggingFace, RedirectsWithoutEndAreGivenUp) {
    at_endpoint = [&](const IndexRequest& request) { return IndexAnswer{http_answer(302, "Location: " + request.path + "x\r\n", "")}; };
    EXPECT_THAT(expect_refused(fetch()).message, HasSubstr("leads on and on"));
}

TEST_F(HuggingFace, RefusalsSayWhatToDo) {
    int status = 401;
    at_endpoint = [&](const IndexRequest&) { return IndexAnswer{http_answer(status, "", "")}; };
    EXPECT_THAT(expect_refused(fetch()).hint, HasSubstr("accept the licence"));
    settings.hf_token.clear();
    EXPECT_THAT(expect_refused(fetch()).hint, HasSubstr("set HF_TOKEN"));
    status = 404;
    EXPECT_THAT(expect_refused(fetch()).hint, HasSubstr("models import"));
    status = 200; // without a length
    EXPECT_THAT(expect_refused(fetch()).message, HasSubstr("how large"));
}

TEST_F(HuggingFace, AModelThatCannotFitIsRefusedBeforeItBegins) {
    at_endpoint = [&](const IndexRequest& request) {
        return IndexAnswer{http_answer(302, fmt::format("Location: {}/big\r\nX-Linked-Size: 900000000000000000\r\n", storage->url()), request.path.substr(0, 0))};
    };
    const Error error = expect_refused(fetch());
    EXPECT_EQ(error.kind, ErrorKind::io);
    EXPECT_THAT(error.hint, HasSubstr("LUCEBOX_CACHE"));
    EXPECT_FALSE(fs::exists(folder / "big.gguf.part"));
}

TEST(HuggingFaceParts, ASplitModelIsAllItsParts) {
    const auto parts = parts_of({.repository = "a/b", .path = "Q4/m-00001-of-00003.gguf", .sha256 = "x", .bytes = 5});
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(parts[0].path, "Q4/m-00001-of-00003.gguf");
    EXPECT_EQ(parts[2].path, "Q4/m-00003-of-00003.gguf");
    EXPECT_EQ(parts[0].bytes, 5u);
    EXPECT_EQ(parts[2].bytes, 0u);
    EXPECT_TRUE(parts[2].sha256.empty());
    for (const char* single : {"m.gguf", "m-00001-of-00001.gguf", "m-00002-of-00003.gguf", "m_00001-of-00003.gguf", "-of-.gguf"}) {
        EXPECT_EQ(parts_of({.repository = "a/b", .path = single}).size(), 1u) << single;
    }
}

TEST(PublicAddresses, AreToldFromThoseInside) {
    const auto is_public = [](const char* text) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        if (::inet_pton(AF_INET, text, &v4.sin_addr) == 1) return is_public_address(reinterpret_cast<const sockaddr&>(v4));
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        EXPECT_EQ(::inet_pton(AF_INET6, text, &v6.sin6_addr), 1) << text;
        return is_public_address(reinterpret_cast<const sockaddr&>(v6));
    };
    for (const char* open : {"8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.169.0.1", "2600:9000::1", "::ffff:8.8.8.8"}) EXPECT_TRUE(is_public(open)) << open;
    for (const char* closed : {"127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
                               "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"}) {
        EXPECT_FALSE(is_public(closed)) << closed;
    }
    sockaddr other{};
    other.sa_family = AF_UNIX;
    EXPECT_FALSE(is_public_address(other));
}

TEST(HubSettings, FollowHuggingFacesVariables) {
    const fs::path file = fs::temp_directory_path() / fmt::format("lucebox-token-{}", ::getpid());
    std::ofstream(file) << "hf_from_file\n";
    const Environment environment{{"HOME", "/h"}, {"PIP_CONFIG_FILE", "/dev/null"}, {"HF_TOKEN_PATH", file.string()}, {"HF_ENDPOINT", "https://mirror.example/"}};
    const auto settings = hub_settings(environment);
    EXPECT_EQ(settings.hf_endpoint, "https://mirror.example");
    EXPECT_EQ(settings.hf_token, "hf_from_file");
    EXPECT_FALSE(settings.allow_local_redirects);
    EXPECT_FALSE(settings.uses_proxy);
    EXPECT_EQ(hub_settings({{"HF_TOKEN", "hf_own"}, {"HF_TOKEN_PATH", file.string()}, {"PIP_CONFIG_FILE", "/dev/null"}}).hf_token, "hf_own");
    fs::remove(file);
}

TEST(Registry, PresetsAreCompleteAndHonest) {
    for (const char* name : {"qwen3.6-27b", "gemma-4-26b", "gemma-4-31b", "laguna-xs.2", "qwen3.6-moe", "smollm2-135m", "SMOLLM2-135m-instruct"}) EXPECT_NE(find_model(name), nullptr) << name;
    for (const Model& model : known_models()) {
        EXPECT_FALSE(model.licence.empty()) << model.name;
        EXPECT_NE(model.wheels.empty(), model.target.repository.empty()) << model.name;
        if (model.wheels.empty()) {
            EXPECT_EQ(fs::path(model.target.path).filename(), model.file) << model.name;
            EXPECT_GT(model.about_bytes, 10'000'000'000u) << model.name;
            // A hash of what a branch holds today would be wrong tomorrow.
            for (const RepositoryFile& each : {model.target, model.draft}) {
                EXPECT_EQ(each.sha256.empty(), each.bytes == 0) << model.name;
                EXPECT_EQ(each.sha256.empty(), each.revision.size() != 40) << model.name;
            }
        }
        for (const std::string_view hash : {model.sha256, model.target.sha256, model.draft.sha256}) EXPECT_TRUE(hash.empty() || hash.size() == 64) << model.name;
    }
    EXPECT_EQ(known_models().front().alias, "smollm2-135m");
    EXPECT_EQ(known_models().size(), 7u); // none was left out
    EXPECT_EQ(find_model(""), nullptr);
}

} // namespace
} // namespace lucebox::hub
