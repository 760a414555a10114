// The API keys that the options name: in a list, or one on a line of a file.
#pragma once

#include "base/options.h"
#include "base/result.h"

#include <string>
#include <vector>

namespace lucebox::app {

Result<std::vector<std::string>> api_keys(const Options& options);

} // namespace lucebox::app
