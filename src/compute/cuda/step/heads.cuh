// A DeltaNet layer as a record of the step kernel, for one sequence and heads of 128: a block walks a head's rows with
// the head's whole state in registers. The bits are those of delta_net/step.cuh, whose device functions these are, too.
//
// Accepted rows of the step before are folded into the states in a record of their own, which needs nothing of this step and
// can run while the layer's input is still being made. A head waits for its channels only, and for its gate at the end: the gate's
// product is dealt to other blocks, which multiply while heads walk. When all value heads of a key head have read their inputs,
// another block brings the convolution's tail and the scratch up to date. Both count for the product behind: nothing is
// overwritten too early.
#pragma once

#include "compute/cuda/delta_net/finish.cuh"
#include "compute/cuda/delta_net/walk.h"
#include "compute/cuda/step/flow.cuh"

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

using delta::Params;

// What a head keeps in the memory of the stages, which is nobody's while no product runs.
struct HeadMemory {
    static constexpr int batch = 8; // rows that are prepared at a time
    static constexpr int per_tap = 3 * head_dim;

    StepSequence sequence;
    signed char parent[most_rows];
    alignas(16) float weight[delta::max_taps][per_tap]; // of the convolution, newest tap first: q, k, v
    alignas(16) float k[batch][head_dim], q[batch][head_dim], v[batch][head_dim];
    alignas(16) float gate[batch][4]; // decay, write strength, k . q
    alignas(16) float norm[head_dim];
    float a, dt_bias;
    alignas(16) float out[most_head_rows][head_dim]; // of all rows: they are gated at the end. As many as the step has have room
};
static_assert(sizeof(HeadMemory) <= head_memory_bytes(most_head_rows));

// Of a head's state, a lane's two columns: keys 32 r + 4 (lane / 4) + j.
struct HeadColumns {
    static constexpr int count = 2;
    delta::Column at[count];

    __device__ __forceinline__ static int offset(int column, int r) {
        const int thread = own_thread();
        return (thread / 32 + column * consumer_warps) * 4 * head_dim + thread % 32 * 4 + r * 128;
    }
    __device__ __forceinline__ void load(const float* from) {
#pragma unroll
        for (int c = 0; c < count; ++c)
#pragma unroll
            for (int r = 0; r < 4; ++r)
                at[c].m[r] = *reinterpret_cast<const float4*>(from + offset(c, r));
    }
    __device__ __forceinline__ void store(float* to) const {
#pragma unroll
        for (int c = 0; c < count; ++c)
#pragma unroll
            for (int r = 0; r < 4; ++r)
                *reinterpret_cast<float4*>(to + offset(c, r)) = at[c].m[r];
    }
};

__device__ __forceinline__ delta::History history_of(const Params& p, const StepSequence& s, const signed char* parent) {
    return {p.qkv + static_cast<std::size_t>(s.first_row) * static_cast<std::size_t>(p.qkv_stride),
            p.qkv_stride,
            p.slot_scratch(s.slot),
            p.scratch_width(),
            p.slot_conv(s.slot),
            p.channels,
            p.taps,
            s.pending,
            s.pending_count,
            s.path ? nullptr : parent};
}

class HeadWalk {
public:
    __device__ __forceinline__ HeadWalk(const Record& r, const HeadsRecord& heads, HeadMemory& memory, int head)
        : r_(r), heads_(heads), p_(heads.layer), at_(memory), head_(head), key_head_(head % heads.layer.key_heads),
          warp_(own_thread() / 32), lane_(own_thread() % 32) {}

    // The rows of the step before that were accepted.
    __device__ __forceinline__ void replay() {
        if (__ldg(&p_.sequence->pending_count) == 0) return;
        float* const state = begin();
        const StepSequence& s = at_.sequence;
        for (int first = 0; first < s.pending_count; first += HeadMemory::batch) {
            const int count = min(HeadMemory::batch, s.pending_count - first);
            if (first > 0) sync_consumers();
            prepare<false>(first, count);
            sync_consumers();
            for (int i = 0; i < count; ++i)
                advance<false>(i, true, nullptr);
        }
        columns_.store(state);
    }

