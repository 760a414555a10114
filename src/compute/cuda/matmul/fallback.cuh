// The product on every other card: mma.sync on f16, from sm_75 on.
//
// Weights go from global memory straight into registers: their order is the lanes' order, so each access is 16 bytes a
// lane and coalesced, and shared memory would add nothing. Activations pass through shared memory, double-buffered, a
// stage (128 inputs) at a time. Groups, split sums and results are those of the wgmma kernel with one block a worker.
#pragma once

#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/expand.cuh"
#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/matmul/kernels.h"

namespace lucebox::compute::cuda {

#if !defined(LUCEBOX_SM90A)

namespace fallback {

// d [16, 8] += a [16, 16] b [16, 8]; sm_75 has it in two halves of 8 inputs.
__device__ __forceinline__ void mma(float* d, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
                 "%1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

// Four 8x8 matrices of f16, one row's address a lane.
__device__ __forceinline__ void load_matrices(std::uint32_t (&b)[4], std::uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"(address)
                 : "memory");
}

// A stage of activations on its way: global memory -> registers -> shared memory.
template <int n>
struct Carrier {
    static constexpr int pieces =
        n * 16 / fallback_threads > 0 ? n * 16 / fallback_threads : 1; // of 16 bytes, a thread
    uint4 piece[pieces];

