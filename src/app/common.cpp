#include "app/chosen_draft.h"
#include "app/commands.h"

#include <fmt/format.h>

#include <random>

namespace lucebox::app {

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
    out.device = device_options(options);
    const ChosenDraft draft = chosen_draft(options, out.model);
    out.draft = draft.path;
    out.draft_head = static_cast<std::size_t>(options.integer("draft-head"));
    out.draft_may_not_fit = draft.found;
    LUCEBOX_TRY(out.speculation, decode::parse_speculation(options.text("speculation")));
    return out;
}

} // namespace lucebox::app
