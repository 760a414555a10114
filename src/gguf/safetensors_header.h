// The JSON of safetensors files, read by event and not into a tree: whatever does not have the expected form ends the
// parse at once, so nesting and size cost nothing. Pure; any thread.
#pragma once

#include "base/result.h"
#include "gguf/safetensors.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lucebox::gguf {

struct StoredInfo {
    std::string name;
    StoredType type = StoredType::f32;
    std::vector<std::uint64_t> shape;
    std::uint64_t begin = 0; // of the data section
    std::uint64_t end = 0;
};

using StringPairs = std::vector<std::pair<std::string, std::string>>; // sorted by the first, which is unique

struct StoredHeader {
    std::vector<StoredInfo> tensors; // sorted by name, which is unique
    StringPairs metadata;
};

// The form of the header, and that each range has the bytes that type and shape say. Not where the ranges lie.
Result<StoredHeader> parse_stored_header(std::string_view json);

// The "weight_map" of an index: tensor name to file name. File names are plain names, no paths.
Result<StringPairs> parse_shard_index(std::string_view json);

} // namespace lucebox::gguf
