// Which kernel multiplies which format on which instruction set.
#include "compute/cpu/kernels_quantised.h"

namespace lucebox::compute::cpu {
namespace {

template <Format F>
void portable(const MultiplyJob& job) {
    multiply_portable(F, job);
}

template <Format... All>
MultiplyKernel find_portable(const Format& format) {
    MultiplyKernel found = nullptr;
    ((format == All ? static_cast<void>(found = portable<All>) : static_cast<void>(0)), ...);
    return found;
}

} // namespace

MultiplyKernel float_kernel_portable(FloatFormat format);
#if defined(__x86_64__)
namespace avx512 {
MultiplyKernel legacy_kernel(const Format& format);
MultiplyKernel k_kernel(const Format& format);
MultiplyKernel table_kernel(const Format& format);
MultiplyKernel float_kernel(FloatFormat format);
} // namespace avx512
namespace avx2 {
MultiplyKernel legacy_kernel(const Format& format, bool vnni);
MultiplyKernel k_kernel(const Format& format, bool vnni);
MultiplyKernel table_kernel(const Format& format, bool vnni);
MultiplyKernel float_kernel(FloatFormat format);
} // namespace avx2

MultiplyKernel quantised_kernel_avx2(const Format& format, bool vnni) {
    if (const MultiplyKernel kernel = avx2::legacy_kernel(format, vnni)) return kernel;
    if (const MultiplyKernel kernel = avx2::k_kernel(format, vnni)) return kernel;
    return avx2::table_kernel(format, vnni);
}
#endif

MultiplyKernel quantised_kernel(const Format& format, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512) {
        if (const MultiplyKernel kernel = avx512::legacy_kernel(format)) return kernel;
        if (const MultiplyKernel kernel = avx512::k_kernel(format)) return kernel;
        if (const MultiplyKernel kernel = avx512::table_kernel(format)) return kernel;
    }
    if (isa == Isa::avx2) return quantised_kernel_avx2(format, has_avx_vnni());
#endif
    using namespace formats;
    return find_portable<q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, q8_k, iq4_nl, iq4_xs, mxfp4, nvfp4>(
        format);
}

MultiplyKernel float_kernel(FloatFormat format, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512) return avx512::float_kernel(format);
    if (isa == Isa::avx2) return avx2::float_kernel(format);
#endif
    return float_kernel_portable(format);
}

} // namespace lucebox::compute::cpu
