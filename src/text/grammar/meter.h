// What reading and compiling one grammar may cost.
//
// Inside text/grammar/ running out is thrown, because nearly every step can; Grammar::from_...() catches it, so that no
// exception crosses the border of the module.
#pragma once

#include "base/cpu_time.h"

#include <chrono>
#include <cstddef>

namespace lucebox::text {

struct GrammarBudget {
    std::size_t expressions = 60'000; // tree nodes
    std::size_t depth = 1000;         // of the tree
    std::size_t nodes = 200'000;      // of the automaton
    std::size_t repeat = 1u << 20;    // largest count of a repetition
    std::chrono::milliseconds time{40}; // of this thread's CPU; a large honest schema takes 3
};

struct GrammarTooLarge {};

class GrammarMeter {
public:
    explicit GrammarMeter(const GrammarBudget& budget) : deadline_(thread_cpu_time() + budget.time) {}

    // One step: an expression, a node, or a handful of names compared.
    void charge(std::size_t steps = 1) {
        steps_ += steps;
        if (steps_ < next_look_) return;
        if (thread_cpu_time() > deadline_) throw GrammarTooLarge{};
        next_look_ = steps_ + steps_between_looks;
    }

private:
    static constexpr std::size_t steps_between_looks = 256;

    std::chrono::nanoseconds deadline_;
    std::size_t steps_ = 0, next_look_ = steps_between_looks;
};

} // namespace lucebox::text