    __device__ __forceinline__ void run() {
        float* const state = begin();
        const StepSequence& s = at_.sequence;
        for (int first = 0; first < s.rows; first += HeadMemory::batch) {
            const int count = min(HeadMemory::batch, s.rows - first);
            if (first > 0) sync_consumers();
            prepare<true>(first, count);
            sync_consumers();
            if (first + count == s.rows && own_thread() == consumers - 1) ptx::add_relaxed(heads_.read + key_head_, 1);
            if (first == 0 && !s.path && s.base_save != no_slot) columns_.store(saved(s.base_save));
            for (int i = 0; i < count; ++i) {
                if (s.path) {
                    advance<true>(i, true, at_.out[first + i]);
                } else {
                    const WalkStop stop = s.walk[first + i];
                    if (stop.load != no_slot) columns_.load(saved(stop.load));
                    advance<true>(i, !stop.leaf, at_.out[first + i]);
                    if (stop.save != no_slot) columns_.store(saved(stop.save));
                }
            }
        }
        if (heads_.qkv_ready && warp_ == consumer_warps - 1) wait_for_count(heads_.z_ready + head_, heads_.rows);
        sync_consumers();
        for (int index = warp_; index < s.rows; index += consumer_warps)
            finish(index);
        sync_consumers();
        if (own_thread() == 0) ptx::add_release(r_.ready + head_, 1);
        if (s.commit_now && s.rows > 0) columns_.store(state);
    }

private:
    // The tables and the state, which lies there.
    __device__ __forceinline__ float* begin() {
        sync_consumers(); // the memory of stages is free
        load_tables();
        float* const state = p_.head_state(__ldg(&p_.sequence->slot), head_);
        columns_.load(state);
        sync_consumers();
        return state;
    }

    __device__ __forceinline__ float* saved(int slot) const {
        return p_.saves + static_cast<std::size_t>(head_ * max_saved_states + slot) * (head_dim * head_dim);
    }
    __device__ __forceinline__ int row_of(int index) const {
        return at_.sequence.path ? index : at_.sequence.walk[index].row;
    }

    __device__ __forceinline__ std::size_t row_in_step(int index) const {
        return static_cast<std::size_t>(at_.sequence.first_row + row_of(index));
    }

    __device__ __forceinline__ void load_tables() {
        const int thread = own_thread();
        constexpr int words = sizeof(StepSequence) / 4;
        if (thread < words)
            reinterpret_cast<int*>(&at_.sequence)[thread] = __ldg(reinterpret_cast<const int*>(p_.sequence) + thread);
        else if (thread >= 128 && thread < 128 + most_rows && thread - 128 < static_cast<int>(heads_.rows))
            at_.parent[thread - 128] = static_cast<signed char>(__ldg(&p_.row[thread - 128].parent));
        if (thread >= HeadMemory::per_tap) {
            at_.norm[thread - HeadMemory::per_tap] = __ldg(p_.norm + thread - HeadMemory::per_tap);
            if (thread == HeadMemory::per_tap) at_.a = __ldg(p_.a + head_), at_.dt_bias = __ldg(p_.dt_bias + head_);
            return;
        }
        const int kind = thread / head_dim, within = thread % head_dim;
        const int channel =
            (kind == 0 ? key_head_ : kind == 1 ? p_.key_heads + key_head_
                                               : 2 * p_.key_heads + head_) *
                head_dim +
            within;
#pragma unroll
        for (int back = 0; back < delta::max_taps; ++back)
            at_.weight[back][thread] = back < p_.taps ? __ldg(p_.conv_weight + channel * p_.taps + p_.taps - 1 - back) : 0.0f;
    }

    // Of a batch: q and k of each row and v, each by a warp, and all gates by one. Before the first, each waits for no more than it
    // reads: what hundreds of warps look at is written late.
    template <bool live>
    __device__ __forceinline__ void prepare(int first, int count) {
        const bool waits = live && first == 0 && heads_.qkv_ready;
        for (int task = warp_; task <= 2 * count; task += consumer_warps) {
            const int i = task % count, kind = task / count;
            if (kind == 2) {
                if (waits) wait_for_pieces(heads_.alpha_ready + head_ / piece_outputs, heads_.beta_ready + head_ / piece_outputs);
                make_gates<live>(first, count);
            } else {
                if (waits) {
                    const std::uint32_t* const v = heads_.qkv_ready + 2 * p_.key_heads + head_;
                    wait_for_pieces(kind == 0 ? heads_.qkv_ready + key_head_ : v, kind == 0 ? heads_.qkv_ready + p_.key_heads + key_head_ : v);
                }
                convolve<live>(first, i, kind == 0);
            }
        }
    }

