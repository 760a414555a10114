#include "server/api/request.h"

#include "server/api/messages.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

namespace lucebox::server {

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

// The first of several names for one thing that the client used.
std::optional<double> first_number(Fields& fields, std::initializer_list<std::string_view> names, double low,
                                   double high) {
    for (const auto name : names)
        if (const auto value = fields.number(name, low, high)) return value;
    return std::nullopt;
}

std::optional<std::int64_t> first_integer(Fields& fields, std::initializer_list<std::string_view> names,
                                          std::int64_t low, std::int64_t high) {
    for (const auto name : names)
        if (const auto value = fields.integer(name, low, high)) return value;
    return std::nullopt;
}

void read_logit_bias(Fields& fields, const RequestLimits& limits, GenerationOptions& options) {
    const Json* biases = fields.object("logit_bias");
    if (biases == nullptr) return;
    if (biases->size() > limits.biases)
        return fields.refuse("logit_bias", fmt::format("logit_bias has {} entries; at most {} are allowed.",
                                                       biases->size(), limits.biases));
    Fields entries(*biases, "logit_bias.");
    for (const auto& [key, value] : biases->items()) {
        text::TokenId token = -1;
        const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), token);
        if (status != std::errc() || end != key.data() + key.size() || token < 0)
            entries.refuse(key, fmt::format("The keys of logit_bias must be token ids, not \"{}\".", key));
        if (const auto bias = entries.number(key, -100, 100))
            options.sampling.logit_bias.emplace_back(token, static_cast<float>(*bias));
    }
    if (entries.error()) fields.fail(*entries.error());
}

// Any 64 bits; negative means random, as absent does.
void read_seed(Fields& fields, GenerationOptions& options) {
    const Json* seed = fields.any("seed");
    if (seed != nullptr && seed->is_number_unsigned())
        options.seed = seed->get<std::uint64_t>();
    else if (const auto value = fields.integer("seed", std::numeric_limits<std::int64_t>::min(),
                                               std::numeric_limits<std::int64_t>::max());
             value && *value >= 0)
        options.seed = static_cast<std::uint64_t>(*value);
}

void read_sampling(Fields& fields, const RequestLimits& limits, GenerationOptions& options) {
    auto& sampling = options.sampling;
    sampling = limits.defaults;
    const auto set = [](float& field, std::optional<double> value) {
        if (value) field = static_cast<float>(*value);
    };
    set(sampling.temperature, fields.number("temperature", 0, 100));
    set(sampling.top_p, fields.number("top_p", 0, 1));
    set(sampling.min_p, fields.number("min_p", 0, 1));
    set(sampling.frequency_penalty, fields.number("frequency_penalty", -2, 2));
    set(sampling.presence_penalty, fields.number("presence_penalty", -2, 2));
    set(sampling.repetition_penalty,
        first_number(fields, {"repetition_penalty", "rep_pen", "repeat_penalty"}, 0.01, 100));
    // -1 and 0 both mean all; different servers settled on different ones.
    if (const auto k = fields.integer("top_k", -1, kMost)) sampling.top_k = *k < 0 ? 0 : static_cast<std::int32_t>(*k);
    if (const auto window = first_integer(fields, {"rep_window", "repeat_last_n"}, -1, kMost))
        sampling.penalty_window = static_cast<std::int32_t>(*window);
    read_logit_bias(fields, limits, options);
    read_seed(fields, options);
}

void read_stops(Fields& fields, const RequestLimits& limits, GenerationOptions& options) {
    options.stop = fields.strings("stop", limits.stops);
    for (const auto& stop : options.stop)
        if (stop.size() > limits.stop_bytes)
            fields.refuse("stop", fmt::format("A stop string may have at most {} bytes.", limits.stop_bytes));
}

