// The step kernel: one persistent launch for a segment of a step (record.h), for Hopper cards.
//
// A block has five warpgroups. Of the last, one thread streams weights, from all products of the segment, a step of a group
// by one copy; it never waits for other blocks; another copies activations, and waits at borders. Four warpgroups
// multiply, each its tile of a group: weights are expanded to f16 in registers and are the A operand of wgmma,
// activations its B operand in shared memory (expand.cuh, operand.cuh). Between products the same warps complete sums
// (flow.cuh) and norms (rows.cuh).
#pragma once

#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/expand.cuh"
#include "compute/cuda/matmul/wgmma.cuh"
#include "compute/cuda/step/flow.cuh"
#include "compute/cuda/step/heads.cuh"
#include "compute/cuda/step/rows.cuh"

#ifdef LUCEBOX_STEP_TRACE // point 0: the launches before are done; 1 + 2 i: record i is done, 2 + 2 i: and its border
                          // crossed
#define STEP_TRACE(at)                                                                                                 \
    if (s.trace && threadIdx.x == 0) s.trace[blockIdx.x * trace_points + (at)] = clock64()
#define STEP_TRACE_TIME(at)                                                               \
    if (s.trace && threadIdx.x == 0)                                                      \
    asm volatile("{.reg .b64 t; mov.u64 t, %%globaltimer; st.global.b64 [%0], t;}" ::"l"( \
                     s.trace + blockIdx.x * trace_points + 2 * most_records + 1 + (at))   \
                 : "memory")
#else
#define STEP_TRACE(at)
#define STEP_TRACE_TIME(at)
#endif

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

extern __shared__ std::byte memory[];

// Offsets in shared memory.
template <int n>
struct Place {
    std::uint32_t stages; // of the first stage, a multiple of 1024 as an address
    std::uint32_t slots;
    __device__ explicit Place(const StepSegment& s) {
        stages = (1024 - ptx::shared_address(memory) % 1024) % 1024;
        slots = stages + static_cast<std::uint32_t>(s.stages * stage_bytes(n));
    }
};

// Whether this block has any of a record.
__device__ __forceinline__ bool has_seat(const StepSegment& s, int i) {
    const Seats seats = s.seats[i];
    const int behind = static_cast<int>(blockIdx.x) - seats.first;
    return seats.count == 0 || (behind >= 0 ? behind : behind + static_cast<int>(gridDim.x)) < seats.count;
}

// The warp behind those that copy reads records ahead of all others: who is first waits for memory.
__device__ __forceinline__ void read_records_ahead(const StepSegment& s) {
    std::uint64_t all = 0;
    for (int i = 0; i < s.count; ++i) {
        if (!has_seat(s, i)) continue;
        const Record& r = s.record[i];
        all += reinterpret_cast<std::uint64_t>(r.parts.base) + reinterpret_cast<std::uint64_t>(r.up.base) + reinterpret_cast<std::uint64_t>(r.ready) +
               reinterpret_cast<std::uint64_t>(r.weights) + reinterpret_cast<std::uint64_t>(r.squares) + reinterpret_cast<std::uint64_t>(r.out);
        if (r.work == Work::heads) {
            const HeadsRecord& heads = s.heads[r.product];
            all += reinterpret_cast<std::uint64_t>(heads.layer.qkv) + reinterpret_cast<std::uint64_t>(heads.layer.norm) +
                   reinterpret_cast<std::uint64_t>(heads.layer.out) + reinterpret_cast<std::uint64_t>(heads.qkv_ready);
        }
    }
    if (all == 1) __trap(); // no sum of addresses
}

