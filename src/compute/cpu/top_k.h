// The best few of a row of logits, with their log-probabilities.
#pragma once

#include "compute/cpu/row_kernels.h"

#include <span>

namespace lucebox::compute::cpu {

// ids and logprobs have the same size, 1..max_top_k. See Device::top_k; a row shorter than that repeats its last id with
// minus infinity.
void top_of_row(std::span<const float> logits, const RowKernels& kernels, std::span<std::int32_t> ids,
                std::span<float> logprobs);

} // namespace lucebox::compute::cpu
