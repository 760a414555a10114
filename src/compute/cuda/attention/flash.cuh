// The attention kernel: queries in tiles of 16 against keys in tiles of 32 or 64, f16 on tensor cores with f32 sums.
//
// A block of four warps takes `tiles` tiles of queries; the 4 / tiles warps of a query tile share out the keys of a score
// tile and the dimensions of the weighted sum, neither of which changes what is added to what in which order. So one,
// two and four query tiles give the same bits. Softmax is the online form (Milakov and Gimelshein, 2018).
//
// Tokens behind a tree's committed end are walked once for each row: token p of row r is the row's ancestor at that depth,
// and only r's queries take part.
//
// An item is a run of partitions: the copies of one are on their way while the sums of the one before are written.
#pragma once

#include "compute/cuda/attention/attention.h"
#include "compute/cuda/attention/partition.h"
#include "compute/cuda/attention/rounded_fragment.cuh"
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
    int pass, first_row, rows; // what of the work this is; its rows, of the step as padded
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
    static constexpr bool rounded = true; // RoundedTile; for one tile of queries, where shared memory has bytes, RoundedShare
};

// `exact`: heads have `dims` dimensions, not fewer, and places are worked out while compiling.
template <class Kv, int dims, int tiles, bool exact> struct FlashShape {
    static constexpr bool direct = Kv::rounded && tiles == 1 && dims >= 128 && exact; // RoundedShare
    static constexpr int keys = dims > 128 ? 32 : 64; // of a tile: K and V take 16 KB each at most
    static constexpr int parts = 4 / tiles;           // warps of a query tile
    static constexpr int score_stride = keys + 8;     // floats: pairs of four rows fall on all banks
    static constexpr std::size_t query_bytes = std::size_t{tiles} * 16 * dims * 2;
    static constexpr std::size_t key_bytes = direct ? 0 : std::size_t{keys} * dims * 2;
    static constexpr std::size_t score_floats = parts > 1 ? std::size_t{tiles} * 16 * score_stride : 0;
    static constexpr std::size_t score_bytes = score_floats * 4 * (direct ? 2 : 1); // direct: those of a tile and of the one before
    // Where keys come from; direct: each warp's ring of shares instead.
    static constexpr int stages = 2; // three, and so three blocks on a multiprocessor instead of four, are 10 % slower
    static constexpr std::size_t source_bytes = direct ? std::size_t{4} * stages * RoundedShare<direct ? dims : 256, direct ? keys : 32, 4>::bytes : 2 * keys * sizeof(int);
    static constexpr std::size_t shared_bytes = query_bytes + 2 * key_bytes + score_bytes + source_bytes;
};

