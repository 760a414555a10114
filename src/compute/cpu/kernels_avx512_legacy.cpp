// AVX-512 kernels of the types with one scale for 32 inputs.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx512.h"

namespace lucebox::compute::cpu::avx512 {

MultiplyKernel legacy_kernel(const Format& format) {
    if (format == formats::q4_0) return multiply<formats::q4_0>;
    if (format == formats::q4_1) return multiply<formats::q4_1>;
    if (format == formats::q5_0) return multiply<formats::q5_0>;
    if (format == formats::q5_1) return multiply<formats::q5_1>;
    if (format == formats::q8_0) return multiply<formats::q8_0>;
    return nullptr;
}

} // namespace lucebox::compute::cpu::avx512

#endif
