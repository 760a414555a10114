// The best few tokens of each row of logits. A warp finds those of a segment; one block then finds those of all segments.
#include "compute/cuda/launch.h"
#include "compute/cuda/rows.h"

#include <cmath>

namespace lucebox::compute::cuda {
namespace {

constexpr int per_lane = 32, segment = 32 * per_lane; // logits that a warp holds in registers
constexpr int merge_warps = 32, merge_per_lane = 8;

struct Candidate {
    float value;
    std::int32_t id; // INT32_MAX: none
};

__device__ __forceinline__ bool precedes(Candidate a, Candidate b) {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

// Takes the best candidate that the lanes of a warp hold, `count` times; lane 0's `take(i, candidate)` gets them in order.
template <int held, class Take> __device__ void select(Candidate (&own)[held], int count, Take take) {
    for (int i = 0; i < count; ++i) {
        Candidate best{-INFINITY, INT32_MAX};
#pragma unroll
        for (int j = 0; j < held; ++j) {
            if (precedes(own[j], best)) best = own[j];
        }
        for (int offset = 16; offset > 0; offset /= 2) {
            const Candidate other{__shfl_xor_sync(0xffffffffu, best.value, offset), __shfl_xor_sync(0xffffffffu, best.id, offset)};
            if (precedes(other, best)) best = other;
        }
        if (threadIdx.x % 32 == 0) take(i, best);
        if (best.id == INT32_MAX) continue;
#pragma unroll
        for (int j = 0; j < held; ++j) {
            if (own[j].id == best.id) own[j] = {-INFINITY, INT32_MAX};
        }
    }
}

// A warp for each segment of a row: its best, its largest logit and its sum of exp(logit - largest).
__global__ void __launch_bounds__(32) segment_kernel(const float* logits, int width, int count, Candidate* found, float2* sums) {
    allow_next();
    wait_for_previous();
    const int lane = static_cast<int>(threadIdx.x), part = static_cast<int>(blockIdx.x);
    const float* const row = logits + static_cast<std::size_t>(blockIdx.y) * width;
    const std::size_t place = static_cast<std::size_t>(blockIdx.y) * gridDim.x + part;
    Candidate own[per_lane];
    float largest = -INFINITY;
#pragma unroll
    for (int j = 0; j < per_lane; ++j) {
        const int id = part * segment + j * 32 + lane;
        const float value = id < width ? row[id] : -INFINITY;
        own[j] = value > -INFINITY ? Candidate{value, id} : Candidate{-INFINITY, INT32_MAX}; // a NaN is not larger either
        largest = fmaxf(largest, own[j].value);
    }
    for (int offset = 16; offset > 0; offset /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    float sum = 0;
#pragma unroll
    for (int j = 0; j < per_lane; ++j) {
        if (own[j].id != INT32_MAX) sum += expf(own[j].value - largest);
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) sums[place] = {largest, sum};
    Candidate* const to = found + place * max_top_k;
    select(own, count, [&](int i, Candidate best) { to[i] = best; });
}

// A block for each row. Rounds of merge_warps * 32 * merge_per_lane candidates, the winners of each kept for the next.
__global__ void __launch_bounds__(merge_warps * 32) merge_kernel(const Candidate* found, const float2* sums, int segments, int count,
                                                                 std::int32_t* ids, float* logprobs) {
    __shared__ Candidate winners[merge_warps * max_top_k];
    __shared__ Candidate best[max_top_k];
    allow_next();
    wait_for_previous();
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int row = static_cast<int>(blockIdx.x), total = segments * count;
    const Candidate* const from = found + static_cast<std::size_t>(row) * segments * max_top_k;
    for (int i = thread; i < static_cast<int>(max_top_k); i += merge_warps * 32) best[i] = {-INFINITY, INT32_MAX};
    for (int begin = 0; begin < total; begin += merge_warps * 32 * merge_per_lane) {
        Candidate own[merge_per_lane];
#pragma unroll
        for (int j = 0; j < merge_per_lane; ++j) {
            const int i = begin + (j * merge_warps + warp) * 32 + lane;
            own[j] = i < total ? from[i / count * static_cast<int>(max_top_k) + i % count] : Candidate{-INFINITY, INT32_MAX};
        }
        __syncthreads();
        select(own, count, [&](int i, Candidate candidate) { winners[warp * count + i] = candidate; });
        __syncthreads();
        if (warp == 0) {
            constexpr int held = static_cast<int>(max_top_k) + 1;
            Candidate mine[held];
#pragma unroll
            for (int j = 0; j < held; ++j) {
                const int i = j * 32 + lane;
                mine[j] = {-INFINITY, INT32_MAX};
                if (i < merge_warps * count) mine[j] = winners[i];
                else if (i < merge_warps * count + count) mine[j] = best[i - merge_warps * count];
            }
            __syncwarp();
            select(mine, count, [&](int i, Candidate candidate) { best[i] = candidate; });
        }
    }
    __syncthreads();
    if (warp != 0) return;
    const float top = best[0].value;
    float sum = 0;
    for (int i = lane; i < segments; i += 32) {
        const float2 part = sums[static_cast<std::size_t>(row) * segments + i];
        if (part.x > -INFINITY) sum += part.y * expf(part.x - top);
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane >= count) return;
    std::int32_t id = 0; // a row with fewer numbers than places repeats its last
    for (int i = 0; i <= lane; ++i) {
        if (best[i].id != INT32_MAX) id = best[i].id;
    }
    ids[row * count + lane] = id;
    logprobs[row * count + lane] = best[lane].id == INT32_MAX ? -INFINITY : best[lane].value - top - logf(sum);
}

std::size_t segments_of(std::size_t width) { return (width + segment - 1) / segment; }

} // namespace

std::size_t top_k_workspace_bytes(std::size_t rows, std::size_t width) {
    return rows * segments_of(width) * (max_top_k * sizeof(Candidate) + sizeof(float2));
}

void top_k(Tensor logits, std::size_t count, std::byte* workspace, std::int32_t* ids, float* logprobs, cudaStream_t stream) {
    const std::size_t segments = segments_of(logits.width);
    Candidate* const found = reinterpret_cast<Candidate*>(workspace);
    float2* const sums = reinterpret_cast<float2*>(found + logits.rows * segments * max_top_k);
    launch(segment_kernel, dim3(static_cast<unsigned>(segments), static_cast<unsigned>(logits.rows)), dim3(32), 0, stream,
           logits.data, static_cast<int>(logits.width), static_cast<int>(count), found, sums);
    launch(merge_kernel, dim3(static_cast<unsigned>(logits.rows)), dim3(merge_warps * 32), 0, stream, found, sums,
           static_cast<int>(segments), static_cast<int>(count), ids, logprobs);
}

} // namespace lucebox::compute::cuda
