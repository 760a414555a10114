// The default model with speculation, alone and four users at once, against plain decoding: token for token the same.
//
// `make test` asks for little; `make test-speculation` runs 200 prompts of 512 tokens (many hours on two cores). A part of it:
//     build/release/tests/test_engine --gtest_also_run_disabled_tests --gtest_filter='*AtLength/tree_22'
//
// Where and how much, by the environment:
//     LUCEBOX_TEST_DEVICE       cpu (if not set), cuda
//     LUCEBOX_TEST_THREADS      of the CPU; one for each core, if not set
//     LUCEBOX_TEST_PROMPTS      which of the 200: 0:200, if not set
//     LUCEBOX_TEST_PLAIN_TEXTS  a file for the plain texts: read if it is there, else written, so that several runs share them
#include "../model/find_model.h"

#include "engine/engine.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>

namespace lucebox::engine {
namespace {

// What a request's generation gives, in order of requests.
std::vector<std::vector<TokenId>> answers(Engine& engine, const std::vector<Request>& requests, decode::SpeculationStats& stats) {
    std::vector<std::vector<TokenId>> out(requests.size());
    std::mutex mutex;
    std::condition_variable done;
    std::size_t left = requests.size();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        const auto id = engine.submit(requests[i], [&, i](Event&& event) {
            if (auto* generated = std::get_if<Generated>(&event)) out[i].push_back(generated->sample.token);
            auto* finished = std::get_if<Finished>(&event);
            if (!finished) return;
            EXPECT_FALSE(finished->error);
            const std::lock_guard lock(mutex);
            stats.add(finished->speculation);
            --left;
            done.notify_all();
        });
        EXPECT_TRUE(id) << (id ? "" : id.error().message);
    }
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return left == 0; });
    return out;
}

enum class Guesses { from_the_draft, from_the_text };

std::string variable(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value ? value : otherwise;
}

std::unique_ptr<Engine> load(const std::filesystem::path& model, const std::string& speculation, Guesses guesses, std::size_t sequences = 4) {
    Options options;
    options.model = model;
    options.context = 2048;
    options.sequences = sequences;
    options.queue = 200;
    options.speculation = *decode::parse_speculation(speculation);
    options.device.choice = compute::device_choice(variable("LUCEBOX_TEST_DEVICE", "cpu"));
    options.device.threads = std::stoul(variable("LUCEBOX_TEST_THREADS", "0"));
    if (guesses == Guesses::from_the_draft) options.draft = "models/SmolLM2-135M-Instruct.dflash.gguf";
    auto engine = Engine::load(options);
    if (!engine) throw std::runtime_error(engine.error().message);
    return std::move(*engine);
}

using Texts = std::vector<std::vector<TokenId>>;

struct Asked {
    std::size_t first, count; // of the prompts below
    std::size_t tokens;       // of each answer
};

// Prompts, settings and seeds in every combination that their number allows, by turns. One in seven may end where the model ends it.
std::vector<Request> requests(const Asked& asked) {
    const auto json = nlohmann::json::parse(std::ifstream("tests/data/real/smollm2-135m-instruct.json"));
    std::vector<Request> all(asked.count);
    for (std::size_t k = 0; k < asked.count; ++k) {
        const std::size_t i = asked.first + k;
        const auto prompt = json["cases"][i % json["cases"].size()]["prompt"].get<std::vector<TokenId>>();
        const std::size_t begin = i / json["cases"].size() % (prompt.size() / 4 + 1); // the same text, entered later
        all[k].prompt.assign(prompt.begin() + static_cast<std::ptrdiff_t>(begin), prompt.end());
        all[k].max_tokens = asked.tokens;
        all[k].ignore_end = i % 7 != 6;
        decode::SamplingParams& sampling = all[k].sampling;
        sampling.seed = i;
        sampling.temperature = std::array{0.0f, 0.7f, 1.3f}[i % 3];
        if (i % 4 == 1) sampling.top_p = 0.9f;
        if (i % 4 == 2) sampling.top_k = 40;
        if (i % 4 == 3) sampling.min_p = 0.05f;
        if (i % 5 == 1) sampling.repetition_penalty = 1.1f;
        if (i % 5 == 3) sampling.frequency_penalty = 0.5f;
        if (i % 5 == 4) sampling.presence_penalty = 0.5f;
    }
    return all;
}

Texts plain_texts(const std::filesystem::path& model, const Asked& asked, std::size_t users) {
    const auto plain = load(model, "off", Guesses::from_the_text, users);
    decode::SpeculationStats stats;
    auto all = answers(*plain, requests(asked), stats);
    EXPECT_EQ(stats.drafted, 0u);
    return all;
}

