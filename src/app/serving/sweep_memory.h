// What a sweep tries of a card's memory once it knows which speculation is fastest: keys and values in q8_0 beside f16, and the
// context of the next larger tier beside the plan's, where the planner says that both fit.
//
// Rounded keys and values must be clearly faster to be taken; a larger context only must not be clearly slower.
#pragma once

#include "app/serving/sweep.h"
#include "engine/choose_shape.h"
#include "engine/memory_plan.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace lucebox::app {

// What is open, and fits. Nothing: there is nothing to measure.
struct MemoryVariants {
    bool q8_0 = false;                  // f16 would be taken, and both fit
    std::optional<std::size_t> context; // a larger one than `shape`'s
    std::size_t prompt_lines = 0;       // of a prompt that fills a part of the smaller context

    bool any() const { return q8_0 || context; }
};

// `kv_open`, `context_open`: nobody set it. `shape`: what the planner chose with `room`.
Result<MemoryVariants> memory_variants(const engine::MemoryPlanner& planner, const engine::Shape& shape, const engine::Room& room, bool kv_open, bool context_open);

// The winner itself first, to be compared with.
std::vector<Candidate> candidates_of(const MemoryVariants& variants, const Candidate& winner);

// The winner, with those of the variants that earned their place. `measured`: candidates_of(), in that order.
Candidate with_variants(const MemoryVariants& variants, const std::vector<Measured>& measured);

} // namespace lucebox::app