// Local index of the row at `depth` below the committed end on a path.
__device__ __forceinline__ int local_at(unsigned long long ancestors, int depth) {
#pragma unroll 1
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

// Blocks on a multiprocessor that the compiler leaves registers for. Decoding waits for memory, and needs them side by side.
template <class Kv, int tiles, bool whole, bool exact>
constexpr int flash_blocks = whole || tiles == 4 ? 2 : tiles == 2 || (Kv::rounded && !exact) ? 3 : 4;

template <class Kv, int dims, int tiles, bool whole, bool exact>
__global__ void __launch_bounds__(flash_threads, (flash_blocks<Kv, tiles, whole, exact>)) flash(const FlashArgs args) {
    using Shape = FlashShape<Kv, dims, tiles, exact>;
    constexpr bool direct = Shape::direct;
    constexpr int keys = Shape::keys, stages = Shape::stages, parts = Shape::parts, part_dims = dims / parts, chunks = dims / 8;
    // Whether V travels a whole tile ahead, as K does. A block of four query tiles has no registers left for that, and is
    // not waiting for memory.
    constexpr bool v_early = tiles < 4;
    extern __shared__ __align__(128) unsigned char shared[];
    __half* const shared_q = reinterpret_cast<__half*>(shared);
    __half* const shared_k = shared_q + tiles * 16 * dims;
    __half* const shared_v = shared_k + Shape::key_bytes / 2;
    float* const scores = reinterpret_cast<float*>(shared_v + Shape::key_bytes / 2);
    int* const sources = reinterpret_cast<int*>(scores + Shape::score_bytes / 4); // [2][keys]

    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int query_tile = warp / parts, part = warp % parts;
    const int kv_head = static_cast<int>(blockIdx.y), head_dim = exact ? dims : args.head_dim, used_chunks = head_dim / 8;

    allow_next();
    // Dimensions that the model does not have are zero, for good.
    for (int i = thread; used_chunks < chunks && i < (tiles * 16 + (direct ? 0 : 2 * keys)) * chunks; i += flash_threads) {
        reinterpret_cast<uint4*>(shared)[i] = uint4{0, 0, 0, 0};
    }
    __syncthreads();
    wait_for_previous();

    const int items_end = args.work->begin[args.pass + 1];
    for (int index = args.work->begin[args.pass] + static_cast<int>(blockIdx.x); index < items_end; index += static_cast<int>(gridDim.x)) {
        const AttentionItem item = args.work->item[index];
        const StepSequence* sequence = args.state->sequence + item.sequence;
        const StepRow* rows = args.state->row + sequence->first_row;
        const int committed = sequence->committed;
        const bool path = sequence->path != 0;
        const std::size_t first_token = (static_cast<std::size_t>(sequence->slot) * args.kv_heads + kv_head) * args.capacity;
        const KvPlane k = args.k.from(first_token, head_dim), v = args.v.from(first_token, head_dim);
        const int first_row = item.first_query / args.group;
        const int last_row = (item.first_query + item.queries - 1) / args.group;

        // The row of one of the two queries that this lane has in the fragments of its tile: rows lane / 4 and lane / 4 + 8 there. Worked
        // out where it is needed: registers are what decides how many blocks wait side by side.
        const auto query_of = [&](int half) { return query_tile * 16 + lane / 4 + 8 * half; };
        const auto row_of = [&](int half) {
            return query_of(half) < item.queries ? (item.first_query + query_of(half)) / args.group : -1;
        };
        // Of plain decoding, the lower half of a tile is mostly empty: its weights are zero, and nobody asks for its sums.
        const bool lower_half = item.queries - query_tile * 16 > 8;

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
        // The token that lies at a place of a tile; -1: none.
        const auto source_of = [&](FlashCursor at, int key) {
            const int position = at.tile + key;
            if (at.row >= 0 && position >= committed) {
                const bool ancestor = position <= rows[at.row].position;
                return ancestor ? committed + local_at(rows[at.row].ancestors, position - committed) : -1;
            }
            return position < item.key_end ? position : -1;
        };
        const auto find_sources = [&](FlashCursor at, int parity) {
            if (thread < keys) sources[parity * keys + thread] = source_of(at, thread);
        };
        // Whether all of a tile's places hold the token of that position.
        const auto plain = [&](FlashCursor at) { return at.row < 0 && at.tile + keys <= item.key_end; };
        const auto load = [&](__half* tile, const KvPlane& plane, FlashCursor at, int parity) {
            const __half* from = reinterpret_cast<const __half*>(plane.values);
            if (exact && plain(at)) {
                // A thread copies one column of every eighth row, or of every fourth, whose places in turn are two.
                constexpr int rows_at_once = flash_threads / chunks;
                const int row = thread / chunks, column = thread % chunks;
                from += (static_cast<std::size_t>(at.tile) + static_cast<std::size_t>(row)) * dims + static_cast<std::size_t>(column * 8);
                __half* const even = chunk<dims>(tile, row, column);
                __half* const odd = chunk<dims>(tile, row + rows_at_once, column) - rows_at_once * dims;
#pragma unroll
                for (int i = 0; i < keys / rows_at_once; ++i) {
                    copy_16((i % 2 ? odd : even) + i * rows_at_once * dims, from + i * rows_at_once * dims, true);
                }
                copies_commit();
                return;
            }
#pragma unroll 4
            for (int i = thread; i < keys * chunks; i += flash_threads) {
                const int key = i / chunks, column = i % chunks, source = sources[parity * keys + key];
                if (column >= used_chunks) continue;
                copy_16(chunk<dims>(tile, key, column),
                        from + static_cast<std::size_t>(max(source, 0)) * static_cast<std::size_t>(head_dim) + column * 8, source >= 0);
            }
            copies_commit();
        };
        // Queries of rounded keys lie as fragments do, in the order of RoundedShare: four words of a lane behind each other.
        const auto place_query = [&](int query, int column, uint4 values) {
            const int step = column / 8 * 4 + column % 2 * 2, to_lane = query % 8 * 4 + column % 8 / 2;
            std::uint32_t* const to = reinterpret_cast<std::uint32_t*>(shared_q) + ((query / 16 * (dims / 16) + step) * 32 + to_lane) * 4 + query % 16 / 8;
            to[0] = values.x, to[2] = values.y, to[128] = values.z, to[130] = values.w;
        };

        __syncthreads(); // the previous item is done with shared memory
        FlashCursor at = first();
        int parity = 0;
        if (!direct && !(exact && !Kv::rounded && plain(at))) find_sources(at, parity);
        for (int i = thread; i < tiles * 16 * chunks; i += flash_threads) {
            const int query = i / chunks, column = i % chunks;
            if (column >= used_chunks) continue;
            const int absolute = item.first_query + min(query, item.queries - 1);
            const int row = sequence->first_row + absolute / args.group;
            const int head = kv_head * args.group + absolute % args.group;
            const __half* const from = args.queries + (static_cast<std::size_t>(row) * args.heads + head) * head_dim + column * 8;
            if constexpr (Kv::rounded) {
                place_query(query, column, query < item.queries ? __ldcg(reinterpret_cast<const uint4*>(from)) : uint4{0, 0, 0, 0});
            } else {
                copy_16(chunk<dims>(shared_q, query, column), from, query < item.queries);
            }
        }
        copies_commit();
        __syncthreads();
        // On their way, if they are rounded.
        constexpr int part_keys = keys / parts;
        RoundedTile<dims, keys, flash_threads> k_tile, v_tile;
        using Share = RoundedShare<direct ? dims : 256, direct ? keys : 32, 4>;
        const typename Share::Lane own(lane, part);
        unsigned char* const shares = reinterpret_cast<unsigned char*>(sources) + part * stages * Share::bytes;
        // Calls `copy` with what tells the token of a key. Of a tile that is not plain, each lane has found one of 32: for its keys, and
        // then for its values. Where none is, it takes another.
        int found[keys / 32] = {};
        const auto find = [&](FlashCursor from) {
            if (plain(from)) return;
#pragma unroll
            for (int i = 0; i < keys / 32; ++i) found[i] = max(source_of(from, i * 32 + lane), 0);
        };
        const auto with_sources = [&](FlashCursor from, const auto& copy) {
            if (plain(from)) {
                copy([&](int key, int more) { return static_cast<std::size_t>(from.tile + key) + static_cast<std::size_t>(more); });
            } else {
                copy([&](int key, int more) {
                    key += more;
                    int token = __shfl_sync(0xffffffffu, found[0], key % 32);
                    if constexpr (keys > 32) {
                        const int later = __shfl_sync(0xffffffffu, found[keys / 32 - 1], key % 32);
                        token = key < 32 ? token : later;
                    }
                    return static_cast<std::size_t>(token);
                });
            }
        };
        // Each ends a group of copies, if only an empty one: so it is known how many are younger than those that are waited for.
        const auto copy_own_keys = [&](FlashCursor from, int slot) {
            __syncwarp(); // all lanes are done with what lies there
            if (from.tile < item.key_end) {
                find(from);
                with_sources(from, [&](const auto& token) { own.copy_keys(shares + slot * Share::bytes, k, token); });
            }
            copies_commit();
        };
        const auto copy_own_values = [&](FlashCursor from, int slot) {
            __syncwarp();
            if (from.tile < item.key_end) with_sources(from, [&](const auto& token) { own.copy_values(shares + slot * Share::bytes, v, token); });
            copies_commit();
        };
        FlashCursor asked[stages]; // direct: this tile and those behind it that are on their way
        int slot = 0;
        if (at.tile < item.key_end) {
            if constexpr (direct) {
#pragma unroll
                for (int i = 0; i < stages; ++i) {
                    asked[i] = i == 0 ? at : asked[i - 1].tile < item.key_end ? next(asked[i - 1]) : asked[i - 1];
                    copy_own_keys(asked[i], i);
                    copy_own_values(asked[i], i);
                }
            } else if constexpr (Kv::rounded) {
                k_tile.fetch(k, sources + parity * keys, head_dim, thread);
                if constexpr (v_early) v_tile.fetch(v, sources + parity * keys, head_dim, thread);
            } else {
                load(shared_k, k, at, parity);
            }
        }

        // Of a query: the weighted sum, the largest score and the sum of weights (in all columns of a product with ones).
        float sum[part_dims / 8][4] = {}, weight[4] = {};
        float largest[2] = {-INFINITY, -INFINITY};
        const auto write_partition = [&](int partition) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                if (row_of(half) < 0) continue;
                const int row = sequence->first_row + row_of(half) - args.first_row;
                const int head = kv_head * args.group + (item.first_query + query_of(half)) % args.group;
                const std::size_t place = (static_cast<std::size_t>(partition) * args.rows + row) * args.heads + head;
                float* const out = args.sums + place * head_dim;
                if constexpr (direct) {
                    constexpr int run = part_dims / 8;
#pragma unroll
                    for (int column = 0; column < 2; ++column) {
                        const int dim = part * part_dims + (2 * (lane & 3) + column) * run, j = 2 * half + column;
#pragma unroll
                        for (int i = 0; i < run; i += 4) {
                            if (dim < head_dim) *reinterpret_cast<float4*>(out + dim + i) = {sum[i][j], sum[i + 1][j], sum[i + 2][j], sum[i + 3][j]};
                        }
                    }
                } else {
#pragma unroll
                    for (int tile = 0; tile < part_dims / 8; ++tile) {
                        const int dim = part * part_dims + 2 * (lane & 3) + tile * 8;
                        if (dim < head_dim) *reinterpret_cast<float2*>(out + dim) = {sum[tile][2 * half], sum[tile][2 * half + 1]};
                    }
                }
                if (part == 0 && (lane & 3) == 0) args.maxima[place] = {largest[half] * args.scale, weight[2 * half]};
            }
        };
        int partition = item.partition, partition_end = whole ? INT_MAX : partition_begin(partition + 1);

        while (at.tile < item.key_end) {
            const FlashCursor following = direct ? asked[1] : next(at);
            const bool more = following.tile < item.key_end;
            const unsigned char* const share = shares + slot * Share::bytes;
            if constexpr (direct) {
                copies_wait<2 * stages - 1>();
                __syncwarp(); // own keys are here
            }
            if constexpr (Kv::rounded && !direct) {
                k_tile.store([&](int key, int column) { return chunk<dims>(shared_k, key, column); }, head_dim, thread);
                if (more) find_sources(following, parity ^ 1);
            }
            if constexpr (!direct) {
                copies_wait<0>();
                __syncthreads(); // K is here, V of the tile before is free
            }
            if constexpr (Kv::rounded && !direct) {
                if constexpr (!v_early) v_tile.fetch(v, sources + parity * keys, head_dim, thread);
                else if (more) k_tile.fetch(k, sources + (parity ^ 1) * keys, head_dim, thread);
            } else if constexpr (!Kv::rounded) {
                load(shared_v, v, at, parity);
                if (more && !(exact && plain(following))) find_sources(following, parity ^ 1);
            }

            float score[keys / 8][4] = {};
            if constexpr (Kv::rounded) {
                // In the order of RoundedShare, whatever they come from.
                uint4 codes[part_keys / 8]; // of a block of 64, and their scales
                __half2 key_scale[part_keys / 8];
#pragma unroll
                for (int column = 0; column < dims / 32; ++column) { // two steps of 16
                    std::uint32_t q[2][4];
#pragma unroll
                    for (int j = 0; j < 2; ++j) {
                        const uint4 all = reinterpret_cast<const uint4*>(shared_q)[(query_tile * (dims / 16) + 2 * column + j) * 32 + lane];
                        q[j][0] = all.x, q[j][1] = all.y, q[j][2] = all.z, q[j][3] = all.w;
                    }
#pragma unroll
                    for (int tile = 0; tile < part_keys / 8; ++tile) {
                        std::uint32_t b[2][2];
                        if constexpr (direct) {
                            if (column % 2 == 0) {
                                codes[tile] = own.key_codes(share, tile, column / 2);
                                key_scale[tile] = own.key_scale(share, tile, column / 2);
                            }
                            const std::uint32_t two[2] = {column % 2 ? codes[tile].z : codes[tile].x, column % 2 ? codes[tile].w : codes[tile].y};
#pragma unroll
                            for (int j = 0; j < 2; ++j) {
                                b[j][0] = widen_codes(two[j], 0x4140, key_scale[tile]);
                                b[j][1] = widen_codes(two[j], 0x4342, key_scale[tile]);
                            }
                        } else {
                            const int here = column / 2 * 8 + 2 * (lane & 3) + column % 2;
                            const uint4 all = *reinterpret_cast<const uint4*>(chunk<dims>(shared_k, part * part_keys + tile * 8 + lane / 4, here));
                            b[0][0] = all.x, b[0][1] = all.y, b[1][0] = all.z, b[1][1] = all.w;
                        }
                        multiply_16x8x16(score[tile], q[0], b[0][0], b[0][1]);
                        multiply_16x8x16(score[tile], q[1], b[1][0], b[1][1]);
                    }
                }
            } else {
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
                        multiply_16x8x16(score[tile], q[0], b[0], b[1]);
                        multiply_16x8x16(score[tile], q[1], b[2], b[3]);
                    }
                }
            }
            float* const own_scores = scores + query_tile * 16 * Shape::score_stride + (direct ? parity * static_cast<int>(Shape::score_floats) : 0);
            if constexpr (parts > 1) {
#pragma unroll
                for (int tile = 0; tile < part_keys / 8; ++tile) {
                    float* const to = own_scores + (lane / 4) * Shape::score_stride + part * part_keys + tile * 8 + 2 * (lane & 3);
                    *reinterpret_cast<float2*>(to) = {score[tile][0], score[tile][1]};
                    if (lower_half) *reinterpret_cast<float2*>(to + 8 * Shape::score_stride) = {score[tile][2], score[tile][3]};
                }
            }
            if constexpr (direct) {
#pragma unroll
                for (int i = 1; i < stages; ++i) asked[i - 1] = asked[i];
                if (asked[stages - 1].tile < item.key_end) asked[stages - 1] = next(asked[stages - 1]);
                copy_own_keys(asked[stages - 1], slot);
            } else if constexpr (Kv::rounded) {
                v_tile.store([&](int key, int column) { return chunk<dims>(shared_v, key, column); }, head_dim, thread);
            }
            __syncthreads(); // scores are complete, K is free; a rounded V is here
            if constexpr (!Kv::rounded) {
                if (more) load(shared_k, k, following, parity ^ 1);
            } else if constexpr (!direct) {
                if (more) (v_early ? v_tile : k_tile).fetch(v_early ? v : k, sources + (parity ^ 1) * keys, head_dim, thread);
            }
            if constexpr (parts > 1) {
#pragma unroll
                for (int tile = 0; tile < keys / 8; ++tile) {
                    const float* const from = own_scores + (lane / 4) * Shape::score_stride + tile * 8 + 2 * (lane & 3);
                    const float2 low = *reinterpret_cast<const float2*>(from);
                    score[tile][0] = low.x, score[tile][1] = low.y;
                    if (!lower_half) continue;
                    const float2 high = *reinterpret_cast<const float2*>(from + 8 * Shape::score_stride);
                    score[tile][2] = high.x, score[tile][3] = high.y;
                }
            }

            // Scores become weights, in f16; the sums so far are scaled to the new largest score. Scales are positive.
            if (at.row >= 0 || args.window > 0 || at.tile + keys > committed) { // some see not all of these
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int row = row_of(half);
                    int begin = INT_MAX, end = INT_MIN; // of the tile's keys that it sees: none
                    if (row >= 0 && (at.row < 0 || row == at.row)) {
                        end = rows[row].position + 1 - at.tile;
                        begin = args.window > 0 ? end - args.window : 0;
                        if (args.bidirectional) end = committed + sequence->rows - at.tile;
                    }
#pragma unroll
                    for (int i = 0; i < keys / 4; ++i) {
                        const int key = i / 2 * 8 + 2 * (lane & 3) + i % 2;
                        if (key < begin || key >= end) score[i / 2][2 * half + i % 2] = -INFINITY;
                    }
                }
            }
            std::uint32_t p[keys / 16][4];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                if (half == 1 && !lower_half) {
#pragma unroll
                    for (int tile = 0; tile < keys / 8; ++tile) p[tile / 2][(tile & 1) * 2 + half] = 0;
                    continue;
                }
                float top = largest[half];
