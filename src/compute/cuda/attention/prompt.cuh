// Attention of prompts on Hopper cards, heads of 128 and 256: 128 queries a block against keys in tiles of 64, on wgmma.
//
// A block is three warpgroups. One copies keys and values into rings of tiles, and gives most of its registers to the
// others; those have 64 queries each. While the tensor cores add up the values of one tile of keys, a warpgroup turns the
// scores of the next one into weights. Tiles begin at absolute multiples of 64 and a query's softmax looks at nothing but
// its own scores, tile after tile: its bits do not depend on where a prompt is cut.
//
// Only for sequences that are paths; the contract and the arguments are flash.cuh's.
#pragma once

#include "compute/cuda/attention/flash.cuh"
#include "compute/cuda/attention/wgmma.cuh"

namespace lucebox::compute::cuda {

inline constexpr int prompt_threads = 384;
inline constexpr int prompt_keys = 64;     // of a tile

template <int dims> struct PromptShape {
    static constexpr int stages = dims > 128 ? 2 : 4;
    static constexpr int panel_bytes = 64 * 128; // 64 queries or keys by 64 dimensions
    static constexpr int tile_bytes = dims / 64 * panel_bytes;
    static constexpr std::size_t shared_bytes = 1024 + std::size_t{2} * tile_bytes + std::size_t{2} * stages * tile_bytes + 4 * stages * 8;
};

#ifdef LUCEBOX_SM90A

// Where piece `column` (8 dimensions) of row `row` lies in a tile: panels of 64 dimensions in the 128-byte swizzle.
__device__ __forceinline__ std::uint32_t in_panels(int row, int column) {
    return static_cast<std::uint32_t>(column / 8 * (64 * 128) + row * 128 + (((column % 8) ^ (row & 7)) << 4));
}
__device__ __forceinline__ void copy_piece(std::uint32_t to, const __half* from, bool valid) {
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
// What was written to shared memory is there for the tensor cores.
__device__ __forceinline__ void shared_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

struct PromptPlace {
    std::uint32_t queries, keys, values;                                // tiles
    std::uint32_t keys_full, keys_empty, values_full, values_empty;     // barriers

    template <int dims> __device__ static PromptPlace carve(std::uint32_t start) {
        using Shape = PromptShape<dims>;
        PromptPlace p;
        p.queries = (start + 1023) / 1024 * 1024;
        p.keys = p.queries + 2 * Shape::tile_bytes;
        p.values = p.keys + Shape::stages * Shape::tile_bytes;
        p.keys_full = p.values + Shape::stages * Shape::tile_bytes;
        p.keys_empty = p.keys_full + Shape::stages * 8;
        p.values_full = p.keys_empty + Shape::stages * 8;
        p.values_empty = p.values_full + Shape::stages * 8;
        return p;
    }
};

// The copying warpgroup. A tile is announced two copies after it was asked for: by then it is mostly there.
template <int dims>
__device__ __forceinline__ void copy_keys(const PromptPlace& place, const AttentionItem& item, const __half* k, const __half* v) {
    using Shape = PromptShape<dims>;
    const int thread = static_cast<int>(threadIdx.x) % 128, lane = thread % 32;
    constexpr int columns = dims / 8, rows_at_once = 128 / columns;
    const int column = thread % columns, first_row = thread / columns;
    const int tiles = (item.key_end - item.key_begin + prompt_keys - 1) / prompt_keys;
    Ring filled{0, 1}, announced;
    const auto copy = [&](std::uint32_t tile, std::uint32_t empty, const __half* from, int begin) {
        ptx::barrier_wait(empty, filled.parity);
#pragma unroll 4
        for (int row = first_row; row < prompt_keys; row += rows_at_once) {
            const int position = begin + row;
            copy_piece(tile + in_panels(row, column),
                       from + static_cast<std::size_t>(min(position, item.key_end - 1)) * dims + column * 8, position < item.key_end);
        }
        copies_commit();
    };
    const auto announce = [&](std::uint32_t full) {
        shared_fence();
        __syncwarp();
        if (lane == 0) ptx::barrier_arrive(full);
    };
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
        const auto at = static_cast<std::uint32_t>(filled.at);
        const int begin = item.key_begin + tile * prompt_keys;
        copy(place.keys + at * Shape::tile_bytes, place.keys_empty + at * 8, k, begin);
        if (tile > 0) {
            copies_wait<2>();
            announce(place.keys_full + static_cast<std::uint32_t>(announced.at) * 8);
        }
        copy(place.values + at * Shape::tile_bytes, place.values_empty + at * 8, v, begin);
        if (tile > 0) {
            copies_wait<2>();
            announce(place.values_full + static_cast<std::uint32_t>(announced.at) * 8);
            announced.advance(Shape::stages);
        }
        filled.advance(Shape::stages);
    }
    copies_wait<1>();
    announce(place.keys_full + static_cast<std::uint32_t>(announced.at) * 8);
    copies_wait<0>();
    announce(place.values_full + static_cast<std::uint32_t>(announced.at) * 8);
}

// What a thread knows of its two queries: those of rows lane / 4 and lane / 4 + 8 of its warp's sixteen.
struct PromptRows {
    int row[2]; // of the sequence; -1: none
    int begin[2], end[2]; // keys that it sees
    int all_begin, all_end; // that all of the warp's queries see
};

// One tile's scores become weights; `scale` is what the sums so far are multiplied by.
__device__ __forceinline__ void weigh(float (&score)[32], float factor, const PromptRows& rows, int tile, float (&largest)[2],
                                      float (&weight)[2], float (&scale)[2]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (tile < rows.all_begin || tile + prompt_keys > rows.all_end) {
#pragma unroll
        for (int i = 0; i < 32; ++i) {
            const int key = tile + i / 4 * 8 + 2 * (lane & 3) + i % 2, half = i / 2 % 2;
            if (key < rows.begin[half] || key >= rows.end[half]) score[i] = -INFINITY;
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float top = largest[half];
#pragma unroll
        for (int j = 0; j < 8; ++j) top = fmaxf(top, fmaxf(score[4 * j + 2 * half], score[4 * j + 2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        const float safe = top == -INFINITY ? 0.0f : top * factor;
        scale[half] = largest[half] == top ? 1.0f : power_of_two(__fmaf_rn(largest[half], factor, -safe));
        largest[half] = top;
        float total[2] = {0, 0};
#pragma unroll
        for (int j = 0; j < 8; ++j) {
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                float& s = score[4 * j + 2 * half + e];
                s = power_of_two(__fmaf_rn(s, factor, -safe));
                total[e] = __fadd_rn(total[e], s);
            }
        }
        weight[half] = __fmaf_rn(weight[half], scale[half], __fadd_rn(total[0], total[1])); // of this lane's keys
    }
}

// As the tensor cores take them. Not before the values' product is through that reads the ones before.
__device__ __forceinline__ void round_weights(const float (&score)[32], std::uint32_t (&weights)[4][4]) {
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
            weights[j / 2][(j & 1) * 2 + half] = pack_half2(score[4 * j + 2 * half], score[4 * j + 2 * half + 1]);
}

template <int dims>
__device__ __forceinline__ void attend(const FlashArgs& args, const PromptPlace& place, const AttentionItem& item,
                                       const StepSequence& sequence, int kv_head) {
    using Shape = PromptShape<dims>;
    const int thread = static_cast<int>(threadIdx.x) % 128, warp = thread / 32, lane = thread % 32;
    const int warpgroup = static_cast<int>(threadIdx.x) / 128;
    const StepRow* const step_rows = args.state->row + sequence.first_row;
    const std::uint32_t queries = place.queries + static_cast<std::uint32_t>(warpgroup * Shape::tile_bytes);
    constexpr int columns = dims / 8;
#pragma unroll 4
    for (int i = thread; i < 64 * columns; i += 128) {
        const int query = i / columns, column = i % columns, index = warpgroup * 64 + query;
        const int absolute = item.first_query + min(index, item.queries - 1);
        const int row = sequence.first_row + absolute / args.group, head = kv_head * args.group + absolute % args.group;
        copy_piece(queries + in_panels(query, column),
                   args.queries + (static_cast<std::size_t>(row) * args.heads + head) * dims + column * 8, index < item.queries);
    }
    copies_commit();

    PromptRows rows;
    rows.all_begin = 0, rows.all_end = INT_MAX;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int index = warpgroup * 64 + warp * 16 + lane / 4 + 8 * half;
        const bool valid = index < item.queries;
        const int row = (item.first_query + min(index, item.queries - 1)) / args.group;
        rows.row[half] = valid ? row : -1;
        rows.end[half] = step_rows[row].position + 1;
        rows.begin[half] = args.window > 0 ? max(0, rows.end[half] - args.window) : 0;
        if (args.bidirectional) rows.end[half] = sequence.committed + sequence.rows;
        rows.all_begin = max(rows.all_begin, rows.begin[half]);
        rows.all_end = min(rows.all_end, rows.end[half]);
    }
    for (int offset = 4; offset < 32; offset *= 2) {
        rows.all_begin = max(rows.all_begin, __shfl_xor_sync(0xffffffffu, rows.all_begin, offset));
        rows.all_end = min(rows.all_end, __shfl_xor_sync(0xffffffffu, rows.all_end, offset));
    }
    copies_wait<0>();
    shared_fence();
    ptx::warpgroup_sync(static_cast<std::uint32_t>(warpgroup));

    float score[32], sum[dims / 2], largest[2] = {-INFINITY, -INFINITY}, weight[2] = {0, 0}, scale[2];
    std::uint32_t weights[4][4];
#pragma unroll
    for (int i = 0; i < dims / 2; ++i) sum[i] = 0;
    Ring keys, values;
    const auto start_scores = [&] {
        const auto at = static_cast<std::uint32_t>(keys.at);
        ptx::barrier_wait(place.keys_full + at * 8, keys.parity);
        const std::uint32_t a = ptx::descriptor_low(queries), b = ptx::descriptor_low(place.keys + at * Shape::tile_bytes);
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < dims / 16; ++step) {
            const auto by = static_cast<std::uint32_t>(step / 4 * (Shape::panel_bytes / 16)) +
                            static_cast<std::uint32_t>(step % 4) * ptx::descriptor_step;
            ptx::wgmma(score, ptx::descriptor(a + by), ptx::descriptor(b + by), step > 0);
        }
        ptx::wgmma_commit();
    };
    const auto start_values = [&] {
        const auto at = static_cast<std::uint32_t>(values.at);
        ptx::barrier_wait(place.values_full + at * 8, values.parity);
        const std::uint32_t b = ptx::transposed_descriptor_low(place.values + at * Shape::tile_bytes, Shape::panel_bytes);
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < 4; ++step)
            ptx::wgmma_transposed(sum, weights[step], ptx::descriptor(b + static_cast<std::uint32_t>(step) * (16 * 128 / 16)));
        ptx::wgmma_commit();
    };
    const auto give = [&](std::uint32_t empty, Ring& ring) {
        if (lane == 0) ptx::barrier_arrive(empty + static_cast<std::uint32_t>(ring.at) * 8);
        ring.advance(Shape::stages);
    };

    start_scores();
    ptx::wgmma_wait<0>();
    give(place.keys_empty, keys);
    weigh(score, args.scale, rows, item.key_begin, largest, weight, scale);
    round_weights(score, weights);
#pragma unroll 1
    for (int tile = item.key_begin + prompt_keys; tile < item.key_end; tile += prompt_keys) {
        start_scores();
        start_values();
        ptx::wgmma_wait<1>();
        give(place.keys_empty, keys);
        weigh(score, args.scale, rows, tile, largest, weight, scale);
        ptx::wgmma_wait<0>();
        give(place.values_empty, values);
        if (__any_sync(0xffffffffu, scale[0] != 1 || scale[1] != 1)) {
#pragma unroll
            for (int i = 0; i < dims / 2; ++i) sum[i] = __fmul_rn(sum[i], scale[i / 2 % 2]);
        }
        round_weights(score, weights);
    }
    start_values();
    ptx::wgmma_wait<0>();

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float all = __fadd_rn(weight[half], __shfl_xor_sync(0xffffffffu, weight[half], 1));
        all = __fadd_rn(all, __shfl_xor_sync(0xffffffffu, all, 2));
        if (rows.row[half] < 0) continue;
        const float inverse = 1.0f / all;
        const int absolute = item.first_query + warpgroup * 64 + warp * 16 + lane / 4 + 8 * half;
        const int row = sequence.first_row + rows.row[half], head = kv_head * args.group + absolute % args.group;
        const std::size_t at = (static_cast<std::size_t>(row) * args.heads + head) * dims;
        const float* const gate =
            args.gate ? args.gate + static_cast<std::size_t>(row) * args.gate_stride + head * args.gate_head_stride : nullptr;
#pragma unroll
        for (int j = 0; j < dims / 8; ++j) {
            const int dim = 8 * j + 2 * (lane & 3);
            float2 value{sum[4 * j + 2 * half] * inverse, sum[4 * j + 2 * half + 1] * inverse};
            if (gate) {
                const float2 g = *reinterpret_cast<const float2*>(gate + dim);
                value.x = __fdividef(value.x, 1.0f + __expf(-g.x));
                value.y = __fdividef(value.y, 1.0f + __expf(-g.y));
            }
            if (args.out) *reinterpret_cast<float2*>(args.out + at + dim) = value;
            args.operand.store2(static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(head * dims + dim), value.x, value.y);
        }
    }
}

