// Makes a smaller model out of a model: every tensor read, converted by rows on all cores, and written as it is done.
//
// Memory is a few chunks, not tensors. The target appears whole or not at all (see ModelWriter); it may be the source
// itself. Metadata is copied byte for byte, but for the file type and the keys of a split.
#pragma once

#include "base/result.h"
#include "gguf/model_file.h"
#include "gguf/quantise_mix.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <variant>

namespace lucebox::gguf {

struct QuantiseProgress {
    std::string_view tensor; // about to be converted
    TensorType from;
    TensorType to;
    std::size_t index; // of it, from 0
    std::size_t count;
    std::uint64_t done_bytes; // of the source
    std::uint64_t total_bytes;
};

struct QuantiseOptions {
    std::variant<std::string, TensorType> target = "Q4_K_M";    // a mix by name, or one type for every matrix
    bool requantise = false;                                    // also what is quantised already, at a loss
    std::size_t threads = 0;                                    // 0: all cores
    std::function<bool(const QuantiseProgress&)> progress = {}; // before each tensor; false cancels
};

Status quantise_model(const ModelFile& source, const std::filesystem::path& target, const QuantiseOptions& options);

} // namespace lucebox::gguf
