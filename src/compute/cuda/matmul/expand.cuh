// From packed weights to the f16 pairs that tensor cores multiply, in registers.
//
// A code becomes f16 without a conversion: alone in the lowest bits of 16, it *is* the f16 number code * 2^-24. Scales
// carry the 2^24, and weight = code * scale + min is one f16 multiplication-addition, rounded once; a format's offset
// is a min of -offset * scale. Codes of output g + 8 lie four bits higher (2^-20). Scale and min are themselves rounded
// to f16, so a weight is off by about 2^-11 of its sub-block's largest, the size of the error that f16 activations have
// anyway.
//
// Part: where a part lies, `Part::get<T>(offset)` reads it (shared memory or global memory).
#pragma once

#include "compute/cuda/matmul/form.h"

#include <cuda_fp16.h>

namespace lucebox::compute::cuda {

struct SharedPart {
    const std::byte* at;
    template <class T>
    __device__ __forceinline__ T get(int offset) const {
        return *reinterpret_cast<const T*>(at + offset);
    }
};
struct GlobalPart { // weights do not change: the read-only path
    const std::byte* at;
    template <class T>
    __device__ __forceinline__ T get(int offset) const {
        return __ldg(reinterpret_cast<const T*>(at + offset));
    }
};

namespace bits {

__device__ __forceinline__ std::uint32_t word(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}
__device__ __forceinline__ std::uint32_t word(const uint2& v, int i) {
    return i == 0 ? v.x : v.y;
}
__device__ __forceinline__ __half2 pair(std::uint32_t v) {
    return *reinterpret_cast<const __half2*>(&v);
}
__device__ __forceinline__ std::uint32_t raw(__half2 v) {
    return *reinterpret_cast<const std::uint32_t*>(&v);
}
__device__ __forceinline__ std::uint32_t both(std::uint32_t half) {
    return half | half << 16;
}

// f16 bits of a power of two from 2^-24 to 2^15.
LUCEBOX_HOST_DEVICE constexpr std::uint32_t f16_power(int exponent) {
    return exponent < -14 ? 1u << (exponent + 24) : static_cast<std::uint32_t>(exponent + 15) << 10;
}
// First and second half.
LUCEBOX_HOST_DEVICE constexpr std::uint32_t halves(std::uint32_t first, std::uint32_t second) {
    return first | second << 16;
}
// Two numbers below 256 as f16: scales as number - offset, mins as number * 2^-10. Exact: the bits are put into the
// mantissa of 1024 or of 1, which is subtracted again. (Mins are put lower because their d, 2^10 times as large, then
// keeps its bits: a subnormal would not.)
inline constexpr std::uint32_t scale_magic = 0x6400, min_magic = 0x3c00, sign_bit = 0x8000;
// Of numbers that are there already.
__device__ __forceinline__ std::uint32_t less_magic(std::uint32_t code, std::uint32_t first_magic,
                                                    std::uint32_t second_magic, std::uint32_t offset) {
    const std::uint32_t less = halves((sign_bit | first_magic) + offset, (sign_bit | second_magic) + offset);
    return raw(__hadd2(pair(code), pair(less)));
}
__device__ __forceinline__ std::uint32_t numbers(std::uint32_t code, std::uint32_t magic, std::uint32_t offset) {
    return less_magic(code | both(magic), magic, magic, offset);
}
__device__ __forceinline__ std::uint32_t scale_numbers(std::uint32_t code, std::uint32_t offset) {
    return numbers(code, scale_magic, offset);
}
// Moved to the right, or to the left where `by` is negative.
__device__ __forceinline__ std::uint32_t moved(std::uint32_t value, int by) {
    return by >= 0 ? value >> by : value << -by;
}
// The bits of `mask`, moved there.
__device__ __forceinline__ std::uint32_t take(std::uint32_t value, int by, std::uint32_t mask) {
    return moved(value, by) & mask;
}
// Any function of three bits, bit by bit, as one instruction; `table` is what it makes of the three below, as the PTX manual has it.
inline constexpr std::uint32_t lop3_a = 0xf0, lop3_b = 0xcc, lop3_c = 0xaa;
template <std::uint32_t table>
__device__ __forceinline__ std::uint32_t lop3(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    std::uint32_t out = 0;
#ifdef __CUDA_ARCH__
    asm("lop3.b32 %0, %1, %2, %3, %4;"
        : "=r"(out)
        : "r"(a), "r"(b), "r"(c), "n"(table));
#else
    for (std::uint32_t bit = 0; bit < 32; ++bit)
        out |= (table >> ((a >> bit & 1) * 4 + (b >> bit & 1) * 2 + (c >> bit & 1)) & 1) << bit;
#endif
    return out;
}
// (value & mask) | with. The compiler would fold constants into two instructions.
__device__ __forceinline__ std::uint32_t masked_or(std::uint32_t value, std::uint32_t mask, std::uint32_t with) {
    return lop3<(lop3_a & lop3_b) | lop3_c>(value, mask, with);
}
// In the form that the compiler makes no copies for: a multiplication can read either half twice.
__device__ __forceinline__ std::uint32_t low_twice(std::uint32_t v) {
    return raw(__low2half2(pair(v)));
}
__device__ __forceinline__ std::uint32_t high_twice(std::uint32_t v) {
    return raw(__high2half2(pair(v)));
}
// The two bytes of a u16 as two u16.
__device__ __forceinline__ std::uint32_t spread(std::uint32_t v) {
    return __byte_perm(v, 0, 0x4140);
}

} // namespace bits

LUCEBOX_HOST_DEVICE constexpr int code_offset(Form form) {
    switch (form) {
    case Form::q4_0: return 8;
    case Form::q5_0: return 16;
    case Form::q8_0:
    case Form::iq4_nl:
    case Form::iq4_xs: return 128; // bytes and table values are stored plus 128
    case Form::q3_k: return 4;
    case Form::q6_k: return 32;
    default: return 0;
    }
}
LUCEBOX_HOST_DEVICE constexpr bool is_table(Form form) {
    return form == Form::iq4_nl || form == Form::iq4_xs;
}

// Values + 128 of four table codes, the nibbles of the low half of v, as four bytes.
__device__ __forceinline__ std::uint32_t iq4_values(std::uint32_t v) {
    const std::uint32_t index = v & 0x7777;
    const std::uint32_t low = __byte_perm(0x3f2d1801, 0x766a5d4f, index);  // -127 -104 -83 -65 -49 -35 -22 -10
    const std::uint32_t high = __byte_perm(0xa6998d81, 0xf1d9c5b5, index); // 1 13 25 38 53 69 89 113
    return __byte_perm(low, high, (v >> 1 & 0x4444) | 0x3210);
}

// The codes of one block, where they are as f16 numbers of 2^-24 (output g) and 2^-24 or 2^-20 (g + 8): a[4 step + j].
template <Form form, class Part>
__device__ __forceinline__ void block_codes(Part part, int block, int lane, std::uint32_t (&a)[16]) {
    using namespace bits;
    constexpr PartLayout layout = part_layout(form);
    if constexpr (is_table(form)) {
        const uint4 codes = part.template get<uint4>(layout.bits4 + (block * 32 + lane) * 16);
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            const std::uint32_t first = iq4_values(word(codes, s)), second = iq4_values(word(codes, s) >> 16);
            a[4 * s] = __byte_perm(first, 0, 0x4140);
            a[4 * s + 1] = __byte_perm(first, 0, 0x4342);
            a[4 * s + 2] = __byte_perm(second, 0, 0x4140);
            a[4 * s + 3] = __byte_perm(second, 0, 0x4342);
        }
    } else if constexpr (layout.bytes >= 0) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const uint4 codes = part.template get<uint4>(layout.bytes + ((block * 2 + i) * 32 + lane) * 16);
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                a[8 * i + 2 * w] = __byte_perm(word(codes, w), 0, 0x4140);
                a[8 * i + 2 * w + 1] = __byte_perm(word(codes, w), 0, 0x4342);
            }
        }
    } else {
        std::uint32_t fifth = 0; // one_bit_at: the highest bit of pair (s, j)
        uint2 twos{};            // word s / 2, two_bits_at: the two bits of pair (s, j)
        uint4 nibbles{};
        if constexpr (layout.bits1 >= 0)
            fifth = part.template get<std::uint32_t>(layout.bits1 + (lane * (unit_inputs(form) / 64) + block) * 4);
        if constexpr (layout.bits2 >= 0)
            twos = part.template get<uint2>(layout.bits2 + ((block / 2) * 32 + lane) * 16 + (block % 2) * 8);
        if constexpr (layout.bits4 >= 0) nibbles = part.template get<uint4>(layout.bits4 + (block * 32 + lane) * 16);
#pragma unroll
        for (int s = 0; s < 4; ++s)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int at1 = one_bit_at(form, s, j), at2 = two_bits_at(form, s, j);
                std::uint32_t v;
                if constexpr (layout.bits4 >=
                              0) { // pair j is nibble j of each half; odd ones, of output g + 8, stay four bits up
                    const std::uint32_t w = j < 2 ? word(nibbles, s) : word(nibbles, s) >> 8;
                    const int up = j % 2 ? 4 : 0;
                    v = w & (0x000f000fu << up);
                    if constexpr (layout.bits1 >= 0) v |= take(fifth, at1 - 4 - up, 0x00100010u << up);
                    if constexpr (layout.bits2 >= 0) v |= take(word(twos, s / 2), at2 - 4 - up, 0x00300030u << up);
                } else {
                    v = take(word(twos, s / 2), at2, 0x00030003);
                    if constexpr (layout.bits1 >= 0) v |= take(fifth, at1 - 2, 0x00040004);
                }
                a[4 * s + j] = v;
            }
    }
}
// What the codes of output g + 8 are multiples of.
LUCEBOX_HOST_DEVICE constexpr int second_exponent(Form form) {
    return part_layout(form).bits4 >= 0 && !is_table(form) ? -20 : -24;
}

