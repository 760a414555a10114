// lucebox draft: what can be done with a DFlash draft alone.
#pragma once

#include "app/commands.h"

namespace lucebox::app {

Status draft(const Invocation& invocation); // convert or logits

} // namespace lucebox::app
