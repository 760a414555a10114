// AVX-512 VNNI kernels for packed codes, as templates over format and tile; instantiated by kernels_avx512_*.cpp.
//
// A tile is R rows by G groups (16 * G outputs). Each vpdpbusd multiplies 4 inputs of 16 outputs (unsigned codes) by 4
// broadcast activations (signed). Weights are unpacked once for the R rows. Rows never meet: row r's sums take the same
// operations in the same order in every tile. Include last: the includer's other code must not be compiled for AVX-512.
#pragma once

#include "compute/cpu/kernels_quantised.h"

#include <algorithm>
#include <immintrin.h>

// GCC 12 takes the "undefined" operands inside its own intrinsics for mistakes of ours (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define LUCEBOX_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#define LUCEBOX_AVX512_INLINE LUCEBOX_AVX512 __attribute__((always_inline)) inline

namespace lucebox::compute::cpu::avx512 {

LUCEBOX_AVX512_INLINE __m512i load_line(const std::byte* at) { return _mm512_loadu_si512(at); }

LUCEBOX_AVX512_INLINE __m512 load_f16(const std::byte* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

LUCEBOX_AVX512_INLINE __m512 load_i8(const std::byte* at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))));
}

// 4 activations for every output.
LUCEBOX_AVX512_INLINE __m512i broadcast_inputs(const std::int8_t* values) {
    int word;
    __builtin_memcpy(&word, values, 4);
    return _mm512_set1_epi32(word);
}

// How far ahead of a stream its bytes are asked for: 8 KB measured 3 % faster than 4 KB and 15 % faster than 2 KB.
constexpr std::size_t prefetch_distance = 8192;

// What unpacking needs besides the line of nibbles itself.
struct Unpack {
    __m512i nibble, table;
    __m512i high[2]; // u5, u6: the lines of the upper bits of the current block
};

template <Format F>
LUCEBOX_AVX512_INLINE Unpack make_unpack(const CodeTable* table) {
    Unpack unpack;
    unpack.nibble = _mm512_set1_epi8(15);
    if constexpr (F.codes == Codes::table)
        unpack.table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return unpack;
}

template <Format F>
LUCEBOX_AVX512_INLINE void load_high_bits(Unpack& unpack, const std::byte* codes) {
    if constexpr (F.codes == Codes::u5) unpack.high[0] = load_line(codes + 256);
    if constexpr (F.codes == Codes::u6) {
        unpack.high[0] = load_line(codes + 256);
        unpack.high[1] = load_line(codes + 320);
    }
}

// Bits left by `Left` (right if negative), within 16-bit lanes.
template <int Left>
LUCEBOX_AVX512_INLINE __m512i shifted(__m512i bits) {
    if constexpr (Left > 0) return _mm512_slli_epi16(bits, Left);
    else if constexpr (Left < 0) return _mm512_srli_epi16(bits, -Left);
    else return bits;
}

// a | (b & c)
LUCEBOX_AVX512_INLINE __m512i or_and(__m512i a, __m512i b, __m512i c) { return _mm512_ternarylogic_epi32(a, b, c, 0xF8); }

// Vectors 2 * Line and 2 * Line + 1 of a block.
template <Format F, int Line>
LUCEBOX_AVX512_INLINE void unpack_line(const Unpack& unpack, const std::byte* codes, __m512i& even, __m512i& odd) {
    if constexpr (F.codes == Codes::u8) {
        even = load_line(codes + 128 * Line);
        odd = load_line(codes + 128 * Line + 64);
        return;
    }
    const __m512i line = load_line(codes + 64 * Line);
    even = _mm512_and_si512(line, unpack.nibble);
    odd = _mm512_and_si512(_mm512_srli_epi16(line, 4), unpack.nibble);
    if constexpr (F.codes == Codes::table) {
        even = _mm512_shuffle_epi8(unpack.table, even);
        odd = _mm512_shuffle_epi8(unpack.table, odd);
    }
    if constexpr (F.codes == Codes::u5) {
        const __m512i bit = _mm512_set1_epi8(0x10);
        even = or_and(even, shifted<4 - 2 * Line>(unpack.high[0]), bit);
        odd = or_and(odd, shifted<3 - 2 * Line>(unpack.high[0]), bit);
    }
    if constexpr (F.codes == Codes::u6) {
        const __m512i bits = _mm512_set1_epi8(0x30);
        even = or_and(even, shifted<4 - 4 * (Line % 2)>(unpack.high[Line / 2]), bits);
        odd = or_and(odd, shifted<2 - 4 * (Line % 2)>(unpack.high[Line / 2]), bits);
    }
}

