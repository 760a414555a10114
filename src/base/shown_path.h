// Paths as people know them. In a container that the host wrapper made, folders have other names than on the host, and what is printed
// should be found there: LUCEBOX_SHOWN_PATHS tells, a line "INSIDE=OUTSIDE" for each folder.
#pragma once

#include "base/options.h"

#include <filesystem>
#include <string>

namespace lucebox {

// For messages and reports only: never to open a file by.
std::string shown_path(const std::filesystem::path& path, const Environment& environment);
std::string shown_path(const std::filesystem::path& path); // by the process's environment

} // namespace lucebox
