#include "server/api/props.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>

namespace lucebox::server {

namespace {

constexpr std::size_t kMostBytes = 1 << 20; // of a provenance file

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text;
    if (!file) return text;
    text.resize(kMostBytes);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

Json or_null(std::string_view text) {
    return text.empty() ? Json() : Json(text);
}
// 0.95f as 0.95, not as the double next to it.
double plain(float value) {
    return std::round(static_cast<double>(value) * 1e6) / 1e6;
}
template <class Number>
Json known(Number number) {
    return number == 0 ? Json() : Json(number);
}

Json target_json(const engine::ModelInfo& model) {
    return {{"path", model.path.string()},
            {"size_bytes", known(model.file_bytes)},
            {"sha256", Json()},
            {"gguf",
             {{"general.architecture", or_null(model.architecture)},
              {"general.name", or_null(model.name)},
              {"general.file_type", Json()},
              {"general.file_type_name", or_null(model.quantisation)},
              {"general.quantization_version", Json()},
              {"block_count", known(model.layers)},
              {"embedding_length", known(model.width)},
              {"context_length", known(model.trained_context)},
              {"vocab_size", known(model.vocabulary)}}}};
}

Json draft_json(const engine::ModelInfo& model) {
    if (!model.draft) return {};
    return {{"path", model.draft->path.string()},
            {"name", or_null(model.draft->name)},
            {"architecture", model.draft->architecture},
            {"size_bytes", known(model.draft->bytes)},
            {"block_count", known(model.draft->layers)},
            {"block_size", known(model.draft->block)},
            {"target_layer_ids", model.draft->target_layers}};
}

// What proposes tokens: the draft, or lookup in the text alone.
std::string_view speculative_mode(const Backend* backend) {
    if (!backend || backend->options().speculation.mode == decode::Speculation::Mode::off) return "off";
    return backend->model().draft ? "dflash" : "lookup";
}

Json speculative_json(const Backend* backend) {
    const bool enabled = speculative_mode(backend) != "off";
    if (!enabled) return {{"enabled", false}, {"ddtree_budget", Json()}};
    const decode::Speculation& speculation = backend->options().speculation;
    return {{"enabled", true},
            {"ddtree_budget", speculation.budget},
            {"shape", speculation.name()},
            {"draft", backend->model().draft.has_value()},
            {"lookup", true}};
}

Json model_json(const PropsFacts& facts) {
    const bool loaded = facts.backend != nullptr;
    return {{"arch", loaded ? or_null(facts.backend->model().architecture) : Json()},
            {"tokenizer_id", Json()},
            {"alias", facts.model_name},
            {"draft_path", loaded && facts.backend->model().draft ? Json(facts.backend->model().draft->path.string()) : Json()},
            {"target", loaded ? target_json(facts.backend->model()) : Json()},
            {"draft", loaded ? draft_json(facts.backend->model()) : Json()}};
}

Json build_json(const Provenance& provenance) {
    return {{"server_name", "lucebox"},
            {"server_version", provenance.version},
            {"props_schema", kPropsSchema},
            {"git_sha", or_null(provenance.git_sha)},
            {"image_tag", or_null(provenance.image_tag)},
            {"build_time", or_null(provenance.build_time)},
            {"image_digest", Json()}}; // cannot be known from inside
}

Json runtime_json(const Backend* backend) {
    const std::string device(backend ? backend->device_name() : "");
    const bool cuda = device.find("NVIDIA") != std::string::npos || device.starts_with("cuda");
    Json memory;
    if (backend)
        memory = {{"weights_bytes", backend->memory().weights},
                  {"kv_bytes", backend->memory().kv},
                  {"recurrent_bytes", backend->memory().recurrent},
                  {"scratch_bytes", backend->memory().scratch}};
    return {{"backend", backend ? Json(cuda ? "cuda" : "cpu") : Json()},
            {"fa_window", 0},
            {"kv_cache_k", backend ? or_null(backend->model().kv_type) : Json()},
            {"kv_cache_v", backend ? or_null(backend->model().kv_type) : Json()},
            {"lazy_draft", Json()},
            {"draft_residency", Json()},
            {"target_sharding", Json()},
            {"chunk", Json()},
            {"target_device", or_null(device)},
            {"draft_device", Json()},
            {"memory", memory}};
}

// How settings that nobody gave were chosen.
Json tuning_json(const Backend* backend) {
    Json list = Json::array();
    if (!backend) return list;
    for (const engine::Choice& choice : backend->model().choices) list.push_back({{"setting", choice.setting}, {"value", choice.value}, {"why", choice.why}});
    return list;
}

// What other builds can have and this one has not: present, and off.
void add_absent_features(Json& props) {
    props["pflash"] = {{"enabled", false},         {"mode", "off"},          {"threshold", Json()},
                       {"keep_ratio", Json()},     {"drafter_gguf", Json()}, {"skip_park", Json()},
                       {"bsa_enabled", Json()},    {"bsa_alpha", Json()},    {"lm_head_fix", Json()},
                       {"draft_residency", Json()}};
    props["full_cache"] = {{"enabled", false}, {"capacity", 0},      {"in_use", 0},
                           {"disk_bytes", 0},  {"lifetime_hits", 0}, {"disk_policy", "off"}};
}

// Unknown while the model loads.
Json budget_json(const PropsFacts& facts) {
    if (facts.budgets != nullptr) {
        Json json = facts.budgets->json();
        json["default_max_tokens"] = facts.usual_tokens;
        return json;
    }
    Json json = Budgets{}.json();
    for (auto& [name, value] : json.items()) value = Json();
    json["effort_tiers"] = {{"low", Json()}, {"medium", Json()}, {"high", Json()}, {"x-high", Json()}, {"max", Json()}};
    return json;
}

} // namespace

Provenance load_provenance(const BuildInfo& build, const std::filesystem::path& image_info,
                           const std::filesystem::path& host_info, std::string_view host_facts) {
    Provenance provenance{std::string(build.version), std::string(build.git_sha), std::string(build.image_tag),
                          std::string(build.build_time), Json()};
    const std::string text = read_text(image_info);
    std::string* const fields[] = {&provenance.git_sha, &provenance.image_tag, &provenance.build_time};
    std::size_t begin = 0;
    for (std::string* field : fields) {
        if (begin >= text.size()) break;
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        if (line.ends_with('\r')) line.pop_back();
        if (!line.empty()) *field = std::move(line);
        begin = end + 1;
    }
    for (const std::string& source : {read_text(host_info), std::string(host_facts)}) {
        auto host = parse_json(source);
        if (Json* json = std::get_if<Json>(&host); json && json->is_object()) {
            provenance.host = std::move(*json);
            break;
        }
    }
    return provenance;
}

Json props_json(const PropsFacts& facts) {
    const Backend* backend = facts.backend;
    Json props;
    props["server"] = {{"name", "lucebox"}, {"version", facts.provenance->version}, {"props_schema", kPropsSchema}};
    props["build_info"] = fmt::format("lucebox v{}+cpp props_schema={}", facts.provenance->version, kPropsSchema);
    props["build"] = build_json(*facts.provenance);
    props["host"] = facts.provenance->host;
    props["model"] = model_json(facts);
    props["model_alias"] = facts.model_name;
    props["model_path"] = backend ? backend->model().path.string() : "";
    props["model_card"] = facts.card != nullptr ? facts.card->json : Json();
    props["default_generation_settings"] = {{"n_ctx", backend ? Json(backend->model().context) : Json()},
                                            {"temperature", plain(facts.defaults.temperature)},
                                            {"top_p", plain(facts.defaults.top_p)},
                                            {"top_k", facts.defaults.top_k},
                                            {"min_p", plain(facts.defaults.min_p)},
                                            {"repeat_penalty", plain(facts.defaults.repetition_penalty)}};
    props["budget_envelope"] = budget_json(facts);
    props["reasoning"] = {{"supported", facts.reasons},
                          {"default", Json()},
                          {"supported_efforts", facts.reasons ? Json::array({"low", "medium", "high", "xhigh", "max"}) : Json::array()}};
    props["capabilities"] = {{"reasoning_supported", facts.reasons},
                             {"speculative_supported", true},
                             {"tools_supported", facts.backend && facts.backend->has_chat_template()}};
    props["speculative_mode"] = speculative_mode(backend);
    props["speculative"] = speculative_json(backend);
    props["runtime"] = runtime_json(backend);
    props["tuning"] = tuning_json(backend);
    const engine::Stats stats = facts.backend ? facts.backend->stats() : engine::Stats{};
    const bool reuses = facts.backend && facts.backend->options().reuse_prefixes;
    props["prefix_cache"] = {{"capacity", reuses ? facts.backend->options().sequences : 0},
                             {"in_use", stats.resting},
                             {"lifetime_hits", stats.prefix_hits},
                             {"lifetime_tokens", stats.prefix_tokens},
                             {"neutralised_lines", facts.volatile_lines}};
    props["sampling"] = {{"capabilities",
                          {{"supports_temperature", true},
                           {"supports_top_p", true},
                           {"supports_top_k", true},
                           {"supports_min_p", true},
                           {"supports_frequency_penalty", true},
                           {"supports_seed", true}}}};
    add_absent_features(props);
    const ToolMemory::Size most = facts.tool_memory ? facts.tool_memory->limits() : ToolMemory::Size{};
    const ToolMemory::Size now = facts.tool_memory ? facts.tool_memory->size() : ToolMemory::Size{};
    props["tool_replay"] = {{"max_entries", most.entries}, {"max_bytes", most.bytes}, {"current_entries", now.entries}, {"current_bytes", now.bytes}};
    props["daemon"] = {{"alive", true}};
    props["api"] = {{"endpoints", Json(std::vector<std::string>(facts.endpoints.begin(), facts.endpoints.end()))}};
    props["chat_template"] = facts.backend && facts.backend->has_chat_template() ? Json(backend->chat_template_source()) : Json();
    props["limits"] = {{"max_body", known(facts.body_bytes)},
                       {"queue", backend ? Json(backend->options().queue) : Json()},
                       {"max_concurrency", backend ? Json(backend->options().sequences) : Json()}};
    props["auth"] = {{"required", facts.needs_key}};
    props["uptime_s"] = facts.uptime_seconds;
    return props;
}

} // namespace lucebox::server
