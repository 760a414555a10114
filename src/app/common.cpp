#include "app/chosen_draft.h"
#include "app/commands.h"
#include "base/ascii.h"
#include "base/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <random>

namespace lucebox::app {
namespace {

struct KvName {
    std::string_view name;
    compute::DType type; // what is taken
};
// Those that are no type of this build are known from others: each becomes one that keeps numbers at least as exactly.
constexpr std::array kv_names{KvName{"f16", compute::DType::f16},   KvName{"q8_0", compute::DType::q8_0}, KvName{"bf16", compute::DType::f16},
                              KvName{"q5_1", compute::DType::q8_0}, KvName{"q5_0", compute::DType::q8_0}, KvName{"q4_1", compute::DType::q8_0},
                              KvName{"q4_0", compute::DType::q8_0}, KvName{"tq3_0", compute::DType::q8_0}};

Result<std::optional<compute::DType>> kv_type_of(const Options& options, std::string_view option) {
    const std::string name = lower(options.text(option));
    if (name.empty() || name == "auto") return std::optional<compute::DType>{};
    const auto found = std::ranges::find(kv_names, name, &KvName::name);
    if (found == kv_names.end()) {
        return Error{ErrorKind::usage, fmt::format("{} says '{}', which is no type of keys and values", options.entry(option).where, options.text(option)),
                     "auto, f16 or q8_0"};
    }
    if (const auto taken = compute::dtype_name(found->type); taken != name) {
        log_warning("{} keys and values are not part of this build: {} are taken", name, taken);
    }
    return std::optional(found->type);
}

} // namespace

Result<std::optional<compute::DType>> chosen_kv_type(const Options& options) {
    LUCEBOX_TRY(const auto k, kv_type_of(options, "cache-type-k"));
    LUCEBOX_TRY(const auto v, kv_type_of(options, "cache-type-v"));
    if (k && v && *k != *v) {
        return Error{ErrorKind::usage, fmt::format("keys in {} beside values in {} are not part of this build", compute::dtype_name(*k), compute::dtype_name(*v)),
                     "set cache-type-k alone: it stands for both"};
    }
    return k ? k : v;
}

compute::DeviceOptions device_options(const Options& options) {
    return {compute::device_choice(options.text("device")), static_cast<std::size_t>(options.integer("threads")),
            options.boolean("reference"), 0};
}

Result<decode::SamplingParams> sampling_params(const Options& options, float default_temperature) {
    decode::SamplingParams params;
    params.temperature = options.is_set("temperature") ? static_cast<float>(options.number("temperature")) : default_temperature;
    params.top_k = static_cast<std::int32_t>(std::min<std::int64_t>(options.integer("top-k"), INT32_MAX));
    params.top_p = static_cast<float>(options.number("top-p"));
    params.min_p = static_cast<float>(options.number("min-p"));
    params.repetition_penalty = static_cast<float>(options.number("repetition-penalty"));
    params.frequency_penalty = static_cast<float>(options.number("frequency-penalty"));
    params.presence_penalty = static_cast<float>(options.number("presence-penalty"));
    params.seed = options.is_set("seed") ? static_cast<std::uint64_t>(options.integer("seed")) : std::random_device{}();
    LUCEBOX_CHECK(decode::validate(params));
    return params;
}

Result<engine::Options> engine_options(const Options& options, std::function<bool()> keep_going) {
    engine::Options out;
    LUCEBOX_TRY(out.model, chosen_model(options, std::move(keep_going)));
    out.context = static_cast<std::size_t>(options.integer("context"));
    out.sequences = static_cast<std::size_t>(options.integer("sequences"));
    out.queue = static_cast<std::size_t>(options.integer("queue"));
    out.client_queue = static_cast<std::size_t>(options.integer("client-queue"));
    out.client_sequences = static_cast<std::size_t>(options.integer("client-sequences"));
    LUCEBOX_TRY(out.kv_type, chosen_kv_type(options));
    out.device = device_options(options);
    const ChosenDraft draft = chosen_draft(options, out.model);
    out.draft = draft.path;
    out.draft_head = static_cast<std::size_t>(options.integer("draft-head"));
    out.draft_may_not_fit = draft.found;
    LUCEBOX_TRY(out.speculation, decode::parse_speculation(options.text("speculation")));
    return out;
}

} // namespace lucebox::app
