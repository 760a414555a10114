#include "gguf/tensor_type.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace lucebox::gguf {
namespace {

struct Entry {
    TensorType type;
    BlockFormat format;
};

// Every id a file may hold is here with its size, so that tensors nobody computes with can still be bounded and copied.
constexpr Entry entries[] = {
    {TensorType::f32, {"F32", 1, 4, true}},
    {TensorType::f16, {"F16", 1, 2, true}},
    {TensorType::q4_0, {"Q4_0", 32, 18, true}},
    {TensorType::q4_1, {"Q4_1", 32, 20, true}},
    {TensorType::q5_0, {"Q5_0", 32, 22, true}},
    {TensorType::q5_1, {"Q5_1", 32, 24, true}},
    {TensorType::q8_0, {"Q8_0", 32, 34, true}},
    {TensorType::q8_1, {"Q8_1", 32, 36, false}},
    {TensorType::q2_k, {"Q2_K", 256, 84, true}},
    {TensorType::q3_k, {"Q3_K", 256, 110, true}},
    {TensorType::q4_k, {"Q4_K", 256, 144, true}},
    {TensorType::q5_k, {"Q5_K", 256, 176, true}},
    {TensorType::q6_k, {"Q6_K", 256, 210, true}},
    {TensorType::q8_k, {"Q8_K", 256, 292, true}},
    {TensorType::iq2_xxs, {"IQ2_XXS", 256, 66, false}},
    {TensorType::iq2_xs, {"IQ2_XS", 256, 74, false}},
    {TensorType::iq3_xxs, {"IQ3_XXS", 256, 98, false}},
    {TensorType::iq1_s, {"IQ1_S", 256, 50, false}},
    {TensorType::iq4_nl, {"IQ4_NL", 32, 18, true}},
    {TensorType::iq3_s, {"IQ3_S", 256, 110, false}},
    {TensorType::iq2_s, {"IQ2_S", 256, 82, false}},
    {TensorType::iq4_xs, {"IQ4_XS", 256, 136, true}},
    {TensorType::i8, {"I8", 1, 1, false}},
    {TensorType::i16, {"I16", 1, 2, false}},
    {TensorType::i32, {"I32", 1, 4, false}},
    {TensorType::i64, {"I64", 1, 8, false}},
    {TensorType::f64, {"F64", 1, 8, false}},
    {TensorType::iq1_m, {"IQ1_M", 256, 56, false}},
    {TensorType::bf16, {"BF16", 1, 2, true}},
    {TensorType::tq1_0, {"TQ1_0", 256, 54, false}},
    {TensorType::tq2_0, {"TQ2_0", 256, 66, false}},
    {TensorType::mxfp4, {"MXFP4", 32, 17, true}},
    {TensorType::nvfp4, {"NVFP4", 64, 36, true}},
    {TensorType::q1_0, {"Q1_0", 128, 18, false}},
};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
        return std::toupper(static_cast<unsigned char>(x)) == std::toupper(static_cast<unsigned char>(y));
    });
}

} // namespace

std::optional<TensorType> tensor_type_from_id(std::uint32_t id) {
    for (const Entry& entry : entries) {
        if (static_cast<std::uint32_t>(entry.type) == id) return entry.type;
    }
    return std::nullopt;
}

std::optional<TensorType> tensor_type_from_name(std::string_view name) {
    for (const Entry& entry : entries) {
        if (equal_ignoring_case(entry.format.name, name)) return entry.type;
    }
    return std::nullopt;
}

const BlockFormat& block_format(TensorType type) {
    for (const Entry& entry : entries) {
        if (entry.type == type) return entry.format;
    }
    std::abort(); // a TensorType that did not come from this table is our own bug
}

} // namespace lucebox::gguf