// One thread of warp 16. Lanes that copied a tile each took a way through all waits together, 260 clocks a copy.
template <int n>
__device__ __forceinline__ void stream_weights(const StepSegment& s, Barriers& shared, const Place<n>& place) {
    Ring ring, arrived; // where the next copy goes; the oldest copy that may still be under way
    int under_way = 0;
    const std::uint64_t once = ptx::policy_read_once();
    for (int i = 0; i < s.count; ++i) {
        if (!has_seat(s, i)) continue;
        const Record& r = s.record[i];
        if (r.work == Work::heads) fetch_head(s.heads[r.product]);
        if (r.work != Work::multiply) continue;
        const Share share = shared.share[r.product];
        if (!streamed(r.form)) continue;
        const int most = min(s.slots - 1, s.under_way);
        int tile = static_cast<int>(share.first) / r.units * group_tiles;
        const int unit = static_cast<int>(share.first) % r.units;
        TilePlace units = place_of_tile(r.form, tile, r.tiles, r.units);
        const std::byte* from = r.weights + units.at(unit);
        int of_group = r.units - unit; // steps left
        for (int left = share.steps; left > 0; --left) {
            wait_patiently(shared.empty[ring.at], ring.parity ^ 1);
            for (; under_way >= most; --under_way) {
                wait_patiently(shared.full[arrived.at], arrived.parity);
                arrived.advance(s.slots);
            }
            const auto bytes = static_cast<std::uint32_t>(units.stride);
            const std::uint32_t full = ptx::shared_address(&shared.full[ring.at]);
            ptx::barrier_expect(full, bytes);
            ptx::bulk_copy(ptx::shared_address(memory + place.slots + ring.at * s.slot_bytes), from, bytes, full, once);
            ring.advance(s.slots);
            ++under_way;
            from += units.stride;
            if (--of_group == 0) of_group = r.units, tile += group_tiles, units = place_of_tile(r.form, tile, r.tiles, r.units);
        }
    }
}

// The inputs of an operand that are known to be there: pieces of 128, of all rows.
class ReadyPieces {
public:
    __device__ __forceinline__ ReadyPieces(const std::uint32_t* ready, int pieces, std::uint32_t whole)
        : ready_(ready), pieces_(pieces), whole_(whole) {}

    // All lanes, each of which looks at a piece.
    __device__ __forceinline__ void wait_for(int first, int end, int lane) {
        if (!ready_ || (first >= first_ && end <= end_)) return;
        Patience patience;
        first_ = end_ = first;
        while (true) {
            const int piece = end_ + lane;
            const bool there = piece < pieces_ && ptx::load_acquire(ready_ + piece) >= whole_;
            end_ += __ffs(static_cast<int>(~__ballot_sync(~0u, there) | 1u << 31)) - 1;
            if (end_ >= end) break;
            patience.lose();
        }
        __syncwarp();
        async_proxy_fence(); // what was written as usual is read by bulk copies
    }

private:
    const std::uint32_t* ready_;
    int pieces_;
    std::uint32_t whole_;
    int first_ = 0, end_ = 0; // known
};

// Warp 17.
template <int n>
__device__ __forceinline__ void stream_activations(const StepSegment& s, Barriers& shared, const Place<n>& place,
                                                   int lane) {
    Ring ring;
    std::uint32_t borders = 0, layers = 0;
    const std::uint32_t row_bytes = s.rows * 128;
    for (int i = 0; i < s.count; ++i) {
        if (!has_seat(s, i)) continue;
        const Record& r = s.record[i];
        if (r.work == Work::multiply) {
            if (lane == 0)
                while (load_shared_acquire(&shared.borders) < borders || load_shared_acquire(&shared.layers) < layers) {
                }
            __syncwarp();
            async_proxy_fence();
            const Share share = shared.share[r.product];
            const int blocks = unit_inputs(r.form) / 64;
            ReadyPieces ready(r.ready, r.units * blocks / 2, r.whole_piece);
            int unit = static_cast<int>(share.first) % r.units;
            for (int left = share.steps; left > 0; --left) {
                wait_patiently(shared.stage_empty[ring.at], ring.parity ^ 1);
                ready.wait_for(unit * blocks / 2, (unit + 1) * blocks / 2, lane);
                if (lane == 0) {
                    const std::uint32_t full = ptx::shared_address(&shared.stage_full[ring.at]);
                    ptx::barrier_expect(full, static_cast<std::uint32_t>(blocks) * row_bytes);
                    const std::byte* const from = r.operand + static_cast<std::size_t>(unit * blocks) * row_bytes;
                    const std::uint32_t to = ptx::shared_address(memory + place.stages + ring.at * stage_bytes(n));
                    if (s.rows == n) {
                        ptx::bulk_copy(to, from, static_cast<std::uint32_t>(blocks) * row_bytes, full);
                    } else {
                        for (int b = 0; b < blocks; ++b)
                            ptx::bulk_copy(to + static_cast<std::uint32_t>(b * n * 128),
                                           from + static_cast<std::size_t>(b) * row_bytes, row_bytes, full);
                    }
                }
                ring.advance(s.stages);
                if (++unit == r.units) unit = 0;
            }
        }
        if (r.work == Work::heads || r.work == Work::replay) ++layers;
        if (r.sync) ++borders;
    }
}