// What a lane keeps of a part's scales: raw bits, unpacked block by block.
template <Form form>
struct Scales {
    static constexpr PartLayout layout = part_layout(form);
    static constexpr int second = second_exponent(form);
    uint2 low{};                // scales
    std::uint32_t high = 0;     // scales2
    std::uint32_t d = 0, e = 0; // two f16, with all powers of two: see load

    // power: 2^12 times the matrix's scale, and the scale.
    template <class Part>
    __device__ __forceinline__ void load(Part part, int lane, __half2 power) {
        using namespace bits;
        // What the scale of g and that of g + 8 lacks beside `power`, first halves; a min lacks nothing.
        constexpr std::uint32_t up_first = f16_power(12), up_second = f16_power(-second - 12);
        const std::uint32_t p = raw(power), scale_power = low_twice(p);
        if constexpr (layout.scale_bytes == 8) low = part.template get<uint2>(layout.scales + lane * 8);
        if constexpr (layout.scale_bytes == 4) low.x = part.template get<std::uint32_t>(layout.scales + lane * 4);
        if constexpr (layout.scale_bytes == 2)
            low.x = spread(part.template get<std::uint16_t>(layout.scales + lane * 2));
        if constexpr (layout.scale2_bytes == 2)
            high = spread(part.template get<std::uint16_t>(layout.scales2 + lane * 2));
        if constexpr (layout.scale2_bytes == 1) {
            const std::uint32_t v = part.template get<std::uint8_t>(layout.scales2 + lane);
            high = (v & 15) | (v >> 4) << 16;
        }
        auto times = [](std::uint32_t x, std::uint32_t y, std::uint32_t z) {
            return raw(__hmul2(__hmul2(pair(x), pair(y)), pair(z)));
        };
        if constexpr (layout.d_bytes == 2) { // d of both outputs
            const std::uint32_t one = part.template get<std::uint16_t>(layout.d + (lane >> 2) * 2);
            const std::uint32_t other = part.template get<std::uint16_t>(layout.d + (lane >> 2) * 2 + 16);
            d = times(one | other << 16, halves(up_first, up_second), scale_power);
        }
        if constexpr (layout.d_bytes == 4) { // d and -dmin of each output
            constexpr std::uint32_t up_min = sign_bit | f16_power(10);
            const std::uint32_t one =
                times(part.template get<std::uint32_t>(layout.d + (lane >> 2) * 4), halves(up_first, up_min), p);
            const std::uint32_t other =
                times(part.template get<std::uint32_t>(layout.d + (lane >> 2) * 4 + 32), halves(up_second, up_min), p);
            d = one, e = other;
            if constexpr (form == Form::q2_k) { // both d, both -dmin
                d = __byte_perm(one, other, 0x5410);
                e = __byte_perm(one, other, 0x7632);
            }
        }
        if constexpr (layout.d_bytes == 0 && layout.scale_bytes == 4)
            low.x = times(low.x, halves(up_first, up_second), scale_power);
        if constexpr (layout.d_bytes == 0 && layout.scale_bytes == 8) { // scale and min of g, of g + 8
            low.x = times(low.x, halves(up_first, f16_power(0)), p);
            low.y = times(low.y, halves(up_second, f16_power(0)), p);
        }
    }

