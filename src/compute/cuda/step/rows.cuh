// The records between products: sums are completed, added to what was there, normalised, made operands.
//
// Every value of a row is computed by the same thread in the same order whatever the number of rows.
#pragma once

#include "compute/cuda/matmul/finish.cuh"
#include "compute/cuda/step/pieces.cuh"

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

// Asked anew each time: what is computed from it must not be kept in registers while products run.
__device__ __forceinline__ int own_thread() {
    int thread;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    return thread;
}

// Dealt out to all blocks: 1024 outputs of a row at a time, two to a thread. f(row, first output).
template <class F>
__device__ __forceinline__ void for_pairs(std::uint32_t rows, int outputs, F&& f) {
    const int chunks = (outputs + 2 * consumers - 1) / (2 * consumers);
    for (int item = static_cast<int>(blockIdx.x); item < chunks * static_cast<int>(rows);
         item += static_cast<int>(gridDim.x)) {
        const int row = item / chunks, output = (item - row * chunks) * 2 * consumers + 2 * own_thread();
        if (output < outputs) f(static_cast<std::uint32_t>(row), output);
    }
}

// Two neighbouring outputs' parts: the loads of the first few are under way at once.
__device__ __forceinline__ float2 load_pair(const float* at, bool both) {
    if ((reinterpret_cast<std::uintptr_t>(at) & 7) == 0 && both) return __ldcg(reinterpret_cast<const float2*>(at));
    return {__ldcg(at), both ? __ldcg(at + 1) : 0.0f};
}
class PairSum {
public:
    __device__ __forceinline__ PairSum(const PartsAt& parts, bool both) : parts_(parts), both_(both) {
        base_ = load_pair(parts.base, both);
#pragma unroll
        for (int i = 0; i < early; ++i)
            part_[i] = i + 1 < parts.count ? load_pair(at(i + 1), both) : float2{0, 0};
    }
    __device__ __forceinline__ float2 complete() const {
        float2 sum = base_;
#pragma unroll
        for (int i = 0; i < early; ++i)
            if (i + 1 < parts_.count) sum = {__fadd_rn(sum.x, part_[i].x), __fadd_rn(sum.y, part_[i].y)};
        for (int i = early + 1; i < parts_.count; ++i) {
            const float2 part = load_pair(at(i), both_);
            sum = {__fadd_rn(sum.x, part.x), __fadd_rn(sum.y, part.y)};
        }
        return sum;
    }

private:
    static constexpr int early = 3;
    __device__ __forceinline__ const float* at(int part) const {
        return parts_.extra + static_cast<std::size_t>(part) * parts_.stride;
    }
    const PartsAt& parts_;
    bool both_;
    float2 base_, part_[early];
};

__device__ __forceinline__ void finish(const Record& r, std::uint32_t rows, const GroupParts* all) {
    const GroupParts* const groups = all + r.parts.first_group;
    for_pairs(rows, r.outputs, [&](std::uint32_t row, int output) {
        const PartsAt parts(r.parts, groups, rows, row, r.outputs, output);
        if (r.whole && parts.count == 1) return;
        const bool both = output + 1 < r.outputs;
        float* const to = r.out + static_cast<std::size_t>(row) * static_cast<std::size_t>(r.outputs) + output;
        float2 old{0, 0}, bias{0, 0};
        if (r.accumulate) old = load_pair(to, both);
        if (r.vector) bias = {r.vector[output], both ? r.vector[output + 1] : 0.0f};
        float2 value = PairSum(parts, both).complete();
        if (r.vector) value = {__fadd_rn(value.x, bias.x), __fadd_rn(value.y, bias.y)};
        if (r.accumulate) value = {__fadd_rn(old.x, value.x), __fadd_rn(old.y, value.y)};
        to[0] = value.x;
        if (both) to[1] = value.y;
    });
}

__device__ __forceinline__ void gate(const Record& r, std::uint32_t rows, const GroupParts* all) {
    const Operand operand{r.operand, rows};
    for_pairs(rows, r.outputs, [&](std::uint32_t row, int output) {
        const PartsAt gate_parts(r.parts, all + r.parts.first_group, rows, row, r.outputs, output);
        const PartsAt up_parts(r.up, all + r.up.first_group, rows, row, r.outputs, output);
        const bool both = output + 1 < r.outputs;
        const PairSum gate_sum(gate_parts, both), up_sum(up_parts, both);
        const float2 gate = gate_sum.complete(), up = up_sum.complete();
        operand.store2(row, static_cast<std::uint32_t>(output), __fmul_rn(activated(r.activation, gate.x), up.x),
                       both ? __fmul_rn(activated(r.activation, gate.y), up.y) : 0.0f);
    });
}

__device__ __forceinline__ void convert(const Record& r, std::uint32_t rows) {
    const Operand operand{r.operand, rows};
    for_pairs(rows, r.outputs, [&](std::uint32_t row, int output) {
        const float* const from = r.in + static_cast<std::size_t>(row) * static_cast<std::size_t>(r.outputs) + output;
        operand.store2(row, static_cast<std::uint32_t>(output), __ldcg(from),
                       output + 1 < r.outputs ? __ldcg(from + 1) : 0.0f);
    });
}

