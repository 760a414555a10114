// What the step kernel's threads share: its shared memory, the border between records, and the parts of a sum.
#pragma once

#include "compute/cuda/matmul/ptx.cuh"
#include "compute/cuda/step/kernels.h"

#include <cstdint>

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

struct RowExchange {
    float* sums;
    std::uint32_t* counts;
};

struct Barriers {
    std::uint64_t full[group_tiles][most_slots], empty[group_tiles][most_slots]; // weights, a ring for each warpgroup
    std::uint64_t stage_full[most_stages], stage_empty[most_stages];             // activations
    Share share[most_products];
    GroupParts groups[most_groups]; // of all products, one after the other
    std::uint32_t multiplying;      // else what is read on the side must not queue behind weights
    std::uint32_t target;           // what the count of arrivals was at the last border
    std::uint32_t borders;          // that this block is past: what the copier of activations waits for
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

template <int registers>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
__device__ __forceinline__ void sync_consumers() {
    asm volatile("bar.sync 1, 512;" ::: "memory");
}
__device__ __forceinline__ void async_proxy_fence() {
    asm volatile("fence.proxy.async;" ::: "memory");
}
__device__ __forceinline__ std::uint32_t load_shared_acquire(const std::uint32_t* at) {
    std::uint32_t value;
    asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(value) : "r"(ptx::shared_address(at)) : "memory");
    return value;
}
__device__ __forceinline__ void store_shared_release(std::uint32_t* at, std::uint32_t value) {
    asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(ptx::shared_address(at)), "r"(value) : "memory");
}

// All blocks wait for all. Consumers only.
__device__ __forceinline__ void cross_border(std::uint32_t* arrivals, Barriers& shared) {
    async_proxy_fence(); // operands just written are read by bulk copies
    sync_consumers();
    if (threadIdx.x == 0) {
        store_shared_release(&shared.multiplying, 0);
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrivals) : "memory");
        const std::uint32_t target = shared.target += gridDim.x;
        Patience patience;
        while (static_cast<std::int32_t>(ptx::load_acquire(arrivals) - target) < 0)
            patience.lose();
        store_shared_release(&shared.borders, shared.borders + 1);
    }
    sync_consumers();
}

// Where the parts of some neighbouring outputs of a row lie.
struct PartsAt {
    const float *base, *extra; // extra: of part 0, which is not there
    std::size_t stride;        // from a part to the next
    int count;

    __device__ __forceinline__ PartsAt(const Parts& parts, const GroupParts* groups, std::uint32_t rows,
                                       std::uint32_t row, int outputs, int output) {
        const GroupParts group = groups[output / group_outputs];
        base = parts.base + static_cast<std::size_t>(row) * static_cast<std::size_t>(outputs) + output;
        extra =
            parts.extra + (group.first * static_cast<std::size_t>(rows) + row) * group_outputs + output % group_outputs;
        stride = static_cast<std::size_t>(rows) * group_outputs;
        count = group.count;
    }
};

#endif // LUCEBOX_SM90A

} // namespace lucebox::compute::cuda::step
