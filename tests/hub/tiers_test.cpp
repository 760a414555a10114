// The table of tiers: cards land where their label says, and a plan never promises what the build lacks.
#include "hub/tiers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace lucebox::hub {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::array<std::string_view, 2> plain_types{"f16", "q8_0"};
constexpr std::array<std::string_view, 3> all_types{"f16", "q8_0", "tq3_0"};

TEST(Tiers, cards_land_in_the_tier_of_their_label) {
    struct Card {
        const char* name;
        std::uint64_t mib; // as nvidia-smi says
        int label;
        std::int64_t context;
    };
    // Reported sizes: NVIDIA's driver, ECC on where the card has it by default.
    for (const Card& card : std::initializer_list<Card>{
             {"RTX 5090", 32607, 32, 131072}, {"RTX 4090", 24564, 24, 114688},  {"RTX 3090", 24576, 24, 114688},
             {"A10 (ECC)", 23028, 24, 114688}, {"L4 (ECC)", 23034, 24, 114688},  {"A40 (ECC)", 46068, 48, 131072},
             {"L40S", 46068, 48, 131072},      {"H100", 81559, 80, 131072},      {"H200", 143771, 141, 131072},
             {"A100 40", 40960, 40, 131072},   {"RTX 4080", 16376, 16, 32768},   {"T4 (ECC)", 15360, 16, 32768},
             {"RTX A4500", 20470, 20, 32768},  {"RTX 3060", 12288, 12, 32768},   {"RTX 4070", 12282, 12, 32768},
             {"12 GB, 11.2", 11469, 12, 32768}, {"RTX 2080 Ti", 11264, 11, 4096}, {"RTX 2080", 8192, 8, 4096}}) {
        EXPECT_EQ(label_gb(card.mib), card.label) << card.name;
        EXPECT_EQ(tier_of(label_gb(card.mib)).context, card.context) << card.name;
    }
    EXPECT_EQ(label_gb(0), 0);
}

TEST(Tiers, every_size_has_a_tier_and_more_memory_never_means_less_context) {
    std::int64_t before = 0;
    for (int gb = 0; gb < 300; ++gb) {
        EXPECT_GE(tier_of(gb).context, before) << gb;
        before = tier_of(gb).context;
    }
    EXPECT_EQ(tiers().back().least_gb, 0);
}

TEST(Tiers, a_build_without_three_bit_keys_takes_its_best_and_says_so) {
    const Plan plain = plan_for({.vram_mib = 24576}, {.kv_types = plain_types});
    EXPECT_EQ(plain.kv_type, "f16");
    EXPECT_EQ(plain.tree_budget, 0);
    EXPECT_FALSE(plain.lazy_draft);
    EXPECT_THAT(plain.notes, Contains(HasSubstr("tq3_0 keys and values are not part of this build")));
    const Plan full = plan_for({.vram_mib = 24576}, {.kv_types = all_types, .speculative = true});
    EXPECT_EQ(full.kv_type, "tq3_0");
    EXPECT_EQ(full.tree_budget, 22);
    EXPECT_TRUE(full.lazy_draft);
    EXPECT_THAT(full.notes, IsEmpty());
}

TEST(Tiers, wsl_takes_less_on_24_gb_and_the_same_elsewhere) {
    const TierFeatures features{.kv_types = all_types, .speculative = true};
    const Plan small = plan_for({.vram_mib = 24564, .wsl = true}, features);
    EXPECT_EQ(small.context, 65536);
    EXPECT_EQ(small.tree_budget, 16);
    EXPECT_THAT(small.notes, Contains(HasSubstr("WSL 2")));
    EXPECT_EQ(plan_for({.vram_mib = 32607, .wsl = true}, features).context, 131072);
}

TEST(Tiers, the_unknown_and_the_small_are_said) {
    const Plan unknown = plan_for({}, {});
    EXPECT_EQ(unknown.context, 16384);
    EXPECT_EQ(unknown.tier, "unknown");
    EXPECT_THAT(unknown.notes, Contains(HasSubstr("not known")));
    EXPECT_THAT(plan_for({.vram_mib = 8192}, {}).notes, Contains(HasSubstr("27B model will not fit")));
    EXPECT_THAT(plan_for({.vram_mib = 8192, .weight_bytes = 16ull << 30}, {}).notes, Contains(HasSubstr("larger than the memory")));
}

} // namespace
} // namespace lucebox::hub
