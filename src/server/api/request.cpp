#include "server/api/request.h"

#include "server/api/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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

// OpenAI's response_format, and the names that other servers gave to the same.
AnswerForm read_form(Fields& fields) {
    AnswerForm form;
    const auto set = [&](AnswerForm::Kind kind, std::string param, Json schema) {
        form.kind = kind;
        form.param = std::move(param);
        form.schema = std::move(schema);
    };
    if (const Json* format = fields.object("response_format")) {
        Fields inner(*format, "response_format.");
        const std::string type = inner.string("type").value_or("");
        if (type == "json_object") {
            // llama.cpp's servers take a schema here too.
            if (const Json* schema = inner.any("schema")) set(AnswerForm::Kind::json_schema, "response_format.schema", *schema);
            else set(AnswerForm::Kind::json_object, "response_format", {});
        } else if (type == "json_schema") {
            const Json* holder = inner.object("json_schema"); // the Responses API has its fields here itself
            Fields named(holder ? *holder : *format, holder ? "response_format.json_schema." : "response_format.");
            const Json* schema = named.any("schema");
            if (schema == nullptr) named.refuse("schema", "The json_schema has no schema.");
            else set(AnswerForm::Kind::json_schema, named.path("schema"), *schema);
            if (named.error()) inner.fail(*named.error());
        } else if (type != "text" && !inner.error()) {
            fields.fail(unsupported_field("response_format", "response_format must be text, json_object or json_schema."));
        }
        if (inner.error()) fields.fail(*inner.error());
    }
    for (const char* name : {"json_schema", "guided_json"})
        if (const Json* schema = fields.any(name)) set(AnswerForm::Kind::json_schema, name, *schema);
    for (const char* name : {"grammar", "guided_grammar"}) {
        if (const auto grammar = fields.string(name)) {
            set(AnswerForm::Kind::grammar, name, {});
            form.grammar = *grammar;
        }
    }
    if (const Json* choices = fields.array("guided_choice", 4096)) {
        form.kind = AnswerForm::Kind::grammar;
        form.param = "guided_choice";
        for (const Json& choice : *choices) {
            if (!choice.is_string()) fields.refuse("guided_choice", "guided_choice must be an array of strings.");
            else form.grammar += (form.grammar.empty() ? "root ::= " : " | ") + to_text(choice);
        }
    }
    if (fields.any("guided_regex") != nullptr)
        fields.fail(unsupported_field("guided_regex", "guided_regex is not supported; use a json_schema with a pattern, or a grammar."));
    return form;
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
    options.form = read_form(fields);
}

void read_chat_logprobs(Fields& fields, GenerationOptions& options) {
    options.logprobs = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, 20);
    if (top.value_or(0) > 0 && !options.logprobs)
        fields.refuse("top_logprobs", "top_logprobs needs logprobs to be true.");
    options.top_logprobs = static_cast<std::int32_t>(top.value_or(0));
}

bool is_effort(std::string_view word) {
    return word == "minimal" || word == "low" || word == "medium" || word == "high" || word == "xhigh" || word == "max";
}

// What a word for effort means for on and off, and as one of the tiers.
void apply_effort(Thinking& thinking, std::string word) {
    if (word == "x-high") word = "xhigh";
    thinking.enabled = word != "none";
    if (word == "none") return;
    if (word == "minimal") word = "low";
    thinking.effort = is_effort(word) ? word : "high";
    thinking.has_budget = true;
}

