// The chunked form, for paths of more than 64 rows: what each chunk of 64 rows means for the state is computed for all
// chunks at once (chunk_kernel), then the state is carried through them (carry_kernel).
//
// With G_t the sum of log decays of the chunk's rows up to t, beta the write strengths and M the state before the chunk:
//     L[t][s] = beta_t exp(G_t - G_s) k_t.k_s                 s < t
//     (I + L) W = beta exp(G) K,   (I + L) V' = beta V        forward substitution, f32
//     U = V' - W M
//     o_t = exp(G_t) q_t M + sum_{s <= t} exp(G_t - G_s) (q_t.k_s) U_s
//     M <- exp(G_63) M + sum_s exp(G_63 - G_s) k_s x U_s
// (Yang et al., "Gated Delta Networks", 2024; the solve in place of their inverse.) Only differences of G are
// exponentiated, never positive ones.
//
// Products run on tensor cores in f16 with f32 sums. What feeds back into the state is split in two f16, high and rest,
// three products: 22 bits. What only reaches the output is rounded once, to f16, as the product that reads it does anyway.
// Chunks begin at absolute multiples of 64 rows of the text; rows of a chunk that are not of this step are zeros, and
// change nothing.
#pragma once

#include "compute/cuda/delta_net/rows.cuh"
#include "compute/cuda/tensor_core.cuh"

#include <type_traits>

namespace lucebox::compute::cuda::delta {

constexpr int chunk_rows = 64;
constexpr int chunks_at_once = 11; // of the 27B's 48 heads: two blocks for each place that an H100 has; 69 MB of workspace
constexpr int chunk_threads = 256;
constexpr int carry_warps = 4;    // 16 columns each
constexpr int tile_bytes = chunk_rows * 128 * 2;

// One chunk of one head in the workspace, in pieces of 16 KB in the order in which the carry reads them: tiles of f16
// [64 rows][128] (the mask: [64][64]), then V' transposed, f32 [128 columns][64 rows].
struct ChunkMemory {
    std::byte* data;

    enum Piece { w_high, w_rest, query, key_high, key_rest, mask, values_begin, values_end = values_begin + 2 };
    static constexpr std::size_t bytes = values_end * tile_bytes + 256;
    __device__ std::byte* tile(int index) const { return data + index * tile_bytes; }
    __device__ float* values() const { return reinterpret_cast<float*>(tile(values_begin)); }
    __device__ float* decay() const { return reinterpret_cast<float*>(tile(values_end)); } // exp(G_63)
};
// Where V' of row t, column j lies: eight rows lie together, at different banks for neighbouring columns.
__device__ inline int in_values(int j, int t) { return j * chunk_rows + (((t >> 3) ^ (j & 7)) << 3) + (t & 7); }

// Byte of column c in row t: pieces of 16 bytes exclusive-ored with the row, so that eight rows of one piece lie in
// different banks.
__device__ inline int in_tile(int t, int c) { return t * 256 + ((((c >> 3) & 7) ^ (t & 7)) << 4) + (c >> 6) * 128 + (c & 7) * 2; }
__device__ inline int in_mask(int t, int c) { return t * 128 + (((c >> 3) ^ (t & 7)) << 4) + (c & 7) * 2; }

// A number as a sum of two f16.
__device__ inline void split2(float a, float b, std::uint32_t& high, std::uint32_t& rest) {
    const __half2 h = __floats2half2_rn(a, b);
    const float2 back = __half22float2(h);
    memcpy(&high, &h, 4);
    rest = pack_half2(a - back.x, b - back.y);
}
__device__ inline float joined(const std::byte* high, const std::byte* rest) {
    return __half2float(*reinterpret_cast<const __half*>(high)) + __half2float(*reinterpret_cast<const __half*>(rest));
}

// Rows of a chunk: slot t holds local row `first + t`, if that is in 0 .. rows.
struct ChunkOf {
    int first, rows;

