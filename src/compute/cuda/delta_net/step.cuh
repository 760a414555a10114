// The step kernel: everything a DeltaNet layer does between its projections, for 1..64 rows a sequence (and longer
// paths, slowly).
//
// Every column of a head's state evolves by itself once k, q, decay and write strength are known. A block holds some
// columns of the value heads that share a key head. Half of its warps walk: lane = 4 t + c of walker w holds keys
// 32 r + 4 t .. + 3 of column 4 w + c of every head in registers, so that a k or q read from shared memory serves all
// heads. The other half prepares the next batch of rows meanwhile; one barrier a batch.
//
// With CLUSTER, the blocks of a head group form a cluster. Each sends the sums of squares of its columns, which the
// output norm needs, to all others through distributed shared memory; what has been received from all also says that all
// have read what is overwritten at the end (scratch, convolution tail). Without, finish_kernel does both.
#pragma once

#include "compute/cuda/delta_net/finish.cuh"
#include "compute/cuda/delta_net/step_layout.cuh"

#include <cstdint>

namespace lucebox::compute::cuda::delta {

// Sums that the blocks of a cluster send each other: one barrier a buffer, complete when all bytes have come.
struct Mailbox {
    std::uint64_t* barrier; // [2]

    __device__ static unsigned address(const void* shared) { return static_cast<unsigned>(__cvta_generic_to_shared(shared)); }
    __device__ void open() const { // one thread
#if __CUDA_ARCH__ >= 900
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(address(barrier)));
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(address(barrier + 1)));
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
    }
    __device__ static void arrive_cluster() {
#if __CUDA_ARCH__ >= 900
        asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
#endif
    }
    __device__ static void wait_cluster() {
#if __CUDA_ARCH__ >= 900
        asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
    }
    __device__ void expect(int buffer, int bytes) const { // one thread
#if __CUDA_ARCH__ >= 900
        asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(address(barrier + buffer)), "r"(bytes) : "memory");
#endif
    }
    __device__ void send(const float* at, float value, int buffer, int block) const {
#if __CUDA_ARCH__ >= 900
        unsigned to, signal;
        asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(address(at)), "r"(block));
        asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(signal) : "r"(address(barrier + buffer)), "r"(block));
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
                     "r"(__float_as_uint(value)), "r"(signal)
                     : "memory");
#endif
    }
    __device__ void receive(int buffer, int phase) const {
#if __CUDA_ARCH__ >= 900
        asm volatile("{\n"
                     ".reg .pred done;\n"
                     "again:\n"
                     "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
                     "@!done bra again;\n"
                     "}\n" ::"r"(address(barrier + buffer)),
                     "r"(phase)
                     : "memory");
#endif
    }
};

