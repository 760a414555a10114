// Which instruction sets this machine has.
#include "compute/cpu/kernels_quantised.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lucebox::compute::cpu {

#if defined(__x86_64__)
namespace {

// Two features whose names not every compiler knows in __builtin_cpu_supports (Intel's manual, volume 2, CPUID).
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 29 & 1) != 0;
}

bool has_vex_vnni() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

} // namespace

Isa best_isa() {
    static const Isa best = [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
            __builtin_cpu_supports("avx512vnni"))
            return Isa::avx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
            return Isa::avx2;
        return Isa::portable;
    }();
    return best;
}

bool has_avx_vnni() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && has_vex_vnni();
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
