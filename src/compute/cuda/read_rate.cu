#include "compute/cuda/read_rate.h"

#include <algorithm>

namespace lucebox::compute::cuda {
namespace {

constexpr int threads = 512, loads = 8; // in flight for each thread: 64 KB a block, two blocks on a multiprocessor

__global__ void __launch_bounds__(threads) read_kernel(const uint4* memory, std::size_t count, unsigned* sink) {
    unsigned sum = 0;
    const std::size_t stride = static_cast<std::size_t>(gridDim.x) * threads * loads;
    for (std::size_t i = (static_cast<std::size_t>(blockIdx.x) * loads) * threads + threadIdx.x; i + (loads - 1) * threads < count;
         i += stride) {
        uint4 values[loads];
#pragma unroll
        for (int j = 0; j < loads; ++j) values[j] = __ldcs(memory + i + static_cast<std::size_t>(j) * threads);
#pragma unroll
        for (int j = 0; j < loads; ++j) sum += values[j].x ^ values[j].y ^ values[j].z ^ values[j].w;
    }
    if (sum == 0x5bd1e995u) *sink = sum; // hardly ever, but nobody can know
}

} // namespace

double measure_read_rate(const std::byte* memory, std::size_t bytes, cudaStream_t stream) {
    constexpr int passes = 10;
    int device = 0, processors = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    cudaEvent_t begin = nullptr, end = nullptr;
    if (cudaEventCreate(&begin) != cudaSuccess || cudaEventCreate(&end) != cudaSuccess) return 0;
    float best = 0;
    for (int pass = 0; pass < passes; ++pass) {
        float milliseconds = 0;
        cudaEventRecord(begin, stream);
        read_kernel<<<static_cast<unsigned>(processors * 2), threads, 0, stream>>>(
            reinterpret_cast<const uint4*>(memory), bytes / sizeof(uint4),
            reinterpret_cast<unsigned*>(const_cast<std::byte*>(memory)));
        cudaEventRecord(end, stream);
        if (cudaEventSynchronize(end) != cudaSuccess || cudaEventElapsedTime(&milliseconds, begin, end) != cudaSuccess) return 0;
        best = pass == 0 ? milliseconds : std::min(best, milliseconds);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return static_cast<double>(bytes) / (static_cast<double>(best) * 1e-3);
}

} // namespace lucebox::compute::cuda
