#include "compute/cuda/rows.h"

#include "compute/cuda/best.cuh"
#include "compute/cuda/launch.h"
#include "compute/cuda/matmul/operand.cuh"

#include <cmath>
#include <cuda_fp16.h>

namespace lucebox::compute::cuda {
namespace {

constexpr int most_warps = 32;
constexpr int best_blocks = 64; // that share a row of logits
constexpr int best_threads = 256;

__device__ __forceinline__ float warp_sum(float value) {
    for (int offset = 16; offset > 0; offset /= 2) value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, offset));
    return value;
}

// The sum over a block, the same in every thread.
__device__ float block_sum(float value, float* shared) {
    const int warp = static_cast<int>(threadIdx.x / 32), warps = static_cast<int>(blockDim.x / 32);
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) shared[warp] = value;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < warps; ++i) sum = __fadd_rn(sum, shared[i]);
    return sum;
}

struct NormArgs {
    const StepState* state;
    const float* x;
    const float* weight;
    float* out;
    Operand operand;
    int width, add;
    float epsilon;
};

// A block for each row; width a multiple of 4.
__global__ void norm_kernel(const NormArgs args) {
    __shared__ float shared[most_warps];
    allow_next();
    const int row = static_cast<int>(blockIdx.x), quads = args.width / 4;
    wait_for_previous();
    if (row >= args.state->rows) return;
    const float4* const x = reinterpret_cast<const float4*>(args.x + static_cast<std::size_t>(row) * args.width);
    const float4* const weight = reinterpret_cast<const float4*>(args.weight);
    float squares = 0;
    for (int i = static_cast<int>(threadIdx.x); i < quads; i += static_cast<int>(blockDim.x)) {
        const float4 v = x[i];
        squares = __fmaf_rn(v.x, v.x, squares);
        squares = __fmaf_rn(v.y, v.y, squares);
        squares = __fmaf_rn(v.z, v.z, squares);
        squares = __fmaf_rn(v.w, v.w, squares);
    }
    const float mean = block_sum(squares, shared) / static_cast<float>(args.width);
    const float scale = 1.0f / sqrtf(__fadd_rn(mean, args.epsilon));
    for (int i = static_cast<int>(threadIdx.x); i < quads; i += static_cast<int>(blockDim.x)) {
        const float4 v = x[i], w = weight[i];
        float4 y{v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
        if (args.out) {
            float4* const out = reinterpret_cast<float4*>(args.out + static_cast<std::size_t>(row) * args.width) + i;
            if (args.add) {
                const float4 old = *out;
                y = {old.x + y.x, old.y + y.y, old.z + y.z, old.w + y.w};
            }
            *out = y;
        }
        if (args.operand.data) args.operand.store4(static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(4 * i), y);
    }
}

// The number of threads is a function of the width alone: it decides the order of the sum.
unsigned norm_threads(std::size_t width) {
    unsigned threads = 64;
    while (threads < 1024 && threads * 4 < width) threads *= 2;
    return threads;
}

__global__ void gather_kernel(const StepState* state, const float* x, float* out, int width) {
    allow_next();
    wait_for_previous();
    const int index = static_cast<int>(blockIdx.x);
    if (index >= state->outputs) return;
    const float* const from = x + static_cast<std::size_t>(state->output[index]) * width;
    float* const to = out + static_cast<std::size_t>(index) * width;
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) to[i] = from[i];
}

__global__ void columns_kernel(const float4* x, float4* out, int width, int out_width) { // in quads
    allow_next();
    wait_for_previous();
    const float4* const from = x + static_cast<std::size_t>(blockIdx.x) * width;
    float4* const to = out + static_cast<std::size_t>(blockIdx.x) * out_width;
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) to[i] = from[i];
}

__global__ void best_kernel(const float* logits, int width, Best* found) {
    __shared__ Best shared[best_threads / 32];
    allow_next();
    wait_for_previous();
    const float* const row = logits + static_cast<std::size_t>(blockIdx.y) * width;
    Best best{-INFINITY, INT32_MAX};
    for (int i = static_cast<int>(blockIdx.x * best_threads + threadIdx.x); i < width; i += best_blocks * best_threads) {
        if (row[i] > best.value) best = {row[i], i};
    }
    best = block_best(best, shared);
    if (threadIdx.x == 0) found[blockIdx.y * best_blocks + blockIdx.x] = best;
}

__global__ void best_of_blocks_kernel(const Best* found, std::int32_t* ids) {
    __shared__ Best shared[best_blocks / 32];
    allow_next();
    wait_for_previous();
    const Best best = block_best(found[blockIdx.x * best_blocks + threadIdx.x], shared);
    if (threadIdx.x == 0) ids[blockIdx.x] = best.id == INT32_MAX ? 0 : best.id;
}

} // namespace

void rms_norm(const NormCall& call, cudaStream_t stream) {
    const NormArgs args{call.state,
                        call.x.data,
                        call.weight,
                        call.out,
                        Operand{call.operand, static_cast<std::uint32_t>(call.x.rows)},
                        static_cast<int>(call.x.width),
                        call.add ? 1 : 0,
                        call.epsilon};
    launch(norm_kernel, dim3(static_cast<unsigned>(call.x.rows)), dim3(norm_threads(call.x.width)), 0, stream, args);
}

void gather_outputs(const StepState* state, Tensor x, Tensor out, cudaStream_t stream) {
    launch(gather_kernel, dim3(static_cast<unsigned>(out.rows)), dim3(256), 0, stream, state, x.data, out.data,
           static_cast<int>(x.width));
}

void store_columns(Tensor x, Tensor out, std::size_t first_column, cudaStream_t stream) {
    launch(columns_kernel, dim3(static_cast<unsigned>(x.rows)), dim3(256), 0, stream, reinterpret_cast<const float4*>(x.data),
           reinterpret_cast<float4*>(out.data + first_column), static_cast<int>(x.width / 4), static_cast<int>(out.width / 4));
}

std::size_t best_tokens_workspace_bytes(std::size_t rows) { return rows * best_blocks * sizeof(Best); }

void best_tokens(Tensor logits, std::byte* workspace, std::int32_t* ids, cudaStream_t stream) {
    Best* const found = reinterpret_cast<Best*>(workspace);
    const auto rows = static_cast<unsigned>(logits.rows);
    launch(best_kernel, dim3(best_blocks, rows), dim3(best_threads), 0, stream, logits.data, static_cast<int>(logits.width), found);
    launch(best_of_blocks_kernel, dim3(rows), dim3(best_blocks), 0, stream, found, ids);
}

} // namespace lucebox::compute::cuda
