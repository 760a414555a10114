// What the container's start does before the command line is read: `lucebox entry [words of docker run]`.
//
// No word, `serve`, or options alone: the server. `shell`: a shell. Anything else is executed as it stands, so that
// `lucebox models` and a program of one's own work alike.
#pragma once

#include "base/options.h"
#include "base/result.h"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::app {

struct EntryPlan {
    bool serve = false;
    std::vector<std::string> words; // serve: the program's own command line; else what to execute
};

EntryPlan plan_entry(std::span<const char* const> words);

// Refuses to serve where a GPU was expected and none was given: the three lines that say why and what to do.
struct EntryMachine {
    bool gpu_build = false;
    bool gpu_visible = false;
    std::string device; // --device or LUCEBOX_DEVICE; empty or "auto": whatever is there
};
Status check_gpu_given(const EntryMachine& machine);

// Carries out the plan: does not return if something else is executed, else gives the words to go on with. `commands`: the program's
// own, for who forgot to write its name before one.
Result<std::vector<std::string>> enter(std::span<const char* const> words, std::span<const std::string_view> commands, const Environment& environment);

} // namespace lucebox::app
