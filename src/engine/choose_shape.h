// How many tokens a conversation may hold and how many requests run side by side, where nobody said: what somebody who
// knows the card wishes for, as far as the model and the memory allow, and the reasons in words.
//
// What was asked for is never changed: it fits, or is refused. Of what is open, sequences give way before context does:
// one long conversation is worth more than several that break off. Keys and values are rounded to q8_0 only where the context
// would not fit without, even for one sequence.
#pragma once

#include "base/result.h"
#include "compute/device.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lucebox::engine {

class MemoryPlanner;

struct Choice {
    std::string setting, value, why;
};

struct Wish { // 0: none, the engine's own default
    std::size_t context = 0, sequences = 0;
    std::size_t tree_budget = 0; // at most so many guesses a step, where speculation decides by itself
    std::string why;             // of these: "cards of 24 GB"
    std::uint64_t spare = 0;     // bytes that a choice of ours leaves free
    std::vector<Choice> choices; // what else was decided, to be told with the rest
};

struct Asked { // 0, none: open
    std::size_t context = 0, sequences = 0;
    std::optional<compute::DType> kv_type = {}; // then the planner was made with it, too
};

struct Shape {
    std::size_t context = 0, sequences = 0;
    std::optional<compute::DType> kv_type = {}; // none: not decided yet
    std::vector<Choice> choices = {}; // of the three, in this order, the last by fitting_shape(); an asked one is told as such
};

constexpr std::size_t default_sequences = 4;
constexpr std::size_t default_context = 8192;   // a CPU's prompt of that length takes minutes already
constexpr std::size_t smallest_context = 1024; // that is chosen

// Before memory is looked at.
Shape wanted_shape(const Asked& asked, const Wish& wish, std::size_t trained_context);

struct Room { // bytes; available 0: not known, everything fits
    std::uint64_t available = 0, spare = 0;
};

// ErrorKind::out_of_memory, with what would fit, if even the least that is open or all that is asked does not.
Result<Shape> fitting_shape(const MemoryPlanner& planner, const Asked& asked, Shape wanted, const Room& room);

} // namespace lucebox::engine
