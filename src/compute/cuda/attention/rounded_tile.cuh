// A thread's share of a tile of q8_0 keys or values on its way to shared memory: read as bytes, held in registers while the
// tile before is used, and made f16 where it is stored.
//
// By way of registers, not of asynchronous copies: bytes would have to be read from shared memory again to be converted,
// which the multiplications need the bandwidth of.
#pragma once

#include "compute/cuda/attention/rounded_fragment.cuh"

#include <cstdint>

namespace lucebox::compute::cuda {

template <int dims, int keys, int threads> class RoundedTile {
public:
    // `sources`: the token of each key; -1: none, which reads as zeros.
    __device__ __forceinline__ void fetch(const KvPlane& plane, const int* sources, int head_dim, int thread) {
        const int blocks = (head_dim + 31) / 32, column = column_of(thread);
#pragma unroll
        for (int i = 0; i < count; ++i) {
            const int source = sources[key_of(thread, i)];
            codes_[i] = uint4{0, 0, 0, 0};
            scales_[i] = 0;
            if (source < 0 || column * 16 >= head_dim) continue;
            const auto token = static_cast<std::size_t>(source);
            codes_[i] = __ldcg(reinterpret_cast<const uint4*>(plane.values + token * static_cast<std::size_t>(head_dim) + column * 16));
            scales_[i] = __ldcg(reinterpret_cast<const unsigned short*>(plane.scales) + token * static_cast<std::size_t>(blocks) + column / 2);
        }
    }

    // `at(key, chunk)`: where 8 values go. Dimensions that the model does not have are left as they are.
    template <class At> __device__ __forceinline__ void store(At at, int head_dim, int thread) const {
        const int column = column_of(thread);
        if (column * 16 >= head_dim) return;
#pragma unroll
        for (int i = 0; i < count; ++i) {
            const __half2 scale = __half2half2(__ushort_as_half(scales_[i]));
            const int key = key_of(thread, i);
            *reinterpret_cast<uint4*>(at(key, 2 * column)) = uint4{widen_codes(codes_[i].x, 0x4140, scale), widen_codes(codes_[i].x, 0x4342, scale),
                                                              widen_codes(codes_[i].y, 0x4140, scale), widen_codes(codes_[i].y, 0x4342, scale)};
            *reinterpret_cast<uint4*>(at(key, 2 * column + 1)) = uint4{widen_codes(codes_[i].z, 0x4140, scale), widen_codes(codes_[i].z, 0x4342, scale),
                                                                  widen_codes(codes_[i].w, 0x4140, scale), widen_codes(codes_[i].w, 0x4342, scale)};
        }
    }

private:
    static constexpr int columns = dims / 16, count = keys * columns / threads;
    static_assert(count * threads == keys * columns && threads % (8 * columns) == 0);

    // Eight neighbouring threads take one column of eight keys: their stores fall on all banks, and a warp's loads still are
    // runs of 64 bytes.
    static __device__ __forceinline__ int column_of(int thread) { return thread / 8 % columns; }
    static __device__ __forceinline__ int key_of(int thread, int i) {
        return (thread / (8 * columns) + i * (threads / (8 * columns))) * 8 + thread % 8;
    }

    uint4 codes_[count];
    unsigned short scales_[count];
};

} // namespace lucebox::compute::cuda