#pragma unroll
                for (int tile = 0; tile < keys / 8; ++tile) top = fmaxf(top, fmaxf(score[tile][2 * half], score[tile][2 * half + 1]));
                top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
                top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
                const float safe = top == -INFINITY ? 0.0f : __fmul_rn(top, args.scale);
                if (__any_sync(0xffffffffu, largest[half] != top)) {
                    const float scale_old = largest[half] == top ? 1.0f : power_of_two(__fmaf_rn(largest[half], args.scale, -safe));
#pragma unroll
                    for (int j = 2 * half; j < 2 * half + 2; ++j) {
                        weight[j] = __fmul_rn(weight[j], scale_old);
#pragma unroll
                        for (int tile = 0; tile < part_dims / 8; ++tile) sum[tile][j] = __fmul_rn(sum[tile][j], scale_old);
                    }
                }
                largest[half] = top;
#pragma unroll
                for (int tile = 0; tile < keys / 8; ++tile) {
                    p[tile / 2][(tile & 1) * 2 + half] = pack_half2(power_of_two(__fmaf_rn(score[tile][2 * half], args.scale, -safe)),
                                                                    power_of_two(__fmaf_rn(score[tile][2 * half + 1], args.scale, -safe)));
                }
            }
            if constexpr (!Kv::rounded) {
                if (more) copies_wait<1>();
                else copies_wait<0>();
                __syncthreads(); // V is here
            }
            if constexpr (direct) {
                copies_wait<2 * stages - 1>();
                __syncwarp(); // own values are here
            }
            constexpr std::uint32_t ones = 0x3c003c00;