    __device__ ChunkOf(const StepSequence& s, int chunk) : first(chunk * chunk_rows - s.committed % chunk_rows), rows(s.rows) {}
    __device__ bool has(int t) const { return first + t >= 0 && first + t < rows; }
    __device__ bool exists() const { return first < rows; }
};

// A fragment of A: rows m .. m + 15, inputs k .. k + 15 of a tile.
__device__ inline void load_a(std::uint32_t (&a)[4], const std::byte* tile, int m, int k) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    load_matrices(a, tile + in_tile(m + lane % 16, k + lane / 16 * 8));
}
// Two fragments of B: outputs n .. n + 15 (rows of the tile), inputs k .. k + 15. b[0], b[1]: the first 8 outputs.
__device__ inline void load_b(std::uint32_t (&b)[4], const std::byte* tile, int n, int k) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    load_matrices(b, tile + in_tile(n + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8));
}

// Where the raw channels of a row of this step lie, or of the stored tail before it; null: there are none.
__device__ inline const float* raw_row(const History& history, int rows, int local) {
    if (local >= rows) return nullptr;
    if (local >= 0) return history.rows + static_cast<size_t>(local) * history.stride;
    const int index = history.taps - 1 + local;
    return index >= 0 ? history.conv + static_cast<size_t>(index) * history.channels : nullptr;
}
// Four neighbouring channels of eight rows t0 .. of a chunk: silu(convolution), zero for rows that are not of this step.
__device__ inline void convolve_rows(const Params& p, const History& history, const ChunkOf& at, int t0, int channel, float4 (&y)[8]) {
    const float4 zero = make_float4(0, 0, 0, 0);
    float4 raw[8 + max_taps - 1], weight[max_taps]; // oldest first
#pragma unroll
    for (int i = 0; i < 8 + max_taps - 1; ++i) {
        const float* row = raw_row(history, at.rows, at.first + t0 + i - (max_taps - 1));
        raw[i] = row ? *reinterpret_cast<const float4*>(row + channel) : zero;
    }
#pragma unroll
    for (int i = 0; i < max_taps; ++i) {
        const int tap = i - (max_taps - p.taps);
        const float* from = p.conv_weight + channel * p.taps + tap;
        weight[i] = tap >= 0 ? make_float4(from[0], from[p.taps], from[2 * p.taps], from[3 * p.taps]) : zero;
    }
#pragma unroll
    for (int t = 0; t < 8; ++t) {
        float4 sum = zero;
#pragma unroll
        for (int i = 0; i < max_taps; ++i) sum = fma4(weight[i], raw[t + i], sum);
        y[t] = at.has(t0 + t) ? silu(sum) : zero;
    }
}

// Everything about a chunk that does not need the state. blockIdx: chunk, value head.
constexpr int chunk_shared_bytes = 2 * tile_bytes + chunk_rows * 68 * 4;

static __global__ void __launch_bounds__(chunk_threads, 2)
    chunk_kernel(const Params p, std::byte* workspace, int sequence, int first_chunk) {
    extern __shared__ uint4 chunk_shared[];
    std::byte* const key_high = reinterpret_cast<std::byte*>(chunk_shared);
    std::byte* const key_rest = key_high + tile_bytes;
    std::byte* const query = key_rest + tile_bytes;      // later, in its place:
    float* const lower = reinterpret_cast<float*>(query); // L, rows of 68 floats
    // G as a sum of two floats: the difference of two large ones must still be exact to f32. grown: exp(G).
    __shared__ float beta[chunk_rows], sum[chunk_rows], sum_rest[chunk_rows], grown[chunk_rows];
    const auto between = [&](int t, int s) { return (sum[t] - sum[s]) + (sum_rest[t] - sum_rest[s]); };
    wait_for_previous();
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int head = static_cast<int>(blockIdx.y), key_head = head % p.key_heads, chunk = first_chunk + static_cast<int>(blockIdx.x);
    if (sequence >= p.step->sequences) return;
    const StepSequence& s = p.sequence[sequence];
    const ChunkOf at(s, chunk);
    if (s.rows <= chunk_rows || !at.exists()) return;
    const ChunkMemory memory{workspace + (blockIdx.y * chunks_at_once + blockIdx.x) * ChunkMemory::bytes};
    const History history{p.qkv + static_cast<size_t>(s.first_row) * p.qkv_stride, p.qkv_stride, p.slot_scratch(s.slot),
                          p.scratch_width(), p.slot_conv(s.slot), p.channels, p.taps, s.pending, 0, nullptr};

    if (warp == 0) { // decays and write strengths, two rows a lane; prefix sum
        double log_decay[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int t = 2 * lane + i;
            log_decay[i] = 0;
            float strength = 0;
            if (at.has(t)) {
                const size_t row = static_cast<size_t>(s.first_row + at.first + t) * p.gate_stride + head;
                const float x = p.alpha[row] + p.dt_bias[head];
                log_decay[i] = p.a[head] * (x > 20 ? x : log1pf(expf(x)));
                strength = 1 / (1 + expf(-p.beta[row]));
            }
            beta[t] = strength;
        }
        double inclusive = log_decay[0] + log_decay[1];
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const double before = __shfl_up_sync(~0u, inclusive, step);
            if (lane >= step) inclusive += before;
        }
        const double each[2] = {inclusive - log_decay[1], inclusive};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int t = 2 * lane + i;
            sum[t] = static_cast<float>(each[i]);
            sum_rest[t] = static_cast<float>(each[i] - sum[t]);
            grown[t] = expf(sum[t]);
        }
        if (lane == 31) *memory.decay() = expf(static_cast<float>(inclusive));
    }
    __syncthreads();

    // q, k and v: a warp for eight rows in a row, four channels a lane; the rows' windows overlap. Values go to the workspace,
    // where each thread that solves finds its column.
    const int t0 = warp * 8;
    float4 y[8];
    float squares[8];
