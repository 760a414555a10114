// From a warpgroup's sums to the result: parts of split sums are added in order, scales undone, bias added, gate
// applied.
//
// sums[tile][4 j + i] of a thread: output 16 warp + lane / 4 + 8 (i / 2) of the tile, row 8 j + 2 (lane % 4) + i % 2.
#pragma once

#include "compute/cuda/matmul/operand.cuh"
#include "compute/cuda/matmul/ptx.cuh"
#include "compute/cuda/matmul/walk.cuh"

namespace lucebox::compute::cuda {

// A warpgroup's place among all: worker * lanes + (block * 2 + warpgroup).
inline constexpr std::size_t flag_bytes = 8192; // a flag for each warpgroup; set when its part is written

template <int n>
struct Sums {
    float tile[2][n / 2];
};

template <int n>
__device__ __forceinline__ float* part_at(const Job& job, std::uint32_t warpgroup) {
    return reinterpret_cast<float*>(job.workspace + flag_bytes) +
           static_cast<std::size_t>(warpgroup) * n * warpgroup_threads;
}

// Hands a part that is not the group's first to the worker that has the first. All threads of the warpgroup.
template <int n>
__device__ __forceinline__ void publish(const Job& job, const Sums<n>& sums, int tiles, std::uint32_t warpgroup,
                                        int thread) {
    float* to = part_at<n>(job, warpgroup) + thread;
#pragma unroll
    for (int t = 0; t < 2; ++t)
        if (t < tiles)
#pragma unroll
            for (int i = 0; i < n / 2; ++i)
                if (static_cast<std::uint32_t>(i / 4 * 8) < job.rows)
                    __stcg(to + (t * (n / 2) + i) * warpgroup_threads, sums.tile[t][i]);
    __threadfence();
    ptx::warpgroup_sync(warpgroup % 2);
    if (thread == 0) ptx::store_release(reinterpret_cast<std::uint32_t*>(job.workspace) + warpgroup, 1);
}

// Adds the parts of the workers that follow until the group is complete. `stride`: warpgroups of a worker. A launch's
// end hangs on this, so nothing in it waits twice: each flag has a thread of its own, and the parts' loads are
// independent.
template <int n>
__device__ __forceinline__ void gather(const Job& job, Sums<n>& sums, int tiles, const Segment& segment,
                                       std::uint32_t warpgroup, std::uint32_t stride, int thread) {
    const JobRun& run = job.run[segment.run];
    const std::uint32_t end = run.first_unit + static_cast<std::uint32_t>((segment.group + 1) * run.units);
    const int first = segment.worker + 1;
    int last = first;
    while (job.bound[last] < end)
        ++last;
    auto* flags = reinterpret_cast<std::uint32_t*>(job.workspace) + warpgroup;
    auto has_share = [&](int worker) { return job.bound[worker] != job.bound[worker + 1]; };
    auto flag_of = [&](int worker) { return flags + static_cast<std::uint32_t>(worker - segment.worker) * stride; };
    for (int worker = first + thread; worker < last; worker += warpgroup_threads)
        if (has_share(worker))
            while (ptx::load_acquire(flag_of(worker)) == 0) {
            }
    __syncwarp();
    ptx::warpgroup_sync(warpgroup % 2);
    constexpr int at_once = n <= 8 ? 4 : n <= 16 ? 2 : 1; // parts; more would take too many registers
#pragma unroll at_once
    for (int worker = first; worker < last; ++worker) {
        const float* from =
            part_at<n>(job, warpgroup + static_cast<std::uint32_t>(worker - segment.worker) * stride) + thread;
        const bool part = has_share(worker); // what a worker without a share has in its place is old
#pragma unroll
        for (int t = 0; t < 2; ++t)
            if (t < tiles) {
                // All of them, though rows behind the last are old, too, and nobody reads their sums: a condition here
                // would make every few loads wait for the ones before.
                auto load = [&](int i) { return __ldcg(from + (t * (n / 2) + i) * warpgroup_threads); };
                auto add = [&](int i, float x) {
                    const float sum = __fadd_rn(sums.tile[t][i], x);
                    sums.tile[t][i] = part ? sum : sums.tile[t][i];
                };
                if constexpr (n <= 8) { // several parts' loads at once: nothing may stand between them
#pragma unroll
                    for (int i = 0; i < n / 2; ++i)
                        add(i, load(i));
                } else { // one part's
                    float loaded[n / 2];
#pragma unroll
                    for (int i = 0; i < n / 2; ++i)
                        loaded[i] = load(i);
#pragma unroll
                    for (int i = 0; i < n / 2; ++i)
                        add(i, loaded[i]);
                }
            }
    }
    ptx::warpgroup_sync(warpgroup % 2);
    for (int worker = first + thread; worker < last; worker += warpgroup_threads)
        if (has_share(worker)) *flag_of(worker) = 0; // for the next launch
}

// Products and sums are named, so that every instance of a kernel contracts them alike.
__device__ __forceinline__ float activated(Activation activation, float x) {
    if (activation == Activation::silu) return __fdividef(x, __fadd_rn(1.0f, __expf(-x)));
    constexpr float root_two_over_pi = 0.7978845608028654f;
    const float cubed = __fmul_rn(__fmul_rn(x, x), x);
    const float inner = __fmul_rn(root_two_over_pi, __fmaf_rn(0.044715f, cubed, x));
    return __fmul_rn(__fmul_rn(0.5f, x), __fadd_rn(1.0f, tanhf(inner)));
}

// Writes one tile: out [rows, outputs].
template <int n, class AnyJob>
__device__ __forceinline__ void store_tile(const AnyJob& job, const float (&sums)[n / 2], const Tile& tile,
                                           std::uint32_t first_row, int thread) {
    const JobTarget& target = job.target[tile.target];
    const float factor = target.header->inverse * (1 / operand_scale);
    const int lane = thread % 32, output = tile.tile * 64 + thread / 32 * 16 + lane / 4;
    constexpr int groups = n / 8, at_once = groups < 8 ? groups : 8; // of rows; what they are added to is loaded together
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int m = output + 8 * r, inside = min(m, target.outputs - 1);
        const float bias = target.bias != nullptr ? target.bias[inside] : 0.0f;
#pragma unroll
        for (int begin = 0; begin < groups; begin += at_once) {
            auto row_of = [&](int j, int e) { return first_row + static_cast<std::uint32_t>(8 * j + 2 * (lane % 4) + e); };
            auto at = [&](std::uint32_t row) {
                return static_cast<std::size_t>(row) * static_cast<std::size_t>(target.outputs);
            };
            float old[2 * at_once] = {};
            if (target.accumulate)
#pragma unroll
                for (int i = 0; i < 2 * at_once; ++i) // of the last row where there is none: loads need no conditions
                    old[i] = __ldcg(target.out + at(min(row_of(begin + i / 2, i % 2), job.rows - 1)) + inside);
#pragma unroll
            for (int i = 0; i < 2 * at_once; ++i) {
                const std::uint32_t row = row_of(begin + i / 2, i % 2);
                if (row >= job.rows || m >= target.outputs) continue;
                const float value = __fadd_rn(__fmul_rn(sums[4 * (begin + i / 2) + 2 * r + i % 2], factor), bias);
                target.out[at(row) + m] = target.accumulate ? __fadd_rn(old[i], value) : value;
            }
        }
    }
}

