// The instances of the two kernels, each made in a file of its own (stream_<n>.cu, fallback_<n>.cu) so that they
// compile in parallel, and what a launch of them needs. n: rows that an instance multiplies at once.
#pragma once

#include "compute/cuda/matmul/job.h"

namespace lucebox::compute::cuda {

using Kernel = void (*)(const Job);

// wgmma: a worker is a cluster of two blocks of two warpgroups; its warpgroups are its lanes.
inline constexpr int stream_blocks = 2;
inline constexpr int stream_warps = 8;
inline constexpr int stream_threads = stream_warps * 32;
inline constexpr int stream_lanes = 2 * stream_blocks;
LUCEBOX_HOST_DEVICE constexpr int stream_residents(int n) {
    return n <= 32 ? 2 : 1;
} // blocks on an SM
// Activation stages, weight slots of every warp, barriers, what thread 0 remembers; 1 KB to align the first.
constexpr std::size_t stream_shared_bytes(int n, int stages, int slots, int slot_bytes) {
    return 1024 + static_cast<std::size_t>(stages) * static_cast<std::size_t>(n) * 256 +
           static_cast<std::size_t>(stream_warps) * static_cast<std::size_t>(slots) *
               static_cast<std::size_t>(slot_bytes + 8) +
           static_cast<std::size_t>(stages) * 16 + 128;
}
Kernel stream_kernel_8(Form form);
Kernel stream_kernel_16(Form form);
Kernel stream_kernel_32(Form form);
Kernel stream_kernel_64(Form form);

// mma.sync: a worker is one block of two warpgroups.
inline constexpr int fallback_threads = 256;
inline constexpr int fallback_residents = 2;
constexpr std::size_t fallback_shared_bytes(int n) {
    return 2 * static_cast<std::size_t>(n) * 256;
} // two stages of activations
Kernel fallback_kernel_8();
Kernel fallback_kernel_16();
Kernel fallback_kernel_32();
Kernel fallback_kernel_64();

} // namespace lucebox::compute::cuda