    // Two counts, looked at together.
    __device__ __forceinline__ void wait_for_pieces(const std::uint32_t* first, const std::uint32_t* second) const {
        wait_for_count(lane_ == 0 ? first : second, heads_.rows);
        __syncwarp();
    }

    template <bool live>
    __device__ __forceinline__ void convolve(int first, int i, bool keys) {
        const int quad = lane_ * 4;
        const StepSequence& s = at_.sequence;
        const delta::History history = history_of(p_, s, at_.parent);
        const delta::Window window =
            live ? history.window(row_of(first + i), s.pending_count) : history.window(-1, first + i + 1);
        auto channels = [&](int channel, int tap) __attribute__((always_inline)) {
            float4 x[delta::max_taps];
#pragma unroll
            for (int back = 0; back < delta::max_taps; ++back)
                x[back] = load4(window.at[back] + channel * head_dim + quad);
            return delta::convolved(x, &at_.weight[0][tap * head_dim + quad], HeadMemory::per_tap);
        };
        if (!keys) {
            *reinterpret_cast<float4*>(&at_.v[i][quad]) = channels(2 * p_.key_heads + head_, 2);
            return;
        }
        const float4 q = channels(key_head_, 0), k = channels(p_.key_heads + key_head_, 1);
        float qq = delta::dot(q, q), kk = delta::dot(k, k), kq = delta::dot(k, q);
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) {
            qq = __fadd_rn(qq, __shfl_xor_sync(~0u, qq, mask));
            kk = __fadd_rn(kk, __shfl_xor_sync(~0u, kk, mask));
            kq = __fadd_rn(kq, __shfl_xor_sync(~0u, kq, mask));
        }
        const float q_factor = __fmul_rn(p_.query_scale, __frsqrt_rn(__fadd_rn(qq, delta::l2_epsilon)));
        const float k_factor = __frsqrt_rn(__fadd_rn(kk, delta::l2_epsilon));
        *reinterpret_cast<float4*>(&at_.q[i][quad]) = delta::scaled(q, q_factor);
        *reinterpret_cast<float4*>(&at_.k[i][quad]) = delta::scaled(k, k_factor);
        if (lane_ == 0) at_.gate[i][2] = __fmul_rn(kq, __fmul_rn(q_factor, k_factor));
    }
    // A row by a lane.
    template <bool live>
    __device__ __forceinline__ void make_gates(int first, int count) {
        static_assert(HeadMemory::batch <= 32);
        const int i = lane_;
        if (i >= count) return;
        const StepSequence& s = at_.sequence;
        const float *alpha, *beta;
        if (live) {
            const std::size_t at = row_in_step(first + i) * static_cast<std::size_t>(p_.gate_stride);
            alpha = p_.alpha + at + head_, beta = p_.beta + at + head_;
        } else {
            alpha = p_.slot_scratch(s.slot) + s.pending[first + i] * p_.scratch_width() + p_.channels + head_;
            beta = alpha + p_.value_heads;
        }
        *reinterpret_cast<float2*>(&at_.gate[i][0]) = delta::gates(__ldcg(alpha), __ldcg(beta), at_.a, at_.dt_bias);
    }

    __device__ __forceinline__ void load_keys(float4 (&to)[4], const float* from) const {
#pragma unroll
        for (int r = 0; r < 4; ++r)
            to[r] = *reinterpret_cast<const float4*>(from + r * 32 + lane_ / 4 * 4);
    }
    // Row i of the batch. Its outputs [head_dim] if `wanted`; the state behind it if `keep`.
    template <bool wanted>
    __device__ __forceinline__ void advance(int i, bool keep, float* out) {
        constexpr int sums = wanted ? 2 * HeadColumns::count : HeadColumns::count; // a column's: what is read, the answer
        // Or the compiler expects a divided warp, and has each shuffle wait for the one before.
        __syncwarp();
        float4 k[4];
        load_keys(k, at_.k[i]);
        float sum[sums], other[sums];
#pragma unroll
        for (int c = 0; c < HeadColumns::count; ++c)
            sum[c] = delta::column_dot(columns_.at[c], k);
        if constexpr (wanted) {
            float4 q[4];
            load_keys(q, at_.q[i]);
#pragma unroll
            for (int c = 0; c < HeadColumns::count; ++c)
                sum[HeadColumns::count + c] = delta::column_dot(columns_.at[c], q);
        }
#pragma unroll
        for (int mask = 4; mask < 32; mask <<= 1) {
#pragma unroll
            for (int c = 0; c < sums; ++c)
                other[c] = __shfl_xor_sync(~0u, sum[c], mask);
#pragma unroll
            for (int c = 0; c < sums; ++c)
                sum[c] = __fadd_rn(sum[c], other[c]);
        }
        const float4 gate = *reinterpret_cast<const float4*>(at_.gate[i]);
#pragma unroll
        for (int c = 0; c < HeadColumns::count; ++c) {
            const int column = (warp_ + c * consumer_warps) * 4 + lane_ % 4;
            const float e = __fmul_rn(gate.y, __fmaf_rn(-gate.x, sum[c], at_.v[i][column]));
            if (keep) delta::column_update(columns_.at[c], k, gate.x, e);
            if (wanted && lane_ < 4) out[column] = __fmaf_rn(gate.z, e, __fmul_rn(gate.x, sum[sums - HeadColumns::count + c]));
        }
    }

    // Norm and gate of a row, by a warp. Squares are added in the order of delta_net/step.cuh: quads of 16
    // columns, then these parts.
    __device__ __forceinline__ void finish(int index) const {
        const int quad = lane_ * 4;
        const std::size_t row = row_in_step(index);
        const float4 z = load4(p_.z + row * static_cast<std::size_t>(p_.z_stride) + head_ * head_dim + quad);
        const float4 x = *reinterpret_cast<const float4*>(&at_.out[index][quad]);
        const float squares = delta::dot(x, x);
        float part = 0, sum = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            part = __fadd_rn(part, __shfl_sync(~0u, squares, lane_ / 4 * 4 + i));
#pragma unroll
        for (int i = 0; i < 8; ++i)
            sum = __fadd_rn(sum, __shfl_sync(~0u, part, 4 * i));
        const float factor = __frsqrt_rn(__fmaf_rn(sum, 1.0f / static_cast<float>(head_dim), p_.epsilon));
        delta::write_result(p_, row, head_ * head_dim + quad,
                            delta::gated_norm(x, factor, at_.norm + quad, z));
    }

    const Record& r_;
    const HeadsRecord& heads_;
    const Params& p_;
    HeadMemory& at_;
    const int head_, key_head_, warp_, lane_;
    HeadColumns columns_;
};

