// The attention kernel: queries in tiles of 16 against keys in tiles of 32 or 64, f16 on tensor cores with f32 sums.
//
// A block of four warps takes `tiles` tiles of queries; the 4 / tiles warps of a query tile share out the keys of a score
// tile and the dimensions of the weighted sum, neither of which changes what is added to what in which order. So one,
// two and four query tiles give the same bits. Softmax is the online form (Milakov and Gimelshein, 2018).
//
// Tokens behind a tree's committed end are walked once for each row: token p of row r is the row's ancestor at that depth,
// and only r's queries take part.
#pragma once

#include "compute/cuda/attention/attention.h"
#include "compute/cuda/attention/rounded_tile.cuh"
#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/operand.cuh"
#include "compute/cuda/tensor_core.cuh"

#include <climits>
#include <cmath>

namespace lucebox::compute::cuda {

constexpr int flash_threads = 128;

struct FlashArgs {
    const StepState* state;
    const AttentionWork* work;
    const __half* queries; // [rows, heads, head_dim]
    KvPlane k, v;
    std::size_t capacity; // tokens of a slot
    int heads, kv_heads, group, head_dim, window;
    int bidirectional; // a row sees all rows of its sequence
    float scale; // of scores, times log2(e)
    float* sums;
    float2* maxima;
    int rows; // of the step, as padded
    // Prefill only: the result itself.
    const float* gate; // null: none
    int gate_stride, gate_head_stride;
    float* out; // null: not wanted
    Operand operand;
};

// What the cache holds, and so how a tile of it comes to shared memory, which always holds f16.
struct F16Kv {
    static constexpr bool rounded = false; // asynchronous copies
};
struct Q8Kv {
    static constexpr bool rounded = true; // RoundedTile
};

template <int dims, int tiles> struct FlashShape {
    static constexpr int keys = dims > 128 ? 32 : 64; // of a tile: K and V take 16 KB each at most
    static constexpr int parts = 4 / tiles;           // warps of a query tile
    static constexpr int score_stride = keys + 4;     // floats; off the power of two for the banks
    static constexpr std::size_t query_bytes = std::size_t{tiles} * 16 * dims * 2;
    static constexpr std::size_t key_bytes = std::size_t{keys} * dims * 2;
    static constexpr std::size_t score_bytes = parts > 1 ? std::size_t{tiles} * 16 * score_stride * 4 : 0;
    static constexpr std::size_t shared_bytes = query_bytes + 2 * key_bytes + score_bytes + 2 * keys * sizeof(int);
};

// Local index of the row at `depth` below the committed end on a path.
__device__ __forceinline__ int local_at(unsigned long long ancestors, int depth) {
    for (; depth > 0; --depth) ancestors &= ancestors - 1;
    return __ffsll(static_cast<long long>(ancestors)) - 1;
}

// 16-byte chunks of a row are stored at chunk ^ (row % 8): eight rows of one column fall on all banks.
template <int dims> __device__ __forceinline__ __half* chunk(__half* tile, int row, int column) {
    constexpr int mask = dims / 8 >= 8 ? 7 : dims / 8 - 1;
    return tile + row * dims + ((column ^ (row & mask)) << 3);
}

// Where the walk over an item's keys stands: a tile, and the row it is walked for (-1: all rows at once).
struct FlashCursor {
    int tile, row;
};

// Blocks on a multiprocessor that the compiler leaves registers for: decoding with q8_0 would take 213 of them for speed of its own,
// and then be two blocks that wait.
template <class Kv, int tiles> constexpr int least_flash_blocks = Kv::rounded && tiles == 1 ? 3 : 1;

template <class Kv, int dims, int tiles, bool whole>
__global__ void __launch_bounds__(flash_threads, (least_flash_blocks<Kv, tiles>)) flash(const FlashArgs args) {
    using Shape = FlashShape<dims, tiles>;
    constexpr int keys = Shape::keys, parts = Shape::parts, part_dims = dims / parts, chunks = dims / 8;
    // Whether V travels a whole tile ahead, as K does. A block of four query tiles has no registers left for that, and is
    // not waiting for memory.
    constexpr bool v_early = tiles < 4;
    extern __shared__ __align__(128) unsigned char shared[];
    __half* const shared_q = reinterpret_cast<__half*>(shared);
    __half* const shared_k = shared_q + tiles * 16 * dims;
    __half* const shared_v = shared_k + keys * dims;
    float* const scores = reinterpret_cast<float*>(shared_v + keys * dims);
    int* const sources = reinterpret_cast<int*>(scores + Shape::score_bytes / 4); // [2][keys]

    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int query_tile = warp / parts, part = warp % parts;
    const int kv_head = static_cast<int>(blockIdx.y), used_chunks = args.head_dim / 8;

    allow_next();
    // Dimensions that the model does not have are zero, for good.
    for (int i = thread; used_chunks < chunks && i < (tiles * 16 + 2 * keys) * chunks; i += flash_threads) {
        reinterpret_cast<uint4*>(shared)[i] = uint4{0, 0, 0, 0};
    }
    __syncthreads();
    wait_for_previous();

    for (int index = static_cast<int>(blockIdx.x); index < args.work->items; index += static_cast<int>(gridDim.x)) {
        const AttentionItem item = args.work->item[index];
        const StepSequence* sequence = args.state->sequence + item.sequence;
        const StepRow* rows = args.state->row + sequence->first_row;
        const int committed = sequence->committed;
        const bool path = sequence->path != 0;
        const std::size_t first_token = (static_cast<std::size_t>(sequence->slot) * args.kv_heads + kv_head) * args.capacity;
        const KvPlane k = args.k.from(first_token, args.head_dim), v = args.v.from(first_token, args.head_dim);
        const int first_row = item.first_query / args.group;
        const int last_row = (item.first_query + item.queries - 1) / args.group;

        // The two queries of this lane in the fragments of its tile: rows lane / 4 and lane / 4 + 8.
        int row_of[2], end_of[2], begin_of[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int query = query_tile * 16 + lane / 4 + 8 * half;
            const bool valid = query < item.queries;
            row_of[half] = valid ? (item.first_query + query) / args.group : -2;
            end_of[half] = valid ? rows[row_of[half]].position + 1 : 0;
            begin_of[half] = args.window > 0 ? max(0, end_of[half] - args.window) : 0;
            if (valid && args.bidirectional) end_of[half] = committed + sequence->rows;
        }

        const auto next = [&](FlashCursor at) {
            while (true) {
                const bool shared_tile = path || at.tile + keys <= committed;
                if (at.row == -1 && !shared_tile) at.row = first_row;
                else if (at.row >= 0 && at.row < last_row) ++at.row;
                else {
                    at.tile += keys;
                    at.row = -1;
                    if (at.tile >= item.key_end) return at;
                    if (path || at.tile + keys <= committed) return at;
                    at.row = first_row;
                }
                if (rows[at.row].position >= at.tile) return at; // it sees some of these keys
            }
        };
        const auto first = [&] {
            FlashCursor at{item.key_begin, -1};
            return path || at.tile + keys <= committed ? at : next(at);
        };
        // The token that lies at each place of a tile; -1: none.
        const auto find_sources = [&](FlashCursor at, int parity) {
            if (thread >= keys) return;
            const int position = at.tile + thread;
            int source = position < item.key_end ? position : -1;
            if (at.row >= 0 && position >= committed) {
                const bool ancestor = position <= rows[at.row].position;
                source = ancestor ? committed + local_at(rows[at.row].ancestors, position - committed) : -1;
            }
            sources[parity * keys + thread] = source;
        };
        const auto load = [&](__half* tile, const KvPlane& plane, int parity) {
            const __half* const from = reinterpret_cast<const __half*>(plane.values);
#pragma unroll 8
            for (int i = thread; i < keys * chunks; i += flash_threads) {
                const int key = i / chunks, column = i % chunks, source = sources[parity * keys + key];
                if (column >= used_chunks) continue;
                copy_16(chunk<dims>(tile, key, column),
                        from + static_cast<std::size_t>(max(source, 0)) * static_cast<std::size_t>(args.head_dim) + column * 8,
                        source >= 0);
            }
            copies_commit();
        };

        __syncthreads(); // the previous item is done with shared memory
        FlashCursor at = first();
        int parity = 0;
        find_sources(at, parity);
        for (int i = thread; i < tiles * 16 * chunks; i += flash_threads) {
            const int query = i / chunks, column = i % chunks;
            if (column >= used_chunks) continue;
            const int absolute = item.first_query + min(query, item.queries - 1);
            const int row = sequence->first_row + absolute / args.group;
            const int head = kv_head * args.group + absolute % args.group;
            copy_16(chunk<dims>(shared_q, query, column),
                    args.queries + (static_cast<std::size_t>(row) * args.heads + head) * args.head_dim + column * 8,
                    query < item.queries);
        }
        copies_commit();
        __syncthreads();
        RoundedTile<dims, keys, flash_threads> k_tile, v_tile; // on their way, if they are rounded
        if (at.tile < item.key_end) {
            if constexpr (Kv::rounded) {
                k_tile.fetch(k, sources + parity * keys, args.head_dim, thread);
                if constexpr (v_early) v_tile.fetch(v, sources + parity * keys, args.head_dim, thread);
            } else {
                load(shared_k, k, parity);
            }
        }

        float sum[part_dims / 8][4] = {};
        float largest[2] = {-INFINITY, -INFINITY}, weight[2] = {0, 0};

        while (at.tile < item.key_end) {
            const FlashCursor following = next(at);
            const bool more = following.tile < item.key_end;
            if constexpr (Kv::rounded) {
                k_tile.store([&](int key, int column) { return chunk<dims>(shared_k, key, column); }, args.head_dim, thread);
                if (more) find_sources(following, parity ^ 1);
            }
            copies_wait<0>();
            __syncthreads(); // K is here, V of the tile before is free
            if constexpr (Kv::rounded) {
                if constexpr (!v_early) v_tile.fetch(v, sources + parity * keys, args.head_dim, thread);
                else if (more) k_tile.fetch(k, sources + (parity ^ 1) * keys, args.head_dim, thread);
            } else {
                load(shared_v, v, parity);
                if (more) find_sources(following, parity ^ 1);
            }

            float score[keys / 8][4] = {};
            constexpr int part_keys = keys / parts;
#pragma unroll
            for (int step = 0; step < dims / 16; step += 2) {
                std::uint32_t q[2][4];
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    load_matrices(q[j], chunk<dims>(shared_q, query_tile * 16 + (lane & 15), 2 * (step + j) + lane / 16));
                }
#pragma unroll
                for (int tile = 0; tile < part_keys / 8; ++tile) {
                    std::uint32_t b[4];
                    load_matrices(b, chunk<dims>(shared_k, part * part_keys + tile * 8 + (lane & 7), 2 * step + lane / 8));
                    float(&c)[4] = score[tile];
                    multiply_16x8x16(c, q[0], b[0], b[1]);
                    multiply_16x8x16(c, q[1], b[2], b[3]);
                }
            }
            if constexpr (parts > 1) {
                float* const own = scores + query_tile * 16 * Shape::score_stride;
#pragma unroll
                for (int tile = 0; tile < part_keys / 8; ++tile) {
                    float* const to = own + (lane / 4) * Shape::score_stride + part * part_keys + tile * 8 + 2 * (lane & 3);
                    *reinterpret_cast<float2*>(to) = {score[tile][0], score[tile][1]};
                    *reinterpret_cast<float2*>(to + 8 * Shape::score_stride) = {score[tile][2], score[tile][3]};
                }
            }
            if constexpr (Kv::rounded) {
                v_tile.store([&](int key, int column) { return chunk<dims>(shared_v, key, column); }, args.head_dim, thread);
            }
            __syncthreads(); // scores are complete, K is free; a rounded V is here
            if constexpr (!Kv::rounded) {
                if (more) load(shared_k, k, parity ^ 1);
            } else if (more) {
                (v_early ? v_tile : k_tile).fetch(v_early ? v : k, sources + (parity ^ 1) * keys, args.head_dim, thread);
            }
            if constexpr (parts > 1) {
                const float* const own = scores + query_tile * 16 * Shape::score_stride;
#pragma unroll
                for (int tile = 0; tile < keys / 8; ++tile) {
                    const float* const from = own + (lane / 4) * Shape::score_stride + tile * 8 + 2 * (lane & 3);
                    const float2 low = *reinterpret_cast<const float2*>(from);
                    const float2 high = *reinterpret_cast<const float2*>(from + 8 * Shape::score_stride);
                    score[tile][0] = low.x, score[tile][1] = low.y, score[tile][2] = high.x, score[tile][3] = high.y;
                }
            }

            // Scores become weights, in f16; the sums so far are scaled to the new largest score.
            std::uint32_t p[keys / 16][4];
            float scale_old[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const bool in_pass = at.row < 0 || row_of[half] == at.row;
                const int begin = begin_of[half] - at.tile, end = in_pass ? end_of[half] - at.tile : INT_MIN;
                float top = largest[half];
#pragma unroll
                for (int tile = 0; tile < keys / 8; ++tile) {
#pragma unroll
                    for (int j = 0; j < 2; ++j) {
                        const int key = tile * 8 + 2 * (lane & 3) + j;
                        float& s = score[tile][2 * half + j];
                        s = key >= begin && key < end ? __fmul_rn(s, args.scale) : -INFINITY;
                        top = fmaxf(top, s);
                    }
                }
                top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
                top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
                const float safe = top == -INFINITY ? 0.0f : top;
                scale_old[half] = exp2f(__fsub_rn(largest[half], safe));
                if (largest[half] == top) scale_old[half] = 1;
                largest[half] = top;
                float total = 0;
#pragma unroll
                for (int tile = 0; tile < keys / 8; ++tile) {
                    const __half2 both = __floats2half2_rn(exp2f(__fsub_rn(score[tile][2 * half], safe)),
                                                           exp2f(__fsub_rn(score[tile][2 * half + 1], safe)));
                    const float2 rounded = __half22float2(both);
                    total = __fadd_rn(total, __fadd_rn(rounded.x, rounded.y));
                    memcpy(&p[tile / 2][(tile & 1) * 2 + half], &both, 4);
                }
                total = __fadd_rn(total, __shfl_xor_sync(0xffffffffu, total, 1));
                total = __fadd_rn(total, __shfl_xor_sync(0xffffffffu, total, 2));
                weight[half] = __fmaf_rn(weight[half], scale_old[half], total);
            }
#pragma unroll
            for (int tile = 0; tile < part_dims / 8; ++tile) {
#pragma unroll
                for (int j = 0; j < 4; ++j) sum[tile][j] = __fmul_rn(sum[tile][j], scale_old[j / 2]);
            }
            if constexpr (!Kv::rounded) {
                if (more) copies_wait<1>();
                else copies_wait<0>();
                __syncthreads(); // V is here
            }
#pragma unroll
            for (int step = 0; step < keys / 16; ++step) {
#pragma unroll
                for (int tile = 0; tile < part_dims / 8; tile += 2) {
                    std::uint32_t b[4];
                    load_matrices_transposed(b, chunk<dims>(shared_v, step * 16 + (lane & 15),
                                                            part * (part_dims / 8) + tile + lane / 16));
                    multiply_16x8x16(sum[tile], p[step], b[0], b[1]);
                    multiply_16x8x16(sum[tile + 1], p[step], b[2], b[3]);
                }
            }
            at = following;
            parity ^= 1;
        }

#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (row_of[half] < 0) continue;
            const int absolute = item.first_query + query_tile * 16 + lane / 4 + 8 * half;
            const int row = sequence->first_row + row_of[half], head = kv_head * args.group + absolute % args.group;
            const int first_dim = part * part_dims + 2 * (lane & 3);
            if constexpr (whole) {
                const float inverse = 1.0f / weight[half];
                const std::size_t place = (static_cast<std::size_t>(row) * args.heads + head) * args.head_dim;
                const float* const gate =
                    args.gate ? args.gate + static_cast<std::size_t>(row) * args.gate_stride + head * args.gate_head_stride : nullptr;
#pragma unroll
                for (int tile = 0; tile < part_dims / 8; ++tile) {
                    const int dim = first_dim + tile * 8;
                    if (dim >= args.head_dim) continue;
                    float2 value{sum[tile][2 * half] * inverse, sum[tile][2 * half + 1] * inverse};
                    if (gate) {
                        const float2 g = *reinterpret_cast<const float2*>(gate + dim);
                        value.x = value.x / (1.0f + expf(-g.x));
                        value.y = value.y / (1.0f + expf(-g.y));
                    }
                    if (args.out) *reinterpret_cast<float2*>(args.out + place + dim) = value;
                    args.operand.store2(static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(head * args.head_dim + dim),
                                        value.x, value.y);
                }
            } else {
                const std::size_t place =
                    (static_cast<std::size_t>(item.partition) * args.rows + row) * args.heads + head;
                float* const out = args.sums + place * args.head_dim;
#pragma unroll
                for (int tile = 0; tile < part_dims / 8; ++tile) {
                    const int dim = first_dim + tile * 8;
                    if (dim < args.head_dim) *reinterpret_cast<float2*>(out + dim) = {sum[tile][2 * half], sum[tile][2 * half + 1]};
                }
                if (part == 0 && (lane & 3) == 0) args.maxima[place] = {largest[half], weight[half]};
            }
        }
    }
}