    // Scale and min of outputs g and g + 8, each twice.
    __device__ __forceinline__ void block(int block, std::uint32_t (&scale)[2], std::uint32_t (&min)[2]) const {
        using namespace bits;
        if constexpr (form == Form::q4_k ||
                      form == Form::q5_k) { // nibble 2 pair + output: scale in the low half, min in the high
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int i = (block / 2) * 2 + r;
                std::uint32_t six = masked_or(moved(low.x, 4 * i), 0x000f000f, halves(scale_magic, min_magic));
                six = masked_or(moved(high, 2 * i - 4), 0x00300030, six);
                const std::uint32_t both_of =
                    raw(__hmul2(pair(less_magic(six, scale_magic, min_magic, 0)), pair(r ? e : d)));
                scale[r] = low_twice(both_of), min[r] = high_twice(both_of);
            }
        } else if constexpr (form == Form::q4_1 || form == Form::q5_1) {
            scale[0] = low_twice(low.x), min[0] = high_twice(low.x);
            scale[1] = low_twice(low.y), min[1] = high_twice(low.y);
        } else {
            std::uint32_t scales = low.x;     // of outputs g and g + 8
            if constexpr (form == Form::q6_k) // byte 2 block + output
                scales =
                    scale_numbers(__byte_perm(word(low, block / 2) ^ 0x80808080u, 0, block % 2 ? 0x4342 : 0x4140), 128);
            if constexpr (form == Form::q3_k)
                scales = scale_numbers(take(low.x, 4 * block, 0x000f000f) | take(high, 2 * block - 4, 0x00300030), 32);
            if constexpr (form == Form::iq4_xs)
                scales = scale_numbers(
                    take(low.x, 4 * (block / 2), 0x000f000f) | take(high, 2 * (block / 2) - 4, 0x00300030), 32);
            if constexpr (form == Form::q2_k) scales = scale_numbers(take(low.x, 4 * block, 0x000f000f), 0);
            if constexpr (layout.d_bytes > 0) scales = raw(__hmul2(pair(scales), pair(d)));
            std::uint32_t mins;
            if constexpr (form == Form::q2_k) {
                mins =
                    raw(__hmul2(pair(numbers(take(low.y, 4 * block, 0x000f000f), min_magic, 0)), pair(e)));
            } else { // -offset * scale
                constexpr int offset = code_offset(form) == 4    ? 2
                                       : code_offset(form) == 8  ? 3
                                       : code_offset(form) == 16 ? 4
                                       : code_offset(form) == 32 ? 5
                                                                 : 7;
                constexpr std::uint32_t minus = 0x80008000u;
                mins = raw(
                    __hmul2(pair(scales), pair(minus | halves(f16_power(offset - 24), f16_power(offset + second)))));
            }
            scale[0] = low_twice(scales), scale[1] = high_twice(scales);
            min[0] = low_twice(mins), min[1] = high_twice(mins);
        }
    }
};

