// A study: one persistent kernel runs all matrix products of a token of the 27B model, for 1..64 rows, with a grid
// barrier between phases. Weights stream through shared memory ahead of the barriers and are expanded to f16 as wgmma's
// register operand. Results are checked against double precision, and bits between numbers of rows. What it showed
// stands in docs/kernels/step-kernel.md. For sm_90a alone:
//   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -cudart static -o step_kernel step_kernel.cu
#include "ptx.cuh"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <random>
#include <vector>
#define CK(x)                                                                                                          \
    do {                                                                                                               \
        cudaError_t e_ = (x);                                                                                          \
        if (e_ != cudaSuccess) {                                                                                       \
            printf("%s:%d %s\n", __FILE__, __LINE__, cudaGetErrorString(e_));                                          \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum Type { kNone, kQ4K, kQ5K, kQ6K, kQ8 };
// bytes of 64 outputs x kstep inputs; Q8_0 has kstep 128
__host__ __device__ constexpr int unit_bytes(int t) {
    return t == kQ4K ? 9216 : t == kQ5K ? 11264 : t == kQ6K ? 13440 : t == kQ8 ? 8704 : 0;
}
__host__ __device__ constexpr int kstep(int t) {
    return t == kQ8 ? 128 : 256;
}
constexpr int kSlot = 13440, kGroups = 4, kJobs = 32;

struct __align__(16) Job {  // one CTA's share of one matrix; 64 bytes
    uint16_t type, sync;    // a grid barrier follows
    uint16_t steps, k0, kb; // units along k: first one, of a tile
    uint16_t tile0, tiles;  // of 64 outputs; a step takes 4 tiles side by side
    uint16_t part0;         // which partial sum the first tile's share is
    uint32_t m, part_stride;
    const uint8_t* w;
    const uint8_t* x;       // operand form
    float* out;             // [part][n][m]
    const float* row_scale; // [m]
    uint64_t unused;
};
static_assert(sizeof(Job) == 64);

__device__ __forceinline__ void wg_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wg_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int K>
__device__ __forceinline__ void wg_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(K) : "memory");
}
template <int N>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b);
#include "wgmma.inc"

__device__ __forceinline__ uint32_t h2u(__half2 h) {
    return *(uint32_t*)&h;
}
__device__ __forceinline__ __half2 u2h(uint32_t u) {
    return *(__half2*)&u;
}
template <int L>
__device__ __forceinline__ uint32_t lop(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(r) : "r"(a), "r"(b), "r"(c), "n"(L));
    return r;
}
constexpr int kAndOr = 0xEA; // (a & b) | c

// A code of 4 to 8 bits, masked in place, is read as a subnormal half: code * 2^-24 (or 2^-20), exactly. One fused
// multiply-add makes it a weight: code * 2^-24 * S + M. Rows are normalised at load by a power of two, so that S uses
// the range of f16.
__device__ __forceinline__ uint32_t fma2(uint32_t a, __half2 b, __half2 c) {
    return h2u(__hfma2(u2h(a), b, c));
}
template <int From, int To>
__device__ __forceinline__ uint32_t move_bits(uint32_t w) {
    return From == To ? w : From < To ? w << (To - From > 0 ? To - From : 0) : w >> (From - To > 0 ? From - To : 0);
}