// The integer a dot product over sub-block `Part` starts from: -offset * sum of activations.
template <Format F, int Part>
LUCEBOX_AVX512_INLINE __m512i start(const ActivationBlock& x) {
    if constexpr (F.offset == 0) return _mm512_setzero_si512();
    if constexpr (F.sub_block == 32) {
        static_assert(F.offset == 0 || F.offset == 8 || F.offset == 16 || F.offset == 128 || F.sub_block == 16);
        return _mm512_set1_epi32(F.offset == 8 ? x.minus_8 : F.offset == 16 ? x.minus_16 : x.minus_128);
    }
    const __m512i minus_32 = _mm512_set1_epi32(x.minus_32[Part]);
    if constexpr (F.offset == 128) return _mm512_slli_epi32(minus_32, 2);
    if constexpr (F.offset == 4) return _mm512_srai_epi32(minus_32, 3);
    return minus_32;
}

// Sum of the activations that a min multiplies, scaled.
template <Format F, int Part>
LUCEBOX_AVX512_INLINE __m512 scaled_sum(const ActivationBlock& x) {
    if constexpr (F.sub_block == 32) return _mm512_set1_ps(x.scaled_sum);
    return _mm512_set1_ps(static_cast<float>(x.minus_32[Part]) * (x.scale * -0x1p-5f)); // exact power of two
}

// Scales and mins of one unit of one group.
struct Header {
    const std::byte *scales, *mins;
    __m512 d, dmin;
};

template <Format F>
LUCEBOX_AVX512_INLINE Header read_header(const std::byte* unit, const UnitLayout& layout) {
    Header header{unit + layout.scales, unit + layout.mins, _mm512_setzero_ps(), _mm512_setzero_ps()};
    if constexpr (F.scales == Scales::super) {
        header.d = load_f16(unit);
        if constexpr (F.mins) header.dmin = load_f16(unit + 2 * group_outputs);
    }
    return header;
}

template <Format F>
LUCEBOX_AVX512_INLINE __m512 sub_block_scale(const Header& header, std::size_t s) {
    const std::byte* at = header.scales + s * scale_bytes(F.scales);
    if constexpr (F.scales == Scales::f16) return load_f16(at);
    else if constexpr (F.scales == Scales::f32) return _mm512_loadu_ps(at);
    else return _mm512_mul_ps(header.d, load_i8(at));
}

template <Format F>
LUCEBOX_AVX512_INLINE __m512 sub_block_min(const Header& header, std::size_t s) {
    const std::byte* at = header.mins + s * scale_bytes(F.scales);
    if constexpr (F.scales == Scales::super) return _mm512_mul_ps(header.dmin, load_i8(at));
    else return load_f16(at);
}

// To 16 outputs of a row, or as many of them as the job has.
LUCEBOX_AVX512_INLINE void store_sums(const MultiplyJob& job, std::size_t row, std::size_t output, __m512 sums) {
    const auto lanes = static_cast<__mmask16>((1u << std::min(job.end - output, group_outputs)) - 1u);
    float* out = job.out + row * job.out_stride + output;
    if (job.accumulate) sums = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, out), sums);
    _mm512_mask_storeu_ps(out, lanes, sums);
}

template <Format F, int R, int G>
struct Tile {
    static constexpr int sub_blocks = 32 / F.sub_block; // of a block
    static constexpr int lines = 4 / sub_blocks;        // of a sub-block

