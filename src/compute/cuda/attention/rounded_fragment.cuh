// q8_0 keys and values as one warp multiplies them: copied as bytes, and made f16 where the fragments of mma.m16n8k16 are.
//
// A block of one tile of queries has each key and each value read by one warp only, so there is nothing to share: each warp has a ring
// of its own in shared memory, two tiles deep, and waits for nobody else. The order in which the dimensions of a score are added
// is free as long as queries and keys agree on it, and so is the order in which the columns of a product lie: both are chosen so
// that a lane finds its part in neighbouring bytes.
//
// Keys that a score's mask leaves out may be any that the cache holds, but nothing else: weights of zero meet their values.
#pragma once

#include "compute/cuda/attention/kv_plane.cuh"
#include "compute/cuda/tensor_core.cuh"

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

// A warp's share of a tile of `keys` keys of `dims` dimensions: `own_keys` keys for scores, and `own_dims` dimensions of all values.
// Everything lies as it is copied: lane by lane 16 bytes of codes, or four of scales, in swizzled places.
template <int dims, int keys, int parts> struct RoundedShare {
    static constexpr int own_keys = keys / parts, own_dims = dims / parts, run = own_dims / 8;
    static constexpr int code_bytes = own_keys * dims, value_scale_bytes = keys * 4, key_scale_bytes = own_keys * dims / 16;
    static constexpr int bytes = 2 * code_bytes + key_scale_bytes + value_scale_bytes; // keys, values, their scales
    static constexpr int copies = code_bytes / 512;                                    // of 16 bytes a lane
    static_assert(code_bytes == keys * own_dims && key_scale_bytes == 128 && (run == 4 || run == 8));

    // Where a lane's parts lie, in a share and in the cache.
    struct Lane {
        int index, part;
        int key_at[2];      // of its key's codes: in even blocks of 64, and in odd ones but for 64 each
        int value_at[2][2]; // of values 2 * j + 8 * half + i

        __device__ __forceinline__ Lane(int lane, int own_part) : index(lane), part(own_part) {
            const int key = lane / 4 * dims + lane % 4 * 16, other = lane / 4 % 2 * 64;
            key_at[0] = key + other;
            key_at[1] = key - other;
#pragma unroll
            for (int i = 0; i < 4; ++i) value_at[i / 2][i % 2] = value_place(2 * (lane % 4) + i / 2 * 8 + i % 2, lane / 4 * run);
        }

        // A warp reads four columns of 16 bytes of eight keys at once: those of odd keys lie in the other half of 128 bytes.
        __device__ __forceinline__ static int key_place(int key, int column) { return key * dims + ((column ^ (key & 1) << 2) << 4); }
        // And up to 32 bytes of every second key: of four neighbouring lines of 128 bytes, each has them elsewhere.
        __device__ __forceinline__ static int value_place(int key, int byte) {
            const int at = key * own_dims + byte, line = at / 128;
            return line * 128 + ((at / 16 % 8 ^ (line & 3) << 1) << 4) + at % 16;
        }

        // `token(key, more)`: where key + more lies. Apart, so that the compiler adds `more`, which it knows, to an address.
        template <class Token> __device__ __forceinline__ void copy_keys(unsigned char* share, const KvPlane& plane, Token token) const {
            constexpr int columns = dims / 16, keys_at_once = 32 / columns;
            const int key = index / columns, column = index % columns;
            unsigned char* const to = share + key_place(key, column);
#pragma unroll
            for (int i = 0; i < copies; ++i) {
                copy_16(to + i * keys_at_once * dims, plane.values + token(part * own_keys + key, i * keys_at_once) * dims + column * 16, true);
            }
            constexpr int pairs = dims / 64; // of a key's scales
            copy_4(share + 2 * code_bytes + index * 4,
                   plane.scales + token(part * own_keys + index / pairs, 0) * (dims / 32) + index % pairs * 2);
        }
        template <class Token> __device__ __forceinline__ void copy_values(unsigned char* share, const KvPlane& plane, Token token) const {
            constexpr int columns = own_dims / 16, keys_at_once = 32 / columns;
            const int key = index / columns, column = index % columns;
            unsigned char* const to = share + code_bytes + value_place(key, column * 16);
#pragma unroll
            for (int i = 0; i < copies; ++i) {
                copy_16(to + i * keys_at_once * own_dims,
                        plane.values + token(key, i * keys_at_once) * dims + part * own_dims + column * 16, true);
            }
            // The two scales that the part's are among.
#pragma unroll
            for (int i = 0; i < keys / 32; ++i) {
                copy_4(share + 2 * code_bytes + key_scale_bytes + (index + i * 32) * 4,
                       plane.scales + token(index, i * 32) * (dims / 32) + part * own_dims / 32 / 2 * 2);
            }
        }

        // Scores are added in blocks of 64 dimensions, each in four steps of 16: of step s, lane % 4 = j brings dimensions
        // 16 * j + 4 * s .. + 3 of key lane / 4 of an eight, so that its codes of a block are 16 bytes.
        __device__ __forceinline__ uint4 key_codes(const unsigned char* share, int eight, int block) const {
            return *reinterpret_cast<const uint4*>(share + key_at[block % 2] + eight * 8 * dims + block * 64);
        }
        __device__ __forceinline__ __half2 key_scale(const unsigned char* share, int eight, int block) const {
            return __half2half2(reinterpret_cast<const __half*>(share + 2 * code_bytes)[(eight * 8 + index / 4) * (dims / 32) + 2 * block + index % 4 / 2]);
        }

        // Lane / 4 = n has dimensions n * run .. n * run + run - 1 of the part, which are column n of `run` products; lane % 4 = j
        // has keys 2 * j, 2 * j + 1, 2 * j + 8 and 2 * j + 9 of each sixteen. This is what it brings to all products of a sixteen.
        __device__ __forceinline__ void values(const unsigned char* share, int sixteen, std::uint32_t (&b)[run][2]) const {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                std::uint32_t codes[2][run / 4];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    // Eight keys of 64 bytes are four lines, and so lie as the eight before do.
                    const int at = own_dims == 64 ? value_at[0][i] + half * 8 * own_dims : value_at[half][i];
                    const unsigned char* const from = share + at + code_bytes + sixteen * 16 * own_dims;
                    if constexpr (run == 8) {
                        const uint2 both = *reinterpret_cast<const uint2*>(from);
                        codes[i][0] = both.x, codes[i][1] = both.y;
                    } else {
                        codes[i][0] = *reinterpret_cast<const std::uint32_t*>(from);
                    }
                }
                const uint2 scales = *reinterpret_cast<const uint2*>(share + 2 * code_bytes + key_scale_bytes +
                                                                     (sixteen * 16 + half * 8 + 2 * (index % 4)) * 4);
                const bool second = own_dims == 64 ? index / 16 : part % 2; // of the two
                const std::uint32_t bits = __byte_perm(scales.x, scales.y, second ? 0x7632 : 0x5410);
                __half2 scale;
                memcpy(&scale, &bits, 4);
#pragma unroll
                for (int word = 0; word < run / 4; ++word) {
                    const std::uint32_t low = __byte_perm(codes[0][word], codes[1][word], 0x5140);
                    const std::uint32_t high = __byte_perm(codes[0][word], codes[1][word], 0x7362);
                    b[4 * word][half] = widen_codes(low, 0x4140, scale);
                    b[4 * word + 1][half] = widen_codes(low, 0x4342, scale);
                    b[4 * word + 2][half] = widen_codes(high, 0x4140, scale);
                    b[4 * word + 3][half] = widen_codes(high, 0x4342, scale);
                }
            }
        }
    };
};

} // namespace lucebox::compute::cuda
