// The records that warps run each by itself, 128 outputs of a row at a time: sums are completed, gated, added to what was
// there, made operands. A warp waits for the parts that it reads, and counts what it has written for whoever reads that.
//
// Every value is computed by the same lane in the same order whatever the number of rows.
#pragma once

#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/step/pieces.cuh"

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

// What a record does by pieces: 128 outputs of a row each, which are counted when they are there. The last blocks are
// given work first, because the first have heads. f(row, piece, the thread's first output).
//
// Of one row: a piece by a warp, or by a warpgroup with an output a thread. Of more rows, each warp of a block has one.
template <int warps, class F>
__device__ __forceinline__ void for_pieces_of_row(const Record& r, F&& f) {
    constexpr int threads = 32 * warps, each = piece_outputs / threads;
    const int thread = (own_thread() + consumers - 32 * r.first_warp) % consumers;
    const int pieces = pieces_of(r.outputs);
    for (int piece = static_cast<int>(gridDim.x - 1 - blockIdx.x) + thread / threads * static_cast<int>(gridDim.x);
         piece < pieces; piece += static_cast<int>(gridDim.x) * (consumers / threads)) {
        f(0u, piece, piece * piece_outputs + thread % threads * each);
        if (r.ready) count<warps>(r.ready + piece);
    }
}
template <class F>
__device__ __forceinline__ void for_pieces_of_rows(const Record& r, std::uint32_t rows, F&& f) {
    const int pieces = pieces_of(r.outputs), thread = own_thread();
    const std::uint32_t turns = (rows + consumer_warps - 1) / consumer_warps;
    const int first = (static_cast<int>(gridDim.x - 1 - blockIdx.x) + r.first_block) % static_cast<int>(gridDim.x);
    for (int item = first; item < pieces * static_cast<int>(turns); item += static_cast<int>(gridDim.x)) {
        const int piece = item % pieces;
        const std::uint32_t before = static_cast<std::uint32_t>(item / pieces) * consumer_warps,
                            row = before + static_cast<std::uint32_t>(thread / 32);
        if (row < rows) f(row, piece, piece * piece_outputs + thread % 32 * 4);
        if (r.ready) count<consumer_warps>(r.ready + piece, min(rows - before, static_cast<std::uint32_t>(consumer_warps)));
    }
}

// Neighbouring outputs of a thread; `left` of them exist.
template <int count>
struct Values {
    float at[count];
};
template <int count>
__device__ __forceinline__ bool as_one(const float* at, int left) {
    return count == 4 && left >= 4 && (reinterpret_cast<std::uintptr_t>(at) & 15) == 0;
}
template <int count>
__device__ __forceinline__ Values<count> load(const float* at, int left) {
    Values<count> v;
    if constexpr (count == 4) {
        if (as_one<count>(at, left)) {
            const float4 quad = load4(at);
            return {quad.x, quad.y, quad.z, quad.w};
        }
    }
#pragma unroll
    for (int i = 0; i < count; ++i)
        v.at[i] = i < left ? __ldcg(at + i) : 0.0f;
    return v;
}
__device__ __forceinline__ void store(float* at, int left, const Values<4>& v) {
    if (as_one<4>(at, left)) {
        *reinterpret_cast<float4*>(at) = {v.at[0], v.at[1], v.at[2], v.at[3]};
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < left) at[i] = v.at[i];
}
template <int count, class F>
__device__ __forceinline__ Values<count> each(F&& f) {
    Values<count> v;
#pragma unroll
    for (int i = 0; i < count; ++i)
        v.at[i] = f(i);
    return v;
}

__device__ __forceinline__ void wait_for_parts(const Parts& parts, GroupParts group, int output) {
    wait_for_count(parts.done + output / group_outputs, group.count);
}

__device__ __forceinline__ void wait_for_parts(const Parts& parts, GroupParts group, int output, const Parts& others,
                                               GroupParts other_group) {
    const int index = output / group_outputs;
    Patience patience;
    while (true) {
        const std::uint32_t done = ptx::load_acquire(parts.done + index), other = ptx::load_acquire(others.done + index);
        if (done >= group.count && other >= other_group.count) return;
        patience.lose();
    }
}

// Parts whose loads are under way at once.
template <int count, int early>
class PartSum {
public:
    __device__ __forceinline__ PartSum(const Parts& parts, GroupParts group, std::uint32_t rows, std::uint32_t row,
                                       int outputs, int output)
        : at_(parts, group, rows, row, outputs, output), left_(outputs - output) {
        part_[0] = load<count>(at_.base, left_);
#pragma unroll
        for (int p = 1; p < early; ++p)
            part_[p] = load<count>(at(p), p < at_.count ? left_ : 0);
    }
    __device__ __forceinline__ Values<count> complete() const {
        Values<count> sum = part_[0];
#pragma unroll
        for (int p = 1; p < early; ++p)
            if (p < at_.count) sum = added(sum, part_[p]);
        for (int p = early; p < at_.count; ++p)
            sum = added(sum, load<count>(at(p), left_));
        return sum;
    }

private:
    __device__ __forceinline__ const float* at(int part) const {
        return at_.extra + static_cast<std::size_t>(part) * at_.stride;
    }
    __device__ __forceinline__ static Values<count> added(const Values<count>& a, const Values<count>& b) {
        return each<count>([&](int i) { return __fadd_rn(a.at[i], b.at[i]); });
    }

