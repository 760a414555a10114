// The instances of the step kernel, each made in a file of its own (step_<n>.cu), and what a launch of them needs.
#pragma once

#include "compute/cuda/step/record.h"

namespace lucebox::compute::cuda::step {

inline constexpr int consumer_warps = 16; // four warpgroups, each multiplies a tile
inline constexpr int consumers = consumer_warps * 32;
inline constexpr int threads =
    consumers + 128; // and a warpgroup that copies; two of its warps work: weights, activations
// Registers of a thread of either kind. Together they may be no more than what the block is launched with: 96 each.
inline constexpr int copier_registers = 32, consumer_registers = 112;
static_assert(consumers * consumer_registers + 128 * copier_registers <= threads * 96);
inline constexpr int most_slots = 8, most_stages = 8;
inline constexpr int pieces_of_warp = 4; // a block alone keeps 8192 outputs
static_assert(piece_outputs * pieces_of_warp * consumer_warps >= most_norm_width);

// Bytes of activations of a unit of 256 inputs, for n rows.
LUCEBOX_HOST_DEVICE constexpr int stage_bytes(int n) {
    return n * 512;
}
// Of the stages' memory, what a DeltaNet head needs in a step of so many rows.
LUCEBOX_HOST_DEVICE constexpr int head_memory_bytes(int rows) {
    return 24 * 1024 + rows * head_dim * static_cast<int>(sizeof(float));
}
LUCEBOX_HOST_DEVICE constexpr bool streamed(Form form) {
    return form != Form::f32;
} // too large for a slot; read directly

// n: rows that an instance multiplies at once; slot_bytes: of a group's step; bytes of dynamic shared memory.
constexpr std::size_t shared_bytes(int n, int stages, int slots, int slot_bytes) {
    return 1024 + static_cast<std::size_t>(stages) * static_cast<std::size_t>(stage_bytes(n)) +
           static_cast<std::size_t>(slots) * static_cast<std::size_t>(slot_bytes);
}

using Kernel = void (*)(const StepSegment);
Kernel kernel_8();
Kernel kernel_16();
Kernel kernel_32();
Kernel kernel_64();

} // namespace lucebox::compute::cuda::step
