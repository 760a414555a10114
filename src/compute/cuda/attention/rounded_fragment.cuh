// q8_0 keys and values as one warp multiplies them: from the cache to the fragments of mma.m16n8k16 by way of registers alone.
//
// A block of one tile of queries has each key and each value read by one warp only, so there is nothing to share. The order in
// which the dimensions of a score are added is free as long as queries and keys agree on it, and so is the order in which
// the columns of a product lie: both are chosen so that a lane finds neighbouring bytes of the cache. A lane loads some of the
// warp's scales and hands them round.
//
// Keys that a score's mask leaves out may be any that the cache holds, but nothing else: weights of zero meet their values.
#pragma once

#include "compute/cuda/attention/kv_plane.cuh"

#include <cstdint>

namespace lucebox::compute::cuda {

// Two of four codes times the scale, or the scales. 0x64 above a byte makes the f16 number 1024 + byte; 1152 = 1024 + 128 less is
// exact. The selector names the bytes: 0x4140 the low two, 0x4342 the high two.
__device__ __forceinline__ std::uint32_t widen_codes(std::uint32_t codes, std::uint32_t selector, __half2 scale) {
    const std::uint32_t bits = __byte_perm(codes, 0x64646464u, selector);
    __half2 values;
    memcpy(&values, &bits, 4);
    values = __hmul2(__hsub2(values, __float2half2_rn(1152.0f)), scale);
    std::uint32_t out;
    memcpy(&out, &values, 4);
    return out;
}

// One or two neighbouring scales.
template <int count> __device__ __forceinline__ std::uint32_t load_scales(const __half* from) {
    static_assert(count == 1 || count == 2);
    if constexpr (count == 2) return __ldcg(reinterpret_cast<const unsigned*>(from));
    else return __ldcg(reinterpret_cast<const unsigned short*>(from));
}
__device__ __forceinline__ __half2 as_half2(std::uint32_t bits) {
    __half2 values;
    memcpy(&values, &bits, 4);
    return values;
}

// Scores are added in blocks of 64 dimensions, each in four steps of 16: of step s, lane % 4 = j brings dimensions
// 16 * j + 4 * s .. + 3, so that each lane's share of a block is 16 bytes.
//
// `keys` keys of a warp, in tiles of eight; lane / 4 is the key.
template <int dims, int keys> class RoundedKeys {
public:
    // `token(key, more)`: where key + more lies. Apart, so that the compiler adds `more`, which it knows, to an address.
    template <class Token> __device__ __forceinline__ void fetch(const KvPlane& plane, Token token, int lane) {
#pragma unroll
        for (int tile = 0; tile < tiles; ++tile) {
            const std::size_t at = token(lane / 4, tile * 8);
            const unsigned char* const codes = plane.values + at * dims + 16 * (lane & 3);
#pragma unroll
            for (int i = 0; i < columns; ++i) codes_[tile][i] = __ldcg(reinterpret_cast<const uint4*>(codes + 64 * i));
            scales_[tile] = load_scales<own>(plane.scales + at * (dims / 32) + own * (lane & 3));
        }
    }
    // The scale of a lane's share of a block of 64.
    __device__ __forceinline__ __half2 scale(int tile, int block, int lane) const {
        if constexpr (own == 2) {
            const std::uint32_t both = __shfl_sync(0xffffffffu, scales_[tile], (lane & 28) + block);
            return as_half2(__byte_perm(both, 0, lane & 2 ? 0x3232 : 0x1010));
        } else {
            return as_half2(__byte_perm(__shfl_sync(0xffffffffu, scales_[tile], (lane & 28) + 2 * block + (lane & 2) / 2), 0, 0x1010));
        }
    }
    // What the lane brings to a step of a block.
    __device__ __forceinline__ void fragment(int tile, int block, int step, __half2 scale, std::uint32_t (&b)[2]) const {
        const uint4 all = codes_[tile][block];
        const std::uint32_t codes = step == 0 ? all.x : step == 1 ? all.y : step == 2 ? all.z : all.w;
        b[0] = widen_codes(codes, 0x4140, scale);
        b[1] = widen_codes(codes, 0x4342, scale);
    }

private:
    static constexpr int tiles = keys / 8, columns = dims / 64, own = dims / 128; // own: scales that a lane loads of its key
    uint4 codes_[tiles][columns];
    std::uint32_t scales_[tiles];
};

// `part` of the `dims` dimensions of a head, of all keys of a tile, is a warp's. Lane / 4 = n has `run` of them from n * run on, which
// are column n of `run` products; lane % 4 = j the keys 2 * j, 2 * j + 1, 2 * j + 8 and 2 * j + 9 of each sixteen.
template <int dims, int part, int keys> class RoundedValues {
public:
    static constexpr int run = part / 8;

    // `token(key, more)`: as above.
    template <class Token> __device__ __forceinline__ void fetch(const KvPlane& plane, Token token, int first_dim, int lane) {
#pragma unroll
        for (int i = 0; i < count; ++i) {
            const unsigned char* const codes =
                plane.values + token(2 * (lane & 3), i / 4 * 16 + i / 2 % 2 * 8 + i % 2) * dims + first_dim + lane / 4 * run;
            if constexpr (words == 2) {
                const uint2 both = __ldcg(reinterpret_cast<const uint2*>(codes));
                codes_[i][0] = both.x;
                codes_[i][1] = both.y;
            } else {
                codes_[i][0] = __ldcg(reinterpret_cast<const unsigned*>(codes));
            }
        }
#pragma unroll
        for (int i = 0; i < keys / 32; ++i) {
            scales_[i] = load_scales<part / 32>(plane.scales + token(lane, i * 32) * (dims / 32) + first_dim / 32);
        }
    }
    // The scales of keys 2 * j + 16 * step + 8 * half and the next.
    __device__ __forceinline__ __half2 scale(int step, int half, int lane) const {
        const int low = 16 * step % 32 + 8 * half + 2 * (lane & 3);
        return as_half2(__byte_perm(__shfl_sync(0xffffffffu, scales_[step / 2], low), __shfl_sync(0xffffffffu, scales_[step / 2], low + 1),
                                    lane / 4 * run >= 32 ? 0x7632 : 0x5410));
    }
    // Of keys 16 * step .. + 15, the lane's part of the products 4 * word .. 4 * word + 3.
    __device__ __forceinline__ void fragments(int step, int word, const __half2 (&scale)[2], std::uint32_t (&b)[4][2]) const {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int low = 4 * step + 2 * half, high = low + 1;
            const std::uint32_t first = __byte_perm(codes_[low][word], codes_[high][word], 0x5140);
            const std::uint32_t second = __byte_perm(codes_[low][word], codes_[high][word], 0x7362);
            b[0][half] = widen_codes(first, 0x4140, scale[half]);
            b[1][half] = widen_codes(first, 0x4342, scale[half]);
            b[2][half] = widen_codes(second, 0x4140, scale[half]);
            b[3][half] = widen_codes(second, 0x4342, scale[half]);
        }
    }

private:
    static_assert(run == 4 || run == 8);
    static constexpr int words = run / 4, count = keys / 4;
    std::uint32_t codes_[count][words];
    std::uint32_t scales_[keys / 32];
};

} // namespace lucebox::compute::cuda
