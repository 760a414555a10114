#include "app/serving/models_actions.h"

#include "app/config_file.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/shown_path.h"
#include "base/terminal.h"
#include "gguf/model_file.h"
#include "hub/gpus.h"
#include "hub/hub.h"
#include "hub/hugging_face.h"
#include "hub/tiers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace lucebox::app {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t copy_bytes = 4u << 20;

// Makes it the one that is served, with its draft; a draft of another model would be refused beside it.
Status activate(const std::string& name, const hub::HubSettings& settings, const Environment& environment) {
    const hub::Model* model = hub::find_model(name);
    if (model != nullptr && !model->unsupported.empty()) {
        return Error{ErrorKind::unsupported, fmt::format("{} cannot be served: this build lacks {}", name, model->unsupported), "the model that was served stays the one"};
    }
    std::vector<std::string> words{"set", "model.model=" + name};
    const auto draft = model != nullptr ? hub::find_draft(*model, settings) : std::nullopt;
    if (draft) words.push_back("speculation.draft=" + draft->string());
    LUCEBOX_CHECK(change_config(words, environment));
    if (draft) return Ok{};
    std::vector<std::string> ignored;
    LUCEBOX_TRY(const auto in_file, config_file_settings(environment, ignored));
    if (std::ranges::none_of(in_file, [](const OptionSetting& setting) { return setting.spec->name == "draft"; })) return Ok{};
    const std::array<std::string, 2> without{"unset", "speculation.draft"};
    return change_config(without, environment);
}

Result<hub::ModelEntry> entry_named(const std::string& name, const hub::HubSettings& settings) {
    std::vector<std::string> names;
    const hub::Model* known_model = hub::find_model(name); // by its other name, too
    for (hub::ModelEntry& entry : hub::list_models(settings)) {
        if (entry.name == name || (known_model != nullptr && entry.name == known_model->name) || (entry.path && entry.path->filename() == name)) return std::move(entry);
        names.push_back(entry.name);
    }
    const std::vector<std::string_view> known(names.begin(), names.end());
    const auto near = nearest_name(name, known);
    return Error{ErrorKind::not_found, fmt::format("no model is called {}", name), near.empty() ? "`lucebox models` lists them" : fmt::format("did you mean {}?", near)};
}

Status fetch(std::span<const std::string> names, const hub::HubSettings& settings) {
    if (names.empty()) return Error{ErrorKind::usage, "models fetch needs a name", "`lucebox models` lists them"};
    for (const std::string& name : names) {
        LUCEBOX_TRY(const auto path, hub::resolve(name, settings, hub::terminal_progress()));
        fmt::print("{}\n", path.string());
    }
    return Ok{};
}

// Who named no model gets the small one that runs everywhere; on a large card it is worth saying that more is possible.
void suggest_larger(const Environment& environment) {
    constexpr std::string_view larger = "qwen3.6-27b";
    const hub::GpuList seen = hub::find_gpus();
    const auto told = environment.find("LUCEBOX_HOST_VRAM_GB"); // by the wrapper: a container for downloads may have no GPU
    int gb = seen.gpus.empty() ? 0 : hub::label_gb(seen.gpus.front().vram_mib.value_or(0));
    if (gb == 0 && told != environment.end()) std::from_chars(told->second.data(), told->second.data() + told->second.size(), gb);
    if (const hub::Model* model = hub::find_model(larger); model != nullptr && model->unsupported.empty() && hub::tier_of(gb).least_gb >= 22) {
        fmt::print("a card of {} GB has room for {}: lucebox models download {}\n", gb, larger, larger);
    }
}

// Fetches, and makes it the one that is served.
Status download(std::span<const std::string> names, const hub::HubSettings& settings, const Environment& environment) {
    if (names.size() > 1) return Error{ErrorKind::usage, "models download takes one name", "lucebox models download NAME"};
    const std::string name = names.empty() ? std::string(hub::default_model()) : names.front();
    if (hub::find_model(name) == nullptr) {
        LUCEBOX_TRY(const hub::ModelEntry entry, entry_named(name, settings)); // says which name was meant
        fmt::print("{} is here: {}\n", entry.name, shown_path(*entry.path, environment));
        return activate(name, settings, environment);
    }
    if (const std::string_view lack = hub::find_model(name)->unsupported; !lack.empty()) {
        fmt::print(stderr, "warning: {} cannot be served: this build lacks {}; it is fetched all the same (Ctrl-C stops, and a later start goes on)\n", name, lack);
    }
    LUCEBOX_TRY(const fs::path path, hub::resolve(name, settings, hub::terminal_progress()));
    LUCEBOX_TRY(const auto file, gguf::ModelFile::open(path)); // whole, whoever sent it
    fmt::print("{} is here: {}\n", name, shown_path(path, environment));
    if (names.empty()) suggest_larger(environment);
    return activate(name, settings, environment);
}

