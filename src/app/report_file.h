// The file that --report names: what was measured, as JSON, for comparing later.
#pragma once

#include "base/options.h"
#include "base/result.h"

#include <nlohmann/json.hpp>

namespace lucebox::app {

// Nothing without --report. The file appears whole or not at all.
Status write_report(const Options& options, const nlohmann::ordered_json& report);

} // namespace lucebox::app