// The later of these wins: reasoning, reasoning_effort, thinking, chat_template_kwargs. Off unless asked for: thinking
// makes answers late, and clients that want it say so.
Thinking read_thinking(Fields& fields, Json& variables) {
    constexpr std::int64_t most = kMost;
    Thinking thinking;
    std::string word;
    if (const Json* reasoning = fields.object("reasoning")) {
        Fields inner(*reasoning, "reasoning.");
        word = inner.string("effort").value_or("");
        thinking.enabled = true;
        if (!word.empty()) apply_effort(thinking, word);
        if (const auto budget = inner.integer("max_tokens", 0, most)) thinking.budget = static_cast<std::size_t>(*budget);
        thinking.hidden = inner.boolean("exclude").value_or(false);
        if (inner.error()) fields.fail(*inner.error());
    }
    if (const auto text = fields.string("reasoning_effort"); text && word.empty()) {
        word = *text;
        apply_effort(thinking, word);
    }
    if (const Json* object = fields.object("thinking")) {
        Fields inner(*object, "thinking.");
        const auto type = inner.string("type").value_or("");
        thinking.enabled = type == "enabled" || type == "adaptive";
        if (const auto budget = inner.integer("budget_tokens", 0, most)) thinking.budget = static_cast<std::size_t>(*budget);
        if (const auto reply = inner.integer("reply_budget", 0, most)) thinking.reply_budget = static_cast<std::size_t>(*reply);
        thinking.soft_ratio = inner.number("soft_close_min_ratio", 0, 1).value_or(0);
        thinking.hidden = inner.string("display").value_or("") == "omitted";
        if (inner.error()) fields.fail(*inner.error());
    }
    for (const char* name : {"thinking_budget", "reasoning_budget"})
        if (const auto budget = fields.integer(name, -1, most); budget && *budget >= 0) thinking.budget = static_cast<std::size_t>(*budget);
    if (thinking.budget == 0) thinking.enabled = false; // none is none, not "no limit"
    thinking.has_budget |= thinking.budget.has_value();
    if (const auto on = fields.boolean("enable_thinking")) thinking.enabled = *on;
    if (const Json* given = fields.object("chat_template_kwargs")) {
        for (const auto& [key, value] : given->items())
            variables[key] = value;
        for (const char* name : {"thinking", "enable_thinking"})
            if (given->contains(name) && (*given)[name].is_boolean()) thinking.enabled = (*given)[name];
    }
    if (!word.empty() && word != "none") variables["reasoning_effort"] = word;
    for (const char* name : {"enable_thinking", "thinking"})
        if (!variables.contains(name)) variables[name] = thinking.enabled;
    if (!thinking.enabled) thinking.has_budget = false;
    return thinking;
}

ToolChoice read_tool_choice(Fields& fields, const Json& tools) {
    ToolChoice choice;
    const Json* given = fields.any("tool_choice");
    if (given == nullptr || tools.is_null()) return choice;
    if (given->is_string()) {
        if (*given == "required" || *given == "any") choice.kind = ToolChoice::Kind::required;
        return choice;
    }
    Fields inner(*given, "tool_choice.");
    const Json* function = inner.object("function");
    Fields named(function ? *function : *given, function ? "tool_choice.function." : "tool_choice.");
    if (const auto name = named.string("name")) {
        choice.kind = ToolChoice::Kind::named;
        choice.name = *name;
        const bool known = std::any_of(tools.begin(), tools.end(), [&](const Json& tool) { return tool["function"]["name"] == *name; });
        if (!known) fields.refuse("tool_choice", fmt::format("tool_choice names the tool \"{}\", which is not among the tools.", *name));
    }
    if (inner.error()) fields.fail(*inner.error());
    if (named.error()) fields.fail(*named.error());
    return choice;
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

std::string without_lines(std::string_view text, const std::vector<std::string>& beginnings) {
    std::string kept;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size() - 1) + 1);
        text.remove_prefix(line.size());
        const bool is_volatile = std::any_of(beginnings.begin(), beginnings.end(), [&](const std::string& one) { return !one.empty() && line.starts_with(one); });
        if (!is_volatile) kept += line;
        else text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size())); // what separated it from the next
    }
    return kept;
}

void leave_out_volatile_lines(Json& messages, const std::vector<std::string>& beginnings) {
    if (!messages.is_array()) return;
    Json kept = Json::array();
    for (Json& message : messages) {
        auto content = message.find("content");
        const bool is_system = message["role"] == "system" || message["role"] == "developer";
        if (is_system && content != message.end() && content->is_string()) {
            std::string text = without_lines(content->get_ref<const std::string&>(), beginnings);
            if (text.empty() && !content->get_ref<const std::string&>().empty()) continue; // it was nothing else
            *content = std::move(text);
        }
        kept.push_back(std::move(message));
    }
    messages = std::move(kept);
}