// A warp that multiplies. Between products its state lies in shared memory: what is kept in registers meanwhile, the
// compiler spills in the loops of the products, too.
struct Consumer {
    Ring weights, stages;
    int warpgroup, warp, lane; // warp: of the warpgroup

    __device__ __forceinline__ explicit Consumer(const Barriers& shared) {
        const int thread = own_thread(), own = __shfl_sync(~0u, thread / 32, 0);
        warpgroup = own / 4, warp = own % 4, lane = thread % 32;
        weights = shared.rings[own].weights, stages = shared.rings[own].stages;
    }
    __device__ __forceinline__ void keep(Barriers& shared) const {
        __syncwarp();
        if (lane == 0) shared.rings[4 * warpgroup + warp] = {weights, stages};
        __syncwarp();
    }
};

// What is done with a block of a tile's weights, 64 inputs as f16: four steps of 16 inputs. sums += weights x activations
// of the stage at `stage`.
//
// Up to 16 rows, warps multiply for themselves (mma.sync, from registers alone), and nothing waits for a warpgroup; with
// more rows, activations in registers would be as many loads as weights, and wgmma reads them where they are. The bits are
// the same.
template <int n>
inline constexpr bool by_warp = n <= 16;

template <int n>
__device__ __forceinline__ void multiply_block(float (&sums)[n / 2], const std::uint32_t (&a)[16], std::uint32_t stage,
                                               int block, int lane) {
    if constexpr (by_warp<n>) {
        const auto row = static_cast<std::uint32_t>(lane % 8), piece = static_cast<std::uint32_t>(lane / 8);
        const std::uint32_t at = (stage + row * 128 + ((piece ^ row) << 4)); // the swizzle of operand.cuh
#pragma unroll
        for (int j = 0; j < n / 8; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                std::uint32_t b[4]; // of two steps
                ptx::load_matrices(b, (at ^ static_cast<std::uint32_t>(half * 64)) +
                                          static_cast<std::uint32_t>(block * n * 128 + j * 1024));
#pragma unroll
                for (int step = 0; step < 2; ++step)
                    ptx::mma(&sums[4 * j], &a[8 * half + 4 * step], b[2 * step], b[2 * step + 1]);
            }
    } else {
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < 4; ++step)
            ptx::wgmma(sums, a + 4 * step,
                       ptx::descriptor(stage + static_cast<std::uint32_t>(block * n * 128 / 16) +
                                       static_cast<std::uint32_t>(step) * ptx::descriptor_step));
        ptx::wgmma_commit();
        ptx::wgmma_wait<0>();
    }
}

