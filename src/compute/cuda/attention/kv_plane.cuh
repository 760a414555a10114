// How keys and values lie in a GPU's memory, and how a head is written there.
//
// f16: [slot][kv head][token][head_dim]. q8_0: codes + 128 in the same order, a byte each, so that a tile of keys is one run
// of whole 16 bytes; and behind all codes the scales, f16 [slot][kv head][token][blocks of 32].
#pragma once

#include <cstddef>
#include <cuda_fp16.h>

namespace lucebox::compute::cuda {

// The keys, or the values, of a layer; or of one KV head of a slot.
struct KvPlane {
    unsigned char* values; // f16, or codes
    __half* scales;        // null: f16

    // That begins `tokens` tokens further on.
    __host__ __device__ KvPlane from(std::size_t tokens, int head_dim) const {
        const auto dim = static_cast<std::size_t>(head_dim);
        if (!scales) return {values + tokens * dim * 2, nullptr};
        return {values + tokens * dim, scales + tokens * ((dim + 31) / 32)};
    }
};

// One warp: head [head_dim] f32, of one token, to where the plane begins. A block's scale is its largest value / 127; whatever
// the values are, codes lie in 1 .. 255.
__device__ __forceinline__ void store_head(const KvPlane& to, const float* head, int head_dim, int lane) {
    if (!to.scales) {
        for (int i = 2 * lane; i < head_dim; i += 64) {
            const float2 both = *reinterpret_cast<const float2*>(head + i);
            *reinterpret_cast<__half2*>(to.values + 2 * i) = __floats2half2_rn(both.x, both.y);
        }
        return;
    }
    for (int block = 0; block * 32 < head_dim; ++block) {
        const int i = block * 32 + lane;
        const float x = i < head_dim ? head[i] : 0.0f;
        float largest = fabsf(x);
        for (int offset = 16; offset > 0; offset /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
        const float scale = fminf(__fdiv_rn(largest, 127.0f), 65504.0f);
        const float code = scale > 0 ? fminf(fmaxf(__fdiv_rn(x, scale), -127.0f), 127.0f) : 0.0f;
        if (i < head_dim) to.values[i] = static_cast<unsigned char>(__float2int_rn(code) + 128);
        if (lane == 0) to.scales[block] = __float2half_rn(scale);
    }
}

} // namespace lucebox::compute::cuda
