// The model whose vocabulary a bench takes: its first argument, else the default model where `make models` leaves it.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace lucebox {

inline std::filesystem::path model_of(int count, char** words) {
    if (count > 1) return words[1];
    const char* const home = std::getenv("HOME");
    return std::filesystem::path(home ? home : "") / ".cache/lucebox/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

} // namespace lucebox
