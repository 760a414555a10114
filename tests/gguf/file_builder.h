// Builds the bytes of a GGUF file field by field, right or wrong, without the product's writer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::gguf {

class Bytes {
public:
    template <class T>
    Bytes& put(T value) {
        text_.append(reinterpret_cast<const char*>(&value), sizeof value);
        return *this;
    }
    Bytes& u32(std::uint32_t value) { return put(value); }
    Bytes& u64(std::uint64_t value) { return put(value); }
    Bytes& string(std::string_view value) {
        u64(value.size());
        text_ += value;
        return *this;
    }
    Bytes& zeros(std::size_t count) {
        text_.append(count, '\0');
        return *this;
    }
    Bytes& pad_to(std::size_t alignment) { return zeros((alignment - text_.size() % alignment) % alignment); }
    Bytes& append(const Bytes& other) {
        text_ += other.text_;
        return *this;
    }
    std::string& text() { return text_; }
    const std::string& text() const { return text_; }

private:
    std::string text_;
};

// Value type ids of the format.
enum : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// Collects keys and tensors; build() lays them out back to back, as writers do. The public fields let a test lie.
struct FileBuilder {
    std::uint32_t magic = 0x46554747;
    std::uint32_t version = 3;
    std::size_t alignment = 32;
    std::uint64_t key_count = 0;
    std::uint64_t tensor_count = 0;
    Bytes keys;
    Bytes tensors;
    std::size_t data_bytes = 0;

    template <class T>
    FileBuilder& key(std::string_view name, std::uint32_t type, T value) {
        ++key_count;
        keys.string(name).u32(type).put(value);
        return *this;
    }
    FileBuilder& text(std::string_view name, std::string_view value) {
        ++key_count;
        keys.string(name).u32(kString).string(value);
        return *this;
    }
    template <class T>
    FileBuilder& array(std::string_view name, std::uint32_t type, const std::vector<T>& values) {
        ++key_count;
        keys.string(name).u32(kArray).u32(type).u64(values.size());
        for (const T& value : values)
            keys.put(value);
        return *this;
    }
    FileBuilder& texts(std::string_view name, const std::vector<std::string>& values) {
        ++key_count;
        keys.string(name).u32(kArray).u32(kString).u64(values.size());
        for (const auto& value : values)
            keys.string(value);
        return *this;
    }
    // A description that may say anything.
    FileBuilder& describe(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                          std::uint64_t offset) {
        ++tensor_count;
        tensors.string(name).u32(static_cast<std::uint32_t>(shape.size()));
        for (const std::uint64_t dimension : shape)
            tensors.u64(dimension);
        tensors.u32(type).u64(offset);
        return *this;
    }
    // A well-placed tensor of `bytes` bytes.
    FileBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                        std::size_t bytes) {
        data_bytes += (alignment - data_bytes % alignment) % alignment;
        describe(name, shape, type, data_bytes);
        data_bytes += bytes;
        return *this;
    }

    // Data byte i is i mod 251, so that every tensor's content is its own.
    std::string build() const {
        Bytes out;
        out.u32(magic).u32(version).u64(tensor_count).u64(key_count).append(keys).append(tensors);
        if (tensor_count != 0) out.pad_to(alignment);
        for (std::size_t i = 0; i < data_bytes; ++i)
            out.put(static_cast<std::uint8_t>(i % 251));
        return out.text();
    }
};

} // namespace lucebox::gguf
