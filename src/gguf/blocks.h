// Block formats: rows of quantised values to f32 and back.
//
// Layouts are those of the GGUF type table. `elements` is always a whole number of blocks. The functions are plain
// and exact: they are the oracle for every faster kernel. Pure; any thread.
#pragma once

#include "base/result.h"
#include "gguf/model_file.h"

#include <cstddef>
#include <span>

namespace lucebox::gguf {

float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);  // round to nearest even
float bf16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_bf16(float value); // round to nearest even

// A tensor of a type that is not dequantisable is ErrorKind::unsupported, by name.
Status check_dequantisable(const Tensor& tensor);
// blocks: whole blocks of `type`; out: as many f32 as they hold. `type` must be dequantisable.
void dequantise_row(TensorType type, std::span<const std::byte> blocks, std::span<float> out);

// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K; anything else is ErrorKind::unsupported. A value that
// the type's half-precision scales cannot reach (NaN, infinite, beyond 65504) is ErrorKind::invalid_data.
bool quantisable(TensorType type);
Status quantise_row(TensorType type, std::span<const float> values, std::span<std::byte> out);

} // namespace lucebox::gguf
