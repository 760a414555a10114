// Of what else fits a card, a sweep takes rounded keys and values only for speed, and a larger context unless it costs speed.
#include "app/serving/sweep_memory.h"

#include <gtest/gtest.h>

namespace lucebox::app {
namespace {

const Candidate winner{{"speculation", "tree:22"}};
const Candidate rounded{{"speculation", "tree:22"}, {"cache-type-k", "q8_0"}};
const Candidate larger{{"speculation", "tree:22"}, {"context", "8192"}};
const Candidate both{{"speculation", "tree:22"}, {"cache-type-k", "q8_0"}, {"context", "8192"}};

MemoryVariants variants(bool q8_0, bool context) {
    MemoryVariants all;
    all.q8_0 = q8_0;
    if (context) all.context = 8192;
    return all;
}

Measured figure(Candidate candidate, double low, double high) {
    Measured measured;
    measured.candidate = std::move(candidate);
    measured.low = low;
    measured.median = (low + high) / 2;
    measured.high = high;
    return measured;
}
Measured failed(Candidate candidate) {
    Measured measured = figure(std::move(candidate), 1000, 1000);
    measured.problem = "it does not fit after all";
    return measured;
}

TEST(SweepMemory, OnlyWhatIsOpenAndFitsIsTriedAndTheWinnerFirst) {
    EXPECT_EQ(candidates_of(variants(true, true), winner), (std::vector{winner, rounded, larger}));
    EXPECT_EQ(candidates_of(variants(false, true), winner), (std::vector{winner, larger}));
    EXPECT_FALSE(variants(false, false).any());
}
TEST(SweepMemory, RoundedKeysAndValuesMustBeClearlyFaster) {
    EXPECT_EQ(with_variants(variants(true, false), {figure(winner, 90, 110), figure(rounded, 111, 120)}), rounded);
    EXPECT_EQ(with_variants(variants(true, false), {figure(winner, 90, 110), figure(rounded, 109, 130)}), winner);
}
TEST(SweepMemory, ALargerContextMustNotBeClearlySlower) {
    EXPECT_EQ(with_variants(variants(false, true), {figure(winner, 90, 110), figure(larger, 80, 91)}), larger);
    EXPECT_EQ(with_variants(variants(false, true), {figure(winner, 90, 110), figure(larger, 80, 89)}), winner);
}
TEST(SweepMemory, EachOfTheTwoEarnsItsPlaceAlone) {
    EXPECT_EQ(with_variants(variants(true, true), {figure(winner, 90, 110), figure(rounded, 111, 120), figure(larger, 90, 110)}), both);
    EXPECT_EQ(with_variants(variants(true, true), {figure(winner, 90, 110), figure(rounded, 90, 110), figure(larger, 90, 110)}), larger);
}
TEST(SweepMemory, WhatFailedIsNeverTaken) {
    EXPECT_EQ(with_variants(variants(true, true), {figure(winner, 90, 110), failed(rounded), failed(larger)}), winner);
    EXPECT_EQ(with_variants(variants(true, true), {failed(winner), figure(rounded, 111, 120), figure(larger, 111, 120)}), winner);
}

} // namespace
} // namespace lucebox::app
