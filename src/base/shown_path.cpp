#include "base/shown_path.h"

#include <algorithm>
#include <string_view>

namespace lucebox {

std::string shown_path(const std::filesystem::path& path, const Environment& environment) {
    const std::string text = path.string();
    const auto told = environment.find("LUCEBOX_SHOWN_PATHS");
    if (told == environment.end()) return text;
    std::string_view lines = told->second;
    while (!lines.empty()) {
        const std::string_view line = lines.substr(0, lines.find('\n'));
        lines.remove_prefix(std::min(lines.size(), line.size() + 1));
        const std::size_t equals = line.find('=');
        if (equals == 0 || equals == line.npos) continue;
        const std::string_view inside = line.substr(0, equals);
        if (text.starts_with(inside) && (text.size() == inside.size() || text[inside.size()] == '/')) {
            return std::string(line.substr(equals + 1)) + text.substr(inside.size());
        }
    }
    return text;
}

std::string shown_path(const std::filesystem::path& path) { return shown_path(path, process_environment()); }

} // namespace lucebox
