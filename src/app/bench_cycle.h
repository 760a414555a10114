// The part of `lucebox bench` that times what a speculative step consists of.
#pragma once

#include "app/commands.h"

namespace lucebox::app {

Status bench_cycle(const Options& options);

} // namespace lucebox::app
