// What the step kernel's threads share: its shared memory, the border between records, and the parts of a sum.
#pragma once

#include "compute/cuda/matmul/ptx.cuh"
#include "compute/cuda/step/kernels.h"

#include <cstdint>
#include <type_traits>

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

struct RowExchange {
    float* sums;
    std::uint32_t* counts;
};

struct Barriers {
    std::uint64_t full[most_slots], empty[most_slots];               // weights, a step of the group in each slot
    std::uint64_t stage_full[most_stages], stage_empty[most_stages]; // activations
    Share share[most_products];
    struct Rings {
        Ring weights, stages;
    } rings[consumer_warps];        // where each warp's next product begins
    std::uint32_t target;           // what the count of arrivals was at the last border
    std::uint32_t borders;          // that this block is past: what the copier of activations waits for
    std::uint32_t layers;           // records of DeltaNet that no longer use the stages' memory
    std::uint32_t marks;            // the step's: a mark is this and an index
};

// A wait that lasts seconds will never end: better an error that the engine reports than a server that hangs.
class Patience {
public:
    __device__ __forceinline__ void lose() {
        std::uint64_t now;
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (since_ == 0) since_ = now;
        if (now - since_ > 10'000'000'000u) __trap();
    }

private:
    std::uint64_t since_ = 0;
};

__device__ __forceinline__ bool try_wait(std::uint32_t barrier, std::uint32_t parity) {
    std::uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return done != 0;
}
// What copies waits so. Consumers have no registers for patience; when they hang, those who copy for them do, too.
__device__ __forceinline__ void wait_patiently(const std::uint64_t& barrier, std::uint32_t parity) {
    Patience patience;
    while (!try_wait(ptx::shared_address(&barrier), parity))
        patience.lose();
}
__device__ __forceinline__ void wait(const std::uint64_t& barrier, std::uint32_t parity) {
    ptx::barrier_wait(ptx::shared_address(&barrier), parity);
}

__device__ __forceinline__ void sync_consumers() {
    asm volatile("bar.sync 1, 512;" ::: "memory");
}
__device__ __forceinline__ void async_proxy_fence() {
    asm volatile("fence.proxy.async;" ::: "memory");
}
// Counts in shared memory that one thread raises and another polls. Atomic, so that whoever searches for races sees that it is meant.
__device__ __forceinline__ std::uint32_t load_shared_acquire(const std::uint32_t* at) {
    std::uint32_t value;
    asm volatile("atom.acquire.cta.shared.or.b32 %0, [%1], 0;"
                 : "=r"(value)
                 : "r"(ptx::shared_address(at))
                 : "memory");
    return value;
}
__device__ __forceinline__ void raise_shared_release(std::uint32_t* at) {
    asm volatile("red.release.cta.shared.add.u32 [%0], 1;" ::"r"(ptx::shared_address(at))
                 : "memory");
}

// Asked anew each time: what is computed from it must not be kept in registers while products run.
__device__ __forceinline__ int own_thread() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;"
                 : "=r"(thread));
    return thread;
}

// All lanes of a warp wait until a count is reached: what those who counted had written is there.
__device__ __forceinline__ void wait_for_count(const std::uint32_t* at, std::uint32_t target) {
    Patience patience;
    while (ptx::load_acquire(at) < target)
        patience.lose();
}
// What the threads that count together (a warp, the four of a warpgroup, all consumers) have written is there for those
// who see the count. Their stores are waited for once: a multiprocessor does one such wait after the other.
template <int warps>
__device__ __forceinline__ void count(std::uint32_t* at, std::uint32_t by = 1) {
    const int thread = own_thread();
    if constexpr (warps == consumer_warps)
        sync_consumers();
    else if constexpr (warps == 4)
        asm volatile("bar.sync %0, 128;" ::"r"(2 + thread / 128)
                     : "memory");
    else
        __syncwarp();
    if (thread % (32 * warps) == 0) ptx::add_release(at, by);
}

