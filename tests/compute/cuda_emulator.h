// Runs CUDA kernels on the CPU, a block at a time, so that their logic can be tested where there is no GPU. Threads are
// fibers that run one after another, each until it has to wait for others (barrier, shuffle, tensor core); in descending
// order as well as in ascending, so that a missing barrier shows. What it cannot show: real races, clusters, speed.
//
// Include it before the kernels' headers, in one translation unit; it defines what nvcc would.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#undef __device__
#undef __global__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#undef __noinline__
#define __noinline__
#define __device__
#define __global__
#define __host__
#define __shared__ thread_local
#define __launch_bounds__(...)

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emulator {

struct Fiber {
    ucontext_t context{};
    std::vector<char> stack = std::vector<char>(256 << 10);
    enum { running, at_barrier, in_warp, done } state = running;
    unsigned exchanges = 0; // warp operations so far
};

struct Lane { // what a lane brings to a warp operation
    std::uint64_t words[8];
};

struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Lane> lanes[2]; // by the parity of the operation: a lane may be one ahead
    ucontext_t scheduler{};
    std::size_t current = 0;
    std::function<void()> kernel;
};
inline Block* block = nullptr;

inline void yield(int state) {
    Fiber& fiber = *block->fibers[block->current];
    fiber.state = static_cast<decltype(fiber.state)>(state);
    swapcontext(&fiber.context, &block->scheduler);
}

inline void entry() {
    block->kernel();
    yield(Fiber::done);
}

// Brings this lane's words; returns those of the warp's 32 lanes once all have come.
inline const Lane* exchange(const Lane& mine) {
    Fiber& fiber = *block->fibers[block->current];
    std::vector<Lane>& all = block->lanes[fiber.exchanges++ % 2];
    all[block->current] = mine;
    const std::size_t warp = block->current / 32 * 32;
    yield(Fiber::in_warp);
    return all.data() + warp;
}

inline void run_block(std::size_t threads, bool descending) {
    Block& b = *block;
    b.fibers.resize(threads);
    for (auto& lanes : b.lanes) lanes.assign(threads, {});
    for (auto& fiber : b.fibers) {
        if (!fiber) fiber = std::make_unique<Fiber>();
        fiber->state = Fiber::running;
        fiber->exchanges = 0;
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = fiber->stack.data();
        fiber->context.uc_stack.ss_size = fiber->stack.size();
        fiber->context.uc_link = nullptr;
        makecontext(&fiber->context, entry, 0);
    }
    const auto all_of = [&](std::size_t begin, std::size_t end, auto test) {
        for (std::size_t i = begin; i < end; ++i) {
            if (!test(*b.fibers[i])) return false;
        }
        return true;
    };
    for (;;) {
        for (std::size_t n = 0; n < threads; ++n) {
            const std::size_t i = descending ? threads - 1 - n : n;
            if (b.fibers[i]->state != Fiber::running) continue;
            b.current = i;
            threadIdx.x = static_cast<unsigned>(i);
            swapcontext(&b.scheduler, &b.fibers[i]->context);
        }
        bool moved = false;
        for (std::size_t warp = 0; warp < threads; warp += 32) {
            if (!all_of(warp, std::min(threads, warp + 32), [](const Fiber& f) { return f.state == Fiber::in_warp; })) continue;
            for (std::size_t i = warp; i < std::min(threads, warp + 32); ++i) b.fibers[i]->state = Fiber::running;
            moved = true;
        }
        if (moved) continue;
        if (all_of(0, threads, [](const Fiber& f) { return f.state == Fiber::done; })) return;
        const auto waits = [](const Fiber& f) { return f.state == Fiber::at_barrier || f.state == Fiber::done; };
        if (!all_of(0, threads, waits)) std::abort(); // a warp operation that not all lanes reach
        for (auto& fiber : b.fibers) {
            if (fiber->state == Fiber::at_barrier) fiber->state = Fiber::running;
        }
    }
}

template <class Function> void launch(dim3 grid, std::size_t threads, bool descending, Function kernel) {
    static Block memory;
    block = &memory;
    memory.kernel = kernel;
    gridDim = grid;
    blockDim = dim3(static_cast<unsigned>(threads));
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                run_block(threads, descending);
            }
        }
    }
}

