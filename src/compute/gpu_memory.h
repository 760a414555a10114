// What a GPU needs beside what the callers of its operations allocate, worked out from a model's shapes. Host code only:
// the plan of a card that is not here uses it as much as the device itself.
#pragma once

#include "compute/device.h"

namespace lucebox::compute {

inline constexpr std::size_t gpu_alignment = 256;     // of what a GPU allocates: vector loads, bulk copies and tensor maps ask for no more
constexpr std::size_t gpu_aligned(std::size_t bytes) { return (bytes + gpu_alignment - 1) / gpu_alignment * gpu_alignment; }
inline constexpr std::size_t gpu_prompt_rows = 2048;  // of a prompt, at a time
std::size_t gpu_padded_rows(std::size_t rows);        // that a step of so many is padded to

// An upper bound, close to what steps take: activations in operand form, partial sums of products and of attention,
// states of DeltaNet. Steps begin with the same numbers whatever the card, but for the split sums.
std::uint64_t gpu_step_bytes(const StepShapes& shapes);

// What is left for a model of `free` bytes once the driver and what is allocated in slabs had theirs.
std::uint64_t gpu_usable_bytes(std::uint64_t free);

} // namespace lucebox::compute