#pragma unroll
            for (int step = 0; step < keys / 16; ++step) {
                multiply_16x8x16(weight, p[step], ones, ones);
                if constexpr (direct) {
                    std::uint32_t b[part_dims / 8][2];
                    own.values(share, step, b);
#pragma unroll
                    for (int tile = 0; tile < part_dims / 8; ++tile) multiply_16x8x16(sum[tile], p[step], b[tile][0], b[tile][1]);
                } else {
#pragma unroll
                    for (int tile = 0; tile < part_dims / 8; tile += 2) {
                        std::uint32_t b[4];
                        load_matrices_transposed(b, chunk<dims>(shared_v, step * 16 + (lane & 15), part * (part_dims / 8) + tile + lane / 16));
                        multiply_16x8x16(sum[tile], p[step], b[0], b[1]);
                        multiply_16x8x16(sum[tile + 1], p[step], b[2], b[3]);
                    }
                }
            }
            if constexpr (direct) {
                copy_own_values(asked[stages - 1], slot);
                slot = slot + 1 == stages ? 0 : slot + 1;
            }
            if constexpr (!whole) {
                if (!more || following.tile >= partition_end) {
                    write_partition(partition);
                    partition_end = partition_begin(++partition + 1);
                    largest[0] = largest[1] = -INFINITY;
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        weight[j] = 0;
#pragma unroll
                        for (int tile = 0; tile < part_dims / 8; ++tile) sum[tile][j] = 0;
                    }
                }
            }
            at = following;
            parity ^= 1;
        }