template <class T> T shuffle(T value, unsigned from) {
    Lane mine{};
    std::memcpy(mine.words, &value, sizeof(T));
    const Lane* all = exchange(mine);
    std::memcpy(&value, all[from].words, sizeof(T));
    return value;
}

inline float half_at(std::uint64_t word, int index) {
    const auto bits = static_cast<std::uint16_t>(word >> (16 * index));
    __half value;
    std::memcpy(&value, &bits, 2);
    return __half2float(value);
}

} // namespace emulator

inline void __syncthreads() { emulator::yield(emulator::Fiber::at_barrier); }
inline void __syncwarp() { emulator::exchange({}); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) { return emulator::shuffle(value, (threadIdx.x % 32) ^ static_cast<unsigned>(mask)); }
template <class T> T __shfl_up_sync(unsigned, T value, int by) {
    const unsigned lane = threadIdx.x % 32, distance = static_cast<unsigned>(by);
    return emulator::shuffle(value, lane >= distance ? lane - distance : lane);
}
template <class T>
T __shfl_sync(unsigned, T value, int from) { return emulator::shuffle(value, static_cast<unsigned>(from)); }
inline int __any_sync(unsigned, int value) {
    const emulator::Lane* all = emulator::exchange({{value ? 1u : 0u}});
    for (int lane = 0; lane < 32; ++lane) {
        if (all[lane].words[0]) return 1;
    }
    return 0;
}
template <class T>
T atomicAdd(T* at, T value) {
    const T before = *at;
    *at = before + value;
    return before;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline int __float2int_rn(float a) { return static_cast<int>(std::nearbyint(a)); }
inline int __ffsll(long long a) { return __builtin_ffsll(a); }
template <class T> T __ldcg(const T* at) { return *at; }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const std::uint64_t both = (static_cast<std::uint64_t>(b) << 32) + a;
    unsigned out = 0;
    for (int i = 0; i < 4; ++i) out |= static_cast<unsigned>(both >> (selector >> 4 * i & 7) * 8 & 255) << 8 * i;
    return out;
}
inline float __frcp_rn(float a) { return 1 / a; }
inline float __frsqrt_rn(float a) { return 1 / std::sqrt(a); }
inline float __expf(float a) { return std::exp(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline std::size_t __cvta_generic_to_shared(const void*) { return 0; }
using std::max;
using std::min;

// In place of compute/cuda/tensor_core.cuh.
namespace lucebox::compute::cuda {

inline void multiply_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
    const emulator::Lane* all = emulator::exchange({{a[0], a[1], a[2], a[3], b0, b1}});
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4, half = i / 2, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) {
            const float left = emulator::half_at(all[row * 4 + k % 8 / 2].words[half + k / 8 * 2], k % 2);
            const float right = emulator::half_at(all[column * 4 + k % 8 / 2].words[4 + k / 8], k % 2);
            c[i] += left * right;
        }
    }
}
inline void read_matrices(std::uint32_t (&r)[4], const void* row, bool transposed) {
    const emulator::Lane* all = emulator::exchange({{reinterpret_cast<std::uint64_t>(row)}});
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (int m = 0; m < 4; ++m) {
        std::uint16_t pair[2];
        for (int i = 0; i < 2; ++i) {
            const int from = transposed ? lane % 4 * 2 + i : lane / 4, at = transposed ? lane / 4 : lane % 4 * 2 + i;
            std::memcpy(&pair[i], reinterpret_cast<const std::uint16_t*>(all[m * 8 + from].words[0]) + at, 2);
        }
        std::memcpy(&r[m], pair, 4);
    }
}
inline void load_matrices(std::uint32_t (&r)[4], const void* row) { read_matrices(r, row, false); }
inline void load_matrices_transposed(std::uint32_t (&r)[4], const void* row) { read_matrices(r, row, true); }
inline void copy_16(void* to, const void* from, bool valid) {
    if (valid) std::memcpy(to, from, 16);
    else std::memset(to, 0, 16);
}
inline void copy_4(void* to, const void* from) { std::memcpy(to, from, 4); }
inline void copies_commit() {}
template <int> void copies_wait() {}
inline float power_of_two(float x) { return std::exp2(x); }
inline std::uint32_t pack_half2(float low, float high) {
    const __half2 both = __floats2half2_rn(low, high);
    std::uint32_t bits;
    std::memcpy(&bits, &both, 4);
    return bits;
}

} // namespace lucebox::compute::cuda
