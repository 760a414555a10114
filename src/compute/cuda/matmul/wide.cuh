// The product of prompts on Hopper cards: columns of 256 (or 128) rows. Weights travel packed, become f16 in registers
// and are the A operand of wgmma, as in stream.cuh; here a weight that was expanded meets 256 rows, so that expanding
// costs a fifth of the issue slots and the tensor cores never wait for it.
//
// A block is three warpgroups. One only copies, and gives most of its registers to the others: a warp brings the
// activations, which both blocks of the cluster share (each copies half of every stage to both), and one for each of the
// other warpgroups brings its tile's weights. The other two multiply: while the tensor cores work on one block of 64
// inputs, a warp expands the next one's weights. Nothing is drained before a tile is complete.
//
// What a cluster does next, the thread that copies its first block's activations takes from a counter, when it has asked for all of
// the item before, and tells everybody. The result does not depend on who takes what.
#pragma once

#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/expand.cuh"
#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/matmul/wgmma.cuh"
#include "compute/cuda/matmul/wide_job.h"

namespace lucebox::compute::cuda {

#ifdef LUCEBOX_SM90A

extern __shared__ std::byte wide_memory[];

// Where things lie in shared memory, and who asks. Barriers: addresses.
struct WidePlace {
    std::uint32_t activations, activations_full, activations_empty;
    std::uint32_t weights;                 // offset from the start: of warpgroup 0; [slots] for each
    std::uint32_t weights_full, weights_empty; // [warpgroup][slots]
    std::uint32_t exchange;                // offset from the start
    std::uint32_t queue, queue_full, queue_empty; // items; barriers
    std::uint32_t rank, seat, seats;       // of the block in its cluster; of the cluster

    template <int n>
    __device__ static WidePlace carve(const WideJob& job, int unit_bytes) {
        WidePlace p;
        p.rank = ptx::cluster_rank(), p.seat = blockIdx.x / wide_blocks, p.seats = gridDim.x / wide_blocks;
        const std::uint32_t start = ptx::shared_address(wide_memory);
        std::uint32_t at = (start + 1023) / 1024 * 1024;
        p.activations = at;
        at += static_cast<std::uint32_t>(job.stages * n * 128);
        p.weights = at - start;
        at += static_cast<std::uint32_t>(2 * job.slots * unit_bytes);
        p.exchange = at - start;
        if (job.gated) at += static_cast<std::uint32_t>(wide_exchange_bytes);
        p.activations_full = at;
        p.activations_empty = at += static_cast<std::uint32_t>(job.stages * 8);
        p.weights_full = at += static_cast<std::uint32_t>(job.stages * 8);
        p.weights_empty = at += static_cast<std::uint32_t>(job.slots * 16);
        p.queue_full = at += static_cast<std::uint32_t>(job.slots * 16);
        p.queue_empty = at += wide_queue * 8;
        p.queue = at + wide_queue * 8;
        return p;
    }
};

// The tile of a warpgroup in an item's group.
__device__ __forceinline__ bool find_wide_tile(const WideJob& job, int group, std::uint32_t rank, int warpgroup,
                                               Tile& found) {
    if (job.gated) {
        found = {warpgroup, group * wide_blocks + static_cast<int>(rank)};
        return found.tile < job.tiles;
    }
    int index = (group * wide_blocks + static_cast<int>(rank)) * 2 + warpgroup;
    if (index >= job.tiles) return false;
    found.target = 0;
    while (index >= job.target[found.target].tiles)
        index -= job.target[found.target++].tiles;
    found.tile = index;
    return true;
}

// A reader's way through its cluster's items: all threads of a warp, or one.
struct WideItems {
    int item;
    Ring ring;

