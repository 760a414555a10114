// What files and bytes hold, for tests that compare them.
#pragma once

#include "base/hash.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

namespace lucebox::hub {

inline std::string sha256_of(const std::string& bytes) {
    Sha256 hash;
    hash.update(std::as_bytes(std::span(bytes)));
    return hex(hash.finish());
}

inline std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

} // namespace lucebox::hub
