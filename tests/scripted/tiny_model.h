// A model that knows nothing, around a real tokenizer and a real chat template: one layer of random weights, small enough
// to read a prompt of an agent in a moment.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace lucebox::scripted {

struct TinyModel {
    std::filesystem::path tokenizer; // GGUF whose tokenizer is taken
    std::string chat_template;       // Jinja
    std::uint32_t context = 131'072;
};

Status write_tiny_model(const TinyModel& model, const std::filesystem::path& target);

} // namespace lucebox::scripted