    __device__ explicit WideItems(const WidePlace& place) : item(static_cast<int>(place.seat)) {}
    __device__ __forceinline__ void next(const WidePlace& place, bool whole_warp) {
        const auto at = static_cast<std::uint32_t>(ring.at);
        ptx::barrier_wait_cluster(place.queue_full + at * 8, ring.parity);
        item = static_cast<int>(ptx::load_shared(place.queue + at * 8));
        if (whole_warp) __syncwarp();
        if (!whole_warp || threadIdx.x % 32 == 0) ptx::barrier_arrive_at(place.queue_empty + at * 8, 0);
        ring.advance(wide_queue);
    }
};
// The first block's: takes the next item and tells both blocks.
__device__ __forceinline__ void take_item(const WideJob& job, const WidePlace& place, int items, WideItems& at) {
    const auto slot = static_cast<std::uint32_t>(at.ring.at);
    ptx::barrier_wait(place.queue_empty + slot * 8, at.ring.parity ^ 1);
    const std::uint32_t taken = atomicAdd(job.counter, 1u);
    if (taken == static_cast<std::uint32_t>(items) - 1) *job.counter = 0; // nobody asks any more
    at.item = static_cast<int>(place.seats + taken);
    for (std::uint32_t rank = 0; rank < wide_blocks; ++rank)
        ptx::tell(place.queue + slot * 8, place.queue_full + slot * 8, rank, static_cast<std::uint32_t>(at.item));
}

// One thread: this block's half of every stage, to both blocks.
template <int n, Form form>
__device__ __forceinline__ void copy_activations(const WideJob& job, const WidePlace& place) {
    Ring ring{0, 1};
    const int blocks = job.units * (unit_inputs(form) / 64), items = job.groups * job.columns;
    const std::uint32_t half = place.rank * (n / 2);
    WideItems at_item(place);
    while (at_item.item < items) {
        const std::uint32_t row = job.first_row + static_cast<std::uint32_t>(at_item.item % job.columns * n);
        const std::uint32_t rows = min(static_cast<std::uint32_t>(n), job.rows - row);
        const std::uint32_t mine = min(rows - min(rows, half), static_cast<std::uint32_t>(n / 2));
        const std::byte* from = job.operand + static_cast<std::size_t>(row + half) * 128;
        for (int block = 0; block < blocks; ++block) {
            const auto at = static_cast<std::uint32_t>(ring.at);
            ptx::barrier_wait(place.activations_empty + at * 8, ring.parity);
            ptx::barrier_expect(place.activations_full + at * 8, rows * 128);
            if (mine > 0)
                ptx::bulk_copy_multicast(place.activations + (at * n + half) * 128, from, mine * 128,
                                         place.activations_full + at * 8, (1 << wide_blocks) - 1);
            from += static_cast<std::size_t>(job.rows) * 128;
            ring.advance(job.stages);
        }
        if (place.rank == 0) take_item(job, place, items, at_item);
        at_item.next(place, false);
    }
}

// One thread: the weights of a warpgroup's tiles, unit by unit.
template <Form form>
__device__ __forceinline__ void copy_weights(const WideJob& job, const WidePlace& place, int warpgroup) {
    Ring ring{0, 1};
    const int items = job.groups * job.columns;
    const std::uint32_t first = static_cast<std::uint32_t>(warpgroup * job.slots);
    for (WideItems at(place); at.item < items; at.next(place, false)) {
        Tile tile;
        if (!find_wide_tile(job, at.item / job.columns, place.rank, warpgroup, tile)) continue;
        const JobTarget& target = job.target[tile.target];
        const TilePlace units = place_of_tile(form, tile.tile, target.tiles, job.units);
        const std::byte* from = target.units + units.first;
        for (int unit = 0; unit < job.units; ++unit) {
            const std::uint32_t slot = first + static_cast<std::uint32_t>(ring.at);
            ptx::barrier_wait(place.weights_empty + slot * 8, ring.parity);
            ptx::barrier_expect(place.weights_full + slot * 8, unit_bytes(form));
            ptx::bulk_copy(ptx::shared_address(wide_memory) + place.weights + slot * unit_bytes(form), from,
                           unit_bytes(form), place.weights_full + slot * 8);
            from += units.stride;
            ring.advance(job.slots);
        }
    }
}

// A warpgroup's rings: what is read next, and the stage that is given back next.
struct WideRings {
    Ring weights, activations, given;
};

__device__ __forceinline__ void give_stage(const WideJob& job, const WidePlace& place, WideRings& rings, int lane) {
    if (lane < wide_blocks)
        ptx::barrier_arrive_at(place.activations_empty + static_cast<std::uint32_t>(rings.given.at) * 8,
                               static_cast<std::uint32_t>(lane));
    rings.given.advance(job.stages);
}

// The sums of one tile and column. All threads of a warpgroup.
template <int n, Form form>
__device__ __forceinline__ void multiply_wide(const WideJob& job, const WidePlace& place, WideRings& rings, int warpgroup,
                                              const Tile& tile, float (&sums)[n / 2]) {
    constexpr int blocks = unit_inputs(form) / 64, planes = planes_of<form>();
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const __half2 power = power_of(*job.target[tile.target].header);
#pragma unroll
    for (int i = 0; i < n / 2; ++i)
        sums[i] = 0;
    std::uint32_t registers[2][16]; // weights as f16: one block's are multiplied while the next one's are made
#pragma unroll 1
    for (int unit = 0; unit < job.units; ++unit) {
        const std::uint32_t slot = static_cast<std::uint32_t>(warpgroup * job.slots + rings.weights.at);
        ptx::barrier_wait(place.weights_full + slot * 8, rings.weights.parity);
        const SharedPart part{wide_memory + place.weights + slot * unit_bytes(form) + warp * part_bytes(form)};
        Scales<form> scales;
        scales.load(part, lane, power);
#pragma unroll
        for (int i = 0; i < blocks * planes; ++i) {
            const int block = i / planes, plane = i % planes;
            std::uint32_t(&a)[16] = registers[i % 2];
            expand_block<form>(part, scales, block, plane, lane, a);
            const auto at = static_cast<std::uint32_t>(rings.activations.at);
            if (plane == 0) ptx::barrier_wait(place.activations_full + at * 8, rings.activations.parity);
            const std::uint32_t b = ptx::descriptor_low(place.activations + at * (n * 128));
            if (i == blocks * planes - 1) { // the weights have been read
                __syncwarp();
                if (lane == 0) ptx::barrier_arrive(place.weights_empty + slot * 8);
            }
            ptx::wgmma_fence();
#pragma unroll
            for (int step = 0; step < 4; ++step)
                ptx::wgmma(sums, a + 4 * step, ptx::descriptor(b + static_cast<std::uint32_t>(step) * ptx::descriptor_step));
            ptx::wgmma_commit();
            ptx::wgmma_wait<1>(); // the group before: the other registers are free
            if (plane == planes - 1) rings.activations.advance(job.stages);
            if (plane == 0 && (block > 0 || unit > 0)) give_stage(job, place, rings, lane);
        }
        rings.weights.advance(job.slots);
    }
    ptx::wgmma_wait<0>();
    give_stage(job, place, rings, lane);
}

// activation(gate) * up: warpgroup 0 has the gate's sums and finishes the first half of the rows, warpgroup 1 those of the
// up projection, and the other half. They hand each other what they lack, 16 rows at a time.
template <int n, Activation activation>
__device__ __forceinline__ void finish_gated(const WideJob& job, const WidePlace& place, int warpgroup, const Tile& tile,
                                             const float (&sums)[n / 2], std::uint32_t first_row) {
    constexpr int rounds = n / 32;
    const float gate_factor = job.target[0].header->inverse * (1 / operand_scale);
    const float up_factor = job.target[1].header->inverse * (1 / operand_scale);
    const int thread = static_cast<int>(threadIdx.x) % warpgroup_threads;
    auto* const exchange = reinterpret_cast<float*>(wide_memory + place.exchange) + thread;
    const Operand out{job.out_operand, job.rows};
    const auto outputs = static_cast<std::uint32_t>(job.target[0].outputs);
#pragma unroll
    for (int round = 0; round < rounds; ++round) {
        // Two buffers of two times 8 values a thread.
        float* const buffer = exchange + round % 2 * 16 * warpgroup_threads;
        float* const mine = buffer + warpgroup * 8 * warpgroup_threads;
        const float* const other = buffer + (1 - warpgroup) * 8 * warpgroup_threads;
#pragma unroll
        for (int i = 0; i < 8; ++i)
            mine[i * warpgroup_threads] = warpgroup == 0 ? sums[n / 4 + 8 * round + i] : sums[8 * round + i];
        asm volatile("bar.sync 3, 256;" ::: "memory");
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float value[2];
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const int i = 4 * j + 2 * r + e;
                    const float own = warpgroup == 0 ? sums[8 * round + i] : sums[n / 4 + 8 * round + i];
                    const float received = other[i * warpgroup_threads];
                    const float gate = warpgroup == 0 ? own : received, up = warpgroup == 0 ? received : own;
                    value[e] = __fmul_rn(activated(activation, __fmul_rn(gate, gate_factor)), __fmul_rn(up, up_factor));
                }
                const std::uint32_t row = first_row + static_cast<std::uint32_t>(warpgroup * (n / 2) + 16 * round + 8 * j);
                store_neighbours(out, outputs, tile.tile * 64 + 8 * r, row, value, thread);
            }
    }
}

