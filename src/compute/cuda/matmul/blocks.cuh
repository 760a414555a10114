// GGUF blocks read one weight at a time: the repacker's view of a file's types (GGUF type table; layouts as in
// gguf/blocks).
//
// `row` is where a row's first block lies, k an input, i a sub-block of 16 or 32 inputs counted from the row's start.
#pragma once

#include "compute/cuda/matmul/form.h"

#include <cuda_fp16.h>

namespace lucebox::compute::cuda {

using Bytes = const std::uint8_t*;

__device__ inline std::uint32_t u16_at(Bytes at) {
    return at[0] | static_cast<std::uint32_t>(at[1]) << 8;
}
__device__ inline float f16_value(std::uint32_t bits) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

// Bytes and elements of a block in the file.
LUCEBOX_HOST_DEVICE constexpr int file_block_bytes(Form form) {
    switch (form) {
    case Form::q4_0:
    case Form::iq4_nl: return 18;
    case Form::q4_1: return 20;
    case Form::q5_0: return 22;
    case Form::q5_1: return 24;
    case Form::q8_0: return 34;
    case Form::f16: return 2;
    case Form::f32: return 4;
    default: return part_bytes(form) / 16;
    }
}
LUCEBOX_HOST_DEVICE constexpr int file_block_inputs(Form form) {
    return form == Form::f16 || form == Form::f32 ? 1 : unit_inputs(form) == 256 ? 256 : 32;
}
LUCEBOX_HOST_DEVICE constexpr int sub_block_inputs(Form form) {
    return form == Form::q2_k || form == Form::q3_k || form == Form::q6_k ? 16 : 32;
}

template <Form form>
__device__ Bytes block_at(Bytes row, int k) {
    return row + static_cast<std::size_t>(k / file_block_inputs(form)) * file_block_bytes(form);
}

// The code as it is packed: without the format's offset taken off; bytes plus 128.
template <Form form>
__device__ std::uint32_t file_code(Bytes row, int k) {
    const Bytes b = block_at<form>(row, k);
    const int i = k % file_block_inputs(form), j = i % 16, part = i / 128, r = i % 128;
    if constexpr (form == Form::q8_0) return b[2 + i] ^ 0x80u;
    if constexpr (form == Form::q4_0 || form == Form::iq4_nl) return b[2 + j] >> (i < 16 ? 0 : 4) & 15;
    if constexpr (form == Form::q4_1) return b[4 + j] >> (i < 16 ? 0 : 4) & 15;
    if constexpr (form == Form::q5_0 || form == Form::q5_1) {
        const Bytes high = b + (form == Form::q5_0 ? 2 : 4);
        return (high[4 + j] >> (i < 16 ? 0 : 4) & 15) | (high[i / 8] >> (i % 8) & 1) << 4;
    }
    if constexpr (form == Form::q2_k) return b[16 + 32 * part + r % 32] >> (2 * (r / 32)) & 3;
    if constexpr (form == Form::q3_k)
        return (b[32 + 32 * part + r % 32] >> (2 * (r / 32)) & 3) | (b[i % 32] >> (i / 32) & 1) << 2;
    if constexpr (form == Form::q4_k) return b[16 + 32 * (i / 64) + i % 32] >> (i / 32 % 2 * 4) & 15;
    if constexpr (form == Form::q5_k)
        return (b[48 + 32 * (i / 64) + i % 32] >> (i / 32 % 2 * 4) & 15) | (b[16 + i % 32] >> (i / 32) & 1) << 4;
    if constexpr (form == Form::q6_k) {
        const int quarter = r / 32;
        return (b[64 * part + 32 * (quarter % 2) + r % 32] >> (quarter / 2 * 4) & 15) |
               (b[128 + 32 * part + r % 32] >> (2 * quarter) & 3) << 4;
    }
    if constexpr (form == Form::iq4_xs) return b[8 + 16 * (i / 32) + j] >> (i % 32 < 16 ? 0 : 4) & 15;
    return 0;
}

// The 4, 6 or 8 bits of a K type's scale (low half of the result) and min (high half), as packed: no offset taken off.
template <Form form>
__device__ std::uint32_t file_scale(Bytes row, int k) {
    const Bytes b = block_at<form>(row, k);
    const int i = k % 256 / sub_block_inputs(form);
    if constexpr (form == Form::q2_k) return (b[i] & 15u) | static_cast<std::uint32_t>(b[i] >> 4) << 16;
    if constexpr (form == Form::q3_k)
        return (i < 8 ? b[96 + i] & 15u : b[96 + i - 8] >> 4) | (b[104 + i % 4] >> (2 * (i / 4)) & 3u) << 4;
    if constexpr (form == Form::q6_k) return b[192 + i];
    if constexpr (form == Form::iq4_xs)
        return (b[4 + i / 2] >> (4 * (i % 2)) & 15u) | (u16_at(b + 2) >> (2 * i) & 3u) << 4;
    if constexpr (form == Form::q4_k || form == Form::q5_k) {
        const Bytes s = b + 4;
        const std::uint32_t scale = i < 4 ? s[i] & 63u : (s[i + 4] & 15u) | (s[i - 4] >> 6) << 4;
        const std::uint32_t min = i < 4 ? s[i + 4] & 63u : (s[i + 4] >> 4) | static_cast<std::uint32_t>(s[i] >> 6) << 4;
        return scale | min << 16;
    }
    return 0;
}

// f16 bits of d (low half) and of dmin or min (high half).
template <Form form>
__device__ std::uint32_t file_d(Bytes row, int k) {
    const Bytes b = block_at<form>(row, k);
    switch (form) {
    case Form::q2_k: return u16_at(b + 80) | u16_at(b + 82) << 16;
    case Form::q3_k: return u16_at(b + 108);
    case Form::q6_k: return u16_at(b + 208);
    case Form::q4_1:
    case Form::q5_1:
    case Form::q4_k:
    case Form::q5_k: return u16_at(b) | u16_at(b + 2) << 16;
    default: return u16_at(b);
    }
}

// The largest scale that a block can have.
template <Form form>
__device__ float block_bound(Bytes row, int k) {
    if constexpr (form == Form::f16 || form == Form::f32) return 0;
    const float d = fabsf(f16_value(file_d<form>(row, k) & 0xffff));
    switch (form) {
    case Form::q2_k: return 15 * d;
    case Form::q3_k:
    case Form::iq4_xs: return 32 * d;
    case Form::q4_k:
    case Form::q5_k: return 63 * d;
    case Form::q6_k: return 128 * d;
    default: return d;
    }
}

} // namespace lucebox::compute::cuda
