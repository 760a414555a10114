// The largest of many values, and where it stands: the first of equal ones, in whatever order they are looked at.
#pragma once

#include <cstdint>

namespace lucebox::compute::cuda {

struct Best {
    float value;
    std::int32_t id; // INT32_MAX: none
};

__device__ __forceinline__ Best better(Best a, Best b) {
    return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a;
}

// Of all threads of a block, in whole warps; `shared`: one for each.
__device__ __forceinline__ Best block_best(Best best, Best* shared) {
    for (int offset = 16; offset > 0; offset /= 2) {
        best = better(best, {__shfl_xor_sync(0xffffffffu, best.value, offset), __shfl_xor_sync(0xffffffffu, best.id, offset)});
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = best;
    __syncthreads();
    for (unsigned i = 0; i < blockDim.x / 32; ++i) best = better(best, shared[i]);
    return best;
}

} // namespace lucebox::compute::cuda