// A tile's units of one share, from the first to the sums.
template <int n, Form form>
__device__ __forceinline__ void multiply_tile(const StepSegment& s, const Record& r, Barriers& shared,
                                              const Place<n>& place, Consumer& me, int tile, int unit, int units,
                                              float (&sums)[n / 2]) {
    constexpr int blocks = unit_inputs(form) / 64, planes = planes_of<form>();
    const bool live = tile < r.tiles; // else the warpgroup only passes on what the others read
    const __half2 power = __floats2half2_rn(r.number * 4096.0f, r.number);
    std::uint32_t weights[16]; // as f16. While one warpgroup's are multiplied, the other three make theirs.
#pragma unroll 1
    for (int i = 0; i < units; ++i) {
        wait(shared.stage_full[me.stages.at], me.stages.parity);
        if (live) {
            std::uint32_t b = ptx::shared_address(memory + place.stages + me.stages.at * stage_bytes(n));
            if constexpr (!by_warp<n>) b = __shfl_sync(~0u, ptx::descriptor_low(b), 0);
            auto run = [&](const auto& part, auto&& read) __attribute__((always_inline)) {
                Scales<form> scales;
                scales.load(part, me.lane, power);
                auto one = [&](int block, int plane, bool last) __attribute__((always_inline)) {
                    expand_block<form>(part, scales, block, plane, me.lane, weights);
                    if (last) read();
                    multiply_block<n>(sums, weights, b, block, me.lane);
                };
#pragma unroll
                for (int block = 0; block < blocks; ++block)
#pragma unroll
                    for (int plane = 0; plane < planes; ++plane)
                        one(block, plane, block == blocks - 1 && plane == planes - 1);
            };
            if constexpr (streamed(form)) {
                wait(shared.full[me.weights.at], me.weights.parity);
                run(SharedPart{memory + place.slots + me.weights.at * s.slot_bytes +
                               (me.warpgroup * 4 + me.warp) * part_bytes(form)},
                    [&] {
                        __syncwarp();
                        if (me.lane == 0) ptx::barrier_arrive(ptx::shared_address(&shared.empty[me.weights.at]));
                    });
            } else {
                const TilePlace units = place_of_tile(form, tile, r.tiles, r.units);
                run(GlobalPart{r.weights + units.at(unit + i) + me.warp * part_bytes(form)}, [] {});
            }
        } else if constexpr (streamed(form)) {
            wait(shared.full[me.weights.at], me.weights.parity); // who runs ahead must not give a slot back twice
            if (me.lane == 0) ptx::barrier_arrive(ptx::shared_address(&shared.empty[me.weights.at]));
        }
        if constexpr (streamed(form)) me.weights.advance(s.slots);
        __syncwarp();
        if (me.lane == 0) ptx::barrier_arrive(ptx::shared_address(&shared.stage_empty[me.stages.at]));
        me.stages.advance(s.stages);
    }
}

// A tile's part of a sum, as true values. sums[4 j + i] of a thread: output 16 warp + lane / 4 + 8 (i / 2) of the tile,
// row 8 j + 2 (lane % 4) + i % 2.
template <int n>
__device__ __forceinline__ void store_part(const StepSegment& s, const Record& r, const Consumer& me, std::uint32_t marks,
                                           int tile, std::uint16_t slot, const float (&sums)[n / 2]) {
    if (tile >= r.tiles) return;
    const float factor = 1.0f / (r.number * operand_scale); // of powers of two: exact
    const int group = tile / group_tiles;
    const auto place = static_cast<std::size_t>(slot != base_slot ? slot : r.parts.wide ? blockIdx.x
                                                                                        : group);
    Part<n>* const to = reinterpret_cast<Part<n>*>(slot == base_slot ? r.parts.base : r.parts.extra) +
                        place * s.rows * group_outputs + tile % group_tiles * 64 + me.warp * 16 + me.lane / 4;
    const std::uint32_t mark = marks | r.parts.index;
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < n / 8; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const std::uint32_t row = static_cast<std::uint32_t>(8 * j + 2 * (me.lane % 4) + e);
                if (row >= s.rows) continue;
                if constexpr (marks_parts<n>)
                    ptx::store_word(to + row * group_outputs + 8 * i, marked(sums[4 * j + 2 * i + e] * factor, mark));
                else
                    to[row * group_outputs + 8 * i] = sums[4 * j + 2 * i + e] * factor;
            }
}

