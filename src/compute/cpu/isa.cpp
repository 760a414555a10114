// Which instruction sets this machine has.
#include "compute/cpu/kernels_quantised.h"

namespace lucebox::compute::cpu {

#if defined(__x86_64__)
Isa best_isa() {
    static const Isa best = [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vnni"))
            return Isa::avx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
            return Isa::avx2;
        return Isa::portable;
    }();
    return best;
}

bool has_avx_vnni() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avxvnni");
}
#else
Isa best_isa() { return Isa::portable; }
#endif

std::string_view isa_name(Isa isa) {
    switch (isa) {
    case Isa::portable: return "portable";
    case Isa::avx2: return "AVX2";
    case Isa::avx512: return "AVX-512 VNNI";
    }
    return "unknown";
}

} // namespace lucebox::compute::cpu
