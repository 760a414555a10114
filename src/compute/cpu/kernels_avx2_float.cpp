// AVX2 kernels that stay in f32 (F32, F16 and BF16 weights), and the activations' way to int8.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx2.h"

#include <span>

namespace lucebox::compute::cpu {
namespace avx2 {
namespace {

template <FloatFormat F>
LUCEBOX_AVX2_INLINE __m256 load_weights(const std::byte* at) { // 8 of them
    if constexpr (F == FloatFormat::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
    else if constexpr (F == FloatFormat::f16) return load_f16(at);
    else {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
}

// 8 outputs (half a group) of R rows. Four partial sums, by input modulo 4, as in the AVX-512 kernel.
template <FloatFormat F, int R>
LUCEBOX_AVX2 void float_tile(const MultiplyJob& job, std::size_t output, std::size_t row) {
    constexpr std::size_t value = F == FloatFormat::f32 ? 4 : 2;
    constexpr std::size_t line = group_outputs * value;
    const std::byte* weights =
        job.weights + output / group_outputs * job.group_bytes + output % group_outputs * value;
    const float* x[R];
    __m256 acc[R][4];
#pragma GCC unroll 4
    for (std::size_t r = 0; r < R; ++r) {
        x[r] = reinterpret_cast<const float*>(job.x + (row + r) * job.x_stride);
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) acc[r][p] = _mm256_setzero_ps();
    }
    std::size_t i = 0;
    for (; i + 4 <= job.inputs; i += 4) {
#pragma GCC unroll 4
        for (std::size_t p = 0; p < 4; ++p) {
            const __m256 w = load_weights<F>(weights + (i + p) * line);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) acc[r][p] = _mm256_fmadd_ps(w, _mm256_set1_ps(x[r][i + p]), acc[r][p]);
        }
    }
    for (std::size_t p = 0; i < job.inputs; ++i, ++p) {
        const __m256 w = load_weights<F>(weights + i * line);
        for (int r = 0; r < R; ++r) acc[r][p] = _mm256_fmadd_ps(w, _mm256_set1_ps(x[r][i]), acc[r][p]);
    }
    const std::size_t count = std::min<std::size_t>(job.end - output, 8);
    for (std::size_t r = 0; r < R; ++r)
        store_sums(job.out + (row + r) * job.out_stride + output, count,
                   _mm256_add_ps(_mm256_add_ps(acc[r][0], acc[r][1]), _mm256_add_ps(acc[r][2], acc[r][3])),
                   job.accumulate);
}

template <FloatFormat F>
LUCEBOX_AVX2 void multiply_float(const MultiplyJob& job) {
    for (std::size_t o = job.first; o < job.end; o += 8) {
        std::size_t r = 0;
        for (; r + 3 <= job.rows; r += 3) float_tile<F, 3>(job, o, r);
        for (; r < job.rows; ++r) float_tile<F, 1>(job, o, r);
    }
}

LUCEBOX_AVX2_INLINE float largest_of(__m256 values) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// 16 values to int8; returns their sum.
LUCEBOX_AVX2_INLINE std::int32_t quantise_16(const float* x, __m256 inverse, std::int8_t* out) {
    const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse)); // to nearest, ties to even
    const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inverse));
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    const __m128i low = _mm256_castsi256_si128(words);
    const __m128i high = _mm256_extracti128_si256(words, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_packs_epi16(low, high));
    const __m256i pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4E));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xB1));
    return _mm_cvtsi128_si32(sums);
}

LUCEBOX_AVX2_INLINE void quantise_block(const float* x, ActivationBlock& out) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 magnitudes = _mm256_setzero_ps();
    for (int i = 0; i < 32; i += 8)
        magnitudes = _mm256_max_ps(magnitudes, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
    const float largest = largest_of(magnitudes);
    const __m256 inverse = _mm256_set1_ps(largest >= smallest_activation ? 127.0f / largest : 0.0f);
    const std::int32_t first = quantise_16(x, inverse, out.values);
    const std::int32_t second = quantise_16(x + 16, inverse, out.values + 16);
    out.set_sums(largest / 127.0f, first, second);
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

} // namespace avx2

LUCEBOX_AVX2 void quantise_row_avx2(std::span<const float> x, ActivationBlock* out) {
    std::size_t i = 0;
    for (; i + block_inputs <= x.size(); i += block_inputs) avx2::quantise_block(x.data() + i, *out++);
    if (i == x.size()) return;
    float rest[block_inputs] = {};
    std::copy(x.begin() + static_cast<std::ptrdiff_t>(i), x.end(), rest);
    avx2::quantise_block(rest, *out);
}

} // namespace lucebox::compute::cpu

#endif