// Scales of one row of a K type with mins: 6-bit bytes in three words and d, dmin.
struct RowScales {
    uint32_t sc[2], mn[2];
    __half2 d, d1024, nm, nm64;
    template <bool Upper>
    __device__ __forceinline__ void read(uint4 h) { // Upper: codes lie 4 bits higher
        sc[0] = h.x & 0x3f3f3f3f, sc[1] = h.y & 0x3f3f3f3f, mn[0] = h.z & 0x3f3f3f3f;
        mn[1] = ((h.x >> 6) & 0x03030303) | ((h.y >> 4) & 0x0c0c0c0c) | ((h.z >> 2) & 0x30303030);
        const __half2 dd = u2h(h.w);
        d = __low2half2(dd);
        if (Upper) d = __hmul2(d, __float2half2_rn(1 / 16.f));
        d1024 = __hmul2(d, __float2half2_rn(-1024.f));
        nm = __hmul2(__high2half2(dd), __float2half2_rn(-1 / 256.f));
        nm64 = __hmul2(nm, __float2half2_rn(-1 / 64.f));
    }
    // Of sub-blocks 2 v and 2 v + 1.
    __device__ __forceinline__ __half2 scales(int v) const {
        return __hfma2(u2h(__byte_perm(sc[v >> 1], 0x64646464, v & 1 ? 0x4342 : 0x4140)), d, d1024);
    }
    __device__ __forceinline__ __half2 mins(int v) const {
        return __hfma2(u2h(__byte_perm(mn[v >> 1], 0x24242424, v & 1 ? 0x4342 : 0x4140)), nm, nm64);
    }
};