// Values of two rows, 8 j + 2 (lane % 4) + i behind `row`, of the warp's output lane / 4 behind `first_output`, in operand
// form. Neighbouring outputs lie in neighbouring lanes, four apart: they are exchanged so that each lane stores a pair.
__device__ __forceinline__ void store_neighbours(const Operand& out, std::uint32_t outputs, int first_output,
                                                 std::uint32_t first_row, const float (&value)[2], int thread) {
    const int lane = thread % 32, odd = lane / 4 % 2;
    const auto m = static_cast<std::uint32_t>(first_output + thread / 32 * 16 + lane / 4 - odd);
    const float other = __shfl_xor_sync(~0u, odd ? value[0] : value[1], 4);
    const std::uint32_t row = first_row + static_cast<std::uint32_t>(2 * (lane % 4) + odd);
    if (row >= out.rows || m >= outputs) return;
    if (m + 1 < outputs)
        out.store2(row, m, odd ? other : value[0], odd ? value[1] : other);
    else
        out.store(row, m, odd ? other : value[0]);
}

// activation(gate) * up.
template <int n>
__device__ __forceinline__ void store_gated(const Job& job, const Sums<n>& sums, const Tile& tile,
                                            std::uint32_t first_row, int thread) {
    const float gate_factor = job.target[0].header->inverse * (1 / operand_scale);
    const float up_factor = job.target[1].header->inverse * (1 / operand_scale);
    const Operand out{job.out_operand, job.rows};
#pragma unroll
    for (int j = 0; j < n / 8; ++j)
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float value[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const int i = 4 * j + 2 * r + e;
                value[e] = __fmul_rn(activated(job.activation, __fmul_rn(sums.tile[0][i], gate_factor)),
                                     __fmul_rn(sums.tile[1][i], up_factor));
            }
            store_neighbours(out, static_cast<std::uint32_t>(job.target[0].outputs), tile.tile * 64 + 8 * r,
                             first_row + static_cast<std::uint32_t>(8 * j), value, thread);
        }
}

// What a warpgroup does with its sums of a segment. lane: of the worker's warpgroups, `stride` of them; its last bit is
// the warpgroup's number in its block.
template <int n>
__device__ __forceinline__ void finish(const Job& job, Sums<n>& sums, int tiles, const Segment& segment,
                                       const Tile (&tile)[2], std::uint32_t lane, std::uint32_t stride, int thread) {
    if (tiles == 0) return;
    const std::uint32_t warpgroup = static_cast<std::uint32_t>(segment.worker) * stride + lane;
    if (segment.first > 0) return publish<n>(job, sums, tiles, warpgroup, thread);
    if (segment.last < job.run[segment.run].units) gather<n>(job, sums, tiles, segment, warpgroup, stride, thread);
    const std::uint32_t first_row = static_cast<std::uint32_t>(segment.column * n);
    if (job.gated) return store_gated<n>(job, sums, tile[0], first_row, thread);
#pragma unroll
    for (int t = 0; t < 2; ++t)
        if (t < tiles) store_tile<n>(job, sums.tile[t], tile[t], first_row, thread);
}

} // namespace lucebox::compute::cuda