    // acc += x.scale * (scale * dot [+ scale * dot of the second sub-block]) + min * sum, for one block.
    LUCEBOX_AVX512_INLINE static void add_block(__m512 (&acc)[R][G], const std::byte* const (&codes)[G],
                                                const Unpack (&unpack)[G], const Header (&headers)[G],
                                                std::size_t block, const ActivationBlock* const (&x)[R]) {
        __m512 sum[R][G];
        scaled_dots<0>(sum, codes, unpack, headers, block, x);
        if constexpr (sub_blocks == 2) scaled_dots<1>(sum, codes, unpack, headers, block, x);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
                acc[r][g] = _mm512_fmadd_ps(sum[r][g], _mm512_set1_ps(x[r][block].scale), acc[r][g]);
        if constexpr (!F.mins) return;
        add_mins<0>(acc, headers, block, x);
        if constexpr (sub_blocks == 2) add_mins<1>(acc, headers, block, x);
    }

    // sum = scale * dot for the first sub-block, += for the second.
    template <int Part>
    LUCEBOX_AVX512_INLINE static void scaled_dots(__m512 (&sum)[R][G], const std::byte* const (&codes)[G],
                                                  const Unpack (&unpack)[G], const Header (&headers)[G],
                                                  std::size_t block, const ActivationBlock* const (&x)[R]) {
        __m512i dot[R][G];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) dot[r][g] = start<F, Part>(x[r][block]);
        add_lines<Part * lines>(dot, codes, unpack, block, x);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const __m512 scale = sub_block_scale<F>(headers[g], block * sub_blocks + Part);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const __m512 product = _mm512_cvtepi32_ps(dot[r][g]);
                sum[r][g] = Part == 0 ? _mm512_mul_ps(product, scale) : _mm512_fmadd_ps(product, scale, sum[r][g]);
            }
        }
    }

    template <int Part>
    LUCEBOX_AVX512_INLINE static void add_mins(__m512 (&acc)[R][G], const Header (&headers)[G], std::size_t block,
                                               const ActivationBlock* const (&x)[R]) {
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            const __m512 min = sub_block_min<F>(headers[g], block * sub_blocks + Part);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r)
                acc[r][g] = _mm512_fmadd_ps(min, scaled_sum<F, Part>(x[r][block]), acc[r][g]);
        }
    }

    template <int First>
    LUCEBOX_AVX512_INLINE static void add_lines(__m512i (&dot)[R][G], const std::byte* const (&codes)[G],
                                                const Unpack (&unpack)[G], std::size_t block,
                                                const ActivationBlock* const (&x)[R]) {
        add_line<First>(dot, codes, unpack, block, x);
        add_line<First + 1>(dot, codes, unpack, block, x);
        if constexpr (lines == 4) {
            add_line<First + 2>(dot, codes, unpack, block, x);
            add_line<First + 3>(dot, codes, unpack, block, x);
        }
    }

    template <int Line>
    LUCEBOX_AVX512_INLINE static void add_line(__m512i (&dot)[R][G], const std::byte* const (&codes)[G],
                                               const Unpack (&unpack)[G], std::size_t block,
                                               const ActivationBlock* const (&x)[R]) {
        __m512i even[G], odd[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) unpack_line<F, Line>(unpack[g], codes[g], even[g], odd[g]);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const __m512i first = broadcast_inputs(x[r][block].values + 8 * Line);
            const __m512i second = broadcast_inputs(x[r][block].values + 8 * Line + 4);
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) {
                dot[r][g] = _mm512_dpbusd_epi32(dot[r][g], even[g], first);
                dot[r][g] = _mm512_dpbusd_epi32(dot[r][g], odd[g], second);
            }
        }
    }

    // The next bytes of each stream. Without this a core gets half of the memory's bandwidth from small matrices, whose
    // dot products leave the hardware prefetcher no time to find its stride.
    LUCEBOX_AVX512_INLINE static void prefetch(const std::byte* const (&codes)[G]) {
        constexpr std::size_t cache_lines = (code_bytes(F.codes) + scale_bytes(F.scales) * sub_blocks * (F.mins ? 2 : 1)) / 64 + 1;
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g)
#pragma GCC unroll 16
            for (std::size_t line = 0; line < cache_lines; ++line)
                _mm_prefetch(reinterpret_cast<const char*>(codes[g]) + prefetch_distance + 64 * line, _MM_HINT_T0);
    }

    LUCEBOX_AVX512_INLINE static void add_unit(__m512 (&acc)[R][G], const std::byte* const (&units)[G],
                                               const UnitLayout& layout, std::size_t blocks, Unpack (&unpack)[G],
                                               const ActivationBlock* const (&x)[R], bool cold) {
        Header headers[G];
        const std::byte* codes[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            headers[g] = read_header<F>(units[g], layout);
            codes[g] = units[g] + layout.codes;
        }
        for (std::size_t b = 0; b < blocks; ++b) {
            if (cold) prefetch(codes);
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) load_high_bits<F>(unpack[g], codes[g]);
            add_block(acc, codes, unpack, headers, b, x);
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) codes[g] += code_bytes(F.codes);
        }
    }

    // Rows row..row+R, outputs of the G groups from `output`. cold: nobody has read these weights in this multiplication.
    LUCEBOX_AVX512 static void run(const MultiplyJob& job, std::size_t output, std::size_t row, bool cold) {
        const std::byte* units[G];
        Unpack unpack[G];
        const ActivationBlock* x[R];
        __m512 acc[R][G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
            units[g] = job.weights + (output / group_outputs + static_cast<std::size_t>(g)) * job.group_bytes;
            unpack[g] = make_unpack<F>(job.table);
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            x[r] = reinterpret_cast<const ActivationBlock*>(job.x + (row + static_cast<std::size_t>(r)) * job.x_stride);
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) acc[r][g] = _mm512_setzero_ps();
        }
        for (std::size_t blocks = job.inputs / block_inputs; blocks > 0;) {
            const std::size_t count = std::min(blocks, unit_blocks);
            const UnitLayout layout = unit_layout(F, count);
            add_unit(acc, units, layout, count, unpack, x, cold);
            blocks -= count;
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) units[g] += layout.bytes;
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) x[r] += count;
        }
        for (std::size_t r = 0; r < R; ++r)
            for (std::size_t g = 0; g < G; ++g) store_sums(job, row + r, output + group_outputs * g, acc[r][g]);
    }
};