void refuse_unsupported(Fields& fields) {
    if (const Json* format = fields.object("response_format")) {
        Fields inner(*format, "response_format.");
        if (inner.string("type").value_or("") != "text")
            fields.fail(unsupported_field("response_format", "Only response_format of type \"text\" is supported."));
    }
    for (const char* name : {"grammar", "json_schema", "guided_json", "guided_regex", "guided_grammar"})
        if (fields.any(name) != nullptr)
            fields.fail(unsupported_field(name, fmt::format("{} is not supported.", name)));
}

void read_common(Fields& fields, const RequestLimits& limits, GenerationOptions& options) {
    options.model = fields.string("model").value_or("");
    read_sampling(fields, limits, options);
    read_stops(fields, limits, options);
    // All are checked; the first that is present counts.
    for (const char* name : {"max_completion_tokens", "max_output_tokens", "max_tokens"})
        if (const auto most = fields.integer(name, 1, kMost)) options.max_tokens = static_cast<std::size_t>(*most);
    options.n = static_cast<std::size_t>(fields.integer("n", 1, limits.choices).value_or(1));
    options.stream = fields.boolean("stream").value_or(false);
    if (const Json* stream = fields.object("stream_options")) {
        Fields inner(*stream, "stream_options.");
        options.include_usage = inner.boolean("include_usage").value_or(false);
        if (inner.error()) fields.fail(*inner.error());
    }
    options.ignore_end = fields.boolean("ignore_eos").value_or(false);
    options.show_special = !fields.boolean("skip_special_tokens").value_or(true);
    refuse_unsupported(fields);
}

void read_chat_logprobs(Fields& fields, GenerationOptions& options) {
    options.logprobs = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, 20);
    if (top.value_or(0) > 0 && !options.logprobs)
        fields.refuse("top_logprobs", "top_logprobs needs logprobs to be true.");
    options.top_logprobs = static_cast<std::int32_t>(top.value_or(0));
}

// The later of these wins: reasoning, reasoning_effort, thinking, chat_template_kwargs. Off unless asked for: what the
// model thinks is not separated from what it answers.
Json read_template_variables(Fields& fields) {
    bool thinking = false;
    std::string effort;
    if (const Json* reasoning = fields.object("reasoning")) {
        Fields inner(*reasoning, "reasoning.");
        effort = inner.string("effort").value_or("");
        thinking = effort != "none";
        if (inner.error()) fields.fail(*inner.error());
    }
    if (const auto text = fields.string("reasoning_effort"); text && effort.empty()) {
        effort = *text;
        thinking = effort != "none";
    }
    if (const Json* object = fields.object("thinking")) {
        Fields inner(*object, "thinking.");
        const auto type = inner.string("type").value_or("");
        thinking = type == "enabled" || type == "adaptive";
        if (inner.error()) fields.fail(*inner.error());
    }
    Json variables{{"enable_thinking", thinking}, {"thinking", thinking}};
    if (!effort.empty() && effort != "none") variables["reasoning_effort"] = effort;
    if (const Json* given = fields.object("chat_template_kwargs")) {
        for (const auto& [key, value] : given->items())
            variables[key] = value;
        if (given->contains("enable_thinking") && !given->contains("thinking"))
            variables["thinking"] = variables["enable_thinking"];
    }
    return variables;
}

// One prompt of token ids, if `ids` is an array of integers.
std::optional<std::vector<text::TokenId>> token_ids(const Json& ids) {
    std::vector<text::TokenId> tokens;
    tokens.reserve(ids.size());
    for (const Json& id : ids) {
        if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > kMost)
            return std::nullopt;
        tokens.push_back(static_cast<text::TokenId>(id.get<std::int64_t>()));
    }
    return tokens;
}

