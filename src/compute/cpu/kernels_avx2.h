// AVX2 kernels for packed codes, as templates over format and rows; instantiated by kernels_avx2_*.cpp.
//
// The AVX-512 tile in halves of 8 outputs. Dot products take vpdpbusd in its 256-bit form where the machine has it
// (AVX-VNNI), else vpmaddubsw and vpmaddwd; both are exact, and the f32 operations are those of AVX-512, so all give the
// same bits. Include last.
#pragma once

#include "compute/cpu/kernels_quantised.h"

#include <algorithm>
#include <immintrin.h>

#define LUCEBOX_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LUCEBOX_AVX2_INLINE LUCEBOX_AVX2 __attribute__((always_inline)) inline

namespace lucebox::compute::cpu::avx2 {

LUCEBOX_AVX2_INLINE __m256i load_half(const std::byte* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

LUCEBOX_AVX2_INLINE __m256 load_f16(const std::byte* at) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

LUCEBOX_AVX2_INLINE __m256 load_i8(const std::byte* at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))));
}

// 4 activations for every output.
LUCEBOX_AVX2_INLINE __m256i broadcast_inputs(const std::int8_t* values) {
    int word;
    __builtin_memcpy(&word, values, 4);
    return _mm256_set1_epi32(word);
}

template <int Left>
LUCEBOX_AVX2_INLINE __m256i shifted(__m256i bits) {
    if constexpr (Left > 0) return _mm256_slli_epi16(bits, Left);
    else if constexpr (Left < 0) return _mm256_srli_epi16(bits, -Left);
    else return bits;
}

template <int Left>
LUCEBOX_AVX2_INLINE __m256i with_bits(__m256i low, const std::byte* high, int mask) {
    return _mm256_or_si256(
        low, _mm256_and_si256(shifted<Left>(load_half(high)), _mm256_set1_epi8(static_cast<char>(mask))));
}

// Half `half` of vectors 2 * Line and 2 * Line + 1 of a block.
template <Format F, int Line>
LUCEBOX_AVX2_INLINE void unpack_line(const CodeTable* table, const std::byte* codes, int half, __m256i& even,
                                     __m256i& odd) {
    codes += 32 * half;
    if constexpr (F.codes == Codes::u8) {
        even = load_half(codes + 128 * Line);
        odd = load_half(codes + 128 * Line + 64);
        return;
    }
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i line = load_half(codes + 64 * Line);
    even = _mm256_and_si256(line, nibble);
    odd = _mm256_and_si256(_mm256_srli_epi16(line, 4), nibble);
    if constexpr (F.codes == Codes::table) {
        const __m256i values =
            _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table->data())));
        even = _mm256_shuffle_epi8(values, even);
        odd = _mm256_shuffle_epi8(values, odd);
    }
    if constexpr (F.codes == Codes::u5) {
        even = with_bits<4 - 2 * Line>(even, codes + 256, 0x10);
        odd = with_bits<3 - 2 * Line>(odd, codes + 256, 0x10);
    }
    if constexpr (F.codes == Codes::u6) {
        even = with_bits<4 - 4 * (Line % 2)>(even, codes + 256 + 64 * (Line / 2), 0x30);
        odd = with_bits<2 - 4 * (Line % 2)>(odd, codes + 256 + 64 * (Line / 2), 0x30);
    }
}

// vpmaddubsw adds two products in 16 bits, which two unsigned 8-bit codes overflow: these are made signed.
template <Format F, bool Vnni>
inline constexpr bool signed_codes = !Vnni && (F.codes == Codes::u8 || F.codes == Codes::table);

// sum += the dot products of 4 codes and 4 activations for 8 outputs, for two vectors.
template <Format F, bool Vnni>
LUCEBOX_AVX2_INLINE __m256i add_dots(__m256i sum, __m256i even, __m256i odd, __m256i x_even, __m256i x_odd) {
    const __m256i ones = _mm256_set1_epi16(1);
    if constexpr (Vnni) {
        // By name, so that the rest of the kernel is compiled only once for machines with and without it.
        asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(even), "x"(x_even));
        asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(odd), "x"(x_odd));
        return sum;
    } else if constexpr (signed_codes<F, Vnni>) {
        const __m256i flip = _mm256_set1_epi8(-128);
        even = _mm256_xor_si256(even, flip);
        odd = _mm256_xor_si256(odd, flip);
        const __m256i first = _mm256_maddubs_epi16(_mm256_abs_epi8(even), _mm256_sign_epi8(x_even, even));
        const __m256i second = _mm256_maddubs_epi16(_mm256_abs_epi8(odd), _mm256_sign_epi8(x_odd, odd));
        return _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(second, ones)));
    } else { // 4 * 63 * 127 fits 16 bits
        const __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(even, x_even), _mm256_maddubs_epi16(odd, x_odd));
        return _mm256_add_epi32(sum, _mm256_madd_epi16(both, ones));
    }
}

