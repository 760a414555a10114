// Which draft guesses for a model: the one that was named, or one that lies where drafts are looked for.
#pragma once

#include "base/options.h"

#include <filesystem>

namespace lucebox::app {

struct ChosenDraft {
    std::filesystem::path path; // empty: none
    bool found = false;         // by itself: one that cannot be used after all is left out instead of being an error
};

// --draft FILE; of the files in --draft FOLDER the first that fits; none where speculation is off or --draft is `none`; else
// the first that fits of model::draft_files(), in the model's folder, in those of --models, and in what came with the program.
// What does not fit is told, with the values that disagree, where nothing else was found.
ChosenDraft chosen_draft(const Options& options, const std::filesystem::path& model);

} // namespace lucebox::app
