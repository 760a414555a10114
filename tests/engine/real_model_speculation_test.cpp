// The default model, four users at once with speculation, against each alone without: token for token the same.
//
// `make test` asks for little; `make test-speculation` runs 200 prompts of 512 tokens (hours on two cores). One shape of it:
//     build/release/tests/test_engine --gtest_also_run_disabled_tests --gtest_filter='*AtLength/tree_22'
#include "../model/find_model.h"

#include "engine/engine.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <condition_variable>
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

std::unique_ptr<Engine> load(const std::filesystem::path& model, const std::string& speculation, Guesses guesses) {
    Options options;
    options.model = model;
    options.context = 2048;
    options.speculation = *decode::parse_speculation(speculation);
    if (guesses == Guesses::from_the_draft) options.draft = "models/SmolLM2-135M-Instruct.dflash.gguf";
    auto engine = Engine::load(options);
    if (!engine) throw std::runtime_error(engine.error().message);
    return std::move(*engine);
}

// Prompts, settings and seeds in every combination that `count` requests allow, by turns.
std::vector<Request> requests(std::size_t count, std::size_t max_tokens) {
    const auto json = nlohmann::json::parse(std::ifstream("tests/data/real/smollm2-135m-instruct.json"));
    std::vector<Request> all(count);
    for (std::size_t i = 0; i < count; ++i) {
        const auto prompt = json["cases"][i % json["cases"].size()]["prompt"].get<std::vector<TokenId>>();
        const std::size_t begin = i / json["cases"].size() % (prompt.size() / 4 + 1); // the same text, entered later
        all[i].prompt.assign(prompt.begin() + static_cast<std::ptrdiff_t>(begin), prompt.end());
        all[i].max_tokens = max_tokens;
        decode::SamplingParams& sampling = all[i].sampling;
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

// What `requests(count, max_tokens)` give one by one without speculation.
std::vector<std::vector<TokenId>> plain_answers(const std::filesystem::path& model, std::size_t count, std::size_t max_tokens) {
    const auto plain = load(model, "off", Guesses::from_the_text);
    std::vector<std::vector<TokenId>> all;
    decode::SpeculationStats stats;
    for (const Request& request : requests(count, max_tokens)) all.push_back(answers(*plain, {request}, stats)[0]);
    EXPECT_EQ(stats.drafted, 0u);
    return all;
}

void compare(const std::filesystem::path& model, std::size_t max_tokens, const std::vector<std::vector<TokenId>>& expected,
             const std::string& shape, Guesses guesses) {
    const auto asked = requests(expected.size(), max_tokens);
    const auto engine = load(model, shape, guesses);
    decode::SpeculationStats with;
    for (std::size_t begin = 0; begin < asked.size(); begin += 4) {
        const std::vector<Request> together(asked.begin() + static_cast<std::ptrdiff_t>(begin),
                                            asked.begin() + static_cast<std::ptrdiff_t>(std::min(asked.size(), begin + 4)));
        const auto got = answers(*engine, together, with);
        for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], expected[begin + i]) << shape << ", request " << begin + i;
    }
    std::printf("%s: %llu of %llu guesses were right, %.2f tokens a step\n", shape.c_str(), static_cast<unsigned long long>(with.accepted),
                static_cast<unsigned long long>(with.drafted), static_cast<double>(with.tokens) / static_cast<double>(with.steps));
    EXPECT_GT(with.accepted, 0u);
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
    const auto expected = plain_answers(model_, 4, 40);
    compare(model_, 40, expected, "tree:22", Guesses::from_the_draft);
    compare(model_, 40, expected, "tree:22", Guesses::from_the_text);
}

class RealModelSpeculationShape : public RealModelSpeculation, public testing::WithParamInterface<const char*> {};

TEST_P(RealModelSpeculationShape, DISABLED_OfTwoHundredPromptsAtLength) {
    static const auto expected = plain_answers(model_, 200, 512);
    compare(model_, 512, expected, GetParam(), Guesses::from_the_draft);
}

INSTANTIATE_TEST_SUITE_P(All, RealModelSpeculationShape,
                         testing::Values("auto", "tree:1", "tree:8", "tree:16", "tree:22", "tree:32", "tree:48", "tree:63", "chain:8", "chain:63"),
                         [](const auto& shape) {
                             std::string name = shape.param;
                             std::replace(name.begin(), name.end(), ':', '_');
                             return name;
                         });

} // namespace
} // namespace lucebox::engine