template <class Request>
Answer<Request> finished(const Fields& fields, Request&& request) {
    if (fields.error()) return *fields.error();
    return std::forward<Request>(request);
}

} // namespace

std::vector<TextOrTokens> read_texts(Fields& fields, const std::string& name, std::size_t most, std::size_t most_tokens) {
    const std::string shape = name + " must be a string, an array of strings, an array of token ids, or an array of such arrays.";
    std::vector<TextOrTokens> texts;
    const auto refuse = [&](const std::string& why) {
        fields.refuse(name, why);
        return std::vector<TextOrTokens>();
    };
    const auto add_tokens = [&](const Json& ids) {
        auto tokens = token_ids(ids);
        if (ids.size() > most_tokens) fields.refuse(name, fmt::format("{} may have at most {} ids.", name, most_tokens));
        else if (!tokens) fields.refuse(name, shape);
        else texts.emplace_back(std::move(*tokens));
    };
    const Json* given = fields.any(name);
    if (given == nullptr) return refuse(name + " is missing.");
    if (given->is_string()) return {given->get<std::string>()};
    if (!given->is_array() || given->empty()) return refuse(shape);
    if (given->front().is_number()) {
        add_tokens(*given);
        return texts;
    }
    if (given->size() > most) return refuse(fmt::format("{} has {} entries; at most {} are allowed.", name, given->size(), most));
    for (const Json& entry : *given) {
        if (entry.is_string()) texts.emplace_back(entry.get<std::string>());
        else if (entry.is_array()) add_tokens(entry);
        else return refuse(shape);
    }
    return texts;
}

Answer<ChatRequest> parse_chat_request(const Json& body, const RequestLimits& limits) {
    Fields fields(body);
    ChatRequest request;
    read_common(fields, limits, request.options);
    read_chat_logprobs(fields, request.options);
    request.messages = read_messages(fields, limits.messages);
    if (!fields.error()) leave_out_volatile_lines(request.messages, limits.volatile_lines);
    request.tools = read_tools(fields, limits.tools);
    request.tool_choice = read_tool_choice(fields, request.tools);
    request.one_call = !fields.boolean("parallel_tool_calls").value_or(true);
    request.thinking = read_thinking(fields, request.template_variables);
    request.prefill = fields.string("prefill").value_or("");
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
    request.suffix = fields.string("suffix").value_or("");
    if (const auto best = fields.integer("best_of", 1, kMost); best && static_cast<std::size_t>(*best) != options.n)
        fields.fail(unsupported_field("best_of", "best_of other than n is not supported."));
    request.prompts = read_texts(fields, "prompt", limits.prompts, limits.prompt_tokens);
    if (request.prompts.size() * options.n > limits.sequences)
        fields.refuse("n", fmt::format("{} prompts with n = {} make more than {} choices.", request.prompts.size(),
                                       options.n, limits.sequences));
    return finished(fields, std::move(request));
}

std::vector<std::string> ignored_fields(const Json& body, std::span<const std::string_view> read) {
    std::vector<std::string> ignored;
    if (!body.is_object()) return ignored;
    for (const auto& [key, value] : body.items())
        if (!value.is_null() && std::find(read.begin(), read.end(), key) == read.end()) ignored.push_back(key);
    return ignored;
}

std::vector<std::string> ignored_fields(const Json& body) {
    static constexpr auto read = std::to_array<std::string_view>({
        "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature",
        "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "rep_pen", "repeat_penalty", "rep_window",
        "repeat_last_n", "logit_bias", "seed", "stop", "n", "logprobs", "top_logprobs", "ignore_eos", "skip_special_tokens", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "json_schema", "grammar", "guided_json", "guided_grammar", "guided_choice", "reasoning",
        "reasoning_effort", "thinking", "thinking_budget", "reasoning_budget", "enable_thinking", "chat_template_kwargs", "add_generation_prompt",
        "echo", "suffix", "best_of", "prefill"});
    return ignored_fields(body, read);
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
