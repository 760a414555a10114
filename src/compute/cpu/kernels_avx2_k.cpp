// AVX2 kernels of the K types.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx2.h"

namespace lucebox::compute::cpu::avx2 {

MultiplyKernel k_kernel(const Format& format, bool vnni) {
    if (format == formats::q2_k) return kernel<formats::q2_k>(vnni);
    if (format == formats::q3_k) return kernel<formats::q3_k>(vnni);
    if (format == formats::q4_k) return kernel<formats::q4_k>(vnni);
    if (format == formats::q5_k) return kernel<formats::q5_k>(vnni);
    if (format == formats::q6_k) return kernel<formats::q6_k>(vnni);
    if (format == formats::q8_k) return kernel<formats::q8_k>(vnni);
    return nullptr;
}

} // namespace lucebox::compute::cpu::avx2

#endif
