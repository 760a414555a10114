// The part of `lucebox bench` that compares shapes of speculation.
#pragma once

#include "app/commands.h"

namespace lucebox::app {

Status bench_speculation(const Options& options);

} // namespace lucebox::app
