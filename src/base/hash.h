// SHA-256 (FIPS 180-4), incremental.
//
// Used for downloads, prefix keys and API keys. Runs on the processor's SHA instructions where it has them, chosen once
// at run time. A Sha256 belongs to one thread at a time. Nothing here allocates except the text forms.
#pragma once

#include "base/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lucebox {

using Sha256Digest = std::array<std::uint8_t, 32>;

class Sha256 {
public:
    enum class Path { fastest, portable }; // portable: for tests that compare the two

    explicit Sha256(Path path = Path::fastest);

    void update(std::span<const std::byte> bytes);
    void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
    Sha256Digest finish(); // afterwards the object starts anew

private:
    using Compress = void (*)(std::uint32_t* state, const std::byte* blocks, std::size_t count);

    void reset();

    Compress compress_;
    std::array<std::uint32_t, 8> state_;
    std::array<std::byte, 64> pending_;
    std::uint64_t total_ = 0; // bytes so far; total_ % 64 of them are pending
};

Sha256Digest sha256(std::string_view text);
// Reads the whole file; `progress` is told the bytes read so far and may return false to stop (ErrorKind::cancelled).
Result<Sha256Digest> sha256_file(const std::filesystem::path& path,
                                 const std::function<bool(std::uint64_t)>& progress = {});

std::string hex(const Sha256Digest& digest);                        // 64 lower-case digits
std::optional<Sha256Digest> digest_from_hex(std::string_view text); // either case

// Takes the same time wherever the first difference is.
bool equal_in_constant_time(const Sha256Digest& a, const Sha256Digest& b);

} // namespace lucebox