// The weights of one block in the order of the tensor core's registers: a[4 step + j]. F32 has two planes.
template <Form form, class Part>
__device__ __forceinline__ void expand_block(Part part, const Scales<form>& scales, int block, int plane, int lane,
                                             std::uint32_t (&a)[16]) {
    using namespace bits;
    if constexpr (form == Form::f16 || form == Form::f32) {
        constexpr int planes = form == Form::f32 ? 2 : 1;
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            const uint4 v = part.template get<uint4>((((block * 4 + s) * planes + plane) * 32 + lane) * 16);
            a[4 * s] = v.x, a[4 * s + 1] = v.y, a[4 * s + 2] = v.z, a[4 * s + 3] = v.w;
        }
    } else {
        std::uint32_t scale[2], min[2];
        scales.block(block, scale, min);
        block_codes<form>(part, block, lane, a);
#pragma unroll
        for (int i = 0; i < 16; ++i)
            a[i] = raw(__hfma2(pair(a[i]), pair(scale[i % 2]), pair(min[i % 2])));
    }
}
template <Form form>
LUCEBOX_HOST_DEVICE constexpr int planes_of() {
    return form == Form::f32 ? 2 : 1;
}
// What Scales::load is given of a matrix.
__device__ __forceinline__ __half2 power_of(const MatrixHeader& header) {
    return __floats2half2_rn(header.scale * 4096.0f, header.scale);
}

} // namespace lucebox::compute::cuda
