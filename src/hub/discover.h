// Which model is meant where nobody named one: the one that lies in the user's folders.
#pragma once

#include "base/result.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace lucebox::hub {

// Model files in these folders, at most four levels down, links followed: no drafts (see model/draft_files.h), no
// projectors of images, and of a split model its first part. Sorted.
std::vector<std::filesystem::path> model_files(std::span<const std::filesystem::path> folders);

// The only one; else the only large one (more than 5 GiB); else `preferred`, if it is there; none where there is no model file.
// Several of equal right are an error that lists them.
Result<std::optional<std::filesystem::path>> discover_model(std::span<const std::filesystem::path> folders, std::string_view preferred);

} // namespace lucebox::hub
