// The first of attention's kernels; attention.h says what it is for.
#pragma once

#include "compute/cuda/attention/attention.h"
#include "compute/cuda/attention/kv_plane.cuh"

#include <cuda_fp16.h>

namespace lucebox::compute::cuda {

struct PrepareArgs {
    const StepState* state;
    const float *q, *k, *v;
    int heads, kv_heads, head_dim;
    int q_stride, q_head_stride; // floats
    const float *q_norm, *k_norm; // null: none
    float epsilon;
    const float2* rotation; // [rows, pairs]
    int pairs, adjacent_pairs;
    __half* queries; // [rows, heads, head_dim]
    KvPlane cache_k, cache_v;
    std::size_t capacity; // tokens of a slot
};
KvPlane plane_of(const KvView& cache, std::byte* keys_or_values);

void prepare_attention(const PrepareArgs& args, std::size_t rows, cudaStream_t stream);

} // namespace lucebox::compute::cuda
