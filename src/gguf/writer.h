// Writes a GGUF file (version 3): header first, then tensor data in the order the tensors were described.
//
// Data streams to a temporary file beside the target, with the whole size reserved at begin(), so that a full disk is
// an error at the start. finish() flushes and renames: readers see the old file or the whole new one. A writer that is
// destroyed before that removes its temporary file. Not for sharing between threads.
#pragma once

#include "base/result.h"
#include "gguf/model_file.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace lucebox::gguf {

class ModelWriter {
public:
    ModelWriter() = default;
    ModelWriter(const ModelWriter&) = delete;
    ModelWriter& operator=(const ModelWriter&) = delete;
    ~ModelWriter();

    // Metadata, before begin(). Setting a key again replaces its value where it stands. Integers keep the width of
    // their C++ type, which other readers check.
    template <class T>
    requires std::integral<T> || std::floating_point<T>
    void set(std::string_view key, T value) { set_raw(key, type_of<T>(), std::as_bytes(std::span(&value, 1))); }
    template <class T>
    requires std::integral<T> || std::floating_point<T>
    void set(std::string_view key, std::span<const T> values) {
        set_raw_array(key, type_of<T>(), values.size(), std::as_bytes(values));
    }
    void set(std::string_view key, std::string_view value);
    void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
    void set(std::string_view key, std::span<const std::string> values);
    // Type and value as ModelFile::encoded_metadata() gives them.
    void set_encoded(std::string_view key, std::span<const std::byte> type_and_value);

    // Describes the next tensor. Refuses what no reader would take: a name twice, a name of no or over 63 bytes, a
    // dimension of 0, rows that are not whole blocks.
    Status add_tensor(std::string_view name, TensorType type, const Shape& shape);

    // Creates the temporary file and writes the header. Errors name the file.
    Status begin(const std::filesystem::path& target);

    // The next bytes of tensor data, in pieces of any size; padding between tensors is the writer's.
    Status write(std::span<const std::byte> data);

    // Everything described must have been written.
    Status finish();

private:
    struct Key {
        std::string name;
        std::string encoded; // type and value
    };
    struct Described {
        std::string name;
        TensorType type;
        Shape shape;
        std::uint64_t bytes;
    };

    template <class T>
    static constexpr std::uint32_t type_of() {
        if constexpr (std::same_as<T, bool>) return 7;
        if constexpr (std::floating_point<T>) return sizeof(T) == 4 ? 6 : 12;
        constexpr std::uint32_t first = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 2 : sizeof(T) == 4 ? 4 : 10;
        return std::is_signed_v<T> ? first + 1 : first;
    }
    void set_raw(std::string_view key, std::uint32_t type, std::span<const std::byte> value);
    void set_raw_array(std::string_view key, std::uint32_t type, std::uint64_t count,
                       std::span<const std::byte> values);
    std::string build_header() const;
    Status append(std::span<const std::byte> bytes);
    Status pad();
    Status flush();
    Error failed(const char* action);
    void discard();

    std::vector<Key> keys_;
    std::vector<Described> tensors_;
    std::unordered_set<std::string> names_;
    std::filesystem::path target_;
    std::filesystem::path temporary_;
    int descriptor_ = -1;
    std::vector<std::byte> buffer_;
    std::size_t current_ = 0;           // tensor that is being written
    std::uint64_t current_written_ = 0; // bytes of it
};

} // namespace lucebox::gguf
