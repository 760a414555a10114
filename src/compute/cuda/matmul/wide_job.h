// What one launch of the prompts' product multiplies (wide.cuh). Plain data, passed to the kernel by value.
//
// A worker is a cluster of two thread blocks; a block has two warpgroups of 64 outputs each, so a worker has four tiles
// (a *group*) by one column of rows at a time, with all inputs: an item. Workers take every clusters-th item. With a
// gate a block's warpgroups have the gate's and the up projection's tile of the same outputs.
#pragma once

#include "compute/cuda/matmul/job.h"

namespace lucebox::compute::cuda {

struct WideJob {
    JobTarget target[max_targets];
    std::int32_t tiles = 0; // of all targets; with a gate, of each of the two
    std::int32_t groups = 0, columns = 0;
    std::int32_t units = 0; // along the inputs
    std::int32_t gated = 0;
    Activation activation{};
    std::uint32_t rows = 0;
    const std::byte* operand = nullptr;
    std::byte* out_operand = nullptr;
    std::int32_t stages = 0, slots = 0; // shared memory: blocks of activations, units of weights for each warpgroup
};

using WideKernel = void (*)(const WideJob);

inline constexpr int wide_blocks = 2; // of a cluster
inline constexpr int wide_warps = 8;  // that multiply; four more copy
inline constexpr int wide_threads = (wide_warps + 4) * 32;
inline constexpr std::size_t wide_exchange_bytes = 16384; // where gate and up meet
// 1 KB to align the first stage.
constexpr std::size_t wide_shared_bytes(int n, int stages, int slots, int unit_bytes, bool gated) {
    return 1024 + static_cast<std::size_t>(stages) * (static_cast<std::size_t>(n) * 128 + 16) +
           2 * static_cast<std::size_t>(slots) * (static_cast<std::size_t>(unit_bytes) + 16) +
           (gated ? wide_exchange_bytes : 0);
}
WideKernel wide_kernel_128(Form form);
WideKernel wide_kernel_256(Form form);

} // namespace lucebox::compute::cuda