// The texts in LUCEBOX_TEST_PLAIN_TEXTS, which are written to it first if there are none.
Texts kept_plain_texts(const std::filesystem::path& model, const Asked& asked) {
    const std::string path = variable("LUCEBOX_TEST_PLAIN_TEXTS", "");
    const nlohmann::json about{variable("LUCEBOX_TEST_DEVICE", "cpu"), asked.first, asked.count, asked.tokens};
    if (std::ifstream file(path); file) {
        const auto kept = nlohmann::json::parse(file);
        if (kept["of"] != about) throw std::runtime_error(path + " is of " + kept["of"].dump() + ", wanted " + about.dump());
        return kept["texts"].get<Texts>();
    }
    const auto start = std::chrono::steady_clock::now();
    auto texts = plain_texts(model, asked, 4);
    std::size_t tokens = 0;
    for (const auto& text : texts) tokens += text.size();
    std::printf("plain, four at once: %zu texts, %zu tokens, %.0f s\n", texts.size(), tokens,
                std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    if (!path.empty()) std::ofstream(path) << nlohmann::json{{"of", about}, {"texts", texts}};
    return texts;
}

void compare(const std::filesystem::path& model, const Asked& asked, const Texts& expected, const std::string& shape, Guesses guesses,
             std::size_t users = 4) {
    const auto engine = load(model, shape, guesses, users);
    decode::SpeculationStats with;
    const auto start = std::chrono::steady_clock::now();
    const auto got = answers(*engine, requests(asked), with);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::size_t equal = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        if (got[i] == expected[i]) {
            ++equal;
            continue;
        }
        const auto differs = std::ranges::mismatch(got[i], expected[i]).in1 - got[i].begin();
        ADD_FAILURE() << shape << ", " << users << " at once: text " << asked.first + i << " is another one from token " << differs << " on";
    }
    std::printf("%s on %s, %zu at once: %zu of %zu texts of %zu tokens equal, %llu of %llu guesses right, %.2f tokens a step, %.0f s\n",
                shape.c_str(), std::string(engine->device_name()).c_str(), users, equal, got.size(), asked.tokens,
                static_cast<unsigned long long>(with.accepted), static_cast<unsigned long long>(with.drafted),
                static_cast<double>(with.tokens) / static_cast<double>(with.steps), seconds);
    if (shape == "off") EXPECT_EQ(with.drafted, 0u);
    else EXPECT_GT(with.accepted, 0u);
}

class RealModelSpeculation : public testing::Test {
protected:
    void SetUp() override {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
        GTEST_SKIP() << "skipped: a real model takes minutes under the thread sanitizer; the tiny ones run the same code";
#endif
#endif
        if (model_.empty()) GTEST_SKIP() << "skipped: the default model is not here; `make models` fetches it";
    }
    const std::filesystem::path model_ = model::testing::find_model("SmolLM2-135M-Instruct.Q4_1.gguf");
};

TEST_F(RealModelSpeculation, FourUsersAtOnceGetTheTextOfEachAlone) {
    const Asked asked{0, 4, 40};
    const auto expected = plain_texts(model_, asked, 1);
    compare(model_, asked, expected, "tree:22", Guesses::from_the_draft);
    compare(model_, asked, expected, "tree:22", Guesses::from_the_text);
}

class RealModelSpeculationShape : public RealModelSpeculation, public testing::WithParamInterface<const char*> {
protected:
    void at_length(std::size_t users) const {
        const std::string range = variable("LUCEBOX_TEST_PROMPTS", "0:200");
        const std::size_t first = std::stoul(range), end = std::stoul(range.substr(range.find(':') + 1));
        const Asked asked{first, end - first, 512};
        static const Texts expected = kept_plain_texts(model_, asked);
        compare(model_, asked, expected, GetParam(), Guesses::from_the_draft, users);
    }
};

// With four at once no tree has more than 15 guesses.
TEST_P(RealModelSpeculationShape, DISABLED_FourUsersAtLength) { at_length(4); }
TEST_P(RealModelSpeculationShape, DISABLED_AloneAtLength) { at_length(1); }

INSTANTIATE_TEST_SUITE_P(All, RealModelSpeculationShape,
                         testing::Values("off", "auto", "tree:1", "tree:8", "tree:16", "tree:22", "tree:32", "tree:48", "tree:63", "chain:8",
                                         "chain:63"),
                         [](const auto& shape) {
                             std::string name = shape.param;
                             std::replace(name.begin(), name.end(), ':', '_');
                             return name;
                         });

} // namespace
} // namespace lucebox::engine
