// One layer's attention: the three launches, and the kernel that adds partitions up.
#include "compute/cuda/attention/attention.h"

#include "compute/cuda/attention/flash.cuh"
#include "compute/cuda/attention/partition.h"
#include "compute/cuda/attention/prepare.h"
#include "compute/cuda/attention/prompt.cuh"
#include "compute/cuda/launch.h"

namespace lucebox::compute::cuda {
namespace {

constexpr int combine_threads = 256, combine_slice = 64;

struct CombineArgs {
    const StepState* state;
    const float* sums;
    const float2* maxima;
    int first_row, rows, heads, head_dim, window, bidirectional; // the rows of a pass
    const float* gate; // null: none
    int gate_stride, gate_head_stride;
    float* out; // [rows, heads * head_dim], or none
    Operand operand;
};

// Adds up `lanes` * 4 dimensions from first_dim on of a head of a row, from partitions first to last. Groups of threads take every
// `groups`-th partition, in order; the groups' sums are then added in order. Partitions are counted from the start of the
// text, so the order is that of absolute positions. `together`: partitions of a group that are asked for at once, the first of them
// before the largest score is known; neither that nor `alone`, whether each warp finds the largest by itself, changes a bit.
template <int together, bool alone> __device__ __forceinline__ void combine(const CombineArgs& args, int first, int last, int first_dim, int lanes) {
    __shared__ float4 shared[combine_threads];
    __shared__ float shared_weight[combine_threads];
    __shared__ float tops[combine_threads / 32];
    const int row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
    const std::size_t stride = static_cast<std::size_t>(args.rows) * args.heads; // from a partition to the next
    const std::size_t place = static_cast<std::size_t>(row) * args.heads + head;
    const int thread = static_cast<int>(threadIdx.x);
    const int groups = combine_threads / lanes; // of threads that share a partition
    const int group = thread / lanes, dim = first_dim + thread % lanes * 4;
    const int start = group < groups ? first + (group + groups - first % groups) % groups : last + 1;

    float4 value[together];
    float2 maximum[together];
    const auto ask = [&](int from) {
#pragma unroll
        for (int i = 0; i < together; ++i) {
            const int p = from + i * groups;
            if (p > last) continue;
            maximum[i] = args.maxima[p * stride + place];
            value[i] = *reinterpret_cast<const float4*>(args.sums + (p * stride + place) * args.head_dim + dim);
        }
    };
    ask(start);
    float top = -INFINITY;
    for (int p = first + (alone ? thread % 32 : thread); p <= last; p += alone ? 32 : combine_threads) {
        top = fmaxf(top, args.maxima[p * stride + place].x);
    }
    for (int offset = 16; offset > 0; offset /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, offset));
    if constexpr (!alone) {
        if (thread % 32 == 0) tops[thread / 32] = top;
        __syncthreads();
        for (int warp = 0; warp < combine_threads / 32; ++warp) top = fmaxf(top, tops[warp]);
    }