// Of a wide product, a tile's whole sums: the result.
template <int n>
__device__ __forceinline__ void store_result(const StepSegment& s, const Record& r, const Consumer& me, int tile,
                                             const float (&sums)[n / 2]) {
    if (tile >= r.tiles) return;
    const float factor = 1.0f / (r.number * operand_scale);
    const int output = tile * 64 + me.warp * 16 + me.lane / 4;
#pragma unroll
    for (int j = 0; j < n / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const std::uint32_t row = static_cast<std::uint32_t>(8 * j + 2 * (me.lane % 4) + e);
#pragma unroll
            for (int i = 0; i < 2; ++i)
                if (row < s.rows && output + 8 * i < r.outputs)
                    r.out[row * static_cast<std::size_t>(r.outputs) + output + 8 * i] = sums[4 * j + 2 * i + e] * factor;
        }
}

template <int n>
__device__ __forceinline__ void multiply(const StepSegment& s, const Record& r, Barriers& shared) {
    Consumer me(shared);
    const Place<n> place(s);
    const Share share = shared.share[r.product];
    const int group = static_cast<int>(share.first) / r.units;
    int unit = static_cast<int>(share.first) - group * r.units, tile = group * group_tiles + me.warpgroup;
    std::uint16_t slot = share.slot;
    for (int left = share.steps; left > 0;) {
        const int units = min(r.units - unit, left);
        float sums[n / 2] = {};
        switch (r.form) {
#define LUCEBOX_FORM(form)                                                                                             \
    case Form::form: multiply_tile<n, Form::form>(s, r, shared, place, me, tile, unit, units, sums); break;
            LUCEBOX_FORM(q4_0)
            LUCEBOX_FORM(q4_1)
            LUCEBOX_FORM(q5_0)
            LUCEBOX_FORM(q5_1)
            LUCEBOX_FORM(q8_0)
            LUCEBOX_FORM(q2_k)
            LUCEBOX_FORM(q3_k)
            LUCEBOX_FORM(q4_k)
            LUCEBOX_FORM(q5_k)
            LUCEBOX_FORM(q6_k)
            LUCEBOX_FORM(iq4_nl)
            LUCEBOX_FORM(iq4_xs)
            LUCEBOX_FORM(f16)
            LUCEBOX_FORM(f32)
#undef LUCEBOX_FORM
        }
        if (r.parts.wide && units == r.units)
            store_result<n>(s, r, me, tile, sums);
        else
            store_part<n>(s, r, me, shared.marks, tile, slot, sums);
        if constexpr (!marks_parts<n>) count<consumer_warps>(r.parts.done + tile / group_tiles);
        left -= units, unit = 0, slot = base_slot, tile += group_tiles;
    }
    me.keep(shared);
}

// The records from `i` on that go row by row, up to the border behind them: those of one row after the other.
template <int n>
__device__ __forceinline__ int run_rows(const StepSegment& s, std::uint32_t marks, int i) {
    int end = i;
    while (!s.record[end].sync)
        ++end;
    const int width = s.record[i].outputs, whole = consumer_warps * piece_outputs;
    RowPlace place;
    place.rows = s.rows, place.marks = marks;
    place.slices = max(1, min(static_cast<int>(gridDim.x / s.rows), (width + whole - 1) / whole));
    place.warp = own_thread() / 32, place.lane = own_thread() % 32;
    const int seats = place.slices * static_cast<int>(s.rows);
    for (int seat = static_cast<int>(blockIdx.x); seat < seats; seat += static_cast<int>(gridDim.x)) {
        place.row = static_cast<std::uint32_t>(seat / place.slices), place.slice = seat % place.slices;
        RowExchange exchange{s.sums, s.counts};
        KeptRow kept{};
        for (int k = i; k <= end; ++k) {
            const Record& r = s.record[k];
            if (r.work == Work::finish_row) {
                finish_row<Part<n>>(r, place, kept);
                continue;
            }
            norm_row(r, place, kept, exchange);
            exchange.sums += most_rows * most_pieces, exchange.counts += most_rows;
        }
    }
    return end;
}

