// lucebox config import FILE: the settings of an earlier version's config.env, carried over to the configuration file.
//
// The old file is read as text and never executed. Its variables go through the same table as those of the environment; what
// belonged to the host wrapper goes to the wrapper's sections of the same file. All of it is written at once, or nothing.
#pragma once

#include "base/options.h"
#include "base/result.h"

#include <span>
#include <string>

namespace lucebox::app {

struct ImportSettings {
    bool dry_run = false;   // tell, and write nothing
    bool overwrite = false; // replace keys that are set
    bool json = false;
};

Status import_config(std::span<const std::string> operands, const ImportSettings& settings, const Environment& environment);

} // namespace lucebox::app
