#include "model/draft_files.h"

#include "base/ascii.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fnmatch.h>
#include <optional>
#include <regex>
#include <tuple>

namespace lucebox::model {
namespace {

namespace fs = std::filesystem;

constexpr int deepest = 4; // levels below a folder of drafts

// What drafts are called of models whose names match. The narrower family comes first.
struct Family {
    const char *model, *draft;
};
constexpr std::array families{
    Family{"*gemma-4-26b*", "*gemma-4-26b*"},
    Family{"*gemma-4-31b*", "*gemma-4-31b*"},
    Family{"*gemma-4*", "*gemma-4*"},
    Family{"*qwen3.6*", "dflash-draft-3.6-*"},
    Family{"*qwen3.6*", "*qwen*3.6*dflash*"},
    Family{"*laguna*", "*laguna*"},
};
constexpr std::array generic{"dflash-draft-*.gguf", "*dflash*.gguf", "*.gguf", "model.safetensors", "*.safetensors"};
constexpr std::array folder_names{"draft", "drafts", "dflash", "qwen3.6-27b-dflash"};

bool matches(const char* pattern, const std::string& name) { return ::fnmatch(pattern, name.c_str(), FNM_CASEFOLD) == 0; }

// "Name" of Name.Q4_K_M.gguf, Name-UD-Q4_K_M.gguf and Name-Q8_0-00001-of-00003.gguf.
std::string base_name(const fs::path& model) {
    static const std::regex part("-[0-9]{5}-of-[0-9]{5}$");
    static const std::regex type("[.-](UD-)?(I?Q[1-8](_[0-9A-Z]+)*|B?F16|F32)$", std::regex::icase);
    return std::regex_replace(std::regex_replace(model.stem().string(), part, ""), type, "");
}

// model.safetensors says nothing; its folder is called like the draft.
std::string title(const fs::path& file) {
    return file.extension() == ".safetensors" ? file.parent_path().filename().string() : file.filename().string();
}

// "qwen3-8b-dflash-q8_0" and "qwen3-8b" are called after "Qwen3-8B", "qwen3-80b" is not.
bool is_called_after(const std::string& called, const std::string& base) {
    const std::string name = lower(called), start = lower(base);
    return name.starts_with(start) && (name.size() == start.size() || std::isalnum(static_cast<unsigned char>(name[start.size()])) == 0);
}

// 0 is best; none: not for this model. `generic_too`: it lies where only drafts lie.
std::optional<std::size_t> rank_of(const fs::path& file, const fs::path& model, bool generic_too) {
    std::size_t rank = 0;
    const std::string called = title(file), base = base_name(model);
    if (file.extension() != ".gguf" && file.extension() != ".safetensors") return std::nullopt;
    if (is_called_after(called, base)) return rank;
    for (const Family& family : families) {
        ++rank;
        if (matches(family.model, base) && matches(family.draft, called)) return rank;
    }
    for (const char* pattern : generic) {
        ++rank;
        if (generic_too && matches(pattern, file.filename().string())) return rank;
    }
    return std::nullopt;
}

struct Found {
    std::size_t rank;
    std::string name; // of equal rank
    fs::path path;

    bool operator<(const Found& other) const { return std::tie(rank, name, path) < std::tie(other.rank, other.name, other.path); }
};

// depth 0: the folder's own files only.
template <class Visit> void each_file(const fs::path& folder, int depth, const Visit& visit) {
    std::error_code error, ignored;
    for (auto it = fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, error); !error && it != fs::directory_iterator(); it.increment(error)) {
        if (fs::is_directory(it->path(), ignored)) {
            if (depth > 0) each_file(it->path(), depth - 1, visit);
        } else if (fs::is_regular_file(it->path(), ignored)) {
            visit(it->path());
        }
    }
}

void add_drafts(const fs::path& folder, const fs::path& model, std::vector<Found>& found) {
    each_file(folder, deepest - 1, [&](const fs::path& file) {
        if (const auto rank = rank_of(file, model, true)) found.push_back({*rank, lower(title(file)), file});
    });
}

std::vector<fs::path> in_order(std::vector<fs::path> first, std::vector<Found> found) {
    std::ranges::sort(found, std::less<>());
    for (Found& each : found) {
        if (std::ranges::find(first, each.path) == first.end()) first.push_back(std::move(each.path));
    }
    return first;
}

} // namespace

std::string draft_name(const fs::path& model) { return base_name(model) + ".dflash.gguf"; }

bool is_draft_name(std::string_view filename) { return matches("*dflash*", std::string(filename)); }

bool is_draft_folder(std::string_view name) {
    return std::ranges::any_of(folder_names, [&](const char* known) { return lower(name) == known; });
}

std::vector<fs::path> draft_files(const fs::path& model, std::span<const fs::path> folders) {
    std::vector<fs::path> places{model.parent_path().empty() ? "." : model.parent_path()};
    places.insert(places.end(), folders.begin(), folders.end());
    std::vector<fs::path> exact;
    std::vector<Found> found;
    std::error_code error, ignored;
    for (const fs::path& place : places) {
        if (fs::path path = place / draft_name(model); fs::is_regular_file(path, ignored)) exact.push_back(path.lexically_normal());
        each_file(place, 0, [&](const fs::path& file) {
            const auto rank = is_draft_name(title(file)) ? rank_of(file, model, false) : std::nullopt;
            if (rank) found.push_back({*rank, lower(title(file)), file.lexically_normal()});
        });
        for (auto it = fs::directory_iterator(place, error); !error && it != fs::directory_iterator(); it.increment(error)) {
            if (fs::is_directory(it->path(), ignored) && is_draft_folder(it->path().filename().string())) add_drafts(it->path().lexically_normal(), model, found);
        }
    }
    return in_order(std::move(exact), std::move(found));
}

std::vector<fs::path> draft_files_in(const fs::path& folder, const fs::path& model) {
    std::vector<Found> found;
    add_drafts(folder, model, found);
    return in_order({}, std::move(found));
}

} // namespace lucebox::model
