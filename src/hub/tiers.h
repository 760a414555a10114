// What a card of a given memory can serve: the one table behind `lucebox autotune`, the container's start and the docs.
//
// A plan is a starting point by memory alone. Where a setting names something this build lacks (a type of keys and
// values, a draft), the plan takes the next best and says so in `notes`. Pure functions of their arguments.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::hub {

struct Tier {
    std::string_view name = {}; // what a person calls such cards
    int least_gb = 0;           // of the label on the box; 0: everything below
    std::int64_t context = 0;   // tokens
    int tree_budget = 22;       // nodes of a verified tree
    std::string_view kv_type = {}; // wished for; empty: whatever the engine takes
    bool lazy_draft = false;    // the draft leaves the card between requests
    std::int64_t wsl_context = 0; // under WSL 2, where Windows takes its share; 0: the same
    int wsl_tree_budget = 0;
    std::array<int, 3> sweep_budgets = {}; // of trees that are worth measuring on such a card; 0: none
};

std::span<const Tier> tiers(); // largest first; the last one takes everything

// The memory on the label of a card that reports `mib`: drivers, ECC and firmware keep up to 8 % for themselves, so that
// a "24 GB" card says 23.99 GiB, or 22.5 with ECC. In GB as labels count them; 0 for 0.
int label_gb(std::uint64_t mib);

const Tier& tier_of(int gb);

// What is known of the machine. 0 and empty: unknown.
struct TierFacts {
    std::uint64_t vram_mib = 0; // of the GPU that is used
    bool wsl = false;
    std::uint64_t weight_bytes = 0; // of the model, with its draft
};

// What this build can do.
struct TierFeatures {
    std::span<const std::string_view> kv_types = {}; // smallest first, "q8_0"
    bool speculative = false;
};

struct Plan {
    std::string tier; // "24 GB", "unknown"
    int gb = 0;
    std::int64_t context = 0;
    int tree_budget = 0; // 0: no speculative decoding
    std::string kv_type; // empty: the engine's own
    bool lazy_draft = false;
    bool wsl = false; // less than elsewhere, because of WSL 2
    std::vector<std::string> notes; // why, and what was taken instead of what
};

Plan plan_for(const TierFacts& facts, const TierFeatures& features);

} // namespace lucebox::hub
