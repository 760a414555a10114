// How close to a pure read does a persistent kernel come, whose loader runs ahead across grid barriers? Reads the bytes
// of the 27B model phase by phase and computes nothing. `depth`: bulk copies that may be under way at once.
//   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -cudart static -o barriers barriers.cu
#include "ptx.cuh"
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <cuda_runtime.h>
#include <vector>
#define CK(x)                                                                                                          \
    do {                                                                                                               \
        cudaError_t e = (x);                                                                                           \
        if (e != cudaSuccess) {                                                                                        \
            printf("%s:%d %s\n", __FILE__, __LINE__, cudaGetErrorString(e));                                           \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
struct Phase {
    const uint8_t* data;
    uint32_t tiles;
}; // tiles of TILE bytes; tiles 0: barrier only

// 16 consumer warps, each owning every 16th tile of the CTA; warp 16 loads. Ring of `slots` tiles.
template <int TILE, int WARPS>
__global__ void __launch_bounds__(WARPS * 32 + 32, 1)
    run(const Phase* phases, int n, int slots, int depth, uint32_t* counter, uint32_t base, int barriers,
        uint32_t* sink) {
    extern __shared__ __align__(128) uint8_t sm[];
    __shared__ uint64_t full[64], empty[64];
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    if (threadIdx.x == 0)
        for (int i = 0; i < slots; ++i) {
            mb_init(sa(&full[i]), 1);
            mb_init(sa(&empty[i]), 1);
        }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    __syncthreads();
    int slot = 0, parity = 0;
    if (warp == WARPS) {
        uint32_t issued = 0;
        if (lane == 0)
            for (int p = 0; p < n; ++p) {
                uint32_t t = phases[p].tiles, b = (uint64_t)t * blockIdx.x / gridDim.x,
                         e = (uint64_t)t * (blockIdx.x + 1) / gridDim.x;
                const uint8_t* d = phases[p].data;
                for (uint32_t i = b; i < e; ++i) {
                    mb_wait(sa(&empty[slot]), parity ^ 1);
                    if (issued >= (uint32_t)depth) {
                        int old = slot - depth, op = parity;
                        if (old < 0) old += slots, op ^= 1;
                        mb_wait(sa(&full[old]), op);
                    }
                    ++issued;
                    mb_expect(sa(&full[slot]), TILE);
                    bulk(sa(sm + (size_t)slot * TILE), d + (size_t)i * TILE, TILE, sa(&full[slot]));
                    if (++slot == slots) slot = 0, parity ^= 1;
                }
            }
        return;
    }
    uint32_t sum = 0, seq = 0, target = base;
    for (int p = 0; p < n; ++p) {
        uint32_t t = phases[p].tiles, b = (uint64_t)t * blockIdx.x / gridDim.x,
                 e = (uint64_t)t * (blockIdx.x + 1) / gridDim.x;
        for (uint32_t i = b; i < e; ++i, ++seq) {
            if (seq % WARPS == warp) {
                mb_wait(sa(&full[slot]), parity);
                const uint4* q = (const uint4*)(sm + (size_t)slot * TILE);
#pragma unroll
                for (int k = 0; k < TILE / 512; ++k) {
                    uint4 v = q[k * 32 + lane];
                    sum ^= v.x ^ v.y ^ v.z ^ v.w;
                }
                __syncwarp();
                if (lane == 0) mb_arrive(sa(&empty[slot]));
            }
            if (++slot == slots) slot = 0, parity ^= 1;
        }
        if (barriers) {
            target += gridDim.x;
            asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory");
            if (threadIdx.x == 0) {
                red_rel(counter);
                while ((int)(ld_acq(counter) - target) < 0) {
                }
            }
            asm volatile("bar.sync 1, %0;" ::"n"(WARPS * 32) : "memory");
        }
    }
    if (sum == 0x12345678) *sink = sum;
}
template <int TILE, int WARPS>
int test(int layers, std::vector<int> depths);
int main(int argc, char** argv) {
    int layers = 64;
    test<8192, 12>(layers, {3, 4, 5, 6, 8, 12});
    test<8192, 8>(layers, {4, 5, 6, 8});
    test<4096, 16>(layers, {8, 12});
    test<16384, 4>(layers, {2, 3, 4});
}
template <int TILE, int WARPS>
int test(int layers, std::vector<int> depths) {
    cudaDeviceProp pr;
    CK(cudaGetDeviceProperties(&pr, 0));
    printf("%s %d SMs\n", pr.name, pr.multiProcessorCount);

    // 27B, bytes a phase: in-proj, delta, out, gate+up, down (mean of Q4_K and Q6_K)
    std::vector<size_t> sizes;
    for (int l = 0; l < layers; ++l) {
        bool full = (l + 1) % 4 == 0;
        size_t in = full ? (size_t)(12288 + 2048) * 5120 * 144 / 256
                         : (size_t)10240 * 5120 * 176 / 256 + (size_t)6144 * 5120 * 144 / 256 + 96 * 5120 * 34 / 32;
        size_t out = (size_t)6144 * 5120 * (full ? 144 : 176) / 256;
        size_t gu = (size_t)34816 * 5120 * 144 / 256, dn = (size_t)17408 * 5120 * (l % 2 ? 144 : 210) / 256;
        sizes.insert(sizes.end(), {in, 0, out, gu, dn});
    }
    if (layers == 64) sizes.push_back((size_t)248320 * 5120 * 210 / 256);
    size_t total = 0;
    for (size_t s : sizes)
        total += s / TILE * TILE;
    uint8_t* w;
    CK(cudaMalloc(&w, total));
    CK(cudaMemset(w, 1, total));
    std::vector<Phase> ph;
    size_t at = 0;
    for (size_t s : sizes) {
        ph.push_back({w + at, (uint32_t)(s / TILE)});
        at += s / TILE * TILE;
    }
    Phase* dp;
    CK(cudaMalloc(&dp, ph.size() * sizeof(Phase)));
    CK(cudaMemcpy(dp, ph.data(), ph.size() * sizeof(Phase), cudaMemcpyHostToDevice));
    Phase one{w, (uint32_t)(total / TILE)};
    Phase* d1;
    CK(cudaMalloc(&d1, sizeof one));
    CK(cudaMemcpy(d1, &one, sizeof one, cudaMemcpyHostToDevice));
    uint32_t* ctr;
    CK(cudaMalloc(&ctr, 256));
    CK(cudaMemset(ctr, 0, 256));
    CK(cudaFuncSetAttribute(run<TILE, WARPS>, cudaFuncAttributeMaxDynamicSharedMemorySize, 216 * 1024));
    uint32_t base = 0;
    int sms = pr.multiProcessorCount;
    cudaEvent_t a, b;
    cudaEventCreate(&a);
    cudaEventCreate(&b);
    auto time = [&](const Phase* p, int n, int slots, int bar, const char* what, int depth = 1000) {
        std::vector<float> t;
        for (int i = 0; i < 12; ++i) {
            cudaEventRecord(a);
            run<TILE, WARPS><<<sms, WARPS * 32 + 32, slots * TILE>>>(p, n, slots, depth, ctr, base, bar, ctr + 32);
            cudaEventRecord(b);
            if (bar) base += n * sms;
            CK(cudaEventSynchronize(b));
            float ms;
            cudaEventElapsedTime(&ms, a, b);
            if (i > 1) t.push_back(ms);
        }
        std::sort(t.begin(), t.end());
        printf("%-40s depth %4d ring %3d KB  %8.1f us  %.3f TB/s\n", what, depth, slots * TILE / 1024, t[5] * 1e3,
               total / t[5] / 1e9);
    };
    printf("total %.3f GB, %zu phases\n", total / 1e9, ph.size());
    printf("tile %d, %d warps\n", TILE, WARPS);
    const int slots = 196608 / TILE;
    for (int depth : depths) {
        time(d1, 1, slots, 0, "one phase, no barrier", depth);
        time(dp, ph.size(), slots, 0, "phases, no barriers", depth);
        time(dp, ph.size(), slots, 1, "phases and barriers", depth);
    }
    std::vector<Phase> nothing(1000, Phase{w, 0});
    Phase* dn;
    CK(cudaMalloc(&dn, 1000 * sizeof(Phase)));
    CK(cudaMemcpy(dn, nothing.data(), 1000 * sizeof(Phase), cudaMemcpyHostToDevice));
    time(dn, 1000, slots, 1, "1000 barriers alone");
    cudaFree(w);
    return 0;
}