    PartsAt at_;
    int left_;
    Values<count> part_[early];
};

__device__ __forceinline__ void finish_piece(const Record& r, std::uint32_t rows, std::uint32_t row, int piece, int output) {
    const int left = r.outputs - output;
    const GroupParts group = group_of(r.parts, piece * piece_outputs);
    if (r.whole && group.count == 1) return; // as it was stored
    Values<4> weight{}, bias{}, old{};
    if (r.weight) weight = load<4>(r.weight + output, left);
    if (r.vector) bias = load<4>(r.vector + output, left);
    wait_for_parts(r.parts, group, piece * piece_outputs);
    float* const out = r.out + static_cast<std::size_t>(row) * static_cast<std::size_t>(r.outputs) + output;
    if (r.accumulate) old = load<4>(out, left);
    const PartSum<4, 8> sum(r.parts, group, rows, row, r.outputs, output);
    const float factor = row_factor(r.scale, row);
    const Values<4> parts = sum.complete();
    const Values<4> value = each<4>([&](int i) {
        float v = __fmul_rn(parts.at[i], factor);
        if (r.vector) v = __fadd_rn(v, bias.at[i]);
        return r.accumulate ? __fadd_rn(old.at[i], v) : v;
    });
    store(out, left, value);
    if (!r.weight) return;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < left) squares = __fmaf_rn(value.at[i], value.at[i], squares);
    squares = sum_over_lanes(squares);
    if (own_thread() % 32 == 0) __stcg(r.squares + row * most_pieces + piece, squares);
    if (left > 0)
        Operand{r.operand, rows}.store4(row, static_cast<std::uint32_t>(output),
                                        {value.at[0] * weight.at[0], value.at[1] * weight.at[1],
                                         value.at[2] * weight.at[2], value.at[3] * weight.at[3]});
}
__device__ __forceinline__ void finish(const Record& r, std::uint32_t rows) {
    auto f = [&](std::uint32_t row, int piece, int output) { finish_piece(r, rows, row, piece, output); };
    if (rows == 1)
        for_pieces_of_row<1>(r, f);
    else
        for_pieces_of_rows(r, rows, f);
}

template <int count>
__device__ __forceinline__ void gate_piece(const Record& r, std::uint32_t rows, std::uint32_t row, int piece, int output) {
    const GroupParts gate_group = group_of(r.parts, piece * piece_outputs),
                     up_group = group_of(r.up, piece * piece_outputs);
    wait_for_parts(r.parts, gate_group, piece * piece_outputs, r.up, up_group);
    const PartSum<count, 3> gates(r.parts, gate_group, rows, row, r.outputs, output),
        ups(r.up, up_group, rows, row, r.outputs, output);
    const float factor = row_factor(r.scale, row);
    const Values<count> g = gates.complete(), u = ups.complete();
    const Values<count> value = each<count>([&](int i) {
        return __fmul_rn(activated(r.activation, __fmul_rn(g.at[i], factor)), __fmul_rn(u.at[i], factor));
    });
    if (output >= r.outputs) return;
    const Operand operand{r.operand, rows};
    if constexpr (count == 4)
        operand.store4(row, static_cast<std::uint32_t>(output), {value.at[0], value.at[1], value.at[2], value.at[3]});
    else
        operand.store(row, static_cast<std::uint32_t>(output), value.at[0]);
}
__device__ __forceinline__ void gate(const Record& r, std::uint32_t rows) {
    if (rows == 1)
        for_pieces_of_row<4>(
            r, [&](std::uint32_t row, int piece, int output) { gate_piece<1>(r, rows, row, piece, output); });
    else
        for_pieces_of_rows(
            r, rows, [&](std::uint32_t row, int piece, int output) { gate_piece<4>(r, rows, row, piece, output); });
}

__device__ __forceinline__ void convert(const Record& r, std::uint32_t rows) {
    for_pieces_of_rows(r, rows, [&](std::uint32_t row, int, int output) {
        if (output >= r.outputs) return;
        const float* const from = r.in + static_cast<std::size_t>(row) * static_cast<std::size_t>(r.outputs) + output;
        const Values<4> v = load<4>(from, r.outputs - output);
        Operand{r.operand, rows}.store4(row, static_cast<std::uint32_t>(output), {v.at[0], v.at[1], v.at[2], v.at[3]});
    });
}

#endif // LUCEBOX_SM90A

} // namespace lucebox::compute::cuda::step
