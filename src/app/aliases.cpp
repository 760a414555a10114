#include "app/aliases.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lucebox::app {
namespace {

constexpr std::array table{
    Alias{"MAX_CTX", "dflash.max_ctx", "context", "tokens a conversation may hold"},
    Alias{"HOST", "", "host", "address to listen on"},
    Alias{"PORT", "", "port", "port to listen on"},
    Alias{"TARGET", "model.target_file", "model", "the model"},
    Alias{"PRESET", "model.preset", "model", "the model by name"},
    Alias{"DRAFT", "model.draft_file", "draft", "the draft of speculative decoding"},
    Alias{"BUDGET", "dflash.budget", "speculation", "nodes of a verified tree", "tree:{}"},
    Alias{"LAZY", "dflash.lazy", "lazy-draft", "the draft leaves the GPU between requests"},
    Alias{"PREFIX_CACHE_SLOTS", "dflash.prefix_cache_slots", "prefix-cache-slots", "snapshots of prefixes in memory"},
    Alias{"PREFILL_CACHE_SLOTS", "dflash.prefill_cache_slots", "prefill-cache-slots", "snapshots of whole prompts"},
    Alias{"CACHE_TYPE_K", "dflash.cache_type_k", "cache-type-k", "type of cached keys"},
    Alias{"CACHE_TYPE_V", "dflash.cache_type_v", "cache-type-v", "type of cached values"},
    Alias{"PREFILL_MODE", "dflash.prefill_mode", "prefill-compression", "when prompts are compressed"},
    Alias{"PREFILL_KEEP", "dflash.prefill_keep_ratio", "prefill-keep-ratio", "share of a prompt that is kept"},
    Alias{"PREFILL_THRESHOLD", "dflash.prefill_threshold", "prefill-threshold", "tokens from which on prompts are compressed"},
    Alias{"PREFILL_DRAFTER", "dflash.prefill_drafter", "prefill-drafter", "model that scores prompts"},
    Alias{"THINK_MAX", "dflash.think_max", "think-max-tokens", "tokens of reasoning"},
    Alias{"THINK_SOFT_CLOSE_MIN_RATIO", "dflash.think_soft_close_min_ratio", "think-soft-close-min-ratio", "when reasoning is asked to end"},
    Alias{"DEBUG_THINKING_LOGITS", "dflash.debug_thinking_logits", "", "a diagnosis that was removed"},
    Alias{"FA_WINDOW", "dflash.fa_window", "fa-window", "window of full attention"},
    Alias{"DEFAULT_MAX_TOKENS", "", "default-max-tokens", "length of an answer where a request names none"},
    Alias{"MODEL_CARDS_DIR", "", "model-cards-dir", "folder of model cards"},
    Alias{"MODEL_NAME", "", "model-name", "under which the model is listed"},
    Alias{"SAMPLED_VERIFY", "", "", "sampled requests are always verified"},
    Alias{"VERBOSE", "", "", "see --log-level"},
    Alias{"DIR", "", "", "a folder of earlier images"},
    Alias{"SERVER_BIN", "", "", "a program of earlier images"},
    Alias{"BIN", "", "", "a program of earlier images"},
};

// Read where provenance is, not options.
constexpr std::array<std::string_view, 2> elsewhere{"IMAGE_INFO_PATH", "HOST_INFO_PATH"};

void read_prefix(std::string_view prefix, std::span<const OptionSpec> options, const Environment& environment,
                 std::vector<OptionSetting>& settings, std::vector<std::string>& warnings) {
    for (const auto& [name, value] : environment) {
        if (!name.starts_with(prefix) || value.empty()) continue;
        const std::string_view rest = std::string_view(name).substr(prefix.size());
        if (std::ranges::find(elsewhere, rest) != elsewhere.end()) continue;
        const auto alias = std::ranges::find(table, rest, &Alias::variable);
        if (alias == table.end()) {
            std::vector<std::string_view> known;
            known.reserve(table.size());
            for (const Alias& candidate : table) known.push_back(candidate.variable);
            const auto near = nearest_name(rest, known);
            warnings.push_back(fmt::format("{} is not known and has no effect{}", name, near.empty() ? "" : fmt::format("; did you mean {}{}?", prefix, near)));
        } else if (const OptionSpec* option = option_of(*alias, options)) {
            settings.push_back({option, value_of(*alias, value), OptionOrigin::environment, name});
        } else {
            warnings.push_back(fmt::format("{} ({}) has no effect in this build", name, alias->meaning));
        }
    }
}

} // namespace

std::span<const Alias> aliases() { return table; }

std::vector<OptionSetting> options_from_aliases(std::span<const OptionSpec> options, const Environment& environment,
                                                std::vector<std::string>& warnings) {
    std::vector<OptionSetting> settings;
    for (const std::string_view prefix : {"DFLASH_", "LUCE_"}) read_prefix(prefix, options, environment, settings, warnings);
    for (const auto& [name, value] : environment) {
        const bool foreign = name.starts_with("DFLASH27B_") || name.starts_with("PFLASH_");
        if (foreign && !value.empty()) warnings.push_back(fmt::format("{} (of the engine of earlier images) has no effect in this build", name));
    }
    return settings;
}

const Alias* alias_of_key(std::string_view key) {
    const auto alias = std::ranges::find_if(table, [&](const Alias& candidate) { return !key.empty() && candidate.key == key; });
    return alias == table.end() ? nullptr : &*alias;
}

std::string value_of(const Alias& alias, std::string_view value) {
    const auto place = alias.form.find("{}");
    return std::string(alias.form.substr(0, place)).append(value).append(alias.form.substr(place + 2));
}

const OptionSpec* option_of(const Alias& alias, std::span<const OptionSpec> options) {
    const auto option = std::ranges::find_if(options, [&](const OptionSpec& candidate) { return !alias.option.empty() && candidate.name == alias.option; });
    return option == options.end() ? nullptr : &*option;
}

} // namespace lucebox::app
