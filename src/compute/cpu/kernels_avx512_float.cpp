// AVX-512 kernels that stay in f32 (F32, F16 and BF16 weights), and the activations' way to int8.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx512.h"

#include <span>

namespace lucebox::compute::cpu {
namespace avx512 {
namespace {

template <FloatFormat F>
LUCEBOX_AVX512_INLINE __m512 load_weights(const std::byte* at) {
    if constexpr (F == FloatFormat::f32) return _mm512_loadu_ps(at);
    if constexpr (F == FloatFormat::f16) return load_f16(at);
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

// G groups of R rows. Four partial sums, by input modulo 4, hide the latency of the additions when there is one row.
template <FloatFormat F, int R, int G>
LUCEBOX_AVX512 void float_tile(const MultiplyJob& job, std::size_t output, std::size_t row) {
    constexpr std::size_t line = group_outputs * (F == FloatFormat::f32 ? 4 : 2);
    const std::byte* weights = job.weights + output / group_outputs * job.group_bytes;
    const float* x[R];
    __m512 acc[R][G][4];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        x[r] = reinterpret_cast<const float*>(job.x + (row + static_cast<std::size_t>(r)) * job.x_stride);
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g)
#pragma GCC unroll 4
            for (int p = 0; p < 4; ++p) acc[r][g][p] = _mm512_setzero_ps();
    }
    std::size_t i = 0;
    for (; i + 4 <= job.inputs; i += 4) {
        if (row == 0) _mm_prefetch(reinterpret_cast<const char*>(weights) + i * line + prefetch_distance, _MM_HINT_T0);
#pragma GCC unroll 4
        for (std::size_t p = 0; p < 4; ++p) {
            __m512 w[G];
#pragma GCC unroll 4
            for (std::size_t g = 0; g < G; ++g) w[g] = load_weights<F>(weights + g * job.group_bytes + (i + p) * line);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                const __m512 input = _mm512_set1_ps(x[r][i + p]);
#pragma GCC unroll 4
                for (int g = 0; g < G; ++g) acc[r][g][p] = _mm512_fmadd_ps(w[g], input, acc[r][g][p]);
            }
        }
    }
    for (std::size_t p = 0; i < job.inputs; ++i, ++p)
        for (std::size_t g = 0; g < G; ++g)
            for (int r = 0; r < R; ++r)
                acc[r][g][p] = _mm512_fmadd_ps(load_weights<F>(weights + g * job.group_bytes + i * line),
                                               _mm512_set1_ps(x[r][i]), acc[r][g][p]);
    for (std::size_t r = 0; r < R; ++r)
        for (std::size_t g = 0; g < G; ++g) {
            const __m512(&a)[4] = acc[r][g];
            store_sums(job, row + r, output + group_outputs * g,
                       _mm512_add_ps(_mm512_add_ps(a[0], a[1]), _mm512_add_ps(a[2], a[3])));
        }
}

template <FloatFormat F, int G>
LUCEBOX_AVX512 void float_rows(const MultiplyJob& job, std::size_t output) {
    constexpr std::size_t most = 6 / G; // 24 sums in 32 registers
    std::size_t r = 0;
    for (; r + most <= job.rows; r += most) float_tile<F, most, G>(job, output, r);
    if constexpr (most > 3)
        for (; r + 2 <= job.rows; r += 2) float_tile<F, 2, G>(job, output, r);
    else if (job.rows - r == 2) return float_tile<F, 2, G>(job, output, r);
    if (r < job.rows) float_tile<F, 1, G>(job, output, r);
}

template <FloatFormat F>
LUCEBOX_AVX512 void multiply_float(const MultiplyJob& job) {
    std::size_t o = job.first;
    // Two groups share each broadcast activation, which loads would otherwise bound. Not F32: two groups of it don't stay
    // in the level-1 cache for the next rows.
    if (F != FloatFormat::f32 && job.rows > 1)
        for (; o + group_outputs < job.end; o += 2 * group_outputs) float_rows<F, 2>(job, o);
    for (; o < job.end; o += group_outputs) float_rows<F, 1>(job, o);
}

LUCEBOX_AVX512 void quantise_block(__m512 low, __m512 high, ActivationBlock& out) {
    const float largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    const __m512 inverse = _mm512_set1_ps(largest >= smallest_activation ? 127.0f / largest : 0.0f);
    const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)); // to nearest, ties to even
    const __m512i b = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.values), _mm512_cvtsepi32_epi8(a));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.values + 16), _mm512_cvtsepi32_epi8(b));
    out.set_sums(largest / 127.0f, _mm512_reduce_add_epi32(a), _mm512_reduce_add_epi32(b));
}

} // namespace

MultiplyKernel float_kernel(FloatFormat format) {
    switch (format) {
    case FloatFormat::f32: return multiply_float<FloatFormat::f32>;
    case FloatFormat::f16: return multiply_float<FloatFormat::f16>;
    case FloatFormat::bf16: return multiply_float<FloatFormat::bf16>;
    }
    return nullptr;
}

} // namespace avx512

LUCEBOX_AVX512 void quantise_row_avx512(std::span<const float> x, ActivationBlock* out) {
    for (std::size_t i = 0; i < x.size(); i += block_inputs, ++out) {
        const std::size_t count = std::min(block_inputs, x.size() - i);
        const auto lanes = static_cast<__mmask32>((1ull << count) - 1ull);
        avx512::quantise_block(_mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), x.data() + i),
                               _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes >> 16), x.data() + i + 16), *out);
    }
}

} // namespace lucebox::compute::cpu

#endif
