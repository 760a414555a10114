#include "hub/tiers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lucebox::hub {
namespace {

// Contexts are what a 27B model in Q4_K_M leaves room for on a card of that size, beside its draft and a gigabyte of
// scratch: a 24 GB card holds 112K tokens of 3-bit keys and values. Under WSL 2 such a card was seen with a few hundred
// MiB left under long tool traffic, which is too little for scratch, hence less there.
constexpr std::array table{
    Tier{.name = "48 GB and more", .least_gb = 48, .context = 131072, .sweep_budgets = {32, 48, 63}},
    Tier{.name = "32 GB", .least_gb = 32, .context = 131072, .sweep_budgets = {22, 32}},
    Tier{.name = "24 GB", .least_gb = 22, .context = 114688, .kv_type = "tq3_0", .lazy_draft = true, .wsl_context = 65536, .wsl_tree_budget = 16,
         .sweep_budgets = {16, 22, 32}},
    Tier{.name = "12 to 21 GB", .least_gb = 12, .context = 32768, .lazy_draft = true, .sweep_budgets = {8, 16, 22}},
    Tier{.name = "less than 12 GB", .least_gb = 0, .context = 4096, .lazy_draft = true},
};

// When nothing is known: what fits most cards with a small model.
constexpr std::int64_t unknown_context = 16384;

// Sizes that are printed on boxes.
constexpr std::array labels{4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 180, 192, 256, 288};
constexpr double least_share = 0.92; // of the label that a card reports; a GDDR card with ECC reports 15/16

} // namespace

std::span<const Tier> tiers() { return table; }

int label_gb(std::uint64_t mib) {
    const auto reported = static_cast<double>(mib) / 1024;
    for (const int label : labels) {
        if (reported <= label && reported >= least_share * label) return label;
    }
    return static_cast<int>(reported + 0.5);
}

const Tier& tier_of(int gb) {
    return *std::ranges::find_if(table, [&](const Tier& tier) { return gb >= tier.least_gb; });
}

Plan plan_for(const TierFacts& facts, const TierFeatures& features) {
    Plan plan;
    plan.gb = label_gb(facts.vram_mib);
    if (facts.vram_mib == 0) {
        plan.tier = "unknown";
        plan.context = unknown_context;
        plan.notes.push_back("the memory of the GPU is not known, so a cautious context is taken");
        return plan;
    }
    const Tier& tier = tier_of(plan.gb);
    plan.tier = tier.name;
    plan.context = tier.context;
    plan.lazy_draft = tier.lazy_draft && features.speculative;
    int budget = tier.tree_budget;
    if (facts.wsl && tier.wsl_context != 0) {
        plan.context = tier.wsl_context;
        budget = tier.wsl_tree_budget;
        plan.wsl = true;
        plan.notes.push_back("under WSL 2 Windows takes a share of the card, so context and tree are smaller");
    }
    if (features.speculative) plan.tree_budget = budget;
    if (tier.least_gb == 0) plan.notes.push_back("less than 12 GB: a 27B model will not fit; choose a small one");
    if (!tier.kv_type.empty()) {
        if (std::ranges::find(features.kv_types, tier.kv_type) != features.kv_types.end()) {
            plan.kv_type = tier.kv_type;
        } else if (!features.kv_types.empty()) {
            plan.kv_type = features.kv_types.front();
            plan.notes.push_back(fmt::format("{} keys and values are not part of this build: {} are its smallest, and a large model's context may be less",
                                             tier.kv_type, plan.kv_type));
        }
    }
    if (const std::uint64_t vram = facts.vram_mib << 20; facts.weight_bytes > vram) {
        plan.notes.push_back("the model alone is larger than the memory of the card");
    }
    return plan;
}

} // namespace lucebox::hub
