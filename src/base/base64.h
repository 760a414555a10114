// Base64 as in RFC 4648, section 4: with padding, without line breaks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lucebox {

inline std::string base64(std::span<const std::byte> bytes) {
    static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const auto byte = [&](std::size_t at) { return i + at < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + at]) : 0; };
        const std::uint32_t group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (const int shift : {18, 12, 6, 0}) text += digits[group >> shift & 63];
    }
    const std::size_t padding = (3 - bytes.size() % 3) % 3;
    text.replace(text.size() - padding, padding, padding, '=');
    return text;
}

} // namespace lucebox