// Norms need whole rows. A few blocks share a row: a warp has a piece of 128 outputs, and keeps it from record to
// record. Sums of squares are exchanged through memory, piece by piece: their order is a matter of the width alone.
__device__ __forceinline__ float4 add4(float4 a, float4 b) {
    return {__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z), __fadd_rn(a.w, b.w)};
}
__device__ __forceinline__ float4 load4(const float* at) {
    return __ldcg(reinterpret_cast<const float4*>(at));
}

struct RowPlace {
    std::uint32_t rows, row;
    int slices, slice; // blocks that share the row, and which this is
    int warp, lane;

    // f(which of the thread's quads, its first output)
    template <class F>
    __device__ __forceinline__ void for_quads(int width, F&& f) const {
#pragma unroll
        for (int i = 0; i < pieces_of_warp; ++i) {
            const int output = ((i * consumer_warps + warp) * slices + slice) * piece_outputs + 4 * lane;
            if (output < width) f(i, output);
        }
    }
    __device__ __forceinline__ std::size_t start(int width) const {
        return static_cast<std::size_t>(row) * static_cast<std::size_t>(width);
    }
};
struct KeptRow {
    float4 quad[pieces_of_warp];
};

__device__ __forceinline__ void finish_row(const Record& r, const RowPlace& place, KeptRow& kept,
                                           const GroupParts* all) {
    const std::size_t start = place.start(r.outputs);
    place.for_quads(r.outputs, [&](int i, int output) {
        const PartsAt parts(r.parts, all + r.parts.first_group, place.rows, place.row, r.outputs, output);
        constexpr int early = 8; // parts whose loads are under way at once
        float4 part[early], old{}, bias{};
        float4 sum = load4(parts.base);
#pragma unroll
        for (int p = 1; p < early; ++p)
            if (p < parts.count) part[p] = load4(parts.extra + static_cast<std::size_t>(p) * parts.stride);
        if (r.accumulate) old = load4(r.out + start + output);
        if (r.vector) bias = *reinterpret_cast<const float4*>(r.vector + output);
#pragma unroll
        for (int p = 1; p < early; ++p)
            if (p < parts.count) sum = add4(sum, part[p]);
        for (int p = early; p < parts.count; ++p)
            sum = add4(sum, load4(parts.extra + static_cast<std::size_t>(p) * parts.stride));
        if (r.vector) sum = add4(sum, bias);
        if (r.accumulate) sum = add4(old, sum);
        *reinterpret_cast<float4*>(r.out + start + output) = sum;
        kept.quad[i] = sum;
    });
}

// The sum of a row's squares, from all pieces. `exchange`: of this run of records.
__device__ __forceinline__ float exchange_squares(const KeptRow& kept, const RowPlace& place, int width,
                                                  RowExchange& exchange) {
    const int pieces = (width + piece_outputs - 1) / piece_outputs;
    float* const sums = exchange.sums + place.row * most_pieces;
    place.for_quads(pieces * piece_outputs, [&](int i, int output) {
        float squares = 0;
        if (output < width) {
            const float4 v = kept.quad[i];
            squares = __fmaf_rn(v.w, v.w, __fmaf_rn(v.z, v.z, __fmaf_rn(v.y, v.y, __fmul_rn(v.x, v.x))));
        }
#pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2)
            squares = __fadd_rn(squares, __shfl_xor_sync(~0u, squares, lanes));
        if (place.lane == 0) __stcg(sums + output / piece_outputs, squares);
    });
    sync_consumers();
    if (place.warp == 0 && place.lane == 0) {
        std::uint32_t* const count = exchange.counts + place.row;
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
        Patience patience;
        while (ptx::load_acquire(count) < static_cast<std::uint32_t>(place.slices))
            patience.lose();
    }
    sync_consumers();
    float sum = __fadd_rn(place.lane < pieces ? __ldcg(sums + place.lane) : 0.0f,
                          place.lane + 32 < pieces ? __ldcg(sums + place.lane + 32) : 0.0f);
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
        sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, lanes));
    return sum;
}

__device__ __forceinline__ void norm_row(const Record& r, const RowPlace& place, KeptRow& kept, RowExchange& exchange) {
    const std::size_t start = place.start(r.outputs);
    if (!r.held) place.for_quads(r.outputs, [&](int i, int output) { kept.quad[i] = load4(r.in + start + output); });
    const float mean = exchange_squares(kept, place, r.outputs, exchange) / static_cast<float>(r.outputs);
    const float scale = 1.0f / sqrtf(__fadd_rn(mean, r.number));
    const Operand operand{r.operand, place.rows};
    place.for_quads(r.outputs, [&](int i, int output) {
        const float4 v = kept.quad[i], w = __ldg(reinterpret_cast<const float4*>(r.vector + output));
        float4 y{v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w};
        if (r.out) {
            float* const to = r.out + start + output;
            if (r.work == Work::add_norm) kept.quad[i] = y = add4(load4(to), y);
            *reinterpret_cast<float4*>(to) = y;
        }
        if (r.operand) operand.store4(place.row, static_cast<std::uint32_t>(output), y);
    });
}

#endif // LUCEBOX_SM90A

} // namespace lucebox::compute::cuda::step