template <int n, Form form>
__device__ __forceinline__ void wide_block(const WideJob& job) {
    const WidePlace place = WidePlace::carve<n>(job, unit_bytes(form));
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    if (threadIdx.x == 0) {
        for (std::uint32_t i = 0; i < wide_queue; ++i) {
            ptx::barrier_init(place.queue_full + i * 8, 1);
            ptx::barrier_init(place.queue_empty + i * 8, wide_readers * wide_blocks);
        }
        for (int i = 0; i < job.stages; ++i) {
            ptx::barrier_init(place.activations_full + static_cast<std::uint32_t>(i) * 8, 1);
            ptx::barrier_init(place.activations_empty + static_cast<std::uint32_t>(i) * 8, wide_warps * wide_blocks);
        }
        for (int i = 0; i < 2 * job.slots; ++i) {
            ptx::barrier_init(place.weights_full + static_cast<std::uint32_t>(i) * 8, 1);
            ptx::barrier_init(place.weights_empty + static_cast<std::uint32_t>(i) * 8, 4);
        }
        ptx::barrier_init_fence();
    }
    __syncthreads();
    ptx::cluster_arrive();
    ptx::cluster_wait();

    if (warp >= wide_warps) {
        ptx::registers_down<40>();
        if (lane == 0 && warp < wide_warps + 2) copy_weights<form>(job, place, warp - wide_warps); // they never change
        if (lane == 0 && warp == wide_warps + 2) {
            if (!job.joined) wait_for_previous();
            allow_next();
            copy_activations<n, form>(job, place);
            if (job.joined) wait_for_previous();
        }
        __syncwarp();
    } else {
        ptx::registers_up<232>();
        if (!job.joined) wait_for_previous();
        const int warpgroup = warp / 4;
        const int items = job.groups * job.columns;
        WideRings rings;
#pragma unroll 1
        for (WideItems at(place); at.item < items; at.next(place, true)) {
            Tile tile;
            const std::uint32_t first_row = job.first_row + static_cast<std::uint32_t>(at.item % job.columns * n);
            if (!find_wide_tile(job, at.item / job.columns, place.rank, warpgroup, tile)) {
                for (int block = 0; block < job.units * (unit_inputs(form) / 64); ++block) {
                    ptx::barrier_wait(place.activations_full + static_cast<std::uint32_t>(rings.activations.at) * 8,
                                      rings.activations.parity);
                    __syncwarp();
                    give_stage(job, place, rings, lane);
                    rings.activations.advance(job.stages);
                }
                continue;
            }
            float sums[n / 2];
            multiply_wide<n, form>(job, place, rings, warpgroup, tile, sums);
            if (job.gated && job.activation == Activation::silu)
                finish_gated<n, Activation::silu>(job, place, warpgroup, tile, sums, first_row);
            else if (job.gated)
                finish_gated<n, Activation::gelu_tanh>(job, place, warpgroup, tile, sums, first_row);
            else
                store_tile<n>(job, sums, tile, first_row, static_cast<int>(threadIdx.x) % warpgroup_threads);
        }
    }
    // The other block writes into this one's memory and barriers until it is through.
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

#endif // LUCEBOX_SM90A

// One kernel for each form, and empty elsewhere: as in stream.cuh.
template <int n, Form form>
__global__ void
#ifdef LUCEBOX_SM90A
__launch_bounds__(wide_threads, 1)
#else
__launch_bounds__(32)
#endif
    wide_kernel(const __grid_constant__ WideJob job) {
#ifdef LUCEBOX_SM90A
    wide_block<n, form>(job);
#endif
}

template <int n>
WideKernel wide_kernel_of(Form form) {
    return with_form(form, [&]<Form f>() -> WideKernel { return wide_kernel<n, f>; });
}

} // namespace lucebox::compute::cuda
