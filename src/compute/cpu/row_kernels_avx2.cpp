// The row kernels for x86 with AVX2, FMA and F16C. Standard headers come before the target is raised: what they define
// inline is shared with code that runs everywhere.
#include "compute/cpu/row_kernels.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#if defined(__clang__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#endif
#define LUCEBOX_ROW_LANES 8
#define LUCEBOX_ROW_KERNELS row_kernels_avx2
#include "compute/cpu/row_kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