using FlashKernel = void (*)(FlashArgs);

struct FlashInstance {
    FlashKernel kernel;
    std::size_t shared_bytes;
};

template <class Kv, int dims> FlashInstance flash_instance(int tiles, bool whole) {
    if (whole && tiles == 4) return {flash<Kv, dims, 4, true>, FlashShape<dims, 4>::shared_bytes};
    if (whole) return {flash<Kv, dims, 2, true>, FlashShape<dims, 2>::shared_bytes}; // cards with 64 KB
    if (tiles == 1) return {flash<Kv, dims, 1, false>, FlashShape<dims, 1>::shared_bytes};
    if (tiles == 2) return {flash<Kv, dims, 2, false>, FlashShape<dims, 2>::shared_bytes};
    return {flash<Kv, dims, 4, false>, FlashShape<dims, 4>::shared_bytes};
}

// One unit for each head size and type, so that they compile side by side.
FlashInstance flash_64(int tiles, bool whole);
FlashInstance flash_128(int tiles, bool whole);
FlashInstance flash_256(int tiles, bool whole);
FlashInstance flash_rounded_64(int tiles, bool whole);
FlashInstance flash_rounded_128(int tiles, bool whole);
FlashInstance flash_rounded_256(int tiles, bool whole);

} // namespace lucebox::compute::cuda
