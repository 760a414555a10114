// The end of a DeltaNet layer: y = rms(o) * norm * silu(z), written as f32 and in operand form. And, for kernels that
// cannot know when all blocks have read them: the convolution's tail and the scratch brought up to date.
#pragma once

#include "compute/cuda/delta_net/rows.cuh"

namespace lucebox::compute::cuda::delta {

// norm: weights of these four columns.
__device__ inline float4 gated_norm(float4 o, float factor, const float* norm, float4 z) {
    const float4 weight = *reinterpret_cast<const float4*>(norm), gate = silu(z);
    return make_float4(o.x * factor * weight.x * gate.x, o.y * factor * weight.y * gate.y, o.z * factor * weight.z * gate.z,
                       o.w * factor * weight.w * gate.w);
}

__device__ inline void write_result(const Params& p, size_t row, int column, float4 y) {
    if (p.operand) Operand{p.operand, p.operand_rows}.store4(static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(column), y);
    if (p.write_out) *reinterpret_cast<float4*>(p.out + row * p.out_stride + column) = y;
}

// What a launch of finish_kernel is to do.
enum Finish {
    finish_walked = 1, // sequences that the step kernel walked
    fold_pending = 2,  // accepted rows of the others: their part of the convolution's tail, before the chunked form reads it
    finish_chunked = 4,
};

// blockIdx.y == 0: a warp for each row and head, raw result in p.out -> norm and gate. blockIdx.y > 0: one sequence's tail
// and scratch, a thread for four channels, so that nobody reads what another one writes.
static __global__ void finish_kernel(const Params p, int what) {
    wait_for_previous();
    allow_next();
    const int thread = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), threads = static_cast<int>(gridDim.x * blockDim.x);
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (blockIdx.y == 0) {
        if (!(what & (finish_walked | finish_chunked))) return;
        for (int item = thread / 32; item < p.step->rows * p.value_heads; item += threads / 32) {
            const size_t row = static_cast<size_t>(item / p.value_heads);
            const bool walked = p.sequence[p.row[row].sequence].rows <= p.longest_walk;
            if (!(what & (walked ? finish_walked : finish_chunked))) continue;
            const int column = item % p.value_heads * p.dim + lane * 4;
            const bool inside = lane * 4 < p.dim;
            float4 o = make_float4(0, 0, 0, 0), z = o;
            if (inside) {
                o = *reinterpret_cast<const float4*>(p.out + row * p.out_stride + column);
                z = *reinterpret_cast<const float4*>(p.z + row * p.z_stride + column);
            }
            const float sum = warp_sum(dot(o, o));
            const float factor = __frsqrt_rn(__fmaf_rn(sum, 1.0f / static_cast<float>(p.dim), p.epsilon));
            if (inside) write_result(p, row, column, gated_norm(o, factor, p.norm + lane * 4, z));
        }
        return;
    }
    const int index = static_cast<int>(blockIdx.y) - 1;
    if (index >= p.step->sequences) return;
    const StepSequence& s = p.sequence[index];
    const bool walked = s.rows <= p.longest_walk;
    if (!(what & (walked ? finish_walked : fold_pending | finish_chunked))) return;
    const bool fold = !walked && (what & fold_pending);
    if (fold && s.pending_count == 0) return;
    const int pending = walked || fold ? s.pending_count : 0; // of chunked sequences: folded already
    const History history{p.qkv + static_cast<size_t>(s.first_row) * p.qkv_stride, p.qkv_stride, p.slot_scratch(s.slot),
                          p.scratch_width(), p.slot_conv(s.slot), p.channels, p.taps, s.pending, s.pending_count, nullptr};
    float* scratch = p.slot_scratch(s.slot);
    for (int channel = 4 * thread; channel < p.channels; channel += 4 * threads) {
        if (s.pending_count > 0 || s.commit_now) {
            const Window window = history.window(s.commit_now && !fold ? s.rows - 1 : -1, pending);
            float4 tail[max_taps - 1];
#pragma unroll
            for (int i = 0; i + 1 < max_taps; ++i) {
                if (i + 1 < p.taps) tail[i] = *reinterpret_cast<const float4*>(window.at[i] + channel);
            }
#pragma unroll
            for (int i = 0; i + 1 < max_taps; ++i) {
                if (i + 1 >= p.taps) continue;
                float* to = p.slot_conv(s.slot) + static_cast<size_t>(p.taps - 2 - i) * p.channels + channel;
                *reinterpret_cast<float4*>(to) = tail[i];
            }
        }
        if (s.commit_now) continue;
        for (int local = 0; local < s.rows; ++local) {
            *reinterpret_cast<float4*>(scratch + static_cast<size_t>(local) * p.scratch_width() + channel) =
                *reinterpret_cast<const float4*>(history.rows + static_cast<size_t>(local) * p.qkv_stride + channel);
        }
    }
    if (s.commit_now) return;
    for (int i = thread; i < s.rows * p.value_heads; i += threads) {
        const int local = i / p.value_heads, head = i % p.value_heads;
        float* to = scratch + static_cast<size_t>(local) * p.scratch_width() + p.channels;
        to[head] = p.alpha[static_cast<size_t>(s.first_row + local) * p.gate_stride + head];
        to[p.value_heads + head] = p.beta[static_cast<size_t>(s.first_row + local) * p.gate_stride + head];
    }
}

} // namespace lucebox::compute::cuda::delta
