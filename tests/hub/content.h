// What files and bytes hold, for tests that compare them.
#pragma once

#include "base/hash.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>

namespace lucebox::hub {

inline std::string sha256_of(const std::string& bytes) {
    Sha256 hash;
    hash.update(std::as_bytes(std::span(bytes)));
    return hex(hash.finish());
}

// Bytes that do not compress.
inline std::string random_bytes(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::string bytes;
    for (std::size_t i = 0; i < count; ++i) bytes += static_cast<char>(random());
    return bytes;
}

inline std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

} // namespace lucebox::hub
