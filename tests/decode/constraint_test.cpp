// The sampler under a constraint.
#include "decode/grammar_constraint.h"
#include "mask_constraint.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

namespace lucebox::decode {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Allow final : public MaskConstraint {
public:
    Allow(std::size_t vocabulary, std::initializer_list<TokenId> tokens) : MaskConstraint(mask_of(vocabulary, tokens)) {}

private:
    static std::vector<std::uint64_t> mask_of(std::size_t vocabulary, std::initializer_list<TokenId> tokens) {
        std::vector<std::uint64_t> bits((vocabulary + 63) / 64);
        for (const TokenId token : tokens) bits[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
        return bits;
    }
};

std::vector<float> random_logits(std::size_t size, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> logits(size);
    for (float& logit : logits) logit = normal(random);
    return logits;
}

TEST(Constraint, ChangesNothingWhileTheFreeChoiceIsAllowed) {
    for (std::uint64_t position = 0; position < 200; ++position) {
        const auto logits = random_logits(300, static_cast<std::uint32_t>(position));
        SamplingParams params;
        params.temperature = position % 3 == 0 ? 0.0f : 0.8f;
        params.top_p = 0.9f;
        params.seed = 7;
        TokenHistory history;
        history.add_generated(5);
        params.frequency_penalty = 0.5f;
        auto copy = logits;
        const TokenId freely = Sampler().sample(copy, params, history, position).token;
        Allow constraint(300, {freely, 1, 2, 299});
        copy = logits;
        EXPECT_EQ(Sampler().sample(copy, params, history, position, false, 0, &constraint).token, freely);
        EXPECT_EQ(constraint.masks, 0); // and costs no mask
    }
}

TEST(Constraint, TakesTheBestAllowedTokenWhenGreedy) {
    auto logits = random_logits(130, 3);
    logits[60] = 50;
    logits[129] = 20;
    logits[64] = 30;
    SamplingParams params;
    params.temperature = 0;
    Allow constraint(130, {3, 64, 129});
    const auto sample = Sampler().sample(logits, params, {}, 0, true, 2, &constraint);
    EXPECT_EQ(sample.token, 64);
    EXPECT_EQ(sample.top[0].token, 60); // log-probabilities are the model's own
    EXPECT_NEAR(sample.logprob, -20, 1e-3);
}

TEST(Constraint, DrawsAllowedTokensInProportion) {
    const std::vector<float> logits{std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
    std::array<int, 4> counts{};
    SamplingParams params;
    params.seed = 11;
    constexpr int draws = 40'000;
    for (std::uint64_t position = 0; position < draws; ++position) {
        auto copy = logits;
        Allow constraint(4, {1, 3});
        ++counts[static_cast<std::size_t>(Sampler().sample(copy, params, {}, position, false, 0, &constraint).token)];
    }
    EXPECT_EQ(counts[0] + counts[2], 0);
    EXPECT_NEAR(counts[1] / double{draws}, 0.75, 0.01);
}

TEST(Constraint, ForgetsBiasAndPenaltiesOfTheFirstChoice) {
    // Token 1 is penalised and biased; the second choice must see both once, not twice.
    std::vector<float> logits{5, 3, 2.5f, -kInfinity};
    SamplingParams params;
    params.temperature = 0;
    params.logit_bias = {{0, 3}, {1, -0.25f}};
    params.presence_penalty = 0.15f;
    TokenHistory history;
    history.add_generated(1);
    Allow constraint(4, {1, 2});
    EXPECT_EQ(Sampler().sample(logits, params, history, 0, false, 0, &constraint).token, 1); // 2.6 against 2.5
}

TEST(Constraint, TokensBehindTheMaskAreForbidden) {
    std::vector<float> logits(200, 0);
    logits[150] = 9;
    logits[7] = 1;
    SamplingParams params;
    params.temperature = 0;
    class Short final : public Constraint {
    public:
        bool allows(TokenId token) override { return token < 64; }
        std::span<const std::uint64_t> mask() override { return bits_; }

    private:
        std::array<std::uint64_t, 1> bits_{~std::uint64_t{0}};
    } constraint;
    EXPECT_EQ(Sampler().sample(logits, params, {}, 0, false, 0, &constraint).token, 7);
}

} // namespace
} // namespace lucebox::decode
