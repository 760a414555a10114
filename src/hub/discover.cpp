#include "hub/discover.h"

#include "gguf/model_file.h"
#include "model/draft_files.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;

constexpr int deepest = 4;
constexpr std::uint64_t large_bytes = std::uint64_t{5} << 30;
constexpr std::size_t most_listed = 8;

bool is_later_part(const std::string& name) {
    const auto part = gguf::parse_split_name(name);
    return part && !part->prefix.empty() && part->number != 1;
}

bool is_no_model(const fs::path& path) {
    const std::string name = path.filename().string();
    return path.extension() != ".gguf" || is_later_part(name) || model::is_draft_name(name) || name.starts_with("mmproj");
}

void search(const fs::path& folder, int depth, std::vector<fs::path>& found) {
    std::error_code error, ignored;
    for (auto it = fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, error); !error && it != fs::directory_iterator(); it.increment(error)) {
        const fs::path& path = it->path();
        if (fs::is_directory(path, ignored)) {
            if (depth < deepest && !model::is_draft_folder(path.filename().string())) search(path, depth + 1, found);
        } else if (!is_no_model(path) && fs::is_regular_file(path, ignored)) {
            found.push_back(path);
        }
    }
}

bool is_large(const fs::path& path) {
    std::error_code error;
    const auto bytes = fs::file_size(path, error);
    return !error && bytes > large_bytes;
}

} // namespace

std::vector<fs::path> model_files(std::span<const fs::path> folders) {
    std::vector<fs::path> found;
    for (const fs::path& folder : folders) search(folder, 1, found);
    std::ranges::sort(found);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

Result<std::optional<fs::path>> discover_model(std::span<const fs::path> folders, std::string_view preferred) {
    const std::vector<fs::path> files = model_files(folders);
    if (files.empty()) return std::optional<fs::path>();
    if (files.size() == 1) return std::optional(files.front());
    std::vector<fs::path> large;
    std::ranges::copy_if(files, std::back_inserter(large), is_large);
    if (large.size() == 1) return std::optional(large.front());
    const auto known = std::ranges::find_if(files, [&](const fs::path& path) { return path.filename() == preferred; });
    if (large.empty() && known != files.end()) return std::optional(*known);
    std::string list;
    for (const fs::path& path : std::span(files).first(std::min(files.size(), most_listed))) list += "\n  " + path.string();
    if (files.size() > most_listed) list += fmt::format("\n  and {} more", files.size() - most_listed);
    return Error{ErrorKind::usage, fmt::format("there are {} models, and none was named:{}", files.size(), list),
                 "name one: --model FILE, LUCEBOX_MODEL (DFLASH_TARGET), or lucebox models activate NAME"};
}

} // namespace lucebox::hub