#endif // LUCEBOX_SM90A

// blockIdx: item, KV head. Empty but on sm_90a, and its bounds of one warp tell the host so.
template <int dims>
__global__ void
#ifdef LUCEBOX_SM90A
__launch_bounds__(prompt_threads, 1)
#else
__launch_bounds__(32)
#endif
    prompt_attention(const FlashArgs args) {
#ifdef LUCEBOX_SM90A
    extern __shared__ std::byte prompt_memory[];
    const PromptPlace place = PromptPlace::carve<dims>(ptx::shared_address(prompt_memory));
    allow_next();
    if (threadIdx.x == 0) {
        for (std::uint32_t i = 0; i < PromptShape<dims>::stages; ++i) {
            ptx::barrier_init(place.keys_full + i * 8, 4);
            ptx::barrier_init(place.values_full + i * 8, 4);
            ptx::barrier_init(place.keys_empty + i * 8, 8);
            ptx::barrier_init(place.values_empty + i * 8, 8);
        }
        ptx::barrier_init_fence();
    }
    __syncthreads();
    wait_for_previous();
    const AttentionItem item = args.work->item[blockIdx.x];
    const StepSequence& sequence = args.state->sequence[item.sequence];
    const int kv_head = static_cast<int>(blockIdx.y);
    if (threadIdx.x >= 256) {
        ptx::registers_down<40>();
        const std::size_t first_token = (static_cast<std::size_t>(sequence.slot) * args.kv_heads + kv_head) * args.capacity;
        copy_keys<dims>(place, item, reinterpret_cast<const __half*>(args.k.from(first_token, dims).values),
                        reinterpret_cast<const __half*>(args.v.from(first_token, dims).values));
    } else {
        ptx::registers_up<232>();
        attend<dims>(args, place, item, sequence, kv_head);
    }
#endif
}

FlashInstance prompt_instance(std::size_t head_dim); // 128 or 256

} // namespace lucebox::compute::cuda