Result<std::string> hash_of(const std::string& name, const fs::path& path) {
    std::error_code error;
    ProgressBar progress("verifying " + name, fs::file_size(path, error));
    LUCEBOX_TRY(const Sha256Digest digest, sha256_file(path, [&](std::uint64_t done) {
        progress.update(done);
        return true;
    }));
    progress.finish();
    return hex(digest);
}

// Against the registry's hash; where it has none, or the file was fetched from another revision, against that of the day it came.
Result<bool> verify_known(const std::string& name, const fs::path& path, std::string_view pinned) {
    LUCEBOX_TRY(const std::string found, hash_of(name, path));
    const auto note = hub::source_note(path);
    bool fine = true;
    std::string text;
    if (found == pinned) {
        text = "as published";
    } else if (note && !note->sha256.empty()) {
        fine = note->sha256 == found;
        text = fine ? fmt::format("as it was fetched{}; SHA-256 {}", note->checked ? ", with the hash that the server stated" : ", unchecked", found) : "changed since it was fetched: " + shown_path(path);
        if (fine && !pinned.empty()) text += "; not the one that the registry pins";
    } else if (pinned.empty()) {
        text = fmt::format("its SHA-256 is not known here, so it could not be verified; it is {}", found);
    } else {
        fine = false;
        text = fmt::format("damaged, or another file than the registry's: {}", shown_path(path));
    }
    fmt::print("{} {:<24} {}\n", !fine ? "✗" : found == pinned || note ? "✓" : "!", name, text);
    return fine;
}

// Known models with their draft; others have nothing to be compared with, so their hash is only told.
Result<bool> verify_one(const hub::ModelEntry& entry, const hub::HubSettings& settings) {
    const hub::Model* model = hub::find_model(entry.name);
    if (model == nullptr) {
        LUCEBOX_TRY(const std::string found, hash_of(entry.name, *entry.path));
        LUCEBOX_TRY(const auto file, gguf::ModelFile::open(*entry.path));
        fmt::print("  {:<24} whole, {} tensors; SHA-256 {}\n", entry.name, file.tensors().size(), found);
        return true;
    }
    LUCEBOX_TRY(bool fine, verify_known(entry.name, *entry.path, model->sha256));
    if (const auto draft = hub::find_draft(*model, settings)) {
        LUCEBOX_TRY(const bool draft_fine, verify_known(entry.name + " (draft)", *draft, model->draft.sha256));
        fine = fine && draft_fine;
    }
    return fine;
}

Status verify(std::span<const std::string> names, const hub::HubSettings& settings) {
    std::vector<hub::ModelEntry> entries;
    for (const std::string& name : names) {
        LUCEBOX_TRY(hub::ModelEntry entry, entry_named(name, settings));
        if (!entry.path) return Error{ErrorKind::not_found, fmt::format("{} is not here", name), fmt::format("lucebox models download {}", name)};
        entries.push_back(std::move(entry));
    }
    if (names.empty()) {
        for (hub::ModelEntry& entry : hub::list_models(settings)) {
            if (entry.path) entries.push_back(std::move(entry));
        }
    }
    std::string damaged;
    for (const hub::ModelEntry& entry : entries) {
        const auto fine = verify_one(entry, settings);
        if (!fine) fmt::print("✗ {:<24} {}\n", entry.name, fine.error().message);
        if (!fine || !*fine) damaged += (damaged.empty() ? "" : ", ") + entry.name;
    }
    if (entries.empty()) fmt::print("there are no models here\n");
    if (damaged.empty()) return Ok{};
    return Error{ErrorKind::invalid_data, fmt::format("damaged: {}", damaged), "lucebox models rm NAME, then lucebox models download NAME"};
}

Status copy_verified(const File& from, const fs::path& to) {
    LUCEBOX_TRY(AtomicFile out, AtomicFile::create(to));
    std::vector<std::byte> buffer(copy_bytes);
    ProgressBar progress("importing", from.size());
    for (std::uint64_t done = 0; done < from.size();) {
        const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), from.size() - done));
        LUCEBOX_CHECK(from.read_at(done, std::span(buffer).first(count)));
        LUCEBOX_CHECK(out.write(std::span<const std::byte>(buffer).first(count)));
        done += count;
        progress.update(done);
    }
    progress.finish();
    return out.commit();
}