template <int n>
__device__ __forceinline__ void run_segment(const StepSegment& s) {
    __shared__ Barriers shared;
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0), lane = static_cast<int>(threadIdx.x) % 32;
    allow_next();
    if (threadIdx.x == 0) {
        for (int i = 0; i < s.slots; ++i) {
            ptx::barrier_init(ptx::shared_address(&shared.full[i]), 1);
            ptx::barrier_init(ptx::shared_address(&shared.empty[i]), consumer_warps);
        }
        for (int i = 0; i < s.stages; ++i) {
            ptx::barrier_init(ptx::shared_address(&shared.stage_full[i]), 1);
            ptx::barrier_init(ptx::shared_address(&shared.stage_empty[i]), consumer_warps);
        }
        shared.borders = shared.layers = 0;
        ptx::barrier_init_fence();
    }
    if (warp < consumer_warps && lane == 0) shared.rings[warp] = {};
    if (warp == consumer_warps)
        for (int i = lane; i < s.count; i += 32)
            if (s.record[i].work == Work::multiply) shared.share[s.record[i].product] = s.record[i].shares[blockIdx.x];
    __syncthreads();
    const Place<n> place(s);
    if (warp >= consumer_warps) {
        ptx::registers_down<copier_registers>();
        if (warp == consumer_warps && lane == 0) stream_weights<n>(s, shared, place);
        if (warp == consumer_warps + 1) {
            wait_for_previous();
            stream_activations<n>(s, shared, place, lane);
        }
        if (warp == consumer_warps + 2) read_records_ahead(s);
    } else {
        ptx::registers_up<consumer_registers>();
        wait_for_previous();
        if (threadIdx.x == 0) shared.target = __ldcg(s.arrivals + 1), shared.marks = marks_of(s.step);
        sync_consumers();
        STEP_TRACE(0);
        STEP_TRACE_TIME(0);
        for (int i = 0; i < s.count; ++i) {
            if (!has_seat(s, i)) continue;
            const Record& r = s.record[i];
            switch (r.work) {
            case Work::multiply: multiply<n>(s, r, shared); break;
            case Work::finish: finish<n>(r, s.rows, shared.marks); break;
            case Work::gate: gate<n>(r, s.rows, shared.marks); break;
            case Work::convert: convert(r, s.rows); break;
            case Work::replay:
            case Work::heads:
                if (r.work == Work::replay)
                    replay_heads(r, s.heads[r.product], memory + place.stages);
                else
                    walk_heads(r, s.heads[r.product], memory + place.stages);
                sync_consumers();
                if (threadIdx.x == 0) raise_shared_release(&shared.layers);
                break;
            default: i = run_rows<n>(s, shared.marks, i); break;
            }
            STEP_TRACE(1 + 2 * i);
            if (s.record[i].sync) cross_border(s.arrivals, shared);
            if (r.work >= Work::finish_row && blockIdx.x == 0 && threadIdx.x < most_norms * most_rows)
                s.counts[threadIdx.x] = 0;
            STEP_TRACE(2 + 2 * i);
        }
        STEP_TRACE_TIME(1);
        // Every block has read where the count began, if this one is past a border.
        if (blockIdx.x == 0 && threadIdx.x == 0 && load_shared_acquire(&shared.borders) > 0) s.arrivals[1] = shared.target;
    }
}

#endif // LUCEBOX_SM90A

// Elsewhere the kernel is empty, and its bounds of one warp tell the host so.
template <int n>
__global__ void
#ifdef LUCEBOX_SM90A
__launch_bounds__(threads, 1)
#else
__launch_bounds__(32)
#endif
    step_kernel(const __grid_constant__ StepSegment segment) {
#ifdef LUCEBOX_SM90A
    run_segment<n>(segment);
#endif
}

} // namespace lucebox::compute::cuda::step
