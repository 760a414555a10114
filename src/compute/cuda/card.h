// Which GPU to use, and what it can do.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <string>

namespace lucebox::compute::cuda {

struct Card {
    int index = 0;
    std::string name;
    std::size_t memory = 0;   // bytes
    int major = 0, minor = 0; // compute capability
    int processors = 0;       // SMs
    int shared_limit = 0;     // bytes of shared memory that a block may have
    std::string describe() const; // "NVIDIA H200, 140 GB, sm_90"
};

// The visible card with the most memory that this program's code runs on. Makes no context on it.
Result<Card> choose_card();

} // namespace lucebox::compute::cuda
