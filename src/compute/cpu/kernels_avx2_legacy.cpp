// AVX2 kernels of the types with one scale for 32 inputs.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx2.h"

namespace lucebox::compute::cpu::avx2 {

MultiplyKernel legacy_kernel(const Format& format, bool vnni) {
    if (format == formats::q4_0) return kernel<formats::q4_0>(vnni);
    if (format == formats::q4_1) return kernel<formats::q4_1>(vnni);
    if (format == formats::q5_0) return kernel<formats::q5_0>(vnni);
    if (format == formats::q5_1) return kernel<formats::q5_1>(vnni);
    if (format == formats::q8_0) return kernel<formats::q8_0>(vnni);
    return nullptr;
}

} // namespace lucebox::compute::cpu::avx2

#endif
