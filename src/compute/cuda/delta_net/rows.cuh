// What a row brings to the delta rule: its channels convolved along its path, q and k normalised, decay and write
// strength. One warp makes one row. The same instructions, in the same order, wherever a row is computed: when it is a
// guess, when it is decoded plainly, and when it is replayed from the scratch. Hence the explicit fma everywhere.
#pragma once

#include "compute/cuda/delta_net/params.h"
#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/operand.cuh"

#include <cuda_runtime.h>

namespace lucebox::compute::cuda::delta {

constexpr int max_taps = 4;
constexpr float l2_epsilon = 1e-6f; // as the model was trained: x / sqrt(sum x^2 + epsilon)

__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, mask));
    return x;
}

__device__ inline float silu(float x) { return __fdividef(x, __fadd_rn(1.0f, __expf(-x))); }
__device__ inline float4 silu(float4 x) { return make_float4(silu(x.x), silu(x.y), silu(x.z), silu(x.w)); }

__device__ inline float dot(float4 a, float4 b) {
    return __fmaf_rn(a.w, b.w, __fmaf_rn(a.z, b.z, __fmaf_rn(a.y, b.y, __fmul_rn(a.x, b.x))));
}
__device__ inline float4 scaled(float4 a, float by) {
    return make_float4(__fmul_rn(a.x, by), __fmul_rn(a.y, by), __fmul_rn(a.z, by), __fmul_rn(a.w, by));
}
__device__ inline float4 fma4(float4 a, float4 b, float4 c) {
    return make_float4(__fmaf_rn(a.x, b.x, c.x), __fmaf_rn(a.y, b.y, c.y), __fmaf_rn(a.z, b.z, c.z), __fmaf_rn(a.w, b.w, c.w));
}

// Sixteen values of one column of M, as a lane has them: keys 32 r + 4 t + j.
struct Column {
    float4 m[4];
};

__device__ inline float column_dot(const Column& column, const float4 (&x)[4]) {
    const float a = dot(column.m[0], x[0]), b = dot(column.m[1], x[1]), c = dot(column.m[2], x[2]), d = dot(column.m[3], x[3]);
    return __fadd_rn(__fadd_rn(a, b), __fadd_rn(c, d));
}

// M = decay M + k e
__device__ inline void column_update(Column& column, const float4 (&k)[4], float decay, float e) {
    const float4 e4 = make_float4(e, e, e, e);
#pragma unroll
    for (int r = 0; r < 4; ++r) column.m[r] = fma4(k[r], e4, scaled(column.m[r], decay));
}

// decay = exp(a softplus(alpha + bias)), beta = sigmoid(beta). Not inlined: one copy, one set of bits.
static __noinline__ __device__ float2 gates(float alpha, float beta, float a, float bias) {
    const float x = __fadd_rn(alpha, bias);
    const float softplus = x > 20 ? x : log1pf(expf(x));
    return make_float2(expf(__fmul_rn(a, softplus)), __frcp_rn(__fadd_rn(1.0f, expf(-beta))));
}

// Where the raw channels of a row and of the tokens before it lie, newest first.
struct Window {
    const float* at[max_taps];
};

// The tokens of one sequence that a window may reach: rows of this step, then accepted rows of the step before (in the
// scratch), then the convolution's stored tail.
struct History {
    const float* rows;       // of this step, of this sequence
    int stride;
    const float* scratch;
    int scratch_width;
    const float* conv;
    int channels, taps;
    const unsigned char* pending;
    int pending_count;
    const signed char* parent; // of a tree's rows; null: a path

    // local: a row of this step, or -1; `pending_end`: that many accepted rows precede it.
    __device__ Window window(int local, int pending_end) const {
        Window window;
        int back = 0;
#pragma unroll
        for (int i = 0; i < max_taps; ++i) {
            if (local >= 0) {
                window.at[i] = rows + static_cast<size_t>(local) * stride;
                local = parent ? parent[local] : local - 1;
            } else if (pending_end > 0) {
                window.at[i] = scratch + static_cast<size_t>(pending[--pending_end]) * scratch_width;
            } else {
                window.at[i] = i < taps ? conv + static_cast<size_t>(max(taps - 2 - back, 0)) * channels : window.at[0];
                ++back;
            }
        }
        return window;
    }
};

// Four neighbouring channels of a window, newest first: silu(sum over taps). weights [max_taps, stride], newest tap first,
// zero where there is none.
__device__ inline float4 convolved(const float4 (&x)[max_taps], const float* weights, int stride) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int i = max_taps - 1; i >= 0; --i) {
        sum = fma4(*reinterpret_cast<const float4*>(weights + i * stride), x[i], sum);
    }
    return silu(sum);
}

} // namespace lucebox::compute::cuda::delta
