// /props: what this server is, runs and was built from.
//
// Every key of the schema is always there; null means unknown or not applicable, never a guess.
#pragma once

#include "base/build_info.h"
#include "server/api/backend.h"
#include "server/api/json.h"
#include "server/api/model_card.h"
#include "server/api/tool_memory.h"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace lucebox::server {

constexpr int kPropsSchema = 4;

struct Provenance {
    std::string version;
    std::string git_sha, image_tag, build_time; // empty: unknown
    Json host;                                  // null: unknown
};

// The files know better than the build; those that are missing or malformed change nothing.
Provenance load_provenance(const BuildInfo& build, const std::filesystem::path& image_info,
                           const std::filesystem::path& host_info, std::string_view host_facts = {});

struct PropsFacts {
    const Provenance* provenance = nullptr;
    const Backend* backend = nullptr; // null while loading
    std::string model_name;
    decode::SamplingParams defaults;
    bool reasons = false; // the model's template knows how to think
    bool needs_key = false;
    const ModelCard* card = nullptr;    // null: none
    const Budgets* budgets = nullptr;   // null while loading
    std::size_t usual_tokens = 0;       // of an answer where a request names none
    const ToolMemory* tool_memory = nullptr;
    std::size_t body_bytes = 0;
    std::vector<std::string> volatile_lines;
    double uptime_seconds = 0;
    std::span<const std::string> endpoints; // "POST /v1/chat/completions"
};

Json props_json(const PropsFacts& facts);

} // namespace lucebox::server