    float4 sum{0, 0, 0, 0};
    float weight = 0;
    for (int from = start; from <= last;) {
#pragma unroll
        for (int i = 0; i < together; ++i) {
            if (from + i * groups > last) continue;
            const float scale = exp2f(__fsub_rn(maximum[i].x, top));
            weight = __fmaf_rn(maximum[i].y, scale, weight);
            sum.x = __fmaf_rn(value[i].x, scale, sum.x);
            sum.y = __fmaf_rn(value[i].y, scale, sum.y);
            sum.z = __fmaf_rn(value[i].z, scale, sum.z);
            sum.w = __fmaf_rn(value[i].w, scale, sum.w);
        }
        from += together * groups;
        if (from <= last) ask(from);
    }
    if (group < groups) {
        shared[thread] = sum;
        shared_weight[thread] = weight;
    }
    __syncthreads();
    if (group > 0) return;
    for (int g = 1; g < groups; ++g) {
        const float4 other = shared[g * lanes + thread];
        weight = __fadd_rn(weight, shared_weight[g * lanes + thread]);
        sum.x = __fadd_rn(sum.x, other.x);
        sum.y = __fadd_rn(sum.y, other.y);
        sum.z = __fadd_rn(sum.z, other.z);
        sum.w = __fadd_rn(sum.w, other.w);
    }
    const float inverse = 1.0f / weight;
    const int step_row = args.first_row + row;
    float values[4] = {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse};
    if (args.gate) {
        const float* const gate = args.gate + static_cast<std::size_t>(step_row) * args.gate_stride + head * args.gate_head_stride;
        for (int i = 0; i < 4; ++i) values[i] = values[i] / (1.0f + expf(-gate[dim + i]));
    }
    const float4 out{values[0], values[1], values[2], values[3]};
    const std::size_t at = (static_cast<std::size_t>(step_row) * args.heads + head) * args.head_dim + dim;
    if (args.out) *reinterpret_cast<float4*>(args.out + at) = out;
    args.operand.store4(static_cast<std::uint32_t>(step_row), static_cast<std::uint32_t>(head * args.head_dim + dim), out);
}

// A block for each head of a row; where there are many partitions, for each combine_slice dimensions of it. How many there are is a
// matter of the row's own position, and so is the order in which they are added.
__global__ void __launch_bounds__(combine_threads) combine_kernel(const CombineArgs args) {
    allow_next();
    wait_for_previous();
    const int row = args.first_row + static_cast<int>(blockIdx.x), first_dim = static_cast<int>(blockIdx.z) * combine_slice;
    if (row >= args.state->rows) return;
    const StepRow* const step_row = args.state->row + row;
    int end = step_row->position + 1;
    const int begin = args.window > 0 ? max(0, end - args.window) : 0;
    if (args.bidirectional) {
        const StepSequence* const sequence = args.state->sequence + step_row->sequence;
        end = sequence->committed + sequence->rows;
    }
    const int first = partition_of(begin), last = partition_of(end - 1);
    const int count = last - first + 1;
    const bool sliced = count > many_partitions;
    if (first_dim > 0 && !sliced) return;
    const int lanes = (sliced ? min(combine_slice, args.head_dim - first_dim) : args.head_dim) / 4;
    if (count > 32) combine<8, false>(args, first, last, first_dim, lanes);
    else combine<4, true>(args, first, last, first_dim, lanes);
}

FlashInstance instance(DType type, std::size_t head_dim, int tiles, bool whole) {
    const bool rounded = type == DType::q8_0;
    if (head_dim <= 64) return (rounded ? flash_rounded_64 : flash_64)(tiles, whole, head_dim == 64);
    if (head_dim <= 128) return (rounded ? flash_rounded_128 : flash_128)(tiles, whole, head_dim == 128);
    return (rounded ? flash_rounded_256 : flash_256)(tiles, whole, head_dim == 256);
}

// The tiles that fit the card's shared memory. A smaller number gives the same bits.
FlashInstance fitting_instance(const KvView& cache, int tiles, bool whole, int shared_limit) {
    FlashInstance found = instance(cache.type, cache.head_dim, tiles, whole);
    while (tiles > 1 && found.shared_bytes > static_cast<std::size_t>(shared_limit)) {
        found = instance(cache.type, cache.head_dim, tiles /= 2, whole);
    }
    return found;
}

PrepareArgs prepare_args(const AttentionCall& call) {
    const AttentionArgs& a = call.args;
    const KvView& cache = a.cache;
    PrepareArgs args{};
    args.state = call.state;
    args.q = a.q.data;
    args.k = a.k.data;
    args.v = a.v.data;
    args.heads = static_cast<int>(a.heads);
    args.kv_heads = static_cast<int>(cache.kv_heads);
    args.head_dim = static_cast<int>(cache.head_dim);
    args.q_stride = static_cast<int>(a.q.width);
    args.q_head_stride = static_cast<int>(cache.head_dim * (a.gated ? 2 : 1));
    args.q_norm = a.q_norm ? a.q_norm->data() : nullptr;
    args.k_norm = a.k_norm ? a.k_norm->data() : nullptr;
    args.epsilon = a.epsilon;
    args.rotation = call.rotation.values;
    args.pairs = static_cast<int>(a.rope->dimensions / 2);
    args.adjacent_pairs = a.rope->adjacent_pairs ? 1 : 0;
    args.queries = reinterpret_cast<__half*>(call.scratch.queries);
    args.cache_k = plane_of(cache, cache.k);
    args.cache_v = plane_of(cache, cache.v);
    args.capacity = cache.capacity;
    return args;
}

// Blocks of this many threads that a multiprocessor has at once, by registers and by shared memory; each takes 1 KB more of that than
// it asks for, and so does a card that lets a block have all but 1 KB.
int blocks_at_once(const FlashInstance& flash, int shared_limit) {
    constexpr std::size_t reserved = 1024;
    const std::size_t fitting = (static_cast<std::size_t>(shared_limit) + reserved) / (flash.shared_bytes + reserved);
    return std::clamp(static_cast<int>(fitting), 1, flash.blocks);
}

} // namespace

