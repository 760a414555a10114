// What `lucebox models` does beside listing: fetch, download, activate, verify, import, rm.
#pragma once

#include "app/commands.h"
#include "hub/settings.h"

#include <span>
#include <string>

namespace lucebox::app {

Status change_models(std::span<const std::string> operands, const hub::HubSettings& settings, const Environment& environment);

} // namespace lucebox::app