#pragma unroll
        for (int half = 0; whole && half < 2; ++half) {
            if (row_of(half) < 0) continue;
            const int row = sequence->first_row + row_of(half), head = kv_head * args.group + (item.first_query + query_of(half)) % args.group;
            const int first_dim = part * part_dims + 2 * (lane & 3);
            const float inverse = 1.0f / weight[2 * half];
            const std::size_t place = (static_cast<std::size_t>(row) * args.heads + head) * head_dim;
            const float* const gate =
                args.gate ? args.gate + static_cast<std::size_t>(row) * args.gate_stride + head * args.gate_head_stride : nullptr;
#pragma unroll
            for (int tile = 0; tile < part_dims / 8; ++tile) {
                const int dim = first_dim + tile * 8;
                if (dim >= head_dim) continue;
                float2 value{sum[tile][2 * half] * inverse, sum[tile][2 * half + 1] * inverse};
                if (gate) {
                    const float2 g = *reinterpret_cast<const float2*>(gate + dim);
                    value.x = value.x / (1.0f + expf(-g.x));
                    value.y = value.y / (1.0f + expf(-g.y));
                }
                if (args.out) *reinterpret_cast<float2*>(args.out + place + dim) = value;
                args.operand.store2(static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(head * head_dim + dim), value.x, value.y);
            }
        }
    }
}