#pragma unroll 1
    for (int kind = 0; kind < 3; ++kind) {
        const int first = kind < 2 ? kind * p.key_heads + key_head : 2 * p.key_heads + head;
        convolve_rows(p, history, at, t0, first * 128 + lane * 4, y);
        if (kind == 2) {
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                float column[8];
#pragma unroll
                for (int i = 0; i < 8; ++i) column[i] = beta[t0 + i] * (c == 0 ? y[i].x : c == 1 ? y[i].y : c == 2 ? y[i].z : y[i].w);
                float4* const to = reinterpret_cast<float4*>(memory.values() + in_values(lane * 4 + c, t0));
                to[0] = make_float4(column[0], column[1], column[2], column[3]);
                to[1] = make_float4(column[4], column[5], column[6], column[7]);
            }
            continue;
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) squares[i] = dot(y[i], y[i]);
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) {
#pragma unroll
            for (int i = 0; i < 8; ++i) squares[i] += __shfl_xor_sync(~0u, squares[i], mask);
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const int t = t0 + i, place = in_tile(t, lane * 4);
            const float4 x = scaled(y[i], __frsqrt_rn(squares[i] + l2_epsilon));
            if (kind == 0) { // the query's scale comes at the end: f16 likes numbers near one
                const float by = grown[t];
                *reinterpret_cast<uint2*>(query + place) = make_uint2(pack_half2(x.x, x.y), pack_half2(x.z, x.w));
                *reinterpret_cast<uint2*>(memory.tile(ChunkMemory::query) + place) =
                    make_uint2(pack_half2(x.x * by, x.y * by), pack_half2(x.z * by, x.w * by));
                continue;
            }
            const float by = expf(between(chunk_rows - 1, t));
            uint2 high, rest;
            split2(x.x, x.y, high.x, rest.x);
            split2(x.z, x.w, high.y, rest.y);
            *reinterpret_cast<uint2*>(key_high + place) = high;
            *reinterpret_cast<uint2*>(key_rest + place) = rest;
            split2(x.x * by, x.y * by, high.x, rest.x);
            split2(x.z * by, x.w * by, high.y, rest.y);
            *reinterpret_cast<uint2*>(memory.tile(ChunkMemory::key_high) + place) = high;
            *reinterpret_cast<uint2*>(memory.tile(ChunkMemory::key_rest) + place) = rest;
        }
    }
    __syncthreads();

    // q.k and k.k: warp w has rows 16 (w / 2) .., columns 32 (w % 2) ..
    float qk[4][4] = {}, kk[4][4] = {};
    const int m = warp / 2 * 16, n = warp % 2 * 32;
    if (n <= m + 15) {
#pragma unroll
        for (int k = 0; k < 128; k += 16) {
            std::uint32_t q[4], high[4], rest[4];
            load_a(q, query, m, k);
            load_a(high, key_high, m, k);
            load_a(rest, key_rest, m, k);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                std::uint32_t b[4], c[4];
                load_b(b, key_high, n + half * 16, k);
                load_b(c, key_rest, n + half * 16, k);
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    multiply_16x8x16(qk[half * 2 + i], q, b[2 * i], b[2 * i + 1]);
                    multiply_16x8x16(kk[half * 2 + i], high, b[2 * i], b[2 * i + 1]);
                    multiply_16x8x16(kk[half * 2 + i], rest, b[2 * i], b[2 * i + 1]);
                    multiply_16x8x16(kk[half * 2 + i], high, c[2 * i], c[2 * i + 1]);
                }
            }
        }
    }
    __syncthreads(); // the queries have been read: L takes their place
