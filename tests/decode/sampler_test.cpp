#include "decode/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace lucebox::decode {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Logits without ties, spread so that some tokens are likely and most are not.
std::vector<float> some_logits(std::size_t count, float spread = 6) {
    std::vector<float> logits(count);
    for (std::size_t i = 0; i < count; ++i)
        logits[i] = spread * (static_cast<float>(uniform(99, i)) - 0.5f) + 1e-5f * static_cast<float>(i);
    return logits;
}

// The distribution that the parameters describe, in double precision and by the plainest algorithm.
std::vector<double> expected_distribution(const std::vector<float>& logits, const SamplingParams& params) {
    std::vector<std::size_t> order(logits.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
    if (params.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(params.top_k)));
    const double best = logits[order[0]];
    const auto weight = [&](std::size_t token) { return std::exp((logits[token] - best) / params.temperature); };
    std::erase_if(order, [&](std::size_t token) { return weight(token) < params.min_p; });
    double total = 0;
    for (const auto token : order)
        total += weight(token);
    std::vector<double> result(logits.size());
    double mass = 0;
    for (const auto token : order) {
        result[token] = weight(token);
        mass += weight(token);
        if (mass >= params.top_p * total) break;
    }
    for (double& p : result)
        p /= mass;
    return result;
}

// Draws with many seeds and positions; the chi-square statistic must stay below its 99.9 % quantile (Wilson-Hilferty).
void expect_distribution(const std::vector<float>& logits, SamplingParams params, std::size_t draws = 40'000) {
    const auto expected = expected_distribution(logits, params);
    std::vector<double> counts(logits.size());
    Sampler sampler;
    const TokenHistory history;
    for (std::size_t i = 0; i < draws; ++i) {
        params.seed = i % 200;
        auto copy = logits;
        ++counts[static_cast<std::size_t>(sampler.sample(copy, params, history, i / 200).token)];
    }
    double chi_square = 0, rest_expected = 0, rest_count = 0;
    int cells = 0;
    const auto add = [&](double count, double mean) {
        chi_square += (count - mean) * (count - mean) / mean;
        ++cells;
    };
    for (std::size_t token = 0; token < logits.size(); ++token) {
        const double mean = expected[token] * static_cast<double>(draws);
        if (expected[token] == 0) {
            ASSERT_EQ(counts[token], 0) << "token " << token << " was cut off";
        } else if (mean < 5) {
            rest_expected += mean;
            rest_count += counts[token];
        } else {
            add(counts[token], mean);
        }
    }
    if (rest_expected > 0) add(rest_count, rest_expected);
    ASSERT_GT(cells, 1);
    const double freedom = cells - 1, a = 2 / (9 * freedom);
    const double limit = freedom * std::pow(1 - a + 3.09 * std::sqrt(a), 3);
    EXPECT_LT(chi_square, limit) << cells << " cells";
}

TokenId pick(std::vector<float> logits, const SamplingParams& params, const TokenHistory& history = {},
             std::uint64_t position = 0) {
    return Sampler().sample(logits, params, history, position).token;
}

SamplingParams greedy() {
    SamplingParams params;
    params.temperature = 0;
    return params;
}

TEST(Philox, GivesTheKnownAnswersOfItsAuthors) { // Random123, kat_vectors, "philox4x32 10"
    using Words = std::array<std::uint32_t, 4>;
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Uniform, UsesEveryBitOfSeedAndPosition) {
    const double base = uniform(0, 0);
    for (int bit = 0; bit < 64; ++bit) {
        EXPECT_NE(uniform(std::uint64_t{1} << bit, 0), base);
        EXPECT_NE(uniform(0, std::uint64_t{1} << bit), base);
    }
    for (std::uint64_t i = 0; i < 10'000; ++i) {
        EXPECT_GE(uniform(7, i), 0);
        EXPECT_LT(uniform(7, i), 1);
    }
}

TEST(Sampler, DrawsFromTheSoftmax) {
    expect_distribution(some_logits(50), {});
    expect_distribution(some_logits(3000, 12), {}); // several blocks
}

TEST(Sampler, DrawsAtOtherTemperatures) {
    for (const float temperature : {0.3f, 0.7f, 2.0f}) {
        SamplingParams params;
        params.temperature = temperature;
        expect_distribution(some_logits(40), params);
    }
}

