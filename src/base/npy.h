// Arrays in NumPy's .npy format (version 1 and 2, little-endian, C order): how tokens and logits enter and leave.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace lucebox {

struct NpyArray {
    std::string dtype;              // "<f4", "<f2", "<i4", "<i8", "|u1"
    std::vector<std::size_t> shape;
    std::vector<std::byte> data;    // C order

    std::size_t elements() const;
};

Result<NpyArray> read_npy(const std::filesystem::path& path);

// Any integer dtype, each value within 32 bits.
Result<std::vector<std::int32_t>> read_npy_tokens(const std::filesystem::path& path);

// Header of a float32 array of this shape; the values follow.
std::string npy_f32_header(std::span<const std::size_t> shape);

} // namespace lucebox