// Rows of a full tile: 12 integer and 12 f32 sums of two groups, in 32 registers.
constexpr std::size_t most_rows = 6;

// G groups from `output`, rows first..end.
template <Format F, int G>
LUCEBOX_AVX512 void multiply_rows(const MultiplyJob& job, std::size_t output, std::size_t first, std::size_t end) {
    std::size_t r = first;
    for (; r + most_rows <= end; r += most_rows) Tile<F, most_rows, G>::run(job, output, r, r == 0);
    const bool cold = r == 0;
    switch (end - r) {
    case 5: return Tile<F, 5, G>::run(job, output, r, cold);
    case 4: return Tile<F, 4, G>::run(job, output, r, cold);
    case 3: return Tile<F, 3, G>::run(job, output, r, cold);
    case 2: return Tile<F, 2, G>::run(job, output, r, cold);
    case 1: return Tile<F, 1, G>::run(job, output, r, cold);
    default: return;
    }
}

template <Format F>
LUCEBOX_AVX512 void multiply(const MultiplyJob& job) {
    if (job.rows == 1) { // bound by memory: one stream
        for (std::size_t o = job.first; o < job.end; o += group_outputs) Tile<F, 1, 1>::run(job, o, 0, true);
        return;
    }
    // Activations of as many rows as fit half the level-2 cache, because every pair of groups reads them again.
    const std::size_t fit = (512u << 10) / (job.inputs * 2);
    const std::size_t chunk = std::max<std::size_t>(fit / most_rows, 8) * most_rows;
    for (std::size_t r = 0; r < job.rows; r += chunk) {
        const std::size_t end = std::min(job.rows, r + chunk);
        std::size_t o = job.first;
        for (; o + group_outputs < job.end; o += 2 * group_outputs) multiply_rows<F, 2>(job, o, r, end);
        if (o < job.end) multiply_rows<F, 1>(job, o, r, end);
    }
}

} // namespace lucebox::compute::cpu::avx512
