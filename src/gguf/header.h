// The header of one GGUF file, checked: what ModelFile joins into a model.
//
// parse_header() reads versions 2 and 3 from bytes nobody vouches for. Names and keys are views into those bytes;
// values are copies. Tensor ranges are inside the bytes, aligned, and don't overlap. Pure; any thread.
#pragma once

#include "base/result.h"
#include "gguf/model_file.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace lucebox::gguf {

constexpr std::uint32_t default_alignment = 32;

// What all parts of one model may use together. Real models stay far below: a vocabulary of 262,144 tokens with its
// merges takes 20 MB. The limits bound time and memory, which grow with the header and not with the weights.
struct HeaderBudget {
    std::uint64_t header_bytes = 64u << 20;
    std::uint64_t keys = 65'536;
    std::uint64_t tensors = 262'144;
};

struct Metadata {
    std::string_view key;
    Value value;
    std::string_view encoded; // value type and value, as in the file
};

struct TensorInfo {
    std::string_view name;
    TensorType type = TensorType::f32;
    Shape shape = {1, 1, 1, 1};
    std::uint64_t offset = 0; // from the start of the data section
    std::uint64_t bytes = 0;
};

struct Header {
    std::uint32_t version = 0;
    std::uint64_t data_start = 0;
    std::vector<Metadata> metadata;  // file order, keys unique
    std::vector<TensorInfo> tensors; // file order, names unique
};

// Bytes of a tensor of this type and shape; an error names the tensor.
Result<std::uint64_t> tensor_bytes(const TensorInfo& tensor);

// bytes: the whole file. Takes what it uses from `budget`.
Result<Header> parse_header(std::span<const std::byte> bytes, HeaderBudget& budget);

} // namespace lucebox::gguf
