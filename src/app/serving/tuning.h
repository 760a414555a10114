// The plan for this machine's card, applied where nobody gave a setting of their own: what makes a bare start serve well.
#pragma once

#include "base/options.h"
#include "engine/engine.h"
#include "hub/tiers.h"

namespace lucebox::app {

// With what this build can do. 0: the card's memory is not known.
hub::Plan plan_for_card(std::uint64_t vram_mib, bool wsl);

engine::Wish wish_of(const hub::Plan& plan, std::uint64_t vram_bytes);

// Lets the engine ask for the plan of the device that it loads on. Settings that were given win.
void tune(engine::Options& engine_options, const Options& options);

} // namespace lucebox::app
