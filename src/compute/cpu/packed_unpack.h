// Reads GGUF blocks into codes and scales, without rounding anything: the packer's view of a file's types.
//
// Pure; any thread.
#pragma once

#include "compute/cpu/packed_format.h"
#include "gguf/tensor_type.h"

#include <cstddef>
#include <optional>

namespace lucebox::compute::cpu {

// How a type is packed; nothing for types that are not packed as codes (F32, F16, BF16).
std::optional<Format> packed_format(gguf::TensorType type);
const CodeTable* code_table(gguf::TensorType type); // nullptr unless the format's codes are Codes::table

// Up to 256 inputs of one output.
struct UnitCodes {
    std::uint8_t codes[256];
    std::uint16_t f16_scale[16], f16_min[16]; // of each sub-block, with Scales::f16
    float f32_scale[8];
    std::int8_t scale[16], min[16]; // with Scales::super, multiply d and dmin
    std::uint16_t d, dmin;          // f16 bits; dmin has the sign that adds
};

// blocks: where the unit's first GGUF block lies.
void read_unit(gguf::TensorType type, const std::byte* blocks, std::size_t inputs, UnitCodes& unit);

} // namespace lucebox::compute::cpu
