// The tensor types a GGUF file can hold, and their block sizes (GGUF type table, ggml ids).
//
// A tensor is a sequence of blocks along its fastest dimension; a block holds `elements` values in `bytes` bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lucebox::gguf {

enum class TensorType : std::uint32_t {
    f32 = 0, f16 = 1, q4_0 = 2, q4_1 = 3, q5_0 = 6, q5_1 = 7, q8_0 = 8, q8_1 = 9,
    q2_k = 10, q3_k = 11, q4_k = 12, q5_k = 13, q6_k = 14, q8_k = 15,
    iq2_xxs = 16, iq2_xs = 17, iq3_xxs = 18, iq1_s = 19, iq4_nl = 20, iq3_s = 21, iq2_s = 22, iq4_xs = 23,
    i8 = 24, i16 = 25, i32 = 26, i64 = 27, f64 = 28, iq1_m = 29, bf16 = 30,
    tq1_0 = 34, tq2_0 = 35, mxfp4 = 39, nvfp4 = 40, q1_0 = 41,
};

struct BlockFormat {
    std::string_view name;   // as people write it: "Q4_K"
    std::uint32_t elements;  // values in a block
    std::uint32_t bytes;     // bytes of a block
    bool dequantisable;      // blocks.h can turn it into f32
};

// Nothing for ids that are unknown or were removed from the format.
std::optional<TensorType> tensor_type_from_id(std::uint32_t id);
std::optional<TensorType> tensor_type_from_name(std::string_view name); // case-insensitive
const BlockFormat& block_format(TensorType type);

} // namespace lucebox::gguf
