// The records that need whole rows, between two borders: norms whose result somebody reads, and those of a sum that is
// normed before it is added.
//
// Every value of a row is computed by the same thread in the same order whatever the number of rows.
#pragma once

#include "compute/cuda/matmul/operand.cuh"
#include "compute/cuda/step/flow.cuh"

namespace lucebox::compute::cuda::step {

#ifdef LUCEBOX_SM90A

// A few blocks share a row: a warp has a piece of 128 outputs, and keeps it from record to record. Sums of squares are exchanged through memory, piece by piece: their order is a matter of the width alone.
struct RowPlace {
    std::uint32_t rows, row, marks;
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

template <class T>
__device__ __forceinline__ void finish_row(const Record& r, const RowPlace& place, KeptRow& kept) {
    const std::size_t start = place.start(r.outputs);
    const float factor = row_factor(r.scale, place.row, place.marks);
    place.for_quads(r.outputs, [&](int i, int output) {
        float4 old{}, bias{};
        if (r.accumulate) old = load4(r.out + start + output);
        if (r.vector) bias = *reinterpret_cast<const float4*>(r.vector + output);
        const PartsAt<T> parts(r.parts, group_of(r.parts, output), place.rows, place.row, output);
        auto part = [&](int p) { // behind a border
            const T* const at = parts.part(p);
            return float4{value_of(__ldcg(at)), value_of(__ldcg(at + 1)), value_of(__ldcg(at + 2)), value_of(__ldcg(at + 3))};
        };
        float4 sum = part(0);
#pragma unroll 1
        for (int p = 1; p < parts.count; ++p)
            sum = add4(sum, part(p));
        sum = times(sum, factor);
        if (r.vector) sum = add4(sum, bias);
        if (r.accumulate) sum = add4(old, sum);
        *reinterpret_cast<float4*>(r.out + start + output) = sum;
        kept.quad[i] = sum;
    });
}

// The sum of a row's squares, from all pieces. `exchange`: of this run of records.
__device__ __forceinline__ float exchange_squares(const KeptRow& kept, const RowPlace& place, int width,
                                                  RowExchange& exchange) {
    const int pieces = pieces_of(width);
    float* const sums = exchange.sums + place.row * most_pieces;
    place.for_quads(pieces * piece_outputs, [&](int i, int output) {
        float squares = 0;
        if (output < width) {
            const float4 v = kept.quad[i];
            squares = __fmaf_rn(v.w, v.w, __fmaf_rn(v.z, v.z, __fmaf_rn(v.y, v.y, __fmul_rn(v.x, v.x))));
        }
        squares = sum_over_lanes(squares);
        if (place.lane == 0) __stcg(sums + output / piece_outputs, squares);
    });
    sync_consumers();
    if (place.warp == 0 && place.lane == 0) {
        std::uint32_t* const count = exchange.counts + place.row;
        ptx::add_release(count, 1);
        Patience patience;
        while (ptx::load_acquire(count) < static_cast<std::uint32_t>(place.slices))
            patience.lose();
    }
    sync_consumers();
    return sum_over_lanes(__fadd_rn(place.lane < pieces ? __ldcg(sums + place.lane) : 0.0f,
                                    place.lane + 32 < pieces ? __ldcg(sums + place.lane + 32) : 0.0f));
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
