// AVX-512 kernels of the K types.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx512.h"

namespace lucebox::compute::cpu::avx512 {

MultiplyKernel k_kernel(const Format& format) {
    if (format == formats::q2_k) return multiply<formats::q2_k>;
    if (format == formats::q3_k) return multiply<formats::q3_k>;
    if (format == formats::q4_k) return multiply<formats::q4_k>;
    if (format == formats::q5_k) return multiply<formats::q5_k>;
    if (format == formats::q6_k) return multiply<formats::q6_k>;
    if (format == formats::q8_k) return multiply<formats::q8_k>;
    return nullptr;
}

} // namespace lucebox::compute::cpu::avx512

#endif