// When all value heads of a key head have read: the convolution's tail, and the rows' inputs for the step behind this one.
__device__ __forceinline__ void keep_inputs(const Record& r, const HeadsRecord& heads, HeadMemory& memory, int key_head) {
    const Params& p = heads.layer;
    const int thread = own_thread(), each = p.value_heads / p.key_heads, quads = (2 + each) * head_dim / 4;
    sync_consumers();
    if (thread < static_cast<int>(sizeof(StepSequence) / 4))
        reinterpret_cast<int*>(&memory.sequence)[thread] = __ldg(reinterpret_cast<const int*>(p.sequence) + thread);
    if (thread < 32) {
        wait_for_count(heads.read + key_head, static_cast<std::uint32_t>(each));
        if (heads.qkv_ready) { // what is read here, too
            for (int group = 0; group < 2 + each; ++group)
                wait_for_count(heads.qkv_ready + (group < 2 ? group * p.key_heads : p.key_heads * group) + key_head, heads.rows);
            for (int group = 0; group < each; ++group) {
                const int piece = (key_head + group * p.key_heads) / piece_outputs;
                wait_for_count(heads.alpha_ready + piece, heads.rows), wait_for_count(heads.beta_ready + piece, heads.rows);
            }
        }
    }
    sync_consumers();
    const StepSequence& s = memory.sequence;
    const delta::History history = history_of(p, s, nullptr);
    auto channel_of = [&](int quad) {
        const int group = quad / (head_dim / 4), within = quad % (head_dim / 4) * 4;
        const int head = group == 0 ? key_head : group == 1 ? p.key_heads + key_head
                                                            : p.key_heads * group + key_head;
        return head * head_dim + within;
    };
    const bool tail = thread < quads && (s.pending_count > 0 || s.commit_now);
    float4 newest[delta::max_taps - 1] = {};
    if (tail) {
        const delta::Window window = history.window(s.commit_now ? s.rows - 1 : -1, s.pending_count);
#pragma unroll
        for (int i = 0; i + 1 < delta::max_taps; ++i)
            newest[i] = load4(window.at[i] + channel_of(thread));
    }
    sync_consumers();
    if (tail)
#pragma unroll
        for (int i = 0; i + 1 < delta::max_taps; ++i)
            if (i + 1 < p.taps)
                *reinterpret_cast<float4*>(p.slot_conv(s.slot) +
                                           static_cast<std::size_t>(p.taps - 2 - i) * static_cast<std::size_t>(p.channels) +
                                           channel_of(thread)) = newest[i];
    if (!s.commit_now) {
        const auto width = static_cast<std::size_t>(p.scratch_width());
        float* const scratch = p.slot_scratch(s.slot);
        for (int i = thread; i < s.rows * quads; i += consumers) {
            const int row = i / quads, channel = channel_of(i % quads);
            *reinterpret_cast<float4*>(scratch + static_cast<std::size_t>(row) * width + channel) =
                load4(history.rows + static_cast<std::size_t>(row) * static_cast<std::size_t>(p.qkv_stride) + channel);
        }
        for (int i = thread; i < s.rows * each; i += consumers) {
            const int row = i / each, head = key_head + i % each * p.key_heads;
            float* const to = scratch + static_cast<std::size_t>(row) * width + p.channels;
            const std::size_t from = static_cast<std::size_t>(s.first_row + row) * static_cast<std::size_t>(p.gate_stride) +
                                     static_cast<std::size_t>(head);
            to[head] = __ldcg(p.alpha + from), to[p.value_heads + head] = __ldcg(p.beta + from);
        }
    }
    sync_consumers();
    if (thread < each)
        ptx::add_release(r.ready + key_head + thread * p.key_heads, 1);
}

