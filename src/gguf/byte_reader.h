// A cursor over untrusted little-endian bytes: every read first checks what is left.
//
// The views it returns point into the bytes it was given. Reads return false, and move nothing, when too few are left;
// the caller, who knows the field, makes the sentence. Not for sharing between threads.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace lucebox::gguf {

static_assert(std::endian::native == std::endian::little,
              "GGUF and safetensors are read by copying little-endian words");

class ByteReader {
public:
    explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    std::uint64_t position() const { return position_; }
    std::uint64_t remaining() const { return bytes_.size() - position_; }

    template <class T>
    [[nodiscard]] bool read(T& out) {
        if (remaining() < sizeof(T)) return false;
        std::memcpy(&out, bytes_.data() + position_, sizeof(T));
        position_ += sizeof(T);
        return true;
    }

    [[nodiscard]] bool read_view(std::uint64_t size, std::string_view& out) {
        if (remaining() < size) return false;
        out = {reinterpret_cast<const char*>(bytes_.data()) + position_, static_cast<std::size_t>(size)};
        position_ += size;
        return true;
    }

    // A u64 length and that many bytes.
    [[nodiscard]] bool read_string(std::string_view& out) {
        const std::uint64_t start = position_;
        std::uint64_t size = 0;
        if (read(size) && read_view(size, out)) return true;
        position_ = start;
        return false;
    }

    // The bytes read since position() was `start`.
    std::string_view view_since(std::uint64_t start) const {
        return {reinterpret_cast<const char*>(bytes_.data()) + start, static_cast<std::size_t>(position_ - start)};
    }

private:
    std::span<const std::byte> bytes_;
    std::uint64_t position_ = 0;
};

// Untrusted text for an error message: quoted, without control bytes, at most 80 characters of it.
inline std::string printable(std::string_view text) {
    constexpr std::size_t most = 80;
    std::string out = "\"";
    for (const char c : text.substr(0, most))
        out += c >= 0x20 && c < 0x7F ? c : '?';
    out += text.size() > most ? "...\"" : "\"";
    return out;
}

} // namespace lucebox::gguf
