// What guesses are worth, and what steps cost: both follow what is measured.
#include "decode/acceptance.h"
#include "decode/step_costs.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lucebox::decode {
namespace {

TEST(AcceptanceTest, ProbabilitiesFollowTheCounts) {
    Acceptance acceptance;
    for (int i = 0; i < 400; ++i) acceptance.observe(from_draft, 1, std::log(0.9f), i % 4 == 0);
    EXPECT_NEAR(std::exp(acceptance.logprob(from_draft, 1, std::log(0.9f))), 0.25, 0.05);
    EXPECT_NEAR(std::exp(acceptance.logprob(from_draft, 1, std::log(0.5f))), 0.52, 0.01); // another bin: the prior
    for (int i = 0; i < 400; ++i) acceptance.observe(from_draft, 1, std::log(0.9f), true);
    EXPECT_GT(std::exp(acceptance.logprob(from_draft, 1, std::log(0.9f))), 0.8); // old counts fade
}

TEST(AcceptanceTest, ASequencesOwnCountsOutweighThoseOfAll) {
    Acceptance all, own;
    own.clear();
    for (int i = 0; i < 100; ++i) all.observe(from_best_match, 1, 8, true);
    EXPECT_GT(std::exp(own.logprob(all, from_best_match, 1, 8)), 0.9);
    for (int i = 0; i < 100; ++i) own.observe(from_best_match, 1, 8, false);
    EXPECT_LT(std::exp(own.logprob(all, from_best_match, 1, 8)), 0.15);
    EXPECT_TRUE(std::isfinite(own.logprob(all, from_best_match, 1, 8)));
}

TEST(AcceptanceTest, LongerAgreementsAreWorthMoreFromTheStart) {
    const Acceptance acceptance;
    for (float length = 1; length < 32; ++length) {
        EXPECT_LE(acceptance.logprob(from_best_match, 1, length), acceptance.logprob(from_best_match, 1, length + 1));
        EXPECT_LT(acceptance.logprob(from_other_match, 1, length), acceptance.logprob(from_best_match, 1, length));
    }
}

TEST(StepCostsTest, MeasuredSizesAreKnownAndOthersLieBetween) {
    StepCosts costs;
    costs.set(1, 0.010);
    costs.set(8, 0.016);
    costs.set(64, 0.060);
    EXPECT_NEAR(costs.seconds(1), 0.010, 1e-9);
    EXPECT_NEAR(costs.seconds(8), 0.016, 1e-9);
    EXPECT_NEAR(costs.seconds(64), 0.060, 1e-9);
    for (std::size_t rows = 1; rows < 300; ++rows) EXPECT_LE(costs.seconds(rows), costs.seconds(rows + 1));
}

TEST(StepCostsTest, LastingChangesAreLearntAndHiccupsAreNot) {
    StepCosts costs;
    costs.set(1, 0.010);
    costs.observe(1, 10);
    EXPECT_LT(costs.seconds(1), 0.013);
    for (int i = 0; i < 100; ++i) costs.observe(1, 0.020);
    EXPECT_NEAR(costs.seconds(1), 0.020, 0.001);
}

// Measured wrongly at start, and not run since: a few steps tell, and say nothing of other sizes.
TEST(StepCostsTest, WhatWasNotSeenForLongIsLearntFast) {
    StepCosts costs;
    costs.set(1, 0.008);
    costs.set(8, 0.012);
    for (int i = 0; i < 100; ++i) costs.observe(8, 0.012);
    for (int i = 0; i < 12; ++i) costs.observe(1, 0.004);
    EXPECT_NEAR(costs.seconds(1), 0.004, 0.0006);
    EXPECT_NEAR(costs.seconds(8), 0.012, 0.0012);
}

TEST(StepCostsTest, ABusyMachineSlowsAllSizes) {
    StepCosts costs;
    costs.set(1, 0.010);
    costs.set(16, 0.020);
    for (int i = 0; i < 50; ++i) costs.observe(1, 0.018);
    EXPECT_GT(costs.seconds(16), 0.022);
}

} // namespace
} // namespace lucebox::decode
