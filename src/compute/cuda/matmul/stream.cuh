// The product on Hopper cards: weights stream through shared memory into registers, become f16 there and are the A
// operand of wgmma; activations are its B operand in shared memory. One thread block an SM and, up to 32 rows, half of
// its memory and registers, so that the blocks of the next launch can begin to read their weights while this one ends.
//
// A block is two warpgroups. Each warp keeps its own ring of weight parts full: it alone reads them, so no barrier
// between warps is needed. The activations are shared by both blocks of the cluster: thread 0 of each block copies half
// of a stage (64 of 128 inputs) to both. There is no warp just for copying: a ninth warp would cost every other one a
// quarter of its registers.
#pragma once

#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/expand.cuh"
#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/matmul/kernels.h"
#include "compute/cuda/matmul/wgmma.cuh"

namespace lucebox::compute::cuda {

#ifdef LUCEBOX_SM90A

extern __shared__ std::byte stream_memory[];

// The copies of activations. Thread 0 alone keeps it, in shared memory: to spare every thread the registers, and
// because a job's fields are far away when a function reads them through a reference.
struct ActivationFeed {
    const std::byte* from;
    std::uint32_t stride;          // bytes from a stage to the next one's in `from`
    std::uint32_t bytes;           // of half a stage
    std::uint32_t to, full, empty; // shared memory: this block's half of stage 0, its barriers
    WalkPoint walked;
    int left;  // stages of the segment
    int ahead; // stages copied that thread 0 has not read yet
    int stages;
    Ring ring;
};

// Where things lie in shared memory, and who asks.
struct StreamPlace {
    std::uint32_t activations, activations_full, activations_empty; // barriers: [stages]
    std::uint32_t weights;                                          // of this warp: [slots]; offset from the start
    std::uint32_t weights_full;                                     // of this warp: [slots]
    ActivationFeed* feed;
    std::uint32_t seat, seats, rank; // of the cluster; rank: of the block in its cluster
    int warpgroup, warp, lane;       // warp: of the warpgroup

    template <int n>
    __device__ static StreamPlace carve(const Job& job, std::byte* memory) {
        StreamPlace p;
        const int warp = static_cast<int>(threadIdx.x) / 32;
        p.warpgroup = warp / 4, p.warp = warp % 4, p.lane = static_cast<int>(threadIdx.x) % 32;
        p.rank = ptx::cluster_rank(), p.seat = blockIdx.x / stream_blocks, p.seats = gridDim.x / stream_blocks;
        const std::uint32_t start = ptx::shared_address(memory);
        memory += (1024 - start % 1024) % 1024;
        p.activations = ptx::shared_address(memory);
        memory += job.activation_stages * n * 256;
        p.weights =
            ptx::shared_address(memory) - start + static_cast<std::uint32_t>(warp * job.weight_slots * job.slot_bytes);
        memory += stream_warps * job.weight_slots * job.slot_bytes;
        p.weights_full = ptx::shared_address(memory) + static_cast<std::uint32_t>(warp * job.weight_slots * 8);
        memory += stream_warps * job.weight_slots * 8;
        p.activations_full = ptx::shared_address(memory);
        p.activations_empty = p.activations_full + static_cast<std::uint32_t>(job.activation_stages * 8);
        p.feed = reinterpret_cast<ActivationFeed*>(memory + job.activation_stages * 16);
        return p;
    }
    __device__ int lane_of_worker() const { return warpgroup * stream_blocks + static_cast<int>(rank); }
};

// The next segment's activations.
template <int n>
__device__ __noinline__ bool next_activations(const Job& job, const StreamPlace& place, ActivationFeed& feed) {
    Walk walk(job, place.seat, place.seats, feed.walked);
    Segment segment;
    if (!walk.next(segment)) return false;
    feed.walked = walk.at();
    const int pairs = unit_inputs(job.run[segment.run].form) / 128;
    const std::uint32_t row = static_cast<std::uint32_t>(segment.column * n);
    feed.left = (segment.last - segment.first) * pairs;
    feed.bytes = min(static_cast<std::uint32_t>(n), job.rows - row) * 128;
    const std::uint32_t block = static_cast<std::uint32_t>(segment.first * pairs * 2) + place.rank;
    feed.from = job.operand + (static_cast<std::size_t>(block) * job.rows + row) * 128;
    return true;
}

// Copies activations into every stage that is free, after thread 0 has read `read` more. It waits for a stage only if
// the next unit's are not yet under way: then the other warps, which it waits for, have all they need.
template <int n>
__device__ __forceinline__ void feed_activations(const Job& job, const StreamPlace& place, int read) {
    ActivationFeed& feed = *place.feed;
    feed.ahead -= read;
    for (;;) {
        if (feed.left == 0 && !next_activations<n>(job, place, feed)) break;
        const std::uint32_t index = static_cast<std::uint32_t>(feed.ring.at), empty = feed.empty + index * 8;
        if (!ptx::barrier_test(empty, feed.ring.parity)) {
            if (feed.ahead >= 2) break;
            ptx::barrier_wait(empty, feed.ring.parity);
        }
        const std::uint32_t full = feed.full + index * 8;
        ptx::barrier_expect(full, feed.bytes * 2);
        ptx::bulk_copy_multicast(feed.to + index * n * 256, feed.from, feed.bytes, full, (1 << stream_blocks) - 1);
        feed.from += feed.stride;
        --feed.left, ++feed.ahead;
        feed.ring.advance(feed.stages);
    }
}
template <int n>
__device__ __forceinline__ void begin_feed(const Job& job, const StreamPlace& place) {
    *place.feed = {nullptr,
                   job.rows * 256,
                   0,
                   place.activations + place.rank * n * 128,
                   place.activations_full,
                   place.activations_empty,
                   Walk::begin(job, place.seat, place.seats),
                   0,
                   0,
                   job.activation_stages,
                   {0, 1}};
    feed_activations<n>(job, place, 0);
}

// The weights that a warp will read: its parts of its warpgroup's tiles, segment after segment.
struct WeightSource {
    const std::byte* from[2]; // the next part of either tile
    WalkPoint walked;
    int units; // left of the segment
    int tiles;
    int stride[2]; // from a unit to the next
    int part_bytes;
};
// The next segment in which the warpgroup has a tile; units = 0: there is none.
__device__ __noinline__ WeightSource next_source(const Job& job, const StreamPlace& place, WalkPoint walked) {
    Walk walk(job, place.seat, place.seats, walked);
    WeightSource source{};
    Segment segment;
    while (source.tiles == 0 && walk.next(segment)) {
        const JobRun& run = job.run[segment.run];
        source.units = segment.last - segment.first;
        source.part_bytes = part_bytes(run.form);
#pragma unroll
        for (int t = 0; t < 2; ++t) {
            Tile tile;
            if (!find_tile(job, run, segment.group, place.lane_of_worker(), stream_lanes, t, tile)) break;
            const JobTarget& target = job.target[tile.target];
            const TilePlace units = place_of_tile(run.form, tile.tile, target.tiles, run.units);
            source.from[t] = target.units + units.at(segment.first) + place.warp * source.part_bytes;
            source.stride[t] = units.stride;
            source.tiles = t + 1;
        }
    }
    if (source.tiles == 0) source.units = 0;
    source.walked = walk.at();
    return source;
}

// A warp's ring of weight parts: what is copied next, and what is read next.
struct Stream {
    WeightSource source;
    int source_tile = 0;       // whose part is copied next
    int fill_at = 0;           // the slot it goes to
    Ring weights, activations; // what is read next