// One thread asks for what the block's first head reads, before anybody needs it: its state, its channels' weights and past.
__device__ __forceinline__ void fetch_head(const HeadsRecord& heads) {
    const Params& p = heads.layer;
    const int head = static_cast<int>(blockIdx.x), key_head = head % p.key_heads;
    if (head >= p.value_heads) return;
    const int slot = __ldg(&p.sequence->slot);
    ptx::prefetch(p.head_state(slot, head), head_dim * head_dim * sizeof(float));
    for (const int group : {key_head, p.key_heads + key_head, 2 * p.key_heads + head}) {
        ptx::prefetch(p.conv_weight + group * head_dim * p.taps, static_cast<std::uint32_t>(head_dim * p.taps) * sizeof(float));
        for (int tap = 0; tap + 1 < p.taps; ++tap)
            ptx::prefetch(p.slot_conv(slot) + static_cast<std::size_t>(tap) * static_cast<std::size_t>(p.channels) + group * head_dim,
                          head_dim * sizeof(float));
    }
}

// All heads, dealt out to all blocks.
__device__ __forceinline__ void replay_heads(const Record& r, const HeadsRecord& heads, std::byte* stages) {
    HeadMemory& memory = *reinterpret_cast<HeadMemory*>(stages);
    for (int head = static_cast<int>(blockIdx.x); head < heads.layer.value_heads; head += static_cast<int>(gridDim.x))
        HeadWalk(r, heads, memory, head).replay();
}
__device__ __forceinline__ void walk_heads(const Record& r, const HeadsRecord& heads, std::byte* stages) {
    HeadMemory& memory = *reinterpret_cast<HeadMemory*>(stages);
    const int value_heads = heads.layer.value_heads, items = value_heads + heads.layer.key_heads;
    for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
        if (item < value_heads)
            HeadWalk(r, heads, memory, item).run();
        else
            keep_inputs(r, heads, memory, item - value_heads);
    }
}

#endif // LUCEBOX_SM90A

} // namespace lucebox::compute::cuda::step
