// What one launch of the prompts' product multiplies (wide.cuh). Plain data, passed to the kernel by value.
//
// A worker is a cluster of two thread blocks; a block has two warpgroups of 64 outputs each, so a worker has four tiles
// (a *group*) by one column of rows at a time, with all inputs: an item. Each begins with the item of its own number and
// then takes whichever is next. With a gate a block's warpgroups have the gate's and the up projection's tile of the same
// outputs.
//
// A product can be several launches: of each form, and of columns of 256 and of 128 rows. They run as one: a launch that is
// `joined` begins as soon as multiprocessors are free, waits for nothing, and is not complete before the one it follows. The
// first starts those behind it only when what came before is complete.
#pragma once

#include "compute/cuda/matmul/job.h"

namespace lucebox::compute::cuda {

struct WideJob {
    JobTarget target[max_targets];
    std::int32_t tiles = 0; // of all targets; with a gate, of each of the two
    std::int32_t groups = 0, columns = 0;
    std::int32_t units = 0; // along the inputs
    std::int32_t gated = 0, joined = 0;
    Activation activation{};
    std::uint32_t first_row = 0; // of the first column
    std::uint32_t rows = 0;      // of the operand
    std::uint32_t* counter = nullptr; // of items taken; zero before and after
    const std::byte* operand = nullptr;
    std::byte* out_operand = nullptr;
    std::int32_t stages = 0, slots = 0; // shared memory: blocks of activations, units of weights for each warpgroup
};

using WideKernel = void (*)(const WideJob);

inline constexpr int wide_blocks = 2; // of a cluster
inline constexpr int wide_warps = 8;  // that multiply; four more copy
inline constexpr int wide_threads = (wide_warps + 4) * 32;
inline constexpr std::size_t wide_exchange_bytes = 16384; // where gate and up meet
inline constexpr int wide_queue = 2;                       // items that are known ahead
inline constexpr std::size_t wide_queue_bytes = wide_queue * 24;
inline constexpr int wide_readers = wide_warps + 3; // of each block's queue
// 1 KB to align the first stage.
constexpr std::size_t wide_shared_bytes(int n, int stages, int slots, int unit_bytes, bool gated) {
    return 1024 + static_cast<std::size_t>(stages) * (static_cast<std::size_t>(n) * 128 + 16) +
           2 * static_cast<std::size_t>(slots) * (static_cast<std::size_t>(unit_bytes) + 16) +
           (gated ? wide_exchange_bytes : 0) + wide_queue_bytes;
}
WideKernel wide_kernel_128(Form form);
WideKernel wide_kernel_256(Form form);

} // namespace lucebox::compute::cuda