    // Copies the next part into the next slot, which this warp has read.
    __device__ __forceinline__ void fill(const Job& job, const StreamPlace& place) {
        if (source.units == 0) return;
        if (place.lane == 0) {
            const std::uint32_t full = place.weights_full + static_cast<std::uint32_t>(fill_at) * 8;
            ptx::barrier_expect(full, static_cast<std::uint32_t>(source.part_bytes));
            ptx::bulk_copy(ptx::shared_address(stream_memory + place.weights + fill_at * job.slot_bytes),
                           source_tile == 0 ? source.from[0] : source.from[1],
                           static_cast<std::uint32_t>(source.part_bytes), full);
        }
        if (++fill_at == job.weight_slots) fill_at = 0;
        if (++source_tile < source.tiles) return;
        source_tile = 0;
        source.from[0] += source.stride[0], source.from[1] += source.stride[1];
        if (--source.units == 0) source = next_source(job, place, source.walked);
    }
};

// One segment, from its first unit to its result.
template <int n, Form form>
__device__ __forceinline__ void multiply(const Job& job, const StreamPlace& place, Stream& stream,
                                         const Segment& segment) {
    Ring& weights = stream.weights;
    Ring& activations = stream.activations;
    const JobRun& run = job.run[segment.run];
    const int units = segment.last - segment.first;
    Tile tile[2];
    int tiles = 0;
    __half2 power[2] = {};
#pragma unroll
    for (int t = 0; t < 2; ++t)
        if (find_tile(job, run, segment.group, place.lane_of_worker(), stream_lanes, t, tile[t])) {
            power[t] = power_of(*job.target[tile[t].target].header);
            tiles = t + 1;
        }
    Sums<n> sums{};
    {
        constexpr int pairs = unit_inputs(form) / 128, planes = planes_of<form>();
        std::uint32_t even[16], odd[16]; // weights as f16: one block's are multiplied while the next one's are made
#pragma unroll 1
        for (int unit = 0; unit < units; ++unit) {
            Ring stage[pairs]; // the unit's activations
#pragma unroll
            for (int p = 0; p < pairs; ++p)
                stage[p] = activations, activations.advance(job.activation_stages);
#pragma unroll
            for (int t = 0; t < 2; ++t) {
                if (t >= tiles) continue;
                ptx::barrier_wait(place.weights_full + static_cast<std::uint32_t>(weights.at) * 8, weights.parity);
                const SharedPart part{stream_memory + place.weights + weights.at * job.slot_bytes};
                weights.advance(job.weight_slots);
                Scales<form> scales;
                scales.load(part, place.lane, power[t]);
                // One block of 64 inputs: expanded while the tensor cores work on the block before, from the other
                // registers.
                auto one = [&](int block, int plane, std::uint32_t(&registers)[16]) __attribute__((always_inline)) {
                    const Ring& at = stage[block / 2];
                    if (t == 0 && block % 2 == 0 && plane == 0)
                        ptx::barrier_wait(place.activations_full + static_cast<std::uint32_t>(at.at) * 8, at.parity);
                    const std::uint32_t b = ptx::descriptor_low(
                        place.activations + static_cast<std::uint32_t>(at.at * n * 256 + block % 2 * n * 128));
                    ptx::wgmma_wait<1>(); // the group that read these registers last
                    expand_block<form>(part, scales, block, plane, place.lane, registers);
                    ptx::wgmma_fence();
#pragma unroll
                    for (int step = 0; step < 4; ++step)
                        ptx::wgmma(sums.tile[t], registers + 4 * step,
                                   ptx::descriptor(b + static_cast<std::uint32_t>(step) * ptx::descriptor_step));
                    ptx::wgmma_commit();
                };
#pragma unroll
                for (int p = 0; p < pairs; ++p) {
                    if constexpr (planes == 1) {
                        one(2 * p, 0, even), one(2 * p + 1, 0, odd);
                    } else {
                        one(2 * p, 0, even), one(2 * p, 1, odd);
                        one(2 * p + 1, 0, even), one(2 * p + 1, 1, odd);
                    }
                }
            }
            ptx::wgmma_wait<0>();
            __syncwarp(); // every lane has read its weights and seen the sums
#pragma unroll
            for (int p = 0; p < pairs; ++p) {
                if (tiles == 0)
                    ptx::barrier_wait(place.activations_full + static_cast<std::uint32_t>(stage[p].at) * 8,
                                      stage[p].parity);
                if (place.lane < stream_blocks)
                    ptx::barrier_arrive_at(place.activations_empty + static_cast<std::uint32_t>(stage[p].at) * 8,
                                           static_cast<std::uint32_t>(place.lane));
            }
#pragma unroll 1
            for (int t = 0; t < tiles; ++t)
                stream.fill(job, place);
            if (threadIdx.x == 0) feed_activations<n>(job, place, pairs);
            __syncwarp();
        }
    }
    finish<n>(job, sums, tiles, segment, tile, place.rank * 2 + static_cast<std::uint32_t>(place.warpgroup),
              stream_lanes, static_cast<int>(threadIdx.x) % warpgroup_threads);
}

template <int n, Form form>
__device__ __forceinline__ void stream_block(const Job& job) {
    const StreamPlace place = StreamPlace::carve<n>(job, stream_memory);
    allow_next();
    // Weights do not wait for the launch before: fill the rings.
    if (place.lane == 0) {
#pragma unroll 1
        for (int i = 0; i < job.weight_slots; ++i)
            ptx::barrier_init(place.weights_full + static_cast<std::uint32_t>(i) * 8, 1);
        if (threadIdx.x == 0)
#pragma unroll 1
            for (int i = 0; i < job.activation_stages; ++i) {
                ptx::barrier_init(place.activations_full + static_cast<std::uint32_t>(i) * 8, 1);
                ptx::barrier_init(place.activations_empty + static_cast<std::uint32_t>(i) * 8,
                                  stream_warps * stream_blocks);
            }
        ptx::barrier_init_fence();
    }
    __syncwarp();
    Stream stream{next_source(job, place, Walk::begin(job, place.seat, place.seats)), 0, 0, {}, {}};
#pragma unroll 1
    for (int i = 0; i < job.weight_slots; ++i)
        stream.fill(job, place);
    ptx::cluster_arrive();
    ptx::cluster_wait();
    wait_for_previous();
    if (threadIdx.x == 0) begin_feed<n>(job, place);
    __syncwarp();

    Walk walk(job, place.seat, place.seats, Walk::begin(job, place.seat, place.seats));
    Segment segment;
    while (walk.next(segment))
        multiply<n, form>(job, place, stream, segment);
    // The other block writes into this one's memory and barriers until it is through.
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

#endif // LUCEBOX_SM90A

// One kernel for each form: the compiler overlaps wgmma with nothing if two forms' loops share a function, or if they
// are functions that the kernel calls. Elsewhere the kernel is empty, and its bounds of one warp tell the host so.
template <int n, Form form>
__global__ void
#ifdef LUCEBOX_SM90A
__launch_bounds__(stream_threads, stream_residents(n))
#else
__launch_bounds__(32)
#endif
    stream_kernel(const __grid_constant__ Job job) {
#ifdef LUCEBOX_SM90A
    stream_block<n, form>(job);
#endif
}

template <int n>
Kernel stream_kernel_of(Form form) {
    return with_form(form, [&]<Form f>() -> Kernel { return stream_kernel<n, f>; });
}

} // namespace lucebox::compute::cuda