template <int T>
struct Weights;
template <>
struct Weights<kQ4K> {
    static constexpr int groups = 4; // of 4 k16 steps
    const uint8_t* u;
    RowScales r0, r1;
    int lane;
    __device__ __forceinline__ void begin(const uint8_t* unit, int warp, int l) {
        u = unit + warp * 2304, lane = l;
        r0.read<false>(*(const uint4*)(u + 2048 + (l >> 2) * 16)),
            r1.read<true>(*(const uint4*)(u + 2048 + ((l >> 2) + 8) * 16));
    }
    __device__ __forceinline__ void expand(int v, uint32_t (&a)[4][4]) {
        uint4 q = *(const uint4*)(u + v * 512 + lane * 16);
        const uint32_t w[4] = {q.x, q.y, q.z, q.w};
        const __half2 S0 = r0.scales(v), N0 = r0.mins(v), S1 = r1.scales(v), N1 = r1.mins(v);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const __half2 s0 = i < 2 ? __low2half2(S0) : __high2half2(S0),
                          n0 = i < 2 ? __low2half2(N0) : __high2half2(N0);
            const __half2 s1 = i < 2 ? __low2half2(S1) : __high2half2(S1),
                          n1 = i < 2 ? __low2half2(N1) : __high2half2(N1);
            uint32_t t = w[i] >> 8;
            a[i][0] = fma2(w[i] & 0x000f000f, s0, n0);
            a[i][1] = fma2(w[i] & 0x00f000f0, s1, n1);
            a[i][2] = fma2(t & 0x000f000f, s0, n0);
            a[i][3] = fma2(t & 0x00f000f0, s1, n1);
        }
    }
};
template <>
struct Weights<kQ5K> { // [4][32][16] nibbles, [32][16] fifth bits, [16][16] scales
    static constexpr int groups = 4;
    const uint8_t* u;
    RowScales r0, r1;
    int lane;
    uint32_t h[4];
    __device__ __forceinline__ void begin(const uint8_t* unit, int warp, int l) {
        u = unit + warp * 2816, lane = l;
        uint4 b = *(const uint4*)(u + 2048 + l * 16);
        h[0] = b.x, h[1] = b.y, h[2] = b.z, h[3] = b.w;
        r0.read<false>(*(const uint4*)(u + 2560 + (l >> 2) * 16)),
            r1.read<true>(*(const uint4*)(u + 2560 + ((l >> 2) + 8) * 16));
    }
    __half2 S0, N0, S1, N1;
    template <int I>
    __device__ __forceinline__ void one(int v, uint32_t w, uint32_t (&a)[4]) {
        const __half2 s0 = I < 2 ? __low2half2(S0) : __high2half2(S0), n0 = I < 2 ? __low2half2(N0) : __high2half2(N0);
        const __half2 s1 = I < 2 ? __low2half2(S1) : __high2half2(S1), n1 = I < 2 ? __low2half2(N1) : __high2half2(N1);
        uint32_t t = w >> 8, b = h[v]; // bit of pair p of step i: 4 i + p of each half
        a[0] = fma2(lop<kAndOr>(move_bits<4 * I, 4>(b), 0x00100010, w & 0x000f000f), s0, n0);
        a[1] = fma2(lop<kAndOr>(move_bits<4 * I + 1, 8>(b), 0x01000100, w & 0x00f000f0), s1, n1);
        a[2] = fma2(lop<kAndOr>(move_bits<4 * I + 2, 4>(b), 0x00100010, t & 0x000f000f), s0, n0);
        a[3] = fma2(lop<kAndOr>(move_bits<4 * I + 3, 8>(b), 0x01000100, t & 0x00f000f0), s1, n1);
    }
    __device__ __forceinline__ void expand(int v, uint32_t (&a)[4][4]) {
        uint4 q = *(const uint4*)(u + v * 512 + lane * 16);
        S0 = r0.scales(v), N0 = r0.mins(v), S1 = r1.scales(v), N1 = r1.mins(v);
        one<0>(v, q.x, a[0]), one<1>(v, q.y, a[1]), one<2>(v, q.z, a[2]), one<3>(v, q.w, a[3]);
    }
};
template <>
struct Weights<kQ6K> { // [4][32][16] low nibbles, [2][32][16] upper bits, [16][16] scales + 128, [16] d
    static constexpr int groups = 4;
    const uint8_t* u;
    int lane;
    uint32_t h[8], c0[4], c1[4];
    __half2 d0, d1;
    __device__ __forceinline__ void begin(const uint8_t* unit, int warp, int l) {
        u = unit + warp * 3360, lane = l;
        uint4 b = *(const uint4*)(u + 2048 + l * 16);
        h[0] = b.x, h[1] = b.y, h[2] = b.z, h[3] = b.w;
        b = *(const uint4*)(u + 2560 + l * 16);
        h[4] = b.x, h[5] = b.y, h[6] = b.z, h[7] = b.w;
        b = *(const uint4*)(u + 3072 + (l >> 2) * 16);
        c0[0] = b.x, c0[1] = b.y, c0[2] = b.z, c0[3] = b.w;
        b = *(const uint4*)(u + 3072 + ((l >> 2) + 8) * 16);
        c1[0] = b.x, c1[1] = b.y, c1[2] = b.z, c1[3] = b.w;
        d0 = __half2half2(*(const __half*)(u + 3328 + (l >> 2) * 2)),
        d1 = __hmul2(__half2half2(*(const __half*)(u + 3328 + ((l >> 2) + 8) * 2)), __float2half2_rn(1 / 16.f));
    }
    __half2 S0[2], N0[2], S1[2], N1[2];
    template <int I>
    __device__ __forceinline__ void one(int v, uint32_t w, uint32_t (&a)[4]) {
        const __half2 s0 = I & 1 ? __high2half2(S0[I >> 1]) : __low2half2(S0[I >> 1]),
                      n0 = I & 1 ? __high2half2(N0[I >> 1]) : __low2half2(N0[I >> 1]);
        const __half2 s1 = I & 1 ? __high2half2(S1[I >> 1]) : __low2half2(S1[I >> 1]),
                      n1 = I & 1 ? __high2half2(N1[I >> 1]) : __low2half2(N1[I >> 1]);
        uint32_t t = w >> 8, b = h[v * 2 + (I >> 1)]; // bits of pair p of step i: 8 (i & 1) + 2 p of each half
        constexpr int f = 8 * (I & 1);
        a[0] = fma2(lop<kAndOr>(move_bits<f, 4>(b), 0x00300030, w & 0x000f000f), s0, n0);
        a[1] = fma2(lop<kAndOr>(move_bits<f + 2, 8>(b), 0x03000300, w & 0x00f000f0), s1, n1);
        a[2] = fma2(lop<kAndOr>(move_bits<f + 4, 4>(b), 0x00300030, t & 0x000f000f), s0, n0);
        a[3] = fma2(lop<kAndOr>(move_bits<f + 6, 8>(b), 0x03000300, t & 0x00f000f0), s1, n1);
    }
    __device__ __forceinline__ void expand(int v, uint32_t (&a)[4][4]) {
        uint4 q = *(const uint4*)(u + v * 512 + lane * 16);
        const __half2 o = __float2half2_rn(-1152.f), m = __float2half2_rn(-1 / 524288.f),
                      m1 = __float2half2_rn(-1 / 32768.f);
#pragma unroll
        for (int p = 0; p < 2; ++p) {
            S0[p] = __hmul2(__hadd2(u2h(__byte_perm(c0[v], 0x64646464, p ? 0x4342 : 0x4140)), o), d0),
            N0[p] = __hmul2(S0[p], m);
            S1[p] = __hmul2(__hadd2(u2h(__byte_perm(c1[v], 0x64646464, p ? 0x4342 : 0x4140)), o), d1),
            N1[p] = __hmul2(S1[p], m1);
        }
        one<0>(v, q.x, a[0]), one<1>(v, q.y, a[1]), one<2>(v, q.z, a[2]), one<3>(v, q.w, a[3]);
    }
};
template <>
struct Weights<kQ8> { // 128 inputs: [4][32][16] bytes + 128 of steps 2v, 2v+1; [16][4] d
    static constexpr int groups = 2;
    const uint8_t* u;
    int lane;
    __half2 d0[4], d1[4];
    __device__ __forceinline__ void begin(const uint8_t* unit, int warp, int l) {
        u = unit + warp * 2176, lane = l;
        const __half* p = (const __half*)(u + 2048 + (l >> 2) * 8);
        const __half* q = (const __half*)(u + 2048 + ((l >> 2) + 8) * 8);
#pragma unroll
        for (int j = 0; j < 4; ++j)
            d0[j] = __half2half2(p[j]), d1[j] = __half2half2(q[j]);
    }
    __device__ __forceinline__ void expand(int v, uint32_t (&a)[4][4]) {
#pragma unroll
        for (int p = 0; p < 2; ++p) {
            uint4 q = *(const uint4*)(u + (v * 2 + p) * 512 + lane * 16);
            const uint32_t w[4] = {q.x, q.y, q.z, q.w};
            const __half2 m = __float2half2_rn(-1 / 131072.f);
            __half2 s0 = d0[v * 2 + p], s1 = d1[v * 2 + p], n0 = __hmul2(s0, m), n1 = __hmul2(s1, m);
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    a[p * 2 + i][h * 2] = fma2(__byte_perm(w[i * 2 + h], 0, 0x4140), s0, n0),
                                     a[p * 2 + i][h * 2 + 1] = fma2(__byte_perm(w[i * 2 + h], 0, 0x4342), s1, n1);
                }
        }
    }
};