std::size_t attention_blocks(const KvView& cache, int query_tiles, int processors, int shared_limit) {
    const FlashInstance flash = fitting_instance(cache, query_tiles, false, shared_limit);
    return std::max<std::size_t>(1, static_cast<std::size_t>(processors * blocks_at_once(flash, shared_limit)) / cache.kv_heads);
}

void attention(const AttentionCall& call, cudaStream_t stream) {
    const AttentionArgs& a = call.args;
    const KvView& cache = a.cache;
    const std::size_t rows = a.q.rows;
    const PrepareArgs prepare = prepare_args(call);
    prepare_attention(prepare, rows, stream);

    const float* const gate = a.gated ? a.q.data + cache.head_dim : nullptr;
    FlashArgs args{};
    args.state = call.state;
    args.work = call.work;
    args.queries = prepare.queries;
    args.k = prepare.cache_k;
    args.v = prepare.cache_v;
    args.capacity = cache.capacity;
    args.heads = prepare.heads;
    args.kv_heads = prepare.kv_heads;
    args.group = prepare.heads / prepare.kv_heads;
    args.head_dim = prepare.head_dim;
    args.window = static_cast<int>(a.window);
    args.bidirectional = a.bidirectional ? 1 : 0;
    args.scale = a.scale * 1.44269504f;
    args.sums = call.scratch.sums;
    args.maxima = call.scratch.maxima;
    args.rows = static_cast<int>(rows);
    args.gate = gate;
    args.gate_stride = prepare.q_stride;
    args.gate_head_stride = prepare.q_head_stride;
    args.out = call.write_out ? a.out.data : nullptr;
    args.operand = {call.operand, static_cast<std::uint32_t>(rows)};
    if (call.query_tiles == prompt_query_tiles) {
        const FlashInstance prompt = prompt_instance(cache.head_dim);
        launch(prompt.kernel, dim3(static_cast<unsigned>(call.items), static_cast<unsigned>(cache.kv_heads)), dim3(prompt_threads),
               prompt.shared_bytes, stream, args);
        return;
    }
    const FlashInstance flash = fitting_instance(cache, call.query_tiles, call.whole, call.shared_limit);
    const auto kv_heads = static_cast<unsigned>(cache.kv_heads);
    if (call.whole) {
        launch(flash.kernel, dim3(static_cast<unsigned>(call.items), kv_heads), dim3(flash_threads), flash.shared_bytes, stream, args);
        return;
    }
    const auto blocks = static_cast<unsigned>(attention_blocks(cache, call.query_tiles, call.processors, call.shared_limit));
    for (std::size_t first = 0; first < rows; first += call.pass_rows, ++args.pass) {
        const std::size_t pass_rows = std::min(call.pass_rows, rows - first);
        args.first_row = static_cast<int>(first);
        args.rows = static_cast<int>(pass_rows);
        launch(flash.kernel, dim3(blocks, kv_heads), dim3(flash_threads), flash.shared_bytes, stream, args);
        const CombineArgs combine{call.state,
                                  args.sums,
                                  args.maxima,
                                  args.first_row,
                                  args.rows,
                                  args.heads,
                                  args.head_dim,
                                  args.window,
                                  args.bidirectional,
                                  gate,
                                  args.gate_stride,
                                  args.gate_head_stride,
                                  args.out,
                                  args.operand};
        const auto slices = call.many_partitions ? static_cast<unsigned>((args.head_dim + combine_slice - 1) / combine_slice) : 1u;
        launch(combine_kernel, dim3(static_cast<unsigned>(pass_rows), static_cast<unsigned>(a.heads), slices), dim3(combine_threads), 0, stream,
               combine);
    }
}

void store_attention(const AttentionCall& call, cudaStream_t stream) {
    PrepareArgs prepare = prepare_args(call);
    prepare.heads = 0;
    prepare_attention(prepare, call.args.k.rows, stream);
}

cudaError_t prepare_attention_kernels(int shared_limit) {
    for (const DType type : {DType::f16, DType::q8_0}) {
        for (const std::size_t dims : {48u, 64u, 112u, 128u, 240u, 256u}) { // of each kernel's, fewer and all
            for (const bool whole : {false, true}) {
                for (const int tiles : {1, 2, 4}) {
                    const FlashInstance found = instance(type, dims, tiles, whole);
                    if (found.shared_bytes > static_cast<std::size_t>(shared_limit)) continue;
                    const cudaError_t code = cudaFuncSetAttribute(reinterpret_cast<const void*>(found.kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                                  static_cast<int>(found.shared_bytes));
                    if (code != cudaSuccess) return code;
                }
            }
        }
    }
    return cudaSuccess;
}

} // namespace lucebox::compute::cuda
