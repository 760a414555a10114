#include "app/chosen_draft.h"

#include <algorithm>
#include <iterator>
#include <regex>

namespace lucebox::app {

std::string draft_name(const std::filesystem::path& model) {
    static const std::regex type("[.-](UD-)?(I?Q[1-8](_[0-9A-Z]+)*|B?F16|F32)$", std::regex::icase);
    return std::regex_replace(model.stem().string(), type, "") + ".dflash.gguf";
}

std::vector<std::filesystem::path> shipped_drafts(const std::filesystem::path& program) {
    const auto folder = program.parent_path();
    return {folder / "models", folder / "../share/lucebox/models", folder / "../../models"};
}

std::filesystem::path find_draft(const std::filesystem::path& model, std::span<const std::filesystem::path> folders) {
    const std::string name = draft_name(model);
    std::error_code error;
    const auto here = [&](const std::filesystem::path& folder) {
        const auto path = folder / name;
        return std::filesystem::is_regular_file(path, error) ? path.lexically_normal() : std::filesystem::path();
    };
    if (auto path = here(model.parent_path()); !path.empty()) return path;
    for (const auto& folder : folders) {
        if (auto path = here(folder); !path.empty()) return path;
    }
    return {};
}

ChosenDraft chosen_draft(const Options& options, const std::filesystem::path& model) {
    if (options.is_set("draft")) return {options.text("draft") == "none" ? std::filesystem::path() : options.path("draft"), false};
    if (options.text("speculation") == "off") return {};
    std::vector<std::filesystem::path> folders;
    std::string_view rest = options.text("models");
    while (!rest.empty()) {
        const auto end = rest.find(':');
        if (end != 0) folders.emplace_back(rest.substr(0, end));
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    }
    std::error_code error;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (!error) std::ranges::copy(shipped_drafts(program), std::back_inserter(folders));
    return {find_draft(model, folders), true};
}

} // namespace lucebox::app