struct Ring {
    int slot = 0, parity = 0;
    __device__ __forceinline__ void next(int n) {
        if (++slot == n) slot = 0, parity ^= 1;
    }
};

template <int N>
struct Smem {
    static constexpr int slots = N <= 8 ? 4 : 3;
    static constexpr int xstages = N <= 8 ? 3 : N <= 32 ? 4 : 2;
    static constexpr int xunit = N * 512;
    static constexpr int xoff = kGroups * slots * kSlot;
    static constexpr int joff = xoff + xstages * xunit;
    static constexpr int bytes = joff + kJobs * 64;
};
template <int N>
struct Ctx {
    uint8_t* sm;
    uint64_t *full, *empty, *xfull, *xempty;
    Ring w, x;
    int wg, warp, lane;
    bool held;
};

// One tile's part of k: units of this group, its share of the steps.
template <int N, int T>
__device__ __forceinline__ void segment(Ctx<N>& c, int units, bool live, float (&acc)[N / 2]) {
    using S = Smem<N>;
    uint32_t a[2][4][4];
    for (int i = 0; i < units; ++i) {
        mb_wait(sa(&c.xfull[c.x.slot]), c.x.parity);
        if (live) {
            mb_wait(sa(&c.full[c.wg * 8 + c.w.slot]), c.w.parity);
            Weights<T> w;
            w.begin(c.sm + (c.wg * S::slots + c.w.slot) * kSlot, c.warp, c.lane);
            uint32_t xb = __shfl_sync(0xffffffffu, sa(c.sm + S::xoff + c.x.slot * S::xunit), 0);
            uint64_t desc = ((uint64_t)8 << 32) | ((uint64_t)N << 16) | ((xb >> 4) & 0x3fff);
#pragma unroll
            for (int v = 0; v < Weights<T>::groups; ++v) {
                w.expand(v, a[v & 1]);
                if (v == Weights<T>::groups - 1) {
                    __syncwarp();
                    if (c.lane == 0) mb_arrive(sa(&c.empty[c.wg * 8 + c.w.slot]));
                }
                wg_fence();
#pragma unroll
                for (int s = 0; s < 4; ++s)
                    wgmma<N>(acc, a[v & 1][s], desc + (uint64_t)((v * 4 + s) * 2 * N));
                wg_commit();
                if (v < Weights<T>::groups - 1) wg_wait<1>();
            }
            wg_wait<0>();
            c.w.next(S::slots);
        }
        if (c.lane == 0) mb_arrive(sa(&c.xempty[c.x.slot]));
        c.x.next(S::xstages);
    }
}

