#include "app/serving/sweep_memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::app {
namespace {

Candidate with(Candidate candidate, std::string name, std::string value) {
    candidate.emplace_back(std::move(name), std::move(value));
    return candidate;
}
Candidate with_q8_0(const Candidate& winner) { return with(winner, "cache-type-k", "q8_0"); }
Candidate with_context(const Candidate& winner, std::size_t context) { return with(winner, "context", fmt::format("{}", context)); }

// A quarter of the context in lines of some five tokens; beyond 8,000 tokens a prompt takes longer than it tells.
std::size_t lines_for(std::size_t context) { return std::clamp<std::size_t>(context / 20, 1, 1600); }

} // namespace

Result<MemoryVariants> memory_variants(const engine::MemoryPlanner& planner, const engine::Shape& shape, const engine::Room& room, bool kv_open, bool context_open) {
    MemoryVariants variants;
    variants.prompt_lines = lines_for(shape.context);
    variants.q8_0 = kv_open && shape.kv_type == compute::DType::f16 && planner.keeps(compute::DType::q8_0);
    if (!context_open) return variants;
    // Tiers are largest first: the last one that is larger than what was chosen is the next.
    std::size_t next = 0;
    for (const hub::Tier& tier : hub::tiers()) {
        const std::size_t context = std::min(static_cast<std::size_t>(tier.context), planner.trained_context());
        if (context > shape.context) next = context;
    }
    if (next == 0) return variants;
    LUCEBOX_TRY(const auto plan, planner.plan(next, shape.sequences, shape.kv_type));
    if (plan.total() + room.spare <= room.available) variants.context = next;
    return variants;
}

std::vector<Candidate> candidates_of(const MemoryVariants& variants, const Candidate& winner) {
    std::vector<Candidate> candidates{winner};
    if (variants.q8_0) candidates.push_back(with_q8_0(winner));
    if (variants.context) candidates.push_back(with_context(winner, *variants.context));
    return candidates;
}

Candidate with_variants(const MemoryVariants& variants, const std::vector<Measured>& measured) {
    Candidate chosen = measured.front().candidate;
    const Measured& winner = measured.front();
    if (!winner.problem.empty()) return chosen;
    std::size_t at = 1;
    if (variants.q8_0) {
        const Measured& rounded = measured[at++];
        if (rounded.problem.empty() && rounded.low > winner.high) chosen = with_q8_0(chosen);
    }
    if (variants.context) {
        const Measured& larger = measured[at];
        if (larger.problem.empty() && larger.high >= winner.low) chosen = with_context(chosen, *variants.context);
    }
    return chosen;
}

} // namespace lucebox::app
