// lucebox models: what can be fetched by name, and what is here. Also how --model becomes a file. The actions that change
// which models are here are in models_actions.cpp.
#include "app/commands.h"
#include "app/serving/models_actions.h"
#include "base/shown_path.h"
#include "base/terminal.h"
#include "hub/hub.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lucebox::app {
namespace {

hub::HubSettings settings_of(const Options& options) {
    hub::HubSettings settings = hub::hub_settings(process_environment());
    if (options.is_set("models")) settings.folders = hub::split_folders(options.text("models"));
    return settings;
}

std::string state_of(const hub::ModelEntry& entry) {
    if (entry.path) return shown_path(*entry.path);
    if (entry.fetched_bytes > 0) return fmt::format("{} fetched", human_bytes(entry.fetched_bytes));
    return "not here yet";
}

using Json = nlohmann::ordered_json;

Json or_null(std::string_view text) { return text.empty() ? Json() : Json(text); }
Json or_null(std::uint64_t number) { return number == 0 ? Json() : Json(number); }

// Where the files of a known model come from and what they must be, as far as the registry pins it: null is not pinned.
Json files_of(const hub::Model& model) {
    Json files = Json::array();
    for (const hub::Wheel& wheel : model.wheels) {
        files.push_back({{"package", wheel.package}, {"path", wheel.filename}, {"bytes", wheel.bytes}, {"sha256", wheel.sha256}});
    }
    for (const hub::RepositoryFile& file : {model.target, model.draft}) {
        if (file.repository.empty()) continue;
        const bool commit = file.revision.size() == 40 && file.revision.find_first_not_of("0123456789abcdef") == std::string_view::npos;
        files.push_back({{"repository", file.repository}, {"path", file.path}, {"branch", commit ? Json() : Json(file.revision)}, {"revision", commit ? Json(file.revision) : Json()},
                         {"bytes", or_null(file.bytes)}, {"sha256", or_null(file.sha256)}});
    }
    return files;
}

} // namespace

Result<std::filesystem::path> chosen_model(const Options& options, std::function<bool()> keep_going) {
    hub::HubSettings settings = settings_of(options);
    settings.keep_going = keep_going;
    return hub::resolve(options.text("model"), settings, hub::terminal_progress(std::move(keep_going)));
}

Status models(const Invocation& invocation) {
    if (!invocation.operands.empty() && invocation.operands.front() != "list") {
        return change_models(invocation.operands, settings_of(invocation.options), process_environment());
    }
    const auto entries = hub::list_models(settings_of(invocation.options));
    if (invocation.options.boolean("json")) {
        Json json = Json::array();
        for (const hub::ModelEntry& entry : entries) {
            const hub::Model* known = hub::find_model(entry.name);
            json.push_back({{"name", entry.name},
                            {"about", entry.about},
                            {"licence", entry.licence},
                            {"bytes", entry.bytes},
                            {"path", entry.path ? Json(shown_path(*entry.path)) : Json()},
                            {"fetched_bytes", entry.fetched_bytes},
                            {"servable", entry.unsupported.empty()},
                            {"default", entry.is_default},
                            {"files", known != nullptr ? files_of(*known) : Json::array()}});
        }
        fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
        return Ok{};
    }
    const auto bold = wants_colours(1) ? fmt::text_style(fmt::emphasis::bold) : fmt::text_style{};
    for (const hub::ModelEntry& entry : entries) {
        fmt::print(bold, "{:<24}", entry.name);
        fmt::print(" {:>9}  {}{}\n", human_bytes(entry.bytes), entry.about, entry.is_default ? " (default)" : "");
        fmt::print("{:<24} {:>9}  {}\n", "", "", state_of(entry));
        if (!entry.unsupported.empty()) fmt::print("{:<24} {:>9}  this build cannot serve {} yet\n", "", "", entry.unsupported);
    }
    return Ok{};
}

} // namespace lucebox::app
