// A GGUF model as the rest of the program sees it: metadata and tensors of one file, or of all parts of a split one.
//
// open() checks everything that could hurt later (counts, sizes, ranges, overlaps, duplicates), so that whatever it
// returns is safe to read. Errors name the field and have ErrorKind::invalid_data. The object owns its file mappings;
// tensor data points into them. Immutable after open; any thread.
#pragma once

#include "base/file.h"
#include "base/result.h"
#include "gguf/tensor_type.h"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace lucebox::gguf {

using Shape = std::array<std::uint64_t, 4>; // fastest dimension first, padded with 1

struct Tensor {
    std::string name;
    TensorType type;
    Shape shape;
    std::span<const std::byte> data; // shape[1]*shape[2]*shape[3] rows of shape[0] values

    std::uint64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
    std::uint64_t rows() const { return shape[1] * shape[2] * shape[3]; }
    std::uint64_t row_bytes() const { return data.size() / rows(); }
};

// Integers are widened, whatever their width in the file; bools stay bools.
using Scalar = std::variant<bool, std::int64_t, std::uint64_t, double, std::string>;
using Array = std::variant<std::vector<bool>, std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<double>,
                           std::vector<std::string>>;
using Value = std::variant<Scalar, Array>;

class ModelFile {
public:
    // `path` is the file, or any part of a split model; the other parts are found beside it by name.
    static Result<ModelFile> open(const std::filesystem::path& path);

    ModelFile(ModelFile&&) noexcept;
    ModelFile& operator=(ModelFile&&) noexcept;
    ~ModelFile();

    std::span<const Tensor> tensors() const;
    const Tensor* find(std::string_view name) const; // nullptr if absent

    // Copies bytes offset.. of a tensor of this file through the file, not its mapping: a file that shrank since open()
    // is then an error and no SIGBUS.
    Status read(const Tensor& tensor, std::uint64_t offset, std::span<std::byte> out) const;

    const Value* metadata(std::string_view key) const; // nullptr if absent
    std::vector<std::string_view> keys() const;        // in file order
    // Value type and value as they are in the file, for copying without loss; empty if absent.
    std::span<const std::byte> encoded_metadata(std::string_view key) const;

    // Typed access, converting between widths with a range check. Absent: nullopt. Wrong type or out of range: an error
    // naming the key. A scalar is no array, and an array no scalar; get_integers() also takes arrays of bools, as 0 and 1.
    Result<std::optional<std::uint64_t>> get_unsigned(std::string_view key) const;
    Result<std::optional<std::int64_t>> get_integer(std::string_view key) const;
    Result<std::optional<double>> get_number(std::string_view key) const; // also from integers
    Result<std::optional<bool>> get_bool(std::string_view key) const;
    Result<std::optional<std::string>> get_string(std::string_view key) const;
    Result<std::optional<std::vector<std::int64_t>>> get_integers(std::string_view key) const;
    Result<std::optional<std::vector<double>>> get_numbers(std::string_view key) const;
    const std::vector<std::string>* get_strings(std::string_view key) const; // nullptr if absent or not strings

    std::uint64_t file_bytes() const; // all parts
    const std::filesystem::path& path() const;

private:
    struct State;
    explicit ModelFile(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The name of one part of a split model: "<prefix>-00001-of-00003.gguf".
struct SplitName {
    std::string prefix;       // without directory
    std::uint64_t number = 0; // from 1
    std::uint64_t count = 0;
};
std::optional<SplitName> parse_split_name(const std::string& name); // none: another name

} // namespace lucebox::gguf
