// Whether a DFlash draft is of a model: its width, vocabulary and layers must be the model's.
#pragma once

#include "model/dflash_file.h"

namespace lucebox::model {

struct DflashTarget {
    std::string architecture; // empty: not looked at
    std::size_t width = 0, vocabulary = 0, layers = 0;
};

// From the header alone: nothing is loaded.
Result<DflashTarget> dflash_target(const gguf::ModelFile& file);

Status check_fits(const DflashConfig& draft, const DflashTarget& target); // names both values that disagree

} // namespace lucebox::model
