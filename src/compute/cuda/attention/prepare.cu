// Queries and keys normed and rotated, keys and values written behind the committed tokens, and the cache's own chores.
#include "compute/cuda/attention/prepare.h"

#include "compute/cuda/launch.h"

#include <cuda_fp16.h>

namespace lucebox::compute::cuda {
namespace {

constexpr int warps_per_block = 4;
constexpr int largest_head = 512;

__global__ void rotation_kernel(const StepState* state, const double* frequency, int pairs, double magnitude, float2* out) {
    allow_next();
    wait_for_previous();
    const int row = static_cast<int>(blockIdx.x);
    if (row >= state->rows) return;
    const double position = state->row[row].position;
    for (int i = static_cast<int>(threadIdx.x); i < pairs; i += static_cast<int>(blockDim.x)) {
        double sine = 0, cosine = 0;
        sincos(position * frequency[i], &sine, &cosine);
        out[row * pairs + i] = {static_cast<float>(cosine * magnitude), static_cast<float>(sine * magnitude)};
    }
}

// One warp for each head of q, k and v of a row.
__global__ void __launch_bounds__(warps_per_block * 32) prepare_kernel(const PrepareArgs args) {
    __shared__ float shared[warps_per_block][largest_head];
    allow_next();
    wait_for_previous();
    const int row = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x % 32);
    const int unit = static_cast<int>(blockIdx.y) * warps_per_block + static_cast<int>(threadIdx.x / 32);
    if (row >= args.state->rows || unit >= args.heads + 2 * args.kv_heads) return;
    const StepRow step_row = args.state->row[row];
    const int dim = args.head_dim;
    const bool is_query = unit < args.heads, is_value = unit >= args.heads + args.kv_heads;
    const int kv_head = is_query ? 0 : (unit - args.heads) % args.kv_heads;

    const float* from;
    if (is_query) from = args.q + static_cast<std::size_t>(row) * args.q_stride + unit * args.q_head_stride;
    else from = (is_value ? args.v : args.k) + (static_cast<std::size_t>(row) * args.kv_heads + kv_head) * dim;
    KvPlane to{reinterpret_cast<unsigned char*>(args.queries + (static_cast<std::size_t>(row) * args.heads + unit) * dim), nullptr};
    if (!is_query) {
        const auto token = static_cast<std::size_t>(args.state->sequence[step_row.sequence].committed + step_row.local);
        to = (is_value ? args.cache_v : args.cache_k)
                 .from((static_cast<std::size_t>(step_row.slot) * args.kv_heads + kv_head) * args.capacity + token, dim);
    }
    if (is_value) return store_head(to, from, dim, lane);
    float* const head = shared[threadIdx.x / 32];
    const float* const norm = is_query ? args.q_norm : args.k_norm;
    float squares = 0;
    for (int i = lane; i < dim; i += 32) {
        head[i] = from[i];
        squares = __fmaf_rn(head[i], head[i], squares);
    }
    if (norm) {
        for (int offset = 16; offset > 0; offset /= 2) squares = __fadd_rn(squares, __shfl_xor_sync(0xffffffffu, squares, offset));
        const float scale = 1.0f / sqrtf(squares / static_cast<float>(dim) + args.epsilon);
        for (int i = lane; i < dim; i += 32) head[i] = head[i] * scale * norm[i];
    }
    __syncwarp();
    const float2* const rotation = args.rotation + static_cast<std::size_t>(row) * args.pairs;
    const int step = args.adjacent_pairs ? 2 : 1, partner = args.adjacent_pairs ? 1 : args.pairs;
    for (int i = lane; i < args.pairs; i += 32) {
        const float a = head[i * step], b = head[i * step + partner];
        const float2 turn = rotation[i];
        head[i * step] = a * turn.x - b * turn.y;
        head[i * step + partner] = b * turn.x + a * turn.y;
    }
    __syncwarp();
    store_head(to, head, dim, lane);
}

struct Moves {
    std::uint8_t from[max_tree_rows];
    int count;
};

// Every thread moves its own part of a token, token after token: a target is never a source that is still needed. `parts` of a
// token in each of the KV heads.
template <class Part> __device__ __forceinline__ void move_parts(Part* first, std::size_t capacity, int parts, const Moves& moves) {
    Part* const at = first + blockIdx.x * capacity * static_cast<std::size_t>(parts);
    for (int part = static_cast<int>(threadIdx.x); part < parts; part += static_cast<int>(blockDim.x)) {
        for (int i = 0; i < moves.count; ++i) at[i * parts + part] = at[moves.from[i] * parts + part];
    }
}

// A block for each KV head and: keys, values, scales of keys, scales of values. The planes begin with the first token.
__global__ void move_kernel(KvPlane k, KvPlane v, std::size_t capacity, int head_dim, const Moves moves) {
    allow_next();
    wait_for_previous();
    const KvPlane plane = blockIdx.y % 2 == 0 ? k : v;
    if (blockIdx.y < 2) move_parts(reinterpret_cast<uint4*>(plane.values), capacity, head_dim / (plane.scales ? 16 : 8), moves);
    else move_parts(plane.scales, capacity, (head_dim + 31) / 32, moves);
}

} // namespace

KvPlane plane_of(const KvView& cache, std::byte* keys_or_values) {
    auto* const values = reinterpret_cast<unsigned char*>(keys_or_values);
    const std::size_t codes = cache.slots * cache.kv_heads * cache.capacity * cache.head_dim;
    return {values, cache.type == DType::q8_0 ? reinterpret_cast<__half*>(values + codes) : nullptr};
}

void rotate_positions(const RotationTable& table, std::size_t rows, const StepState* state, cudaStream_t stream) {
    launch(rotation_kernel, dim3(static_cast<unsigned>(rows)), dim3(64), 0, stream, state, table.frequency,
           static_cast<int>(table.rope->dimensions / 2), table.rope->magnitude, table.values);
}

void prepare_attention(const PrepareArgs& args, std::size_t rows, cudaStream_t stream) {
    const int units = args.heads + 2 * args.kv_heads;
    const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>((units + warps_per_block - 1) / warps_per_block));
    launch(prepare_kernel, grid, dim3(warps_per_block * 32), 0, stream, args);
}

void move_attention_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from,
                           cudaStream_t stream) {
    Moves moves{};
    bool moved = false;
    for (const std::int32_t token : from) {
        moved = moved || token != moves.count;
        moves.from[moves.count++] = static_cast<std::uint8_t>(token);
    }
    if (!moved) return;
    const auto dim = static_cast<int>(cache.head_dim);
    const std::size_t begin = slot * cache.kv_heads * cache.capacity + first;
    const KvPlane k = plane_of(cache, cache.k).from(begin, dim), v = plane_of(cache, cache.v).from(begin, dim);
    launch(move_kernel, dim3(static_cast<unsigned>(cache.kv_heads), k.scales ? 4 : 2), dim3(64), 0, stream, k, v, cache.capacity, dim, moves);
}

} // namespace lucebox::compute::cuda
