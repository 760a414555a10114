// The row kernels for x86 with AVX-512. Standard headers come before the target is raised: what they define
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
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include <immintrin.h>
#endif
// GCC 12 takes the "undefined" operands inside its own intrinsics for mistakes of ours (GCC bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define LUCEBOX_ROW_LANES 16
#define LUCEBOX_ROW_KERNELS row_kernels_avx512
#include "compute/cpu/row_kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