    // Stage s (128 inputs): [2 blocks][n rows][8 pieces]. Rows behind the last become zeros.
    __device__ __forceinline__ void load(const Job& job, int stage, std::uint32_t first_row) {
#pragma unroll
        for (int i = 0; i < pieces; ++i) {
            const std::uint32_t at = threadIdx.x + static_cast<std::uint32_t>(i * fallback_threads);
            const std::uint32_t block = at / (n * 8), row = first_row + at / 8 % n;
            piece[i] = uint4{};
            if (at < n * 16 && row < job.rows)
                piece[i] =
                    __ldcg(reinterpret_cast<const uint4*>(
                               job.operand +
                               (static_cast<std::size_t>(stage * 2 + static_cast<int>(block)) * job.rows + row) * 128) +
                           at % 8);
        }
    }
    __device__ __forceinline__ void store(std::byte* to) const {
#pragma unroll
        for (int i = 0; i < pieces; ++i) {
            const std::uint32_t at = threadIdx.x + static_cast<std::uint32_t>(i * fallback_threads);
            if (at < n * 16) reinterpret_cast<uint4*>(to)[at] = piece[i];
        }
    }
};

// The weights of a warp: where its part of either tile's next unit lies.
struct Source {
    const std::byte* from[2];
    int stride[2]; // from a unit to the next
    __half2 power[2];
    int tiles;
};

template <Form form, int n>
__device__ __forceinline__ void multiply(const Job& job, const Segment& segment, Source source, std::byte* shared,
                                         int lane, Sums<n>& sums) {
    constexpr int pairs = unit_inputs(form) / 128, planes = planes_of<form>();
    const std::uint32_t first_row = static_cast<std::uint32_t>(segment.column * n);
    Carrier<n> carrier;
    int stage = segment.first * pairs, buffer = 0;
    const int end = segment.last * pairs;
    carrier.load(job, stage, first_row);
    carrier.store(shared);
    __syncthreads();
#pragma unroll 1
    for (int unit = segment.first; unit < segment.last; ++unit) {
        Scales<form> scales[2];
#pragma unroll
        for (int t = 0; t < 2; ++t)
            if (t < source.tiles) scales[t].load(GlobalPart{source.from[t]}, lane, source.power[t]);
#pragma unroll
        for (int p = 0; p < pairs; ++p) {
            if (stage + 1 < end) carrier.load(job, stage + 1, first_row);
            const std::uint32_t base = ptx::shared_address(shared) + static_cast<std::uint32_t>(buffer * n * 256);
#pragma unroll
            for (int half = 0; half < 2; ++half)
#pragma unroll
                for (int plane = 0; plane < planes; ++plane) {
                    std::uint32_t a[2][16];
#pragma unroll
                    for (int t = 0; t < 2; ++t)
                        if (t < source.tiles)
                            expand_block<form>(GlobalPart{source.from[t]}, scales[t], 2 * p + half, plane, lane, a[t]);
#pragma unroll
                    for (int j = 0; j < n / 8; ++j)
#pragma unroll
                        for (int s = 0; s < 4; s += 2) { // two steps: pieces 2 s .. 2 s + 3 of 8 rows
                            const std::uint32_t row = static_cast<std::uint32_t>(8 * j + lane % 8),
                                                piece = static_cast<std::uint32_t>(2 * s + lane / 8);
                            std::uint32_t b[4];
                            load_matrices(b, base + static_cast<std::uint32_t>(half * n * 128) + row * 128 +
                                                 ((piece ^ (row % 8)) << 4));
#pragma unroll
                            for (int t = 0; t < 2; ++t)
                                if (t < source.tiles) {
                                    mma(sums.tile[t] + 4 * j, a[t] + 4 * s, b[0], b[1]);
                                    mma(sums.tile[t] + 4 * j, a[t] + 4 * s + 4, b[2], b[3]);
                                }
                        }
                }
            ++stage;
            buffer ^= 1;
            if (stage < end) carrier.store(shared + buffer * n * 256);
            __syncthreads();
        }
        source.from[0] += source.stride[0], source.from[1] += source.stride[1];
    }
}

template <int n>
__device__ __forceinline__ void multiply(const Job& job, Form form, const Segment& segment, const Source& source,
                                         std::byte* shared, int lane, Sums<n>& sums) {
    switch (form) {
    case Form::q4_0: return multiply<Form::q4_0>(job, segment, source, shared, lane, sums);
    case Form::q4_1: return multiply<Form::q4_1>(job, segment, source, shared, lane, sums);
    case Form::q5_0: return multiply<Form::q5_0>(job, segment, source, shared, lane, sums);
    case Form::q5_1: return multiply<Form::q5_1>(job, segment, source, shared, lane, sums);
    case Form::q8_0: return multiply<Form::q8_0>(job, segment, source, shared, lane, sums);
    case Form::q2_k: return multiply<Form::q2_k>(job, segment, source, shared, lane, sums);
    case Form::q3_k: return multiply<Form::q3_k>(job, segment, source, shared, lane, sums);
    case Form::q4_k: return multiply<Form::q4_k>(job, segment, source, shared, lane, sums);
    case Form::q5_k: return multiply<Form::q5_k>(job, segment, source, shared, lane, sums);
    case Form::q6_k: return multiply<Form::q6_k>(job, segment, source, shared, lane, sums);
    case Form::iq4_nl: return multiply<Form::iq4_nl>(job, segment, source, shared, lane, sums);
    case Form::iq4_xs: return multiply<Form::iq4_xs>(job, segment, source, shared, lane, sums);
    case Form::f16: return multiply<Form::f16>(job, segment, source, shared, lane, sums);
    case Form::f32: return multiply<Form::f32>(job, segment, source, shared, lane, sums);
    }
}

} // namespace fallback

template <int n>
__device__ __forceinline__ void fallback_block(const Job& job) {
    extern __shared__ __align__(128) std::byte memory[];
    allow_next();
    wait_for_previous();
    const int thread = static_cast<int>(threadIdx.x) % warpgroup_threads, lane = thread % 32, warp = thread / 32;
    const int warpgroup = static_cast<int>(threadIdx.x) / warpgroup_threads;
    Walk walk(job, blockIdx.x, gridDim.x, Walk::begin(job, blockIdx.x, gridDim.x));
    Segment segment;
    while (walk.next(segment)) {
        const JobRun& run = job.run[segment.run];
        Tile tile[2] = {};
        fallback::Source source{};
#pragma unroll
        for (int t = 0; t < 2; ++t)
            if (find_tile(job, run, segment.group, warpgroup, 2, t, tile[t])) {
                const JobTarget& target = job.target[tile[t].target];
                const TilePlace units = place_of_tile(run.form, tile[t].tile, target.tiles, run.units);
                source.from[t] = target.units + units.at(segment.first) + warp * part_bytes(run.form);
                source.stride[t] = units.stride;
                source.power[t] = power_of(*target.header);
                source.tiles = t + 1;
            }
        Sums<n> sums{};
        fallback::multiply<n>(job, run.form, segment, source, memory, lane, sums);
        finish<n>(job, sums, source.tiles, segment, tile, static_cast<std::uint32_t>(warpgroup), 2, thread);
    }
}

#endif

// Not compiled for sm_90a, which always has the wgmma kernel.
template <int n>
__global__ void __launch_bounds__(fallback_threads, fallback_residents)
    fallback_kernel(const __grid_constant__ Job job) {
#if !defined(LUCEBOX_SM90A)
    fallback_block<n>(job);
#endif
}

} // namespace lucebox::compute::cuda