template <bool CLUSTER, bool FIXED, int HEADS> class StepBlock {
public:
    __device__ StepBlock(const Params& params, const StepSequence& sequence, const Layout& any, float* memory,
                         const signed char* parent, Mailbox mail)
        : p(params), s(sequence), at(LayoutOf<FIXED, HEADS>::get(any)), shared(memory), mailbox(mail),
          thread(static_cast<int>(threadIdx.x)), warp(thread / 32), lane(thread % 32), part(static_cast<int>(blockIdx.x)),
          key_head(static_cast<int>(blockIdx.y) % params.key_heads),
          first_head(key_head + params.key_heads * at.heads * (static_cast<int>(blockIdx.y) / params.key_heads)),
          rows(sequence.rows <= params.longest_walk ? sequence.rows : 0), pending(sequence.pending_count), path(sequence.path != 0), commit_now(sequence.commit_now != 0 && rows > 0),
          history{params.qkv + static_cast<size_t>(sequence.first_row) * params.qkv_stride, params.qkv_stride,
                  params.slot_scratch(sequence.slot), params.scratch_width(), params.slot_conv(sequence.slot), params.channels,
                  params.taps, sequence.pending, sequence.pending_count, sequence.path ? nullptr : parent} {
        state = p.head_state(s.slot, first_head) + (part * at.walkers + warp) * 4 * at.dim + lane * 4;
        // Only trees of so many rows need states in the workspace: their first rows are that far apart.
        const size_t region = static_cast<size_t>(s.first_row / rows_that_save(at.shared_saves + 1));
        const size_t block = (region * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        far_saves = p.saves + block * (max_saved_states - at.shared_saves) * at.saved_floats;
    }

    __device__ void run() {
        if (walks()) {
            for_all([&](int h, int r) {
                column[h].m[r] = has_keys(r) ? *reinterpret_cast<const float4*>(state_at(h) + r * 128) : make_float4(0, 0, 0, 0);
            });
        }
        load_weights();
        if (at.dim < padded_keys) { // padding: zero once, never written
            for (int i = thread; i < 4 * batch_rows * padded_keys; i += threads()) {
                if (i % padded_keys >= at.dim) shared[at.k + i] = 0;
            }
        }
        if constexpr (CLUSTER) {
            if (thread == 0) mailbox.open();
            __syncwarp();
            if (rows > 0) Mailbox::arrive_cluster();
        }
        __syncthreads();
        replay(); // needs nothing of the kernels before: it runs while the projections finish
        wait_for_previous();
        if (rows == 0) return; // the chunked form goes on from here
        if (walks() && !path && s.base_save != no_slot) save(s.base_save);
        live();
        if (walks() && commit_now) store();
    }

private:
    __device__ int threads() const { return at.walkers * 64; }
    __device__ bool walks() const { return warp < at.walkers; }
    __device__ float* state_at(int h) const { return state + static_cast<size_t>(h * p.key_heads) * at.dim * at.dim; }
    template <class Function> __device__ static void for_all(Function function) {
#pragma unroll
        for (int h = 0; h < HEADS; ++h) {
#pragma unroll
            for (int r = 0; r < 4; ++r) function(h, r);
        }
    }
    __device__ bool has_keys(int r) const { return r * 32 + lane / 4 * 4 < at.dim; }

    // Channels of a block: q of the key head, k, then its columns of each value head.
    __device__ int value_channel(int column) const {
        const int within = column % at.columns, index = column / at.columns;
        return (2 * p.key_heads + first_head + index * p.key_heads) * at.dim + part * at.columns + within;
    }
    __device__ void load_weights() {
        for (int x = thread; x < at.per_tap; x += threads()) {
            const int within = x % padded_keys;
            int channel = value_channel(x - 2 * padded_keys);
            if (x < 2 * padded_keys) channel = ((x < padded_keys ? 0 : p.key_heads) + key_head) * at.dim + within;
            const bool exists = x >= 2 * padded_keys || within < at.dim;
#pragma unroll
            for (int back = 0; back < max_taps; ++back) {
                shared[at.weights + back * at.per_tap + x] =
                    exists && back < p.taps ? p.conv_weight[channel * p.taps + p.taps - 1 - back] : 0.0f;
            }
        }
    }

    // The rows of a batch. Live: rows `first` .. of the walk. Else: accepted rows of the step before. By the warps from
    // first_warp on, two rows a warp at a time. All of a warp's loads are under way before the first of them is used: what
    // this costs is their latency.
    template <bool LIVE> __device__ void prepare(int first, int buffer, int first_warp) {
        const int count = min(batch_rows, (LIVE ? rows : pending) - first), warps = 2 * at.walkers - first_warp;
        for (int one = warp - first_warp; one < count; one += 2 * warps) {
            const int other = one + warps;
            const bool two = other < count;
            Window window[2];
            window[0] = window_of<LIVE>(first + one);
            window[1] = two ? window_of<LIVE>(first + other) : window[0];

            float4 raw_q[2][max_taps], raw_k[2][max_taps], raw_v[max_taps];
            const int q_channel = key_head * at.dim + lane * 4, k_channel = q_channel + p.key_heads * at.dim;
            const bool has_qk = lane * 4 < at.dim;
#pragma unroll
            for (int r = 0; r < 2; ++r) {
#pragma unroll
                for (int i = 0; i < max_taps; ++i) {
                    raw_q[r][i] = raw_k[r][i] = make_float4(0, 0, 0, 0);
                    if (!has_qk) continue;
                    raw_q[r][i] = *reinterpret_cast<const float4*>(window[r].at[i] + q_channel);
                    raw_k[r][i] = *reinterpret_cast<const float4*>(window[r].at[i] + k_channel);
                }
            }
            // v: the first lanes, four columns each, of both rows.
            const int v_row = lane / at.quads, v_quad = lane % at.quads;
            const bool has_v = v_row < (two ? 2 : 1);
#pragma unroll
            for (int i = 0; i < max_taps; ++i) {
                const float* from = v_row == 0 ? window[0].at[i] : window[1].at[i];
                if (has_v) raw_v[i] = *reinterpret_cast<const float4*>(from + value_channel(v_quad * 4));
            }
            // Decay and write strength: the last lanes, a head of a row each.
            const int gate_row = (31 - lane) / at.heads, gate_head = (31 - lane) % at.heads;
            const bool has_gate = gate_row < (two ? 2 : 1);
            float alpha = 0, beta = 0, a = 0, bias = 0;
            if (has_gate) {
                const int h = first_head + gate_head * p.key_heads, index = first + (gate_row == 0 ? one : other);
                if (LIVE) {
                    const size_t at_row = static_cast<size_t>(s.first_row + row_of(index)) * p.gate_stride + h;
                    alpha = p.alpha[at_row];
                    beta = p.beta[at_row];
                } else {
                    const float* raw = history.scratch + static_cast<size_t>(s.pending[index]) * p.scratch_width() + p.channels;
                    alpha = raw[h];
                    beta = raw[p.value_heads + h];
                }
                a = p.a[h];
                bias = p.dt_bias[h];
            }

            float4 q[2], k[2];
            float qq[2], kk[2], kq[2];
            const float* weights = shared + at.weights;
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                q[r] = has_qk ? convolved(raw_q[r], weights + lane * 4, at.per_tap) : make_float4(0, 0, 0, 0);
                k[r] = has_qk ? convolved(raw_k[r], weights + padded_keys + lane * 4, at.per_tap) : make_float4(0, 0, 0, 0);
                qq[r] = dot(q[r], q[r]);
                kk[r] = dot(k[r], k[r]);
                kq[r] = dot(k[r], q[r]);
            }
#pragma unroll
            for (int mask = 16; mask > 0; mask >>= 1) {
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    qq[r] = __fadd_rn(qq[r], __shfl_xor_sync(~0u, qq[r], mask));
                    kk[r] = __fadd_rn(kk[r], __shfl_xor_sync(~0u, kk[r], mask));
                    kq[r] = __fadd_rn(kq[r], __shfl_xor_sync(~0u, kq[r], mask));
                }
            }
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                if (r == 1 && !two) break;
                const float q_factor = __fmul_rn(p.query_scale, __frsqrt_rn(__fadd_rn(qq[r], l2_epsilon)));
                const float k_factor = __frsqrt_rn(__fadd_rn(kk[r], l2_epsilon));
                const int slot = buffer * batch_rows + (r == 0 ? one : other);
                if (has_qk) {
                    *reinterpret_cast<float4*>(shared + at.q + slot * padded_keys + lane * 4) = scaled(q[r], q_factor);
                    *reinterpret_cast<float4*>(shared + at.k + slot * padded_keys + lane * 4) = scaled(k[r], k_factor);
                }
                if (lane < at.heads) {
                    shared[at.gates + (slot * at.heads + lane) * 4 + 2] = __fmul_rn(kq[r], __fmul_rn(q_factor, k_factor));
                }
            }
            if (has_v) {
                const int slot = buffer * batch_rows + (v_row == 0 ? one : other);
                *reinterpret_cast<float4*>(shared + at.v + (slot * at.quads + v_quad) * 4) =
                    convolved(raw_v, weights + 2 * padded_keys + v_quad * 4, at.per_tap);
            }
            if (has_gate) {
                const int slot = buffer * batch_rows + (gate_row == 0 ? one : other);
                *reinterpret_cast<float2*>(shared + at.gates + (slot * at.heads + gate_head) * 4) = gates(alpha, beta, a, bias);
            }
        }
    }
    template <bool LIVE> __device__ Window window_of(int index) const {
        return LIVE ? history.window(row_of(index), pending) : history.window(-1, index + 1);
    }

    __device__ void load_keys(float4 (&to)[4], int from, int slot) const {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            to[r] = *reinterpret_cast<const float4*>(shared + from + slot * padded_keys + r * 32 + lane / 4 * 4);
        }
    }

    // One row for this warp's columns. The outputs are there if WANTED, the state behind the row if `keep`.
    template <bool WANTED> __device__ void advance(int slot, const float4 (&k)[4], bool keep, float (&out)[HEADS]) {
        float read[HEADS], answer[HEADS];
#pragma unroll
        for (int h = 0; h < HEADS; ++h) read[h] = column_dot(column[h], k);
        if constexpr (WANTED) {
            float4 q[4];
            load_keys(q, at.q, slot);
#pragma unroll
            for (int h = 0; h < HEADS; ++h) answer[h] = column_dot(column[h], q);
        }
#pragma unroll
        for (int mask = 4; mask < 32; mask <<= 1) {
#pragma unroll
            for (int h = 0; h < HEADS; ++h) {
                read[h] = __fadd_rn(read[h], __shfl_xor_sync(~0u, read[h], mask));
                if constexpr (WANTED) answer[h] = __fadd_rn(answer[h], __shfl_xor_sync(~0u, answer[h], mask));
            }
        }
#pragma unroll
        for (int h = 0; h < HEADS; ++h) {
            const float4 gate = *reinterpret_cast<const float4*>(shared + at.gates + (slot * at.heads + h) * 4);
            const float v = shared[at.v + (slot * at.heads + h) * at.columns + warp * 4 + lane % 4];
            const float e = __fmul_rn(gate.y, __fmaf_rn(-gate.x, read[h], v));
            if (keep) column_update(column[h], k, gate.x, e);
            if constexpr (WANTED) out[h] = __fmaf_rn(gate.z, e, __fmul_rn(gate.x, answer[h]));
        }
    }

    // Saved states beyond what shared memory holds lie in the workspace.
    __device__ float* saved(int slot) const {
        float* base = slot < at.shared_saves ? shared + at.saves : far_saves - at.shared_saves * at.saved_floats;
        return base + slot * at.saved_floats + warp * HEADS * 512 + lane * 4;
    }
    __device__ void save(int slot) {
        float* to = saved(slot);
        for_all([&](int h, int r) { *reinterpret_cast<float4*>(to + h * 512 + r * 128) = column[h].m[r]; });
    }
    __device__ void load(int slot) {
        const float* from = saved(slot);
        for_all([&](int h, int r) { column[h].m[r] = *reinterpret_cast<const float4*>(from + h * 512 + r * 128); });
    }
    __device__ void store() const {
        for_all([&](int h, int r) {
            if (has_keys(r)) *reinterpret_cast<float4*>(state_at(h) + r * 128) = column[h].m[r];
        });
    }

    __device__ void replay() {
        if (pending == 0) return;
        prepare<false>(0, 0, 0);
        __syncthreads();
        for (int first = 0, buffer = 0; first < pending; first += batch_rows, buffer ^= 1) {
            if (walks()) {
                const int count = min(batch_rows, pending - first);
                for (int i = 0; i < count; ++i) {
                    float4 k[4];
                    float none[HEADS];
                    load_keys(k, at.k, buffer * batch_rows + i);
                    advance<false>(buffer * batch_rows + i, k, true, none);
                }
            } else if (first + batch_rows < pending) {
                prepare<false>(first + batch_rows, buffer ^ 1, at.walkers);
            }
            __syncthreads();
        }
        if (walks()) store();
    }

    __device__ int row_of(int index) const { return path ? index : s.walk[index].row; }

    __device__ void walk_path(int batch, int count) {
        const int slot = (batch & 1) * batch_rows;
        float4 k[4];
        load_keys(k, at.k, slot);
#pragma unroll 2
        for (int i = 0; i < count; ++i) {
            float4 next[4];
            float out[HEADS];
            load_keys(next, at.k, slot + min(i + 1, count - 1));
            advance<true>(slot + i, k, true, out);
            write_raw(batch, i, i, out);
#pragma unroll
            for (int r = 0; r < 4; ++r) k[r] = next[r];
        }
    }
    __device__ void walk_tree(int batch, int first, int count) {
        for (int i = 0; i < count; ++i) {
            const WalkStop stop = s.walk[first + i];
            if (stop.load != no_slot) load(stop.load);
            const int slot = (batch & 1) * batch_rows + i;
            float4 k[4];
            float out[HEADS];
            load_keys(k, at.k, slot);
            advance<true>(slot, k, !stop.leaf, out);
            if (stop.save != no_slot) save(stop.save);
            write_raw(batch, i, stop.row - first, out);
        }
    }

    __device__ void live() {
        load_new_tail();
        prepare<true>(0, 0, 0);
        keep_new_tail();
        __syncthreads();
        float4 z_before = make_float4(0, 0, 0, 0);
        int batch = 0;
        for (int first = 0; first < rows; first += batch_rows, ++batch) {
            const int count = min(batch_rows, rows - first);
            const float4 z = load_z(first, count);
            first_of_batch = first;
            if (!walks()) {
                if (first + batch_rows < rows) prepare<true>(first + batch_rows, (batch & 1) ^ 1, at.walkers);
            } else if (path) {
                walk_path(batch, count);
            } else {
                walk_tree(batch, first, count);
            }
            __syncthreads();
            if constexpr (CLUSTER) {
                if (batch == 0) Mailbox::wait_cluster(); // every mailbox is open
                else {
                    mailbox.receive((batch - 1) & 1, (batch - 1) >> 1 & 1);
                    finish(batch - 1, first - batch_rows, batch_rows, z_before);
                }
                send_sums(batch, count);
                z_before = z;
            }
        }
        if constexpr (CLUSTER) {
            --batch;
            mailbox.receive(batch & 1, batch >> 1 & 1);
            finish(batch, batch * batch_rows, rows - batch * batch_rows, z_before);
            keep_inputs();
        }
    }

    // index: in the batch; local: the row, less the batch's first.
    __device__ void write_raw(int batch, int index, int local, const float (&out)[HEADS]) {
        if (lane >= 4) return;
#pragma unroll
        for (int h = 0; h < HEADS; ++h) {
            if constexpr (CLUSTER) {
                shared[at.out + ((batch % 3 * batch_rows + index) * at.heads + h) * at.columns + warp * 4 + lane] = out[h];
            } else {
                const size_t row = static_cast<size_t>(s.first_row + first_of_batch + local);
                p.out[row * p.out_stride + (first_head + h * p.key_heads) * at.dim + part * at.columns + warp * 4 + lane] = out[h];
            }
        }
    }

    // The last rows that stay: the convolution's new tail, read here and written when everyone has read the old one.
    // It waits in shared memory: a value that has arrived there has certainly been read.
    __device__ bool has_new_tail() const { return CLUSTER && (pending > 0 || commit_now) && own_quad() >= 0; }
    __device__ int own_quad() const { // of the head group's channels, spread over its blocks
        const int each = (at.own_quads + at.parts - 1) / at.parts, quad = part * each + thread;
        return thread < each && quad < at.own_quads ? quad : -1;
    }
    __device__ int own_channel(int quad) const {
        const int group = quad / (at.dim / 4), within = quad % (at.dim / 4) * 4;
        if (group < 2) return (group * p.key_heads + key_head) * at.dim + within;
        return (2 * p.key_heads + first_head + (group - 2) * p.key_heads) * at.dim + within;
    }
    __device__ void load_new_tail() {
        if (!has_new_tail()) return;
        const Window window = history.window(commit_now ? rows - 1 : -1, pending);
#pragma unroll
        for (int i = 0; i + 1 < max_taps; ++i) tail[i] = *reinterpret_cast<const float4*>(window.at[i] + own_channel(own_quad()));
    }
    __device__ void keep_new_tail() {
        if (!has_new_tail()) return;
#pragma unroll
        for (int i = 0; i + 1 < max_taps; ++i) *reinterpret_cast<float4*>(shared + at.tail + (thread * (max_taps - 1) + i) * 4) = tail[i];
    }

    __device__ void keep_inputs() {
        if (has_new_tail()) {
#pragma unroll
            for (int i = 0; i + 1 < max_taps; ++i) {
                if (i + 1 >= p.taps) continue;
                float* to = p.slot_conv(s.slot) + static_cast<size_t>(p.taps - 2 - i) * p.channels;
                *reinterpret_cast<float4*>(to + own_channel(own_quad())) =
                    *reinterpret_cast<const float4*>(shared + at.tail + (thread * (max_taps - 1) + i) * 4);
            }
        }
        if (commit_now) return;
        const int cluster_thread = part * threads() + thread, cluster_threads = at.parts * threads();
        float* scratch = p.slot_scratch(s.slot);
        for (int i = cluster_thread; i < rows * at.own_quads; i += cluster_threads) {
            const int local = i / at.own_quads, channel = own_channel(i % at.own_quads);
            *reinterpret_cast<float4*>(scratch + static_cast<size_t>(local) * p.scratch_width() + channel) =
                *reinterpret_cast<const float4*>(history.rows + static_cast<size_t>(local) * p.qkv_stride + channel);
        }
        for (int i = cluster_thread; i < rows * at.heads; i += cluster_threads) {
            const int local = i / at.heads, h = first_head + i % at.heads * p.key_heads;
            float* to = scratch + static_cast<size_t>(local) * p.scratch_width() + p.channels;
            to[h] = p.alpha[static_cast<size_t>(s.first_row + local) * p.gate_stride + h];
            to[p.value_heads + h] = p.beta[static_cast<size_t>(s.first_row + local) * p.gate_stride + h];
        }
    }

    // A helper finishes four columns of a row: item i is row i / quads, head and columns i % quads.
    __device__ int item() const { return threads() - 1 - thread; }
    __device__ size_t output_at(int first, int& column) const {
        const int quad = item() % at.quads;
        column = (first_head + quad / at.walkers * p.key_heads) * at.dim + part * at.columns + quad % at.walkers * 4;
        return static_cast<size_t>(s.first_row + row_of(first + item() / at.quads));
    }
    __device__ float4 load_z(int first, int count) const {
        if (!CLUSTER || item() >= count * at.quads) return make_float4(0, 0, 0, 0);
        int column;
        const size_t row = output_at(first, column);
        return *reinterpret_cast<const float4*>(p.z + row * p.z_stride + column);
    }

    __device__ void send_sums(int batch, int count) {
        const int items = count * at.heads, buffer = batch & 1;
        if (thread == 0) mailbox.expect(buffer, items * at.parts * static_cast<int>(sizeof(float)));
        for (int i = thread; i < items * at.parts; i += threads()) {
            const int item = i / at.parts, block = i % at.parts;
            const float* out = shared + at.out + (batch % 3 * batch_rows * at.heads + item) * at.columns;
            float sum = 0;
            for (int c = 0; c < at.columns; c += 4) {
                const float4 x = *reinterpret_cast<const float4*>(out + c);
                sum = __fadd_rn(sum, dot(x, x));
            }
            mailbox.send(shared + at.sums + ((buffer * batch_rows * at.heads) + item) * most_parts + part, sum, buffer, block);
        }
    }

    __device__ void finish(int batch, int first, int count, float4 z) const {
        if (item() >= count * at.quads) return;
        const int index = item() / at.quads, head_index = item() % at.quads / at.walkers;
        const float* sums = shared + at.sums + (((batch & 1) * batch_rows + index) * at.heads + head_index) * most_parts;
        float sum = 0;
        for (int block = 0; block < at.parts; ++block) sum = __fadd_rn(sum, sums[block]);
        const float factor = __frsqrt_rn(__fmaf_rn(sum, 1.0f / static_cast<float>(at.dim), p.epsilon));
        const float4 x = *reinterpret_cast<const float4*>(shared + at.out + (batch % 3 * batch_rows * at.quads + item()) * 4);
        int column;
        const size_t row = output_at(first, column);
        write_result(p, row, column, gated_norm(x, factor, p.norm + column % at.dim, z));
    }

    const Params& p;
    const StepSequence& s;
    const Layout at;
    float* shared;
    Mailbox mailbox;
    const int thread, warp, lane, part, key_head, first_head;
    const int rows, pending;
    const bool path, commit_now;
    History history;
    int first_of_batch = 0;
    float *state, *far_saves;
    Column column[HEADS];
    float4 tail[max_taps - 1];
};

