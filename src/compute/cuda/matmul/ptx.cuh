// The PTX instructions that the products are made of: memory barriers in shared memory, bulk copies, clusters. One function an
// instruction; names follow the PTX manual. Those of dependent launch are in launch.h.
#pragma once

#include <cstddef>
#include <cstdint>

// The wgmma kernels need what only sm_90a has; the instructions below that exist from sm_90 on are used by them alone.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define LUCEBOX_SM90A 1
#endif

namespace lucebox::compute::cuda::ptx {

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ std::uint32_t load_acquire(const std::uint32_t* at) {
    std::uint32_t value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
    return value;
}
__device__ __forceinline__ void store_release(std::uint32_t* at, std::uint32_t value) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(value) : "memory");
}
// What this thread did, and the others before a barrier that it has passed, is there for those who see the count.
__device__ __forceinline__ void add_release(std::uint32_t* at, std::uint32_t by) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(at), "r"(by)
                 : "memory");
}
// Who sees the count may overwrite what this thread, and the others before a barrier that it has passed, have read: their loads are done.
__device__ __forceinline__ void add_relaxed(std::uint32_t* at, std::uint32_t by) {
    asm volatile("red.relaxed.gpu.global.add.u32 [%0], %1;" ::"l"(at), "r"(by)
                 : "memory");
}
// Words that other multiprocessors look at, each written and read whole.
__device__ __forceinline__ void store_word(std::uint64_t* at, std::uint64_t word) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(word)
                 : "memory");
}
__device__ __forceinline__ std::uint64_t load_word(const std::uint64_t* at) {
    std::uint64_t word;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];"
                 : "=l"(word)
                 : "l"(at)
                 : "memory");
    return word;
}
// at: a multiple of 16.
__device__ __forceinline__ void load_words(std::uint64_t& first, std::uint64_t& second, const std::uint64_t* at) {
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];"
                 : "=l"(first), "=l"(second)
                 : "l"(at)
                 : "memory");
}
// The 128 threads of a warpgroup, 0 or 1.
__device__ __forceinline__ void warpgroup_sync(std::uint32_t warpgroup) {
    if (warpgroup == 0)
        asm volatile("bar.sync 1, 128;" ::: "memory");
    else
        asm volatile("bar.sync 2, 128;" ::: "memory");
}

#ifdef LUCEBOX_SM90A

__device__ __forceinline__ void barrier_init(std::uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
__device__ __forceinline__ void barrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_expect(std::uint32_t barrier, std::uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// The barrier at the same place in another block of the cluster. It tells of reads only, so it needs no order of its
// own: with `.release.cluster` the compiler adds a full memory barrier, which costs more than the arithmetic of a whole
// unit.
__device__ __forceinline__ void barrier_arrive_at(std::uint32_t barrier, std::uint32_t rank) {
    asm volatile("{\n.reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
                 "r"(rank)
                 : "memory");
}
__device__ __forceinline__ bool barrier_test(std::uint32_t barrier, std::uint32_t parity) {
    std::uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return done != 0;
}
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
    asm volatile("{\n.reg .pred p;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra done;\nbra again;\ndone:\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}
// Sees what `tell` wrote in another block.
__device__ __forceinline__ void barrier_wait_cluster(std::uint32_t barrier, std::uint32_t parity) {
    asm volatile("{\n.reg .pred p;\nagain:\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra done;\nbra again;\ndone:\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}
// A word at the same place in block `rank` of the cluster, and an arrival at its barrier.
__device__ __forceinline__ void tell(std::uint32_t at, std::uint32_t barrier, std::uint32_t rank, std::uint32_t value) {
    asm volatile("{\n.reg .b32 word, remote;\n"
                 "mapa.shared::cluster.u32 word, %0, %2;\n"
                 "mapa.shared::cluster.u32 remote, %1, %2;\n"
                 "st.shared::cluster.u32 [word], %3;\n"
                 "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}" ::"r"(at),
                 "r"(barrier), "r"(rank), "r"(value)
                 : "memory");
}
__device__ __forceinline__ std::uint32_t load_shared(std::uint32_t at) {
    std::uint32_t value;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(at) : "memory");
    return value;
}

__device__ __forceinline__ void bulk_copy(std::uint32_t to, const void* from, std::uint32_t bytes,
                                          std::uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
// What is read once leaves the level-2 cache first: code, activations and sums stay there.
__device__ __forceinline__ std::uint64_t policy_read_once() {
    std::uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;"
                 : "=l"(policy));
    return policy;
}
__device__ __forceinline__ void bulk_copy(std::uint32_t to, const void* from, std::uint32_t bytes,
                                          std::uint32_t barrier, std::uint64_t policy) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, "
                 "[%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier), "l"(policy)
                 : "memory");
}
// Into the level-2 cache: multiples of 16 bytes.
__device__ __forceinline__ void prefetch(const void* from, std::uint32_t bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes)
                 : "memory");
}
// To the same place in every block of the mask, each block's barrier there told.
__device__ __forceinline__ void bulk_copy_multicast(std::uint32_t to, const void* from, std::uint32_t bytes,
                                                    std::uint32_t barrier, std::uint16_t mask) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier), "h"(mask)
                 : "memory");
}

__device__ __forceinline__ std::uint32_t cluster_rank() {
    std::uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ __forceinline__ void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Four 8 x 8 matrices of f16 for mma; a lane names the address of row lane % 8 of matrix lane / 8.
__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}
// d [16, 8] += a [16, 16] * b [16, 8], of one warp.
__device__ __forceinline__ void mma(float* d, const std::uint32_t* a, std::uint32_t b0, std::uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A warpgroup's registers a thread: fewer, and what others gave. Both wait for nothing but registers.
template <int registers>
__device__ __forceinline__ void registers_down() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ __forceinline__ void registers_up() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

__device__ __forceinline__ void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int pending>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

#endif // LUCEBOX_SM90A

} // namespace lucebox::compute::cuda::ptx

namespace lucebox::compute::cuda {

// A place in a ring of slots and how often it came round.
struct Ring {
    int at = 0;
    std::uint32_t parity = 0;
    __device__ __forceinline__ void advance(int size) {
        if (++at == size) at = 0, parity ^= 1;
    }
};

} // namespace lucebox::compute::cuda
