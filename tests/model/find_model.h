// Where the models of known names lie, for tests that need one and are skipped without it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace lucebox::model::testing {

// The first copy in the folders of LUCEBOX_MODELS and in the user's cache, as the program looks for it.
inline std::filesystem::path find_model(const std::string& file) {
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value ? value : "");
    };
    std::vector<std::filesystem::path> folders;
    std::string list = variable("LUCEBOX_MODELS");
    for (std::size_t end; !list.empty(); list = end < list.size() ? list.substr(end + 1) : "") {
        end = std::min(list.find(':'), list.size());
        if (end > 0) folders.emplace_back(list.substr(0, end));
    }
    const std::string cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
    if (!cache.empty()) folders.emplace_back(std::filesystem::path(cache) / "lucebox" / "models");
    else if (!home.empty()) folders.emplace_back(std::filesystem::path(home) / ".cache" / "lucebox" / "models");
    std::error_code error;
    for (const auto& folder : folders) {
        if (std::filesystem::is_regular_file(folder / file, error)) return folder / file;
    }
    return {};
}

} // namespace lucebox::model::testing
