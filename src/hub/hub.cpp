// Finding models. How a missing one is brought here is in install.cpp.
#include "hub/hub.h"

#include "base/terminal.h"
#include "hub/discover.h"
#include "hub/install.h"

#include <algorithm>
#include <fmt/format.h>

namespace lucebox::hub {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

bool looks_like_a_path(std::string_view name) {
    return name.find('/') != std::string_view::npos || name.starts_with("~") || name.ends_with(".gguf");
}

std::optional<fs::path> find_in_folders(std::string_view name, const Model* model, const HubSettings& settings) {
    if (name.find('/') != std::string_view::npos) return std::nullopt;
    for (const auto& folder : settings.folders) {
        std::vector<fs::path> candidates{folder / name, folder / fmt::format("{}.gguf", name)};
        if (model != nullptr) candidates.push_back(folder / model->file);
        for (const auto& candidate : candidates) {
            if (is_file(candidate)) return candidate;
        }
    }
    return std::nullopt;
}

Error unknown_name(std::string_view name, std::span<const Model> models) {
    if (looks_like_a_path(name)) {
        return {ErrorKind::not_found, fmt::format("there is no model file {}", name),
                "`lucebox models` lists the models that can be fetched by name"};
    }
    std::vector<std::string_view> names;
    for (const auto& model : models)
        names.push_back(model.name);
    const auto near = nearest_name(name, names);
    return {ErrorKind::not_found, fmt::format("no model is called {}", name),
            near.empty() ? fmt::format("known models: {}; or give a file with --model FILE", fmt::join(names, ", "))
                         : fmt::format("did you mean {}?", near)};
}

void add_files(const fs::path& folder, std::vector<ModelEntry>& entries) {
    std::error_code error;
    std::vector<fs::path> files;
    for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator();
         it.increment(error)) {
        if (it->path().extension() == ".gguf" && is_file(it->path())) files.push_back(it->path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
        const bool listed = std::any_of(entries.begin(), entries.end(), [&](const auto& e) { return e.path == file; });
        if (listed) continue;
        ModelEntry entry;
        entry.name = file.stem().string();
        entry.bytes = fs::file_size(file, error);
        entry.path = file;
        entries.push_back(std::move(entry));
    }
}

} // namespace

std::string_view default_model() {
    return known_models().front().name;
}

Result<fs::path> resolve(std::string_view name_or_path, const HubSettings& settings, const Progress& progress,
                         std::span<const Model> models) {
    if (name_or_path.empty()) {
        LUCEBOX_TRY(const auto found, discover_model(settings.folders, models.front().file));
        if (found && progress.say && found->filename() != models.front().file) progress.say(fmt::format("no model was named; {} is taken", found->string()));
        if (found) return *found;
    }
    const std::string_view name = name_or_path.empty() ? models.front().name : name_or_path;
    if (is_file(name)) return fs::path(name);
    const Model* model = find_model(name, models);
    if (const auto found = find_in_folders(name, model, settings)) return *found;
    if (model != nullptr) return install(*model, settings, progress);
    const fs::path cached = settings.cache / name;
    if (name.find('/') == std::string_view::npos && is_file(cached)) return cached;
    return unknown_name(name, models);
}

std::vector<ModelEntry> list_models(const HubSettings& settings, std::span<const Model> models) {
    std::vector<ModelEntry> entries;
    for (const auto& model : models) {
        ModelEntry entry;
        entry.name = model.name;
        entry.about = model.about;
        entry.licence = model.licence;
        entry.bytes = model.about_bytes != 0 ? model.about_bytes : model.bytes;
        entry.unsupported = model.unsupported;
        entry.known = true;
        entry.is_default = &model == &models.front();
        entry.path = find_in_folders(model.name, &model, settings);
        if (!entry.path) entry.path = installed(model, settings);
        std::error_code ignored;
        if (entry.path && model.about_bytes != 0) entry.bytes = fs::file_size(*entry.path, ignored);
        if (!entry.path) entry.fetched_bytes = fetched_bytes(model, settings);
        entries.push_back(std::move(entry));
    }
    for (const auto& folder : settings.folders)
        add_files(folder, entries);
    add_files(settings.cache, entries);
    return entries;
}

Progress terminal_progress(std::function<bool()> keep_going) {
    struct State {
        std::string label;
        std::unique_ptr<ProgressBar> bar;
    };
    const auto state = std::make_shared<State>();
    const auto end_bar = [state] { state->bar.reset(); };
    return {
        [end_bar](std::string_view line) {
            end_bar();
            fmt::print(stderr, "{}\n", line);
        },
        [state, keep_going = std::move(keep_going)](std::string_view label, std::uint64_t done, std::uint64_t total) {
            if (!state->bar || state->label != label) {
                state->bar.reset(); // ends its line before the next begins
                state->label = label;
                state->bar = std::make_unique<ProgressBar>(state->label, total);
            }
            state->bar->update(done);
            if (done >= total) state->bar.reset();
            return !keep_going || keep_going();
        }};
}

} // namespace lucebox::hub
