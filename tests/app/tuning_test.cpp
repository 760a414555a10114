// The table of cards as it reaches the engine.
#include "app/serving/tuning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox::app {
namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

engine::Wish wish_for(double card_gib, bool wsl = false) {
    return wish_of(plan_for_card(static_cast<std::uint64_t>(card_gib * 1024), wsl), static_cast<std::uint64_t>(card_gib * static_cast<double>(gib)));
}

TEST(Tuning, EachCardWishesForTheContextOfItsTier) {
    EXPECT_EQ(wish_for(80).context, 131072u);
    EXPECT_EQ(wish_for(31.8).context, 131072u);
    EXPECT_EQ(wish_for(23.5).context, 114688u);
    EXPECT_EQ(wish_for(11.7).context, 32768u);
    EXPECT_EQ(wish_for(7.9).context, 4096u);
    EXPECT_EQ(wish_for(23.5).why, "cards of 24 GB");
}

TEST(Tuning, UnderWslA24GbCardTakesLess) {
    EXPECT_EQ(wish_for(23.5, true).context, 65536u);
    EXPECT_EQ(wish_for(23.5, true).tree_budget, 16u);
    EXPECT_EQ(wish_for(23.5).tree_budget, 0u); // no limit: measured on the card
    EXPECT_EQ(wish_for(80, true).context, 131072u);
}

TEST(Tuning, SomeOfTheCardStaysFreeAndTheReasonIsTold) {
    EXPECT_EQ(wish_for(16).spare, gib);
    ASSERT_EQ(wish_for(23.5).choices.size(), 1u);
    EXPECT_EQ(wish_for(23.5).choices[0].setting, "tier");
    EXPECT_THAT(wish_for(23.5).choices[0].why, ::testing::HasSubstr("tq3_0 keys and values are not part of this build"));
    EXPECT_THAT(wish_for(23.5).choices[0].why, ::testing::HasSubstr("q8_0 are its smallest"));
    EXPECT_THAT(wish_for(7.9).choices[0].why, ::testing::HasSubstr("will not fit"));
}

} // namespace
} // namespace lucebox::app
