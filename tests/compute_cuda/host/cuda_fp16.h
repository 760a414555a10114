// Stands in for CUDA's header of this name, so that device functions that need no GPU run on a CPU: the half-precision
// arithmetic with its rounding, and the few intrinsics that packing and expanding weights use. One "thread" at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline

using std::isfinite;
using std::max;
using std::min;

struct uint2 {
    std::uint32_t x, y;
};
struct uint4 {
    std::uint32_t x, y, z, w;
};
struct float4 {
    float x, y, z, w;
};
struct ThreadPlace {
    unsigned x = 0, y = 0, z = 0;
};
inline ThreadPlace threadIdx, blockIdx, blockDim{1, 1, 1}, gridDim{1, 1, 1};

struct __half {
    std::uint16_t bits;
};
struct __half2 {
    __half x, y;
};

inline double value_of(__half half) {
    _Float16 value;
    std::memcpy(&value, &half, 2);
    return static_cast<double>(value);
}
// A product and a sum of f16 are exact in double, so this rounds once.
inline __half rounded(double value) {
    const auto half = static_cast<_Float16>(value);
    __half bits;
    std::memcpy(&bits, &half, 2);
    return bits;
}
inline __half2 __hmul2(__half2 a, __half2 b) {
    return {rounded(value_of(a.x) * value_of(b.x)), rounded(value_of(a.y) * value_of(b.y))};
}
inline __half2 __hadd2(__half2 a, __half2 b) {
    return {rounded(value_of(a.x) + value_of(b.x)), rounded(value_of(a.y) + value_of(b.y))};
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
    return {rounded(value_of(a.x) * value_of(b.x) + value_of(c.x)),
            rounded(value_of(a.y) * value_of(b.y) + value_of(c.y))};
}
inline __half2 __low2half2(__half2 a) {
    return {a.x, a.x};
}
inline __half2 __high2half2(__half2 a) {
    return {a.y, a.y};
}
inline __half2 __floats2half2_rn(float a, float b) {
    return {rounded(a), rounded(b)};
}
inline __half __float2half_rn(float value) {
    return rounded(value);
}
inline float __half2float(__half half) {
    return static_cast<float>(value_of(half));
}
inline __half __ushort_as_half(unsigned short bits) {
    return {bits};
}

inline std::uint32_t __byte_perm(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
    const std::uint64_t bytes = a | static_cast<std::uint64_t>(b) << 32;
    std::uint32_t result = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned from = selector >> (4 * i) & 7;
        result |= static_cast<std::uint32_t>(bytes >> (8 * from) & 255) << (8 * i);
    }
    return result;
}
template <class T>
T __ldg(const T* at) {
    return *at;
}
inline float __uint_as_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline std::uint32_t __float_as_uint(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __shfl_xor_sync(unsigned, float value, int) {
    return value;
}
inline std::uint32_t atomicMax(std::uint32_t* at, std::uint32_t value) {
    const std::uint32_t before = *at;
    *at = std::max(*at, value);
    return before;
}
