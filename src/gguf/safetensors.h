// Tensors of a safetensors file, or of all shards that an index lists.
//
// Layout: u64 length of the header, a JSON object {name: {dtype, shape, data_offsets}}, then the data. open() checks
// all of it (lengths, types, ranges, gaps, overlaps, duplicates), so that whatever it returns is safe to read; a
// hostile header costs no more than reading it. Errors name the field and have ErrorKind::invalid_data. The object owns
// its mappings; data points into them and need not be aligned. Immutable after open; any thread.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::gguf {

enum class StoredType { f64, f32, f16, bf16, f8_e5m2, f8_e4m3, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

struct StoredFormat {
    std::string_view name; // as in the header: "BF16"
    std::uint32_t bytes;   // of one value
};
const StoredFormat& stored_format(StoredType type);

struct StoredTensor {
    std::string name;
    StoredType type;
    std::vector<std::uint64_t> shape; // slowest dimension first, as in the header; empty for a scalar
    std::span<const std::byte> data;  // row-major

    std::uint64_t elements() const { return data.size() / stored_format(type).bytes; }
};

class Safetensors {
public:
    // `path`: a .safetensors file; a "...index.json" whose shards lie beside it; or a folder that holds
    // model.safetensors.index.json or model.safetensors.
    static Result<Safetensors> open(const std::filesystem::path& path);

    Safetensors(Safetensors&&) noexcept;
    Safetensors& operator=(Safetensors&&) noexcept;
    ~Safetensors();

    std::span<const StoredTensor> tensors() const;         // by name
    const StoredTensor* find(std::string_view name) const; // nullptr if absent

    // The "__metadata__" strings of the first file; nullptr if absent.
    const std::string* metadata(std::string_view key) const;

private:
    struct State;
    explicit Safetensors(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Values first_element.. of a floating-point tensor as f32. Other types are ErrorKind::unsupported.
Status read_f32(const StoredTensor& tensor, std::uint64_t first_element, std::span<float> out);

} // namespace lucebox::gguf