TEST(Sampler, DrawsFromTheBestK) {
    for (const std::int32_t k : {2, 7, 40, 5000}) {
        SamplingParams params;
        params.top_k = k;
        expect_distribution(some_logits(3000, 4), params, 20'000);
    }
}

TEST(Sampler, DrawsFromTheNucleus) {
    SamplingParams params;
    for (const float p : {0.2f, 0.5f, 0.95f}) {
        params.top_p = p;
        expect_distribution(some_logits(60), params);
    }
    params.top_p = 0.9f; // a nucleus of more than the 256 that are looked at first
    expect_distribution(some_logits(1000, 2), params, 20'000);
}

TEST(Sampler, DrawsWhatIsLikelyBesideTheBest) {
    for (const float p : {0.05f, 0.3f}) {
        SamplingParams params;
        params.min_p = p;
        expect_distribution(some_logits(1500), params);
    }
}

TEST(Sampler, TruncatesInTheOrderTopKMinPTopP) {
    SamplingParams params;
    params.temperature = 0.8f;
    params.top_k = 20;
    params.min_p = 0.1f;
    params.top_p = 0.8f;
    expect_distribution(some_logits(400), params);
    params.top_k = 0;
    expect_distribution(some_logits(400), params);
}

TEST(Sampler, DependsOnSeedAndPositionAlone) {
    const auto logits = some_logits(500, 3);
    SamplingParams params;
    params.seed = 12345;
    Sampler used;
    TokenHistory history;
    history.add_prompt(std::vector<TokenId>{1, 2, 3});
    std::map<TokenId, int> seen;
    for (std::uint64_t position = 0; position < 100; ++position) {
        auto copy = logits;
        const TokenId token = used.sample(copy, params, history, position).token;
        EXPECT_EQ(token, pick(logits, params, {}, position));
        ++seen[token];
    }
    EXPECT_GT(seen.size(), 50u);
    params.seed = 12346;
    int equal = 0;
    Sampler other;
    for (std::uint64_t position = 0; position < 100; ++position) {
        auto copy = logits;
        const SamplingParams before = [&] {
            auto p = params;
            p.seed = 12345;
            return p;
        }();
        equal += other.sample(copy, params, {}, position).token == pick(logits, before, {}, position);
    }
    EXPECT_LT(equal, 20);
}

TEST(Sampler, GreedyTakesTheBestWhereverItIs) {
    for (std::size_t count : {1u, 15u, 16u, 17u, 1000u, 1025u})
        for (std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
            std::vector<float> logits(count, -2.0f);
            logits[at] = -1;
            EXPECT_EQ(pick(logits, greedy()), static_cast<TokenId>(at)) << count;
        }
}

TEST(Sampler, TiesGoToTheLowerId) {
    EXPECT_EQ(pick({1, 5, 3, 5, 5}, greedy()), 1);
    SamplingParams params;
    params.top_k = 2; // of three equal ones, the two with the lower ids
    std::map<TokenId, int> seen;
    for (std::uint64_t i = 0; i < 200; ++i)
        ++seen[pick({1, 5, 3, 5, 5}, params, {}, i)];
    EXPECT_EQ(seen.size(), 2u);
    EXPECT_TRUE(seen.contains(1) && seen.contains(3));
    std::vector<float> flat(5000, 0.25f); // longer than the buffer of the selection
    params.top_k = 3;
    for (std::uint64_t i = 0; i < 50; ++i)
        EXPECT_LT(pick(flat, params, {}, i), 3);
    params.top_k = 0;
    params.top_p = 0.001f;
    for (std::uint64_t i = 0; i < 50; ++i)
        EXPECT_LT(pick(flat, params, {}, i), 6);
}

TEST(Sampler, AVanishingTemperatureIsGreedy) {
    SamplingParams params;
    params.temperature = std::numeric_limits<float>::denorm_min();
    for (std::uint64_t i = 0; i < 20; ++i)
        EXPECT_EQ(pick(some_logits(100), params, {}, i), pick(some_logits(100), greedy()));
}

TEST(Sampler, ATopPOfZeroKeepsOneToken) {
    SamplingParams params;
    params.top_p = 0;
    for (std::uint64_t i = 0; i < 20; ++i)
        EXPECT_EQ(pick({0, 1, 1.5f}, params, {}, i), 2);
}

TEST(Sampler, NeverTakesALogitThatIsNotANumber) {
    std::vector<float> logits(100, kNan);
    logits[3] = 1;
    logits[40] = -1;
    for (const float p : {0.5f, 1.0f})
        for (const std::int32_t k : {0, 10})
            for (std::uint64_t i = 0; i < 50; ++i) {
                SamplingParams params;
                params.top_p = p;
                params.top_k = k;
                const TokenId token = pick(logits, params, {}, i);
                EXPECT_TRUE(token == 3 || token == 40) << token;
            }
    EXPECT_EQ(pick(logits, greedy()), 3);
    EXPECT_EQ(pick({kNan, kNan}, {}), 0);
    EXPECT_EQ(pick({-kInfinity, -kInfinity}, {}), 0);
}

TEST(Sampler, InfiniteLogitsOrderLikeLargeOnes) {
    EXPECT_EQ(pick({0, kInfinity, 3, -kInfinity}, greedy()), 1);
    std::map<TokenId, int> seen;
    for (std::uint64_t i = 0; i < 200; ++i)
        ++seen[pick({0, kInfinity, kInfinity, -kInfinity}, {}, {}, i)];
    EXPECT_EQ(seen.size(), 2u);
    EXPECT_GT(seen[1], 50);
    EXPECT_GT(seen[2], 50);
    for (std::uint64_t i = 0; i < 200; ++i)
        EXPECT_NE(pick({-kInfinity, 0, -kInfinity}, {}, {}, i), 0);
}

TEST(Sampler, AddsTheBias) {
    SamplingParams params = greedy();
    params.logit_bias = {{2, 5.0f}, {1, -100.0f}, {77, 100.0f}, {-3, 100.0f}}; // ids outside the vocabulary do nothing
    EXPECT_EQ(pick({1, 9, 0, 4}, params), 2);
}

TEST(Sampler, PenalisesRepetitionInsideTheWindowOnce) {
    TokenHistory history;
    history.add_prompt(std::vector<TokenId>{0, 1, 1, 1});
    SamplingParams params = greedy();
    params.repetition_penalty = 2;
    EXPECT_EQ(pick({3.9f, 4, 1.9f}, params, history), 1);    // 1.95, 2, 1.9: token 1 is divided once, not three times
    EXPECT_EQ(pick({-1, -1.5f, -1.9f}, params, history), 2); // negative ones are multiplied: -2, -3, -1.9
    params.penalty_window = 3;                               // no longer reaches token 0
    EXPECT_EQ(pick({3.9f, 4, 1.9f}, params, history), 0);
    params.penalty_window = -1;
    EXPECT_EQ(pick({3.9f, 3, 1.99f}, params, history), 2);
    params.penalty_window = 0;
    EXPECT_EQ(pick({3.9f, 3, 1.99f}, params, history), 0);
}

TEST(Sampler, PenalisesWhatWasGeneratedByCountAndByPresence) {
    TokenHistory history;
    history.add_prompt(std::vector<TokenId>{2, 2, 2});
    history.add_generated(0);
    history.add_generated(0);
    history.add_generated(1);
    SamplingParams params = greedy();
    params.frequency_penalty = 1;
    EXPECT_EQ(pick({5, 4.5f, 3.4f}, params, history), 1); // 3, 3.5, 3.4: the prompt does not count
    params.frequency_penalty = 0;
    params.presence_penalty = 1.5f;
    EXPECT_EQ(pick({5, 4.5f, 3.6f}, params, history), 2); // 3.5, 3, 3.6
}

TEST(Sampler, LogprobsAreTheLogSoftmaxOfTheModelItself) {
    const auto logits = some_logits(2500, 10);
    double total = 0;
    for (const float logit : logits)
        total += std::exp(static_cast<double>(logit));
    const auto expected = [&](TokenId token) { return logits[static_cast<std::size_t>(token)] - std::log(total); };
    SamplingParams params; // none of these may change them
    params.temperature = 0.5f;
    params.top_k = 3;
    params.repetition_penalty = 1.7f;
    params.presence_penalty = 1;
    params.frequency_penalty = 1;
    TokenHistory history;
    for (TokenId token = 0; token < 2500; token += 2)
        history.add_generated(token);
    for (TokenId token = 0; token < 2500; ++token)
        if (token % 3 == 0) params.logit_bias.emplace_back(token, 3.0f);
    Sampler sampler;
    auto copy = logits;
    const Sample sample = sampler.sample(copy, params, history, 5, true, 20);
    EXPECT_NEAR(sample.logprob, expected(sample.token), 1e-5);
    ASSERT_EQ(sample.top.size(), 20u);
    std::vector<float> sorted = logits;
    std::sort(sorted.rbegin(), sorted.rend());
    for (std::size_t i = 0; i < 20; ++i) {
        EXPECT_EQ(logits[static_cast<std::size_t>(sample.top[i].token)], sorted[i]);
        EXPECT_NEAR(sample.top[i].logprob, expected(sample.top[i].token), 1e-5);
    }
    auto again = logits;
    EXPECT_EQ(sampler.sample(again, params, history, 5).token, sample.token); // asking for them changes nothing
}

TEST(SamplingParams, RefusesAreNamedByTheField) {
    EXPECT_TRUE(validate({}));
    const auto refused = [](auto change) {
        SamplingParams params;
        change(params);
        const Status status = validate(params);
        return status ? std::string("accepted") : status.error().message.substr(0, status.error().message.find(' '));
    };
    EXPECT_EQ(refused([](auto& p) { p.temperature = -0.1f; }), "temperature");
    EXPECT_EQ(refused([](auto& p) { p.temperature = kNan; }), "temperature");
    EXPECT_EQ(refused([](auto& p) { p.top_k = -1; }), "top_k");
    EXPECT_EQ(refused([](auto& p) { p.top_p = 1.5f; }), "top_p");
    EXPECT_EQ(refused([](auto& p) { p.min_p = -1; }), "min_p");
    EXPECT_EQ(refused([](auto& p) { p.repetition_penalty = 0; }), "repetition_penalty");
    EXPECT_EQ(refused([](auto& p) { p.frequency_penalty = 3; }), "frequency_penalty");
    EXPECT_EQ(refused([](auto& p) { p.presence_penalty = -3; }), "presence_penalty");
    EXPECT_EQ(refused([](auto& p) { p.penalty_window = -2; }), "penalty_window");
    EXPECT_EQ(refused([](auto& p) { p.logit_bias = {{1, 101.0f}}; }), "logit_bias");
    EXPECT_EQ(refused([](auto& p) { p.logit_bias = {{-1, 1.0f}}; }), "logit_bias");
}

} // namespace
} // namespace lucebox::decode