template <int N>
__device__ __forceinline__ void matmul_job(Ctx<N>& c, const Job& j, int rows) {
    int tile = j.tile0 + c.wg, k = j.k0, part = j.part0, left = j.steps;
    const int kb = j.kb, type = j.type, tiles = j.tiles;
    while (left > 0) {
        const int n = min(kb - k, left);
        const bool live = tile < tiles;
        float acc[N / 2];
#pragma unroll
        for (int i = 0; i < N / 2; ++i)
            acc[i] = 0;
        switch (type) {
        case kQ4K: segment<N, kQ4K>(c, n, live, acc); break;
        case kQ5K: segment<N, kQ5K>(c, n, live, acc); break;
        case kQ6K: segment<N, kQ6K>(c, n, live, acc); break;
        case kQ8: segment<N, kQ8>(c, n, live, acc); break;
        }
        if (live) {
            const int at = tile * 64 + c.warp * 16 + (c.lane >> 2);
            float* o = j.out + (size_t)part * j.part_stride + at;
            const float rs0 = j.row_scale[at], rs1 = j.row_scale[at + 8];
#pragma unroll
            for (int q = 0; q < N / 8; ++q)
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    int r = q * 8 + (c.lane & 3) * 2 + h;
                    if (r < rows) {
                        o[(size_t)r * j.m] = acc[q * 4 + h] * rs0;
                        o[(size_t)r * j.m + 8] = acc[q * 4 + h + 2] * rs1;
                    }
                }
        }
        left -= n, k = 0, part = 0, tile += 4;
    }
}

