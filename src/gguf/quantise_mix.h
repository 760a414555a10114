// Which type each tensor of a model gets when it is quantised.
//
// A mix such as "Q4_K_M" is a base type plus rules that spend more bits where they matter most: output, values, the
// down projections of outer layers. The rules are those that published files follow, so that ours have their sizes.
// Pure.
#pragma once

#include "gguf/model_file.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lucebox::gguf {

struct Mix {
    std::string_view name;
    TensorType base;
    std::uint32_t file_type; // what general.file_type says
    enum class Extra { none, first_blocks, outer_blocks } extra;
    TensorType extra_type; // for `extra` tensors of some blocks
    TensorType output;     // of the output matrix, or of the embedding that serves as one
};

std::span<const Mix> all_mixes();
const Mix* find_mix(std::string_view name); // case-insensitive; nullptr if there is none
Mix uniform_mix(TensorType type);           // every matrix gets `type`

// One type for each tensor, in their order. Tensors that are never quantised keep their own; rows that are no whole
// blocks fall back to a type with smaller blocks. blocks: the model's block_count. `data` of the tensors is not looked
// at.
std::vector<TensorType> plan_types(std::span<const Tensor> tensors, std::uint64_t blocks, const Mix& mix);

} // namespace lucebox::gguf