// A step's marks begin with its number.
__device__ __forceinline__ std::uint32_t marks_of(const StepState* step) {
    return __ldcg(&step->number) << mark_bits;
}
__device__ __forceinline__ Word marked(float value, std::uint32_t mark) {
    return static_cast<Word>(mark) << 32 | __float_as_uint(value);
}
__device__ __forceinline__ bool has_mark(Word word, std::uint32_t mark) {
    return static_cast<std::uint32_t>(word >> 32) == mark;
}
__device__ __forceinline__ float value_of(Word word) {
    return __uint_as_float(static_cast<std::uint32_t>(word));
}
__device__ __forceinline__ float value_of(float value) {
    return value;
}

__device__ __forceinline__ float4 add4(float4 a, float4 b) {
    return {__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z), __fadd_rn(a.w, b.w)};
}
__device__ __forceinline__ float4 load4(const float* at) {
    return __ldcg(reinterpret_cast<const float4*>(at));
}

__device__ __forceinline__ float4 times(float4 a, float by) {
    return {__fmul_rn(a.x, by), __fmul_rn(a.y, by), __fmul_rn(a.z, by), __fmul_rn(a.w, by)};
}

__device__ __forceinline__ float sum_over_lanes(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
        x = __fadd_rn(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}
// What the sums of a row are multiplied by. All lanes.
__device__ __forceinline__ float row_factor(const RowScale& scale, std::uint32_t row, std::uint32_t marks) {
    if (!scale.squares) return 1.0f;
    const int pieces = pieces_of(scale.width), lane = own_thread() % 32;
    const std::uint32_t mark = marks | scale.index;
    const Word* const squares = scale.squares + row * most_pieces + lane;
    Word first = 0, second = 0;
    Patience patience;
    while (true) {
        if (lane < pieces) first = ptx::load_word(squares);
        if (lane + 32 < pieces) second = ptx::load_word(squares + 32);
        if ((lane >= pieces || has_mark(first, mark)) && (lane + 32 >= pieces || has_mark(second, mark))) break;
        patience.lose();
    }
    __syncwarp();
    const float sum = sum_over_lanes(__fadd_rn(value_of(first), value_of(second)));
    return 1.0f / sqrtf(__fadd_rn(sum / static_cast<float>(scale.width), scale.epsilon));
}

// All blocks wait for all. Consumers only.
__device__ __forceinline__ void cross_border(std::uint32_t* arrivals, Barriers& shared) {
    sync_consumers();
    if (threadIdx.x == 0) {
        ptx::add_release(arrivals, 1);
        const std::uint32_t target = shared.target += gridDim.x;
        Patience patience;
        while (static_cast<std::int32_t>(ptx::load_acquire(arrivals) - target) < 0)
            patience.lose();
        raise_shared_release(&shared.borders);
    }
    sync_consumers();
}

// What parts are in the instance for n rows.
template <int n>
inline constexpr bool marks_parts = n <= static_cast<int>(most_marked_rows);
template <int n>
using Part = std::conditional_t<marks_parts<n>, Word, float>;

// Where the parts of some neighbouring outputs of a row lie.
template <class T>
struct PartsAt {
    const T *base, *extra; // extra: of part 0, which is not there
    std::size_t stride;    // from a part to the next
    int count;

    __device__ __forceinline__ PartsAt(const Parts& parts, GroupParts group, std::uint32_t rows, std::uint32_t row,
                                       int output) {
        const auto slot = static_cast<std::size_t>(parts.wide ? group.first : output / group_outputs);
        const int within = output % group_outputs;
        base = reinterpret_cast<const T*>(parts.base) + (slot * rows + row) * group_outputs + within;
        extra = reinterpret_cast<const T*>(parts.extra) +
                (group.first * static_cast<std::size_t>(rows) + row) * group_outputs + within;
        stride = static_cast<std::size_t>(rows) * group_outputs;
        count = group.count;
    }
    __device__ __forceinline__ const T* part(int index) const {
        return index == 0 ? base : extra + static_cast<std::size_t>(index) * stride;
    }
};
__device__ __forceinline__ GroupParts group_of(const Parts& parts, int output) {
    const std::uint16_t both = __ldg(reinterpret_cast<const unsigned short*>(parts.groups + output / group_outputs));
    return {static_cast<std::uint8_t>(both), static_cast<std::uint8_t>(both >> 8)};
}

#endif // LUCEBOX_SM90A

} // namespace lucebox::compute::cuda::step
