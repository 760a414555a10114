// What a DeltaNet layer's kernels are told: shapes, weights, where inputs, states and results lie. Plain data, by value.
#pragma once

#include "compute/cuda/step_state.h"
#include "compute/device.h"

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define LUCEBOX_DEVICE __device__
#else
#define LUCEBOX_DEVICE
#endif

namespace lucebox::compute::cuda::delta {

struct Params {
    const StepState* step;
    const StepSequence* sequence;
    const StepRow* row;
    const float *qkv, *z, *alpha, *beta;
    int qkv_stride, z_stride, gate_stride, out_stride;
    const float *conv_weight, *a, *dt_bias, *norm;
    float epsilon, query_scale;
    int key_heads, value_heads, dim, taps, channels;
    float *state, *conv, *scratch;
    float *out, *saves;
    std::byte* operand; // the result in operand form, laid out for `operand_rows` rows; or none
    std::uint32_t operand_rows;
    bool write_out;
    int longest_walk; // rows; the chunked form takes longer paths

    LUCEBOX_DEVICE int scratch_width() const { return (channels + 2 * value_heads + 3) / 4 * 4; }
    LUCEBOX_DEVICE float* slot_scratch(int slot) const {
        return scratch + static_cast<std::size_t>(slot) * 64 * static_cast<std::size_t>(scratch_width());
    }
    LUCEBOX_DEVICE float* slot_conv(int slot) const {
        return conv + static_cast<std::size_t>(slot) * static_cast<std::size_t>((taps - 1) * channels);
    }
    LUCEBOX_DEVICE float* head_state(int slot, int head) const {
        return state + static_cast<std::size_t>(slot * value_heads + head) * static_cast<std::size_t>(dim * dim);
    }
};

Params make_params(const DeltaNetArgs& args, const StepState* step, const StepSequence* sequence, const StepRow* row);

} // namespace lucebox::compute::cuda::delta
