#include "app/chosen_draft.h"

#include "base/log.h"
#include "model/dflash_target.h"
#include "model/draft_files.h"

#include <algorithm>
#include <iterator>
#include <span>

namespace lucebox::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_told = 4;

// Drafts that came with the program: beside it, as installed, and in the source tree that it was built in.
std::vector<fs::path> shipped(const fs::path& model) {
    std::error_code error;
    const auto program = fs::read_symlink("/proc/self/exe", error);
    std::vector<fs::path> found;
    for (const char* folder : {"models", "../share/lucebox/models", "../../models"}) {
        const fs::path path = program.parent_path() / folder / model::draft_name(model);
        if (fs::is_regular_file(path, error)) found.push_back(path.lexically_normal());
    }
    return found;
}

std::vector<fs::path> folders_of(std::string_view text) {
    std::vector<fs::path> folders;
    while (!text.empty()) {
        const auto end = text.find(':');
        if (end != 0) folders.emplace_back(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    }
    return folders;
}

Status fits(const fs::path& draft, const model::DflashTarget& target) {
    LUCEBOX_TRY(const auto file, model::DflashFile::open(draft));
    return model::check_fits(file.config(), target);
}

ChosenDraft first_that_fits(const fs::path& model, const std::vector<fs::path>& candidates) {
    if (candidates.empty()) return {};
    const auto file = gguf::ModelFile::open(model);
    if (!file) return {}; // whoever loads it says why
    const auto target = model::dflash_target(*file);
    if (!target) return {};
    std::vector<std::string> refused;
    for (const fs::path& draft : candidates) {
        const bool by_name = draft.filename() == model::draft_name(model);
        const Status status = fits(draft, *target);
        if (status) {
            if (!by_name) log_info("the draft {} was found for {}; --draft names another", draft.string(), model.filename().string());
            return {draft, true};
        }
        const std::string why = fmt::format("the draft {} is not used: {}", draft.string(), status.error().message);
        if (by_name) log_warning("{}", why); // somebody called it so for this model
        else refused.push_back(why);
    }
    for (const std::string& why : std::span(refused).first(std::min(refused.size(), most_told))) log_warning("{}", why);
    if (refused.size() > most_told) log_warning("nor are {} more drafts", refused.size() - most_told);
    return {};
}

} // namespace

ChosenDraft chosen_draft(const Options& options, const fs::path& model) {
    std::error_code error;
    if (options.is_set("draft")) {
        const fs::path named = options.path("draft");
        if (named == "none") return {};
        if (!fs::is_directory(named, error) || fs::exists(named / "config.json", error)) return {named, false};
        const auto candidates = model::draft_files_in(named, model);
        if (candidates.empty()) log_warning("there is no draft in {}: {} runs without", named.string(), model.filename().string());
        return first_that_fits(model, candidates);
    }
    if (options.text("speculation") == "off") return {};
    std::vector<fs::path> candidates = model::draft_files(model, folders_of(options.text("models")));
    std::ranges::copy(shipped(model), std::back_inserter(candidates));
    return first_that_fits(model, candidates);
}

} // namespace lucebox::app