// The integer a dot product over sub-block `Part` starts from: -offset * sum of activations.
template <Format F, bool Vnni, int Part>
LUCEBOX_AVX2_INLINE __m256i start(const ActivationBlock& x) {
    if constexpr (F.offset == 0 || signed_codes<F, Vnni>) return _mm256_setzero_si256();
    if constexpr (F.sub_block == 32)
        return _mm256_set1_epi32(F.offset == 8 ? x.minus_8 : F.offset == 16 ? x.minus_16 : x.minus_128);
    const __m256i minus_32 = _mm256_set1_epi32(x.minus_32[Part]);
    if constexpr (F.offset == 128) return _mm256_slli_epi32(minus_32, 2);
    if constexpr (F.offset == 4) return _mm256_srai_epi32(minus_32, 3);
    return minus_32;
}

template <Format F, int Part>
LUCEBOX_AVX2_INLINE __m256 scaled_sum(const ActivationBlock& x) {
    if constexpr (F.sub_block == 32) return _mm256_set1_ps(x.scaled_sum);
    return _mm256_set1_ps(static_cast<float>(x.minus_32[Part]) * (x.scale * -0x1p-5f)); // exact power of two
}

// Half `half` of the scales (or mins) of sub-block s; unit: where d (or dmin) lies.
template <Format F>
LUCEBOX_AVX2_INLINE __m256 load_scale(const std::byte* unit, const std::byte* scales, std::size_t s, int half) {
    const std::byte* at = scales + s * scale_bytes(F.scales);
    if constexpr (F.scales == Scales::f16) return load_f16(at + 16 * half);
    else if constexpr (F.scales == Scales::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(at) + 8 * half);
    else return _mm256_mul_ps(load_f16(unit + 16 * half), load_i8(at + 8 * half));
}

// The first `count` of 8 outputs.
LUCEBOX_AVX2_INLINE void store_sums(float* out, std::size_t count, __m256 sums, bool accumulate) {
    const __m256i lanes = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                                             _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    if (accumulate) sums = _mm256_add_ps(_mm256_maskload_ps(out, lanes), sums);
    _mm256_maskstore_ps(out, lanes, sums);
}

template <Format F, bool Vnni, int R>
struct Tile {
    static constexpr int sub_blocks = 32 / F.sub_block;

    // What the steps below read: one block of one group, and that block of R activation rows.
    struct Block {
        const std::byte *unit, *scales, *mins, *codes;
        std::size_t index; // in its unit
        const CodeTable* table;
        const ActivationBlock* x[R];
    };

