// AVX-512 kernels of the types whose codes index a table.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx512.h"

namespace lucebox::compute::cpu::avx512 {

MultiplyKernel table_kernel(const Format& format) {
    if (format == formats::iq4_nl) return multiply<formats::iq4_nl>;
    if (format == formats::iq4_xs) return multiply<formats::iq4_xs>;
    if (format == formats::mxfp4) return multiply<formats::mxfp4>;
    if (format == formats::nvfp4) return multiply<formats::nvfp4>;
    return nullptr;
}

} // namespace lucebox::compute::cpu::avx512

#endif
