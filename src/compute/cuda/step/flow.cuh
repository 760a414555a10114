// The records that warps run each by itself, 128 outputs of a row at a time: sums are completed, gated, added to what was
// there, made operands. A warp waits for the parts that it reads, and marks or counts what it has written for whoever reads that.
//
// Every value is computed by the same lane in the same order whatever the number of rows.
#pragma once

#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/step/pieces.cuh"

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

inline constexpr std::uint32_t few_rows = 4; // so few that everybody may look at all parts until they are there

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

// All lanes of a warp wait for the parts of a row's piece; `output`: its first. Marked parts of few rows: everybody looks
// at all of them when they are loaded (PartSum).
template <class T>
__device__ __forceinline__ void wait_for_parts(const Parts& parts, GroupParts group, std::uint32_t rows, std::uint32_t row,
                                               int output, std::uint32_t marks) {
    if constexpr (std::is_same_v<T, float>) {
        wait_for_count(parts.done + output / group_outputs, group.count);
    } else if (rows > few_rows) { // a word of each
        const PartsAt<T> at(parts, group, rows, row, output);
        for (int part = own_thread() % 32; part < at.count; part += 32) {
            Patience patience;
            while (!has_mark(ptx::load_word(at.part(part)), marks | parts.index))
                patience.lose();
        }
        __syncwarp();
    }
}

// The sum of some neighbouring outputs' parts, in order; `early` of them are loaded at once. Who has no outputs
// (`there`: false) waits for nothing.
template <class T, int count, int early>
class PartSum {
public:
    __device__ __forceinline__ PartSum(const Parts& parts, GroupParts group, std::uint32_t rows, std::uint32_t row, int output,
                                       std::uint32_t marks, bool there)
        : at_(parts, group, rows, row, output), mark_(marks | parts.index), parts_(there ? at_.count : 0) {}

    __device__ __forceinline__ void load(int first = 0) {
#pragma unroll
        for (int p = 0; p < early; ++p)
            if (first + p < parts_) load(part_[p], at_.part(first + p));
    }
    // Whether what was loaded had been stored.
    __device__ __forceinline__ bool stored(int first = 0) const {
        bool all = true;
        if constexpr (std::is_same_v<T, Word>)
#pragma unroll
            for (int p = 0; p < early; ++p)
                if (first + p < parts_)
#pragma unroll
                    for (int i = 0; i < count; ++i)
                        all = all && has_mark(part_[p][i], mark_);
        return all;
    }
    // Once the first parts are there.
    __device__ __forceinline__ Values<count> complete() {
        Values<count> sum = each<count>([&](int i) { return parts_ > 0 ? value_of(part_[0][i]) : 0.0f; });
        add(sum, 0);
        for (int first = early; first < parts_; first += early) {
            Patience patience;
            while (load(first), !stored(first))
                patience.lose();
            add(sum, first);
        }
        return sum;
    }

private:
    __device__ __forceinline__ static void load(Word (&to)[count], const Word* from) {
        if constexpr (count == 1)
            to[0] = ptx::load_word(from);
        else
#pragma unroll
            for (int i = 0; i < count; i += 2)
                ptx::load_words(to[i], to[i + 1], from + i);
    }
    __device__ __forceinline__ static void load(float (&to)[count], const float* from) {
        if constexpr (count == 1) {
            to[0] = __ldcg(from);
        } else {
            const float4 quad = load4(from);
            to[0] = quad.x, to[1] = quad.y, to[2] = quad.z, to[3] = quad.w;
        }
    }
    __device__ __forceinline__ void add(Values<count>& sum, int first) const {
#pragma unroll
        for (int p = 0; p < early; ++p)
            if (first + p > 0 && first + p < parts_)
                sum = each<count>([&](int i) { return __fadd_rn(sum.at[i], value_of(part_[p][i])); });
    }

    PartsAt<T> at_;
    std::uint32_t mark_;
    int parts_;
    T part_[early][count] = {}; // or the compiler keeps what was there before, everywhere
};
template <class... Sums>
__device__ __forceinline__ void wait_for(Sums&... sums) {
    Patience patience;
    while ((sums.load(), ...), !(sums.stored() && ...))
        patience.lose();
}