Status import_file(std::span<const std::string> files, const hub::HubSettings& settings) {
    if (files.size() != 1) return Error{ErrorKind::usage, "models import needs one file", "lucebox models import FILE.gguf"};
    const fs::path source = files.front();
    LUCEBOX_TRY(const auto model, gguf::ModelFile::open(source)); // refuses what is no model, or half of one
    std::error_code error;
    fs::create_directories(settings.cache, error);
    const fs::path target = settings.cache / source.filename();
    if (fs::exists(target, error)) {
        if (fs::equivalent(source, target, error)) return Error{ErrorKind::usage, fmt::format("{} is here already", shown_path(target))};
        return Error{ErrorKind::usage, fmt::format("there is another {} already", shown_path(target)), fmt::format("lucebox models rm {}", source.filename().string())};
    }
    const auto space = fs::space(settings.cache, error);
    LUCEBOX_TRY(const File file, File::open(source));
    if (!error && space.available < file.size()) {
        return Error{ErrorKind::io, fmt::format("{} has {} left, the model takes {}", shown_path(settings.cache), human_bytes(space.available), human_bytes(file.size())), "free some space, or give its folder in LUCEBOX_MODELS instead of copying it"};
    }
    LUCEBOX_CHECK(copy_verified(file, target));
    fmt::print("{} is here: {}\n", target.stem().string(), shown_path(target));
    return Ok{};
}

// What the configuration says of a model, and of a draft, that has just gone would keep the server from starting.
Status forget(const std::string& name, const hub::ModelEntry& entry, const Environment& environment) {
    std::vector<std::string> ignored, words{"unset"};
    LUCEBOX_TRY(const auto in_file, config_file_settings(environment, ignored));
    for (const OptionSetting& setting : in_file) {
        std::error_code error;
        const bool named = setting.text == name || setting.text == entry.name || (entry.path && (setting.text == entry.path->string() || setting.text == entry.path->filename()));
        if (setting.spec->name == "model" && named) words.push_back("model.model");
        if (setting.spec->name == "draft" && setting.text.ends_with(".gguf") && !fs::exists(setting.text, error)) words.push_back("speculation.draft");
    }
    return words.size() == 1 ? Ok{} : change_config(words, environment);
}

Status remove(std::span<const std::string> names, const hub::HubSettings& settings, const Environment& environment) {
    if (names.empty()) return Error{ErrorKind::usage, "models rm needs a name", "`lucebox models` lists them"};
    for (const std::string& name : names) {
        LUCEBOX_TRY(const hub::ModelEntry entry, entry_named(name, settings));
        std::vector<fs::path> files;
        if (entry.path) {
            // Folders of the user's own are read, never written.
            if (entry.path->parent_path() != settings.cache) return Error{ErrorKind::usage, fmt::format("{} is in a folder of yours", shown_path(*entry.path)), "delete it there"};
            files.push_back(*entry.path);
        }
        if (const hub::Model* model = hub::find_model(entry.name)) {
            const auto add = [&](const hub::RepositoryFile& of, const fs::path& folder) {
                if (of.repository.empty()) return;
                for (const hub::HubFile& part : hub::parts_of(of)) {
                    const fs::path file = folder / fs::path(part.path).filename();
                    files.insert(files.end(), {file, file.string() + ".part", hub::source_note_path(file)});
                }
            };
            add(model->target, settings.cache);
            add(model->draft, settings.cache / "draft");
            for (const hub::Wheel& wheel : model->wheels) {
                files.push_back(hub::source_note_path(settings.cache / model->file));
                files.push_back(settings.cache / wheel.filename);
                files.push_back(settings.cache / (std::string(wheel.filename) + ".part"));
            }
        }
        std::uint64_t freed = 0;
        for (const fs::path& file : files) {
            std::error_code error;
            const std::uint64_t bytes = fs::file_size(file, error);
            if (error) continue;
            if (!fs::remove(file, error)) return Error{ErrorKind::io, fmt::format("{} cannot be deleted: {}", file.string(), error.message())};
            freed += bytes;
        }
        fmt::print("{}: {} freed\n", entry.name, human_bytes(freed));
        LUCEBOX_CHECK(forget(name, entry, environment));
    }
    return Ok{};
}

} // namespace

Status change_models(std::span<const std::string> operands, const hub::HubSettings& settings, const Environment& environment) {
    const std::string& action = operands.front();
    const auto rest = operands.subspan(1);
    if (action == "fetch") return fetch(rest, settings);
    if (action == "download") return download(rest, settings, environment);
    if (action == "verify") return verify(rest, settings);
    if (action == "import") return import_file(rest, settings);
    if (action == "rm") return remove(rest, settings, environment);
    if (action == "activate" || action == "use") {
        if (rest.size() != 1) return Error{ErrorKind::usage, fmt::format("models {} needs one name", action), "`lucebox models` lists them"};
        LUCEBOX_TRY(const hub::ModelEntry entry, entry_named(rest.front(), settings));
        if (!entry.path) return Error{ErrorKind::not_found, fmt::format("{} is not here", entry.name), fmt::format("lucebox models download {}", entry.name)};
        return activate(rest.front(), settings, environment);
    }
    return Error{ErrorKind::usage, fmt::format("models has no action {}", action), "list, fetch, download, activate, use, verify, import and rm are known"};
}

} // namespace lucebox::app