struct JobReader { // jobs of this CTA, from the shared ring
    const Job* ring;
    uint64_t* full;
    int p = 0;
    __device__ __forceinline__ const Job& next() {
        const int s = p & (kJobs - 1);
        mb_wait(sa(&full[s]), (p / kJobs) & 1);
        ++p;
        return ring[s];
    }
};
template <int N>
__global__ void __launch_bounds__(576, 1)
    step(const Job* all, int n, int rows, int depth, uint32_t* counter, uint32_t base) {
    using S = Smem<N>;
    extern __shared__ __align__(1024) uint8_t sm[];
    __shared__ uint64_t full[32], empty[32], xfull[4], xempty[4], jfull[kJobs], go;
    int warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0), lane = threadIdx.x & 31;
    const Job* jobs = all + (size_t)n * blockIdx.x;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 32; ++i) {
            mb_init(sa(&full[i]), 1);
            mb_init(sa(&empty[i]), 4);
            mb_init(sa(&jfull[i]), 1);
        }
        for (int i = 0; i < 4; ++i) {
            mb_init(sa(&xfull[i]), 1);
            mb_init(sa(&xempty[i]), 16);
        }
        mb_init(sa(&go), 1);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    __syncthreads();
    JobReader reader{(const Job*)(sm + S::joff), jfull};
    auto fetch = [&](int p) {
        if (p < n) {
            mb_expect(sa(&jfull[p & (kJobs - 1)]), 64);
            bulk(sa(sm + S::joff + (p & (kJobs - 1)) * 64), jobs + p, 64, sa(&jfull[p & (kJobs - 1)]));
        }
    };
    if (threadIdx.x == 0)
        for (int p = 0; p < kJobs / 2; ++p)
            fetch(p);
    if (warp == 16) { // weights
        if (lane == 0) {
            Ring w[4];
            int issued = 0; // one ring a group
            __shared__ uint32_t last[8];
            __shared__ int lastp[8];
            for (int p = 0; p < n; ++p) {
                const Job& j = reader.next();
                if (j.type == kNone) continue;
                const int kb = j.kb, tiles = j.tiles;
                const uint32_t ub = unit_bytes(j.type);
                const uint8_t* wp = j.w;
                int k = j.k0, tile = j.tile0;
                for (int s = j.steps; s > 0; --s) {
#pragma unroll
                    for (int g = 0; g < 4; ++g) {
                        if (tile + g >= tiles) continue;
                        uint32_t f = sa(&full[g * 8 + w[g].slot]);
                        mb_wait(sa(&empty[g * 8 + w[g].slot]), w[g].parity ^ 1);
                        int q = issued & 7;
                        if (issued >= depth) {
                            int o = (issued - depth) & 7;
                            mb_wait(last[o], lastp[o]);
                        }
                        last[q] = f, lastp[q] = w[g].parity;
                        ++issued;
                        mb_expect(f, ub);
                        bulk(sa(sm + (g * S::slots + w[g].slot) * kSlot), wp + ((size_t)(tile + g) * kb + k) * ub, ub,
                             f);
                        w[g].next(S::slots);
                    }
                    if (++k == kb) k = 0, tile += 4;
                }
            }
        }
        return;
    }
    if (warp == 17) { // activations
        if (lane == 0) {
            Ring x;
            int gone = 0;
            bool synced = false;
            for (int p = 0; p < n; ++p) {
                const Job& j = reader.next();
                if (synced) {
                    mb_wait(sa(&go), gone & 1);
                    ++gone;
                    asm volatile("fence.proxy.async;" ::: "memory");
                }
                synced = j.sync;
                if (j.type == kNone) continue;
                const uint32_t bytes = N * 2 * kstep(j.type);
                const uint8_t* xp = j.x;
                const int kb = j.kb;
                int k = j.k0;
                for (int s = j.steps; s > 0; --s) {
                    mb_wait(sa(&xempty[x.slot]), x.parity ^ 1);
                    mb_expect(sa(&xfull[x.slot]), bytes);
                    bulk(sa(sm + S::xoff + x.slot * S::xunit), xp + (size_t)k * bytes, bytes, sa(&xfull[x.slot]));
                    x.next(S::xstages);
                    if (++k == kb) k = 0;
                }
            }
        }
        return;
    }
    Ctx<N> c{sm, full, empty, xfull, xempty, {}, {}, warp >> 2, warp & 3, lane, false};
    uint32_t target = base;
    for (int p = 0; p < n; ++p) {
        const Job& j = reader.next();
        const bool sync = j.sync;
        if (j.type != kNone)
            matmul_job<N>(c, j, rows);
        else
            asm volatile("fence.proxy.async;" ::: "memory");
        if (!sync) {
            if (threadIdx.x == 0) fetch(p + kJobs / 2);
            continue;
        }
        target += gridDim.x;
        asm volatile("bar.sync 1, 512;" ::: "memory");
        if (threadIdx.x == 0) {
            red_rel(counter);
            fetch(p + kJobs / 2);
            while ((int)(ld_acq(counter) - target) < 0) {
            }
            mb_arrive(sa(&go));
        }
        asm volatile("bar.sync 1, 512;" ::: "memory");
    }
}
#include "host.inc"