template <class T>
__device__ __forceinline__ void finish_piece(const Record& r, std::uint32_t rows, std::uint32_t row, std::uint32_t marks,
                                             int piece, int output) {
    const int left = r.outputs - output;
    const GroupParts group = group_of(r.parts, piece * piece_outputs);
    if (r.parts.wide && group.count == 1) return; // as it was stored
    Values<4> weight{}, bias{}, old{};
    if (r.weight) weight = load<4>(r.weight + output, left);
    if (r.vector) bias = load<4>(r.vector + output, left);
    float* const out = r.out + static_cast<std::size_t>(row) * static_cast<std::size_t>(r.outputs) + output;
    if (r.accumulate) old = load<4>(out, left);
    wait_for_parts<T>(r.parts, group, rows, row, piece * piece_outputs, marks);
    PartSum<T, 4, 8> sum(r.parts, group, rows, row, output, marks, left > 0);
    wait_for(sum);
    const float factor = row_factor(r.scale, row, marks);
    const Values<4> parts = sum.complete();
    const Values<4> value = each<4>([&](int i) {
        float v = __fmul_rn(parts.at[i], factor);
        if (r.vector) v = __fadd_rn(v, bias.at[i]);
        return r.accumulate ? __fadd_rn(old.at[i], v) : v;
    });
    if (r.weight) {
        if (left > 0)
            Operand{r.operand, rows}.store4(row, static_cast<std::uint32_t>(output),
                                            {value.at[0] * weight.at[0], value.at[1] * weight.at[1],
                                             value.at[2] * weight.at[2], value.at[3] * weight.at[3]});
        float squares = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (i < left) squares = __fmaf_rn(value.at[i], value.at[i], squares);
        squares = sum_over_lanes(squares);
        if (own_thread() % 32 == 0) ptx::store_word(r.squares + row * most_pieces + piece, marked(squares, marks | r.index));
    }
    store(out, left, value);
}
template <int n>
__device__ __forceinline__ void finish(const Record& r, std::uint32_t rows, std::uint32_t marks) {
    auto f = [&](std::uint32_t row, int piece, int output) { finish_piece<Part<n>>(r, rows, row, marks, piece, output); };
    if (rows == 1)
        for_pieces_of_row<1>(r, f);
    else
        for_pieces_of_rows(r, rows, f);
}

template <class T, int count>
__device__ __forceinline__ void gate_piece(const Record& r, std::uint32_t rows, std::uint32_t row, std::uint32_t marks,
                                           int piece, int output) {
    const GroupParts gate_group = group_of(r.parts, piece * piece_outputs),
                     up_group = group_of(r.up, piece * piece_outputs);
    wait_for_parts<T>(r.parts, gate_group, rows, row, piece * piece_outputs, marks);
    wait_for_parts<T>(r.up, up_group, rows, row, piece * piece_outputs, marks);
    const bool there = output < r.outputs;
    constexpr int early = sizeof(T) * count > 16 ? 2 : 3;
    PartSum<T, count, early> gates(r.parts, gate_group, rows, row, output, marks, there),
        ups(r.up, up_group, rows, row, output, marks, there);
    wait_for(gates, ups);
    const float factor = row_factor(r.scale, row, marks);
    const Values<count> g = gates.complete(), u = ups.complete();
    const Values<count> value = each<count>([&](int i) {
        return __fmul_rn(activated(r.activation, __fmul_rn(g.at[i], factor)), __fmul_rn(u.at[i], factor));
    });
    if (!there) return;
    const Operand operand{r.operand, rows};
    if constexpr (count == 4)
        operand.store4(row, static_cast<std::uint32_t>(output), {value.at[0], value.at[1], value.at[2], value.at[3]});
    else
        operand.store(row, static_cast<std::uint32_t>(output), value.at[0]);
}
template <int n>
__device__ __forceinline__ void gate(const Record& r, std::uint32_t rows, std::uint32_t marks) {
    if (rows == 1)
        for_pieces_of_row<4>(
            r, [&](std::uint32_t row, int piece, int output) { gate_piece<Part<n>, 1>(r, rows, row, marks, piece, output); });
    else
        for_pieces_of_rows(
            r, rows, [&](std::uint32_t row, int piece, int output) { gate_piece<Part<n>, 4>(r, rows, row, marks, piece, output); });
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