#pragma unroll
    for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int t = m + lane / 4 + 8 * r, c = n + tile * 8 + lane % 4 * 2;
            float weight[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) weight[i] = c + i <= t ? expf(between(t, c + i)) : 0.0f;
            *reinterpret_cast<std::uint32_t*>(memory.tile(ChunkMemory::mask) + in_mask(t, c)) =
                pack_half2(qk[tile][2 * r] * weight[0], qk[tile][2 * r + 1] * weight[1]);
#pragma unroll
            for (int i = 0; i < 2; ++i) lower[t * 68 + c + i] = c + i < t ? beta[t] * weight[i] * kk[tile][2 * r + i] : 0.0f;
        }
    }
    __syncthreads();

    // Forward substitution, a thread for a right side: columns of K, then of V.
    float x[chunk_rows];
    const int column = thread % 128;
    if (thread < 128) {
#pragma unroll
        for (int t = 0; t < chunk_rows; ++t) {
            const int place = in_tile(t, column);
            x[t] = beta[t] * grown[t] * joined(key_high + place, key_rest + place);
        }
    } else {
#pragma unroll
        for (int t = 0; t < chunk_rows; t += 4) {
            const float4 v = *reinterpret_cast<const float4*>(memory.values() + in_values(column, t));
            x[t] = v.x, x[t + 1] = v.y, x[t + 2] = v.z, x[t + 3] = v.w;
        }
    }
#pragma unroll
    for (int t = 1; t < chunk_rows; ++t) {
        float total[4] = {};
#pragma unroll
        for (int from = 0; from < t; from += 4) {
            const float4 l = *reinterpret_cast<const float4*>(lower + t * 68 + from); // zero from the diagonal on
            total[0] = fmaf(l.x, x[from], total[0]);
            if (from + 1 < t) total[1] = fmaf(l.y, x[from + 1], total[1]);
            if (from + 2 < t) total[2] = fmaf(l.z, x[from + 2], total[2]);
            if (from + 3 < t) total[3] = fmaf(l.w, x[from + 3], total[3]);
        }
        x[t] -= (total[0] + total[1]) + (total[2] + total[3]);
    }
    if (thread < 128) { // in the place of K's columns, which no other thread reads
#pragma unroll
        for (int t = 0; t < chunk_rows; ++t) {
            const float negative = -x[t]; // the carry adds
            const __half high = __float2half_rn(negative);
            const int place = in_tile(t, column);
            *reinterpret_cast<__half*>(key_high + place) = high;
            *reinterpret_cast<__half*>(key_rest + place) = __float2half_rn(negative - __half2float(high));
        }
    } else {
#pragma unroll
        for (int t = 0; t < chunk_rows; t += 4) {
            *reinterpret_cast<float4*>(memory.values() + in_values(column, t)) = make_float4(x[t], x[t + 1], x[t + 2], x[t + 3]);
        }
    }
    __syncthreads();
    static_assert(ChunkMemory::w_rest == ChunkMemory::w_high + 1);
    for (int i = thread; i < 2 * tile_bytes / 16; i += chunk_threads) {
        reinterpret_cast<uint4*>(memory.tile(ChunkMemory::w_high))[i] = reinterpret_cast<const uint4*>(key_high)[i];
    }
}

// Carries the state through chunks. blockIdx: half of the columns, value head. Warp w of block b has the columns
// j = 64 b + 16 w ..; everything is transposed, so that a product's result (rows j) is the next one's left operand as it
// lies in registers.
constexpr int carry_pieces = ChunkMemory::values_begin + 1; // V' of the block's columns first