template <bool CLUSTER, bool FIXED, int HEADS>
__global__ void __launch_bounds__(FIXED ? 256 : most_threads, FIXED ? 2 : 1) step_kernel(const Params params, const Layout layout) {
    extern __shared__ float4 shared[];
    __shared__ StepSequence sequence;
    __shared__ signed char parent[64];
    __shared__ std::uint64_t mail[2];
    allow_next();
    const int sequences = params.step->sequences;
    const StepSequence* from = params.sequence + blockIdx.z;
    for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(sizeof(StepSequence) / 4); i += static_cast<int>(blockDim.x)) {
        reinterpret_cast<int*>(&sequence)[i] = reinterpret_cast<const int*>(from)[i];
    }
    if (static_cast<int>(blockIdx.z) >= sequences) return;
    __syncthreads();
    if (!sequence.path) {
        for (int i = static_cast<int>(threadIdx.x); i < sequence.rows; i += static_cast<int>(blockDim.x)) {
            parent[i] = static_cast<signed char>(params.row[sequence.first_row + i].parent);
        }
    }
    StepBlock<CLUSTER, FIXED, HEADS> block(params, sequence, layout, reinterpret_cast<float*>(shared), parent, Mailbox{mail});
    block.run();
}

} // namespace lucebox::compute::cuda::delta
