// Which draft guesses for a model: the one that was named, or one that lies where drafts are looked for.
#pragma once

#include "base/options.h"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace lucebox::app {

struct ChosenDraft {
    std::filesystem::path path; // empty: none
    bool found = false;         // by itself: one that does not fit is left out instead of being an error
};

// --draft; nothing where speculation is off or --draft is `none`; else the first file of draft_name() beside the model, in
// the folders of --models, and in those that came with the program.
ChosenDraft chosen_draft(const Options& options, const std::filesystem::path& model);

// "a/Name.Q4_1.gguf" -> "Name.dflash.gguf": one draft serves all weight types of a model.
std::string draft_name(const std::filesystem::path& model);

// Where a program at `program` has its drafts: beside itself, as installed, and in the source tree that it was built in.
std::vector<std::filesystem::path> shipped_drafts(const std::filesystem::path& program);

std::filesystem::path find_draft(const std::filesystem::path& model, std::span<const std::filesystem::path> folders);

} // namespace lucebox::app
