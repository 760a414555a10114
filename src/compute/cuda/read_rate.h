// How fast the card reads its memory: what every decode step is compared with.
#pragma once

#include <cstddef>
#include <cuda_runtime_api.h>

namespace lucebox::compute::cuda {

// Bytes a second of a kernel that only reads; the best of several passes over all of it. 0 on an error.
double measure_read_rate(const std::byte* memory, std::size_t bytes, cudaStream_t stream);

} // namespace lucebox::compute::cuda