    template <int Line>
    LUCEBOX_AVX2_INLINE static void add_line(__m256i (&dot)[R][2], const Block& block) {
        __m256i even[2], odd[2];
        unpack_line<F, Line>(block.table, block.codes, 0, even[0], odd[0]);
        unpack_line<F, Line>(block.table, block.codes, 1, even[1], odd[1]);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
            const __m256i first = broadcast_inputs(block.x[r]->values + 8 * Line);
            const __m256i second = broadcast_inputs(block.x[r]->values + 8 * Line + 4);
#pragma GCC unroll 2
            for (int h = 0; h < 2; ++h) dot[r][h] = add_dots<F, Vnni>(dot[r][h], even[h], odd[h], first, second);
        }
    }

    // sum = scale * dot for the first sub-block, += for the second.
    template <int Part>
    LUCEBOX_AVX2_INLINE static void scaled_dots(__m256 (&sum)[R][2], const Block& block) {
        __m256i dot[R][2];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) dot[r][0] = dot[r][1] = start<F, Vnni, Part>(*block.x[r]);
        if constexpr (sub_blocks == 1 || Part == 0) {
            add_line<0>(dot, block);
            add_line<1>(dot, block);
        }
        if constexpr (sub_blocks == 1 || Part == 1) {
            add_line<2>(dot, block);
            add_line<3>(dot, block);
        }
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
            const __m256 scale = load_scale<F>(block.unit, block.scales, block.index * sub_blocks + Part, h);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) {
                const __m256 product = _mm256_cvtepi32_ps(dot[r][h]);
                sum[r][h] = Part == 0 ? _mm256_mul_ps(product, scale) : _mm256_fmadd_ps(product, scale, sum[r][h]);
            }
        }
    }

    template <int Part>
    LUCEBOX_AVX2_INLINE static void add_mins(__m256 (&acc)[R][2], const Block& block) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
            const __m256 min =
                load_scale<F>(block.unit + 2 * group_outputs, block.mins, block.index * sub_blocks + Part, h);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r)
                acc[r][h] = _mm256_fmadd_ps(min, scaled_sum<F, Part>(*block.x[r]), acc[r][h]);
        }
    }

    LUCEBOX_AVX2_INLINE static void add_block(__m256 (&acc)[R][2], const Block& block) {
        __m256 sum[R][2];
        scaled_dots<0>(sum, block);
        if constexpr (sub_blocks == 2) scaled_dots<1>(sum, block);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
            for (int h = 0; h < 2; ++h)
                acc[r][h] = _mm256_fmadd_ps(sum[r][h], _mm256_set1_ps(block.x[r]->scale), acc[r][h]);
        if constexpr (F.mins) add_mins<0>(acc, block);
        if constexpr (F.mins && sub_blocks == 2) add_mins<1>(acc, block);
    }

    // Rows row..row+R of the group at `output`.
    LUCEBOX_AVX2 static void run(const MultiplyJob& job, std::size_t output, std::size_t row) {
        constexpr int prefetch_distance = 4096;
        Block block;
        block.unit = job.weights + output / group_outputs * job.group_bytes;
        block.table = job.table;
        __m256 acc[R][2];
        for (std::size_t r = 0; r < R; ++r) {
            block.x[r] = reinterpret_cast<const ActivationBlock*>(job.x + (row + r) * job.x_stride);
            acc[r][0] = acc[r][1] = _mm256_setzero_ps();
        }
        for (std::size_t left = job.inputs / block_inputs; left > 0;) {
            const std::size_t blocks = std::min(left, unit_blocks);
            const UnitLayout layout = unit_layout(F, blocks);
            block.scales = block.unit + layout.scales;
            block.mins = block.unit + layout.mins;
            block.codes = block.unit + layout.codes;
            for (block.index = 0; block.index < blocks; ++block.index) {
                if (row == 0)
                    for (std::size_t i = 0; i <= code_bytes(F.codes); i += 64)
                        _mm_prefetch(reinterpret_cast<const char*>(block.codes) + prefetch_distance + i, _MM_HINT_T0);
                add_block(acc, block);
                block.codes += code_bytes(F.codes);
                for (int r = 0; r < R; ++r) ++block.x[r];
            }
            block.unit += layout.bytes;
            left -= blocks;
        }
        const std::size_t count = job.end - output;
        for (std::size_t r = 0; r < R; ++r) {
            float* out = job.out + (row + r) * job.out_stride + output;
            store_sums(out, std::min<std::size_t>(count, 8), acc[r][0], job.accumulate);
            if (count > 8) store_sums(out + 8, std::min<std::size_t>(count - 8, 8), acc[r][1], job.accumulate);
        }
    }
};

template <Format F, bool Vnni>
LUCEBOX_AVX2 void multiply(const MultiplyJob& job) {
    for (std::size_t o = job.first; o < job.end; o += group_outputs) {
        std::size_t r = 0;
        for (; r + 3 <= job.rows; r += 3) Tile<F, Vnni, 3>::run(job, o, r);
        if (job.rows - r == 2) Tile<F, Vnni, 2>::run(job, o, r);
        if (job.rows - r == 1) Tile<F, Vnni, 1>::run(job, o, r);
    }
}

template <Format F>
MultiplyKernel kernel(bool vnni) {
    return vnni ? multiply<F, true> : multiply<F, false>;
}

} // namespace lucebox::compute::cpu::avx2