template <int BUFFERS>
__global__ void __launch_bounds__(carry_warps * 32)
    carry_kernel(const Params p, const std::byte* workspace, int sequence, int first_chunk) {
    extern __shared__ uint4 carry_shared[];
    __shared__ float decays[chunks_at_once];
    std::byte* const shared = reinterpret_cast<std::byte*>(carry_shared);
    wait_for_previous();
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int head = static_cast<int>(blockIdx.y);
    if (sequence >= p.step->sequences) return;
    const StepSequence& s = p.sequence[sequence];
    if (s.rows <= chunk_rows || !ChunkOf(s, first_chunk).exists()) return;
    const std::byte* const chunks = workspace + blockIdx.y * chunks_at_once * ChunkMemory::bytes;
    int count = 0;
    while (count < chunks_at_once && ChunkOf(s, first_chunk + count).exists()) ++count;
    if (thread < count) {
        decays[thread] = *ChunkMemory{const_cast<std::byte*>(chunks) + static_cast<size_t>(thread) * ChunkMemory::bytes}.decay();
    }

    // Pieces are copied in the order they are used, into BUFFERS places in turn.
    const auto copy = [&](int piece) {
        if (piece < count * carry_pieces) {
            const int chunk = piece / carry_pieces, turn = piece % carry_pieces;
            const int index = turn == 0 ? ChunkMemory::values_begin + static_cast<int>(blockIdx.x) : turn - 1;
            const std::byte* from = chunks + chunk * ChunkMemory::bytes + index * tile_bytes;
            std::byte* to = shared + piece % BUFFERS * tile_bytes;
            const int bytes = index == ChunkMemory::mask ? tile_bytes / 2 : tile_bytes;
            for (int at = thread * 16; at < bytes; at += carry_warps * 32 * 16) copy_16(to + at, from + at, true);
        }
        copies_commit();
    };
    int issued = 0, piece = 0;
    // The next COUNT pieces; those taken before are given back.
    const auto take = [&]<int COUNT>(std::integral_constant<int, COUNT>) {
        __syncthreads();
        for (; issued < piece + BUFFERS; ++issued) copy(issued);
        copies_wait<BUFFERS - COUNT>();
        __syncthreads();
        piece += COUNT;
    };
    const auto taken = [&](int back) -> const std::byte* { return shared + (piece - back) % BUFFERS * tile_bytes; };

    const int j = static_cast<int>(blockIdx.x) * carry_warps * 16 + warp * 16 + lane / 4; // this lane's columns: j, j + 8
    float state[16][4]; // [key block of 8][row j: keys 2 (lane % 4), + 1; row j + 8: the same]
    float* const stored = p.head_state(s.slot, head);
    const auto state_at = [&](int key, int column) { return stored + ((column / 4) * 32 + key / 4) * 16 + column % 4 * 4 + key % 4; };
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        const int key = i * 8 + lane % 4 * 2;
        const float2 a = *reinterpret_cast<const float2*>(state_at(key, j)), b = *reinterpret_cast<const float2*>(state_at(key, j + 8));
        state[i][0] = a.x;
        state[i][1] = a.y;
        state[i][2] = b.x;
        state[i][3] = b.y;
    }
    const auto left = [](const float (&x)[4], const float (&y)[4], std::uint32_t (&high)[4], std::uint32_t (&rest)[4]) {
        split2(x[0], x[1], high[0], rest[0]);
        split2(x[2], x[3], high[1], rest[1]);
        split2(y[0], y[1], high[2], rest[2]);
        split2(y[2], y[3], high[3], rest[3]);
    };

    for (int chunk = 0; chunk < count; ++chunk) {
        const ChunkOf at(s, first_chunk + chunk);
        float u[8][4], out[8][4]; // transposed; U begins as V'
        take(std::integral_constant<int, 1>{});
        {
            const float* values = reinterpret_cast<const float*>(taken(1));
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const int t = i * 8 + lane % 4 * 2, own = warp * 16 + lane / 4;
                const float2 a = *reinterpret_cast<const float2*>(values + in_values(own, t));
                const float2 b = *reinterpret_cast<const float2*>(values + in_values(own + 8, t));
                u[i][0] = a.x;
                u[i][1] = a.y;
                u[i][2] = b.x;
                u[i][3] = b.y;
                out[i][0] = out[i][1] = out[i][2] = out[i][3] = 0;
            }
        }
        take(std::integral_constant<int, 3>{}); // U -= W M (W is stored negative), o = exp(G) q M
        const std::byte *w_high = taken(3), *w_rest = taken(2), *query = taken(1);
