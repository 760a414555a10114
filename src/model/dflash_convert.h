// Writes a DFlash draft as one GGUF, its matrices in a smaller type if wanted.
#pragma once

#include "model/dflash_file.h"

namespace lucebox::model {

// `type`: of the matrices; rows that are no whole blocks of it, and the fusing matrix if it has fewer bits, become Q8_0.
// Norms are F32. The target appears whole or not at all.
Status convert_dflash(const DflashFile& source, const std::filesystem::path& target, gguf::TensorType type);

} // namespace lucebox::model
