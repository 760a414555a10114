// AVX2 kernels of the types whose codes index a table.
#if defined(__x86_64__)
#include "compute/cpu/kernels_avx2.h"

namespace lucebox::compute::cpu::avx2 {

MultiplyKernel table_kernel(const Format& format, bool vnni) {
    if (format == formats::iq4_nl) return kernel<formats::iq4_nl>(vnni);
    if (format == formats::iq4_xs) return kernel<formats::iq4_xs>(vnni);
    if (format == formats::mxfp4) return kernel<formats::mxfp4>(vnni);
    if (format == formats::nvfp4) return kernel<formats::nvfp4>(vnni);
    return nullptr;
}

} // namespace lucebox::compute::cpu::avx2

#endif