#pragma unroll
        for (int k = 0; k < 8; ++k) {
            std::uint32_t high[4], rest[4], b[4][4];
            left(state[2 * k], state[2 * k + 1], high, rest);
            // Each sweep goes over all accumulators before it comes back to the first: products take a while.
#pragma unroll
            for (int t = 0; t < 4; ++t) load_b(b[t], w_high, t * 16, k * 16);
#pragma unroll
            for (int t = 0; t < 8; ++t) multiply_16x8x16(u[t], high, b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]);
#pragma unroll
            for (int t = 0; t < 8; ++t) multiply_16x8x16(u[t], rest, b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]);
#pragma unroll
            for (int t = 0; t < 4; ++t) load_b(b[t], w_rest, t * 16, k * 16);
#pragma unroll
            for (int t = 0; t < 8; ++t) multiply_16x8x16(u[t], high, b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]);
#pragma unroll
            for (int t = 0; t < 4; ++t) load_b(b[t], query, t * 16, k * 16);
#pragma unroll
            for (int t = 0; t < 8; ++t) multiply_16x8x16(out[t], high, b[t / 2][t % 2 * 2], b[t / 2][t % 2 * 2 + 1]);
        }
        const float decay = decays[chunk];
        std::uint32_t u_high[4][4], u_rest[4][4];
#pragma unroll
        for (int k = 0; k < 4; ++k) left(u[2 * k], u[2 * k + 1], u_high[k], u_rest[k]);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
#pragma unroll
            for (int r = 0; r < 4; ++r) state[i][r] *= decay;
        }
        take(std::integral_constant<int, 2>{}); // M += exp(G_63 - G) K x U
        const std::byte *key_high = taken(2), *key_rest = taken(1);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
#pragma unroll
            for (int half = 0; half < 2; ++half) { // 64 keys: B [rows t, keys] lies transposed in the tile
                std::uint32_t b[4][4];
                const auto load = [&](const std::byte* tile) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        load_matrices_transposed(b[i], tile + in_tile(k * 16 + lane % 16, half * 64 + i * 16 + lane / 16 * 8));
                    }
                };
                load(key_high);
#pragma unroll
                for (int i = 0; i < 8; ++i) multiply_16x8x16(state[half * 8 + i], u_high[k], b[i / 2][i % 2 * 2], b[i / 2][i % 2 * 2 + 1]);
#pragma unroll
                for (int i = 0; i < 8; ++i) multiply_16x8x16(state[half * 8 + i], u_rest[k], b[i / 2][i % 2 * 2], b[i / 2][i % 2 * 2 + 1]);
                load(key_rest);
#pragma unroll
                for (int i = 0; i < 8; ++i) multiply_16x8x16(state[half * 8 + i], u_high[k], b[i / 2][i % 2 * 2], b[i / 2][i % 2 * 2 + 1]);
            }
        }
        take(std::integral_constant<int, 1>{}); // o += (mask of q k) U
        const std::byte* mask = taken(1);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
#pragma unroll
            for (int t = k; t < 4; ++t) { // rows before the sixteen s are zero
                std::uint32_t b[4];
                load_matrices(b, mask + in_mask(t * 16 + lane % 8 + lane / 16 * 8, k * 16 + lane / 8 % 2 * 8));
                multiply_16x8x16(out[2 * t], u_high[k], b[0], b[1]);
                multiply_16x8x16(out[2 * t + 1], u_high[k], b[2], b[3]);
            }
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const int t = i * 8 + lane % 4 * 2 + r % 2;
                if (!at.has(t)) continue;
                p.out[static_cast<size_t>(s.first_row + at.first + t) * p.out_stride + head * 128 + j + r / 2 * 8] = out[i][r] * p.query_scale;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        const int key = i * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(state_at(key, j)) = make_float2(state[i][0], state[i][1]);
        *reinterpret_cast<float2*>(state_at(key, j + 8)) = make_float2(state[i][2], state[i][3]);
    }
}

} // namespace lucebox::compute::cuda::delta