void read_prompts(Fields& fields, const RequestLimits& limits, CompletionRequest& request) {
    const char* const shape =
        "prompt must be a string, an array of strings, an array of token ids, or an array of such "
        "arrays.";
    const Json* prompt = fields.any("prompt");
    if (prompt == nullptr) return fields.refuse("prompt", "prompt is missing.");
    if (prompt->is_string()) {
        request.prompts.emplace_back(prompt->get<std::string>());
        return;
    }
    if (!prompt->is_array() || prompt->empty()) return fields.refuse("prompt", shape);
    const auto add_tokens = [&](const Json& ids) {
        if (ids.size() > limits.prompt_tokens)
            return fields.refuse("prompt", fmt::format("A prompt may have at most {} ids.", limits.prompt_tokens));
        auto tokens = token_ids(ids);
        if (!tokens) return fields.refuse("prompt", shape);
        request.prompts.emplace_back(std::move(*tokens));
    };
    if (prompt->front().is_number()) return add_tokens(*prompt);
    if (prompt->size() > limits.prompts)
        return fields.refuse("prompt", fmt::format("At most {} prompts are allowed.", limits.prompts));
    for (const Json& entry : *prompt) {
        if (entry.is_string())
            request.prompts.emplace_back(entry.get<std::string>());
        else if (entry.is_array())
            add_tokens(entry);
        else
            return fields.refuse("prompt", shape);
    }
}

template <class Request>
Answer<Request> finished(const Fields& fields, Request&& request) {
    if (fields.error()) return *fields.error();
    return std::forward<Request>(request);
}

} // namespace

Answer<ChatRequest> parse_chat_request(const Json& body, const RequestLimits& limits) {
    Fields fields(body);
    ChatRequest request;
    read_common(fields, limits, request.options);
    read_chat_logprobs(fields, request.options);
    request.messages = read_messages(fields, limits.messages);
    request.tools = read_tools(fields, limits.tools);
    request.template_variables = read_template_variables(fields);
    request.add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
    return finished(fields, std::move(request));
}

Answer<CompletionRequest> parse_completion_request(const Json& body, const RequestLimits& limits) {
    Fields fields(body);
    CompletionRequest request;
    auto& options = request.options;
    read_common(fields, limits, options);
    if (!options.max_tokens) options.max_tokens = 16; // this route's documented default
    if (const auto top = fields.integer("logprobs", 0, 20)) {
        options.logprobs = true;
        options.top_logprobs = static_cast<std::int32_t>(*top);
    }
    request.echo = fields.boolean("echo").value_or(false);
    if (request.echo && options.logprobs)
        fields.fail(unsupported_field("echo", "echo together with logprobs is not supported: prompts have none."));
    if (!fields.string("suffix").value_or("").empty())
        fields.fail(unsupported_field("suffix", "suffix is not supported."));
    if (const auto best = fields.integer("best_of", 1, kMost); best && static_cast<std::size_t>(*best) != options.n)
        fields.fail(unsupported_field("best_of", "best_of other than n is not supported."));
    read_prompts(fields, limits, request);
    if (request.prompts.size() * options.n > limits.sequences)
        fields.refuse("n", fmt::format("{} prompts with n = {} make more than {} choices.", request.prompts.size(),
                                       options.n, limits.sequences));
    return finished(fields, std::move(request));
}

Answer<TokenizeRequest> parse_tokenize_request(const Json& body) {
    Fields fields(body);
    TokenizeRequest request;
    const auto content = fields.string("content");
    if (!content) fields.refuse("content", "content is missing.");
    request.content = content.value_or("");
    request.add_special = fields.boolean("add_special").value_or(false);
    request.parse_special = fields.boolean("parse_special").value_or(true);
    request.with_pieces = fields.boolean("with_pieces").value_or(false);
    return finished(fields, std::move(request));
}

Answer<std::vector<text::TokenId>> parse_detokenize_request(const Json& body, const RequestLimits& limits) {
    Fields fields(body);
    const Json* ids = fields.array("tokens", limits.prompt_tokens);
    if (ids == nullptr) fields.refuse("tokens", "tokens is missing.");
    auto tokens = ids != nullptr ? token_ids(*ids) : std::nullopt;
    if (!tokens) fields.refuse("tokens", "tokens must be an array of token ids.");
    return finished(fields, std::move(tokens).value_or(std::vector<text::TokenId>{}));
}

} // namespace lucebox::server