using FlashKernel = void (*)(FlashArgs);

struct FlashInstance {
    FlashKernel kernel;
    std::size_t shared_bytes;
    int blocks; // on a multiprocessor, as far as registers go
};

template <class Kv, int dims, int tiles, bool whole, bool exact> FlashInstance flash_with() {
    return {flash<Kv, dims, tiles, whole, exact>, FlashShape<Kv, dims, tiles, exact>::shared_bytes, flash_blocks<Kv, tiles, whole, exact>};
}
template <class Kv, int dims, bool exact> FlashInstance flash_step(int tiles) {
    if (tiles == 1) return flash_with<Kv, dims, 1, false, exact>();
    if (tiles == 2) return flash_with<Kv, dims, 2, false, exact>();
    return flash_with<Kv, dims, 4, false, exact>();
}
template <class Kv, int dims> FlashInstance flash_instance(int tiles, bool whole, bool exact) {
    if (whole) return tiles == 4 ? flash_with<Kv, dims, 4, true, false>() : flash_with<Kv, dims, 2, true, false>(); // two: cards with 64 KB
    return exact ? flash_step<Kv, dims, true>(tiles) : flash_step<Kv, dims, false>(tiles);
}

// One unit for each head size and type, so that they compile side by side.
FlashInstance flash_64(int tiles, bool whole, bool exact);
FlashInstance flash_128(int tiles, bool whole, bool exact);
FlashInstance flash_256(int tiles, bool whole, bool exact);
FlashInstance flash_rounded_64(int tiles, bool whole, bool exact);
FlashInstance flash_rounded_128(int tiles, bool whole, bool exact);
FlashInstance flash_rounded_256(int tiles, bool whole, bool exact);

} // namespace lucebox::compute::cuda
