// The routes that generate, in each dialect: from a request to a Generation.
#include "server/api/api_state.h"
#include "server/api/constraints.h"
#include "server/api/dialects.h"
#include "server/api/generation.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <limits>
#include <random>

namespace lucebox::server {

namespace {

using StatePointer = std::shared_ptr<Api::State>;
using Tokens = std::vector<text::TokenId>;

std::uint64_t random_bits() {
    static thread_local std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
}

// Token ids that this model does not have cannot be biased.
std::optional<ApiError> check_vocabulary(const GenerationOptions& options, const text::Tokenizer& tokenizer) {
    for (const auto& [token, bias] : options.sampling.logit_bias)
        if (token >= tokenizer.vocabulary_size())
            return bad_field("logit_bias", fmt::format("logit_bias names the token {}; this model's go from 0 to {}.",
                                                       token, tokenizer.vocabulary_size() - 1));
    return std::nullopt;
}

// What differs between the routes once a prompt is ids.
struct Dialect {
    std::string_view id_prefix;
    std::string_view prompt_field; // named when the prompt is too long
    std::unique_ptr<AnswerFormat> (*make_format)(AnswerIdentity, FormatOptions, const text::Tokenizer&);
    bool shortens = false; // an answer that can't fit is shortened: these clients always name a length
};
constexpr Dialect kChat{"chatcmpl_", "messages", chat_format};
constexpr Dialect kCompletion{"cmpl_", "prompt", completion_format};
constexpr Dialect kMessages{"msg_", "messages", messages_format, true};
constexpr Dialect kResponses{"resp_", "input", responses_format, true};

ApiError too_long(const Dialect& dialect, std::size_t context, std::size_t prompt, std::size_t wanted) {
    ApiError error = context_exceeded(context, prompt, wanted);
    error.param = dialect.prompt_field;
    // Each dialect's clients look for words of their own.
    if (dialect.make_format == messages_format) error.message = fmt::format("prompt is too long: {} tokens > {} maximum", prompt, context - 1);
    return error;
}

// A request on its way, with what every choice of it shares.
struct Order {
    const Dialect& dialect;
    const GenerationOptions& options;
    std::vector<Tokens> prompts;
    FormatOptions format;
    text::Grammar::Pointer grammar;
    std::optional<OutputRules> output;
    std::optional<engine::Reasoning> reasoning;
    Headers headers;
    std::string id; // of the answer
    std::function<void(std::span<const Choice>)> on_complete;
    std::uint64_t client = 0;
    bool background = false;
};

// All choices of all prompts. Each has its own seed, derived from the request's, so that choices differ.
Answer<std::vector<engine::Request>> plan_choices(Order& order, std::size_t context, std::size_t usual_tokens) {
    const GenerationOptions& options = order.options;
    const std::uint64_t seed = options.seed.value_or(random_bits());
    std::vector<engine::Request> choices;
    for (Tokens& prompt : order.prompts) {
        const std::size_t wanted = order.dialect.shortens ? 1 : options.max_tokens.value_or(1);
        if (prompt.size() + wanted > context) return too_long(order.dialect, context, prompt.size(), wanted);
        for (std::size_t i = 0; i < options.n; ++i) {
            engine::Request request;
            request.prompt = i + 1 < options.n ? prompt : std::move(prompt);
            request.sampling = options.sampling;
            request.sampling.seed = seed + i;
            request.max_tokens = options.max_tokens.value_or(usual_tokens);
            request.stop = options.stop;
            request.logprobs = options.logprobs;
            request.top_logprobs = options.top_logprobs;
            request.ignore_end = options.ignore_end;
            // Tags of calls and thoughts may be control tokens, and must be seen to be understood.
            request.show_special = options.show_special || order.output.has_value();
            request.grammar = order.grammar;
            request.grammar_sharers = order.prompts.size() * options.n;
            request.reasoning = order.reasoning;
            request.client = order.client;
            request.background = order.background;
            choices.push_back(std::move(request));
        }
    }
    return choices;
}

void generate(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, Order order) {
    const auto& tokenizer = model.backend->tokenizer();
    if (const auto error = check_vocabulary(order.options, tokenizer)) return send_error(*responder, *error);
    order.format.prompt_tokens = order.prompts.front().size();
    order.client = responder->request().client;
    auto choices = plan_choices(order, model.backend->model().context, model.usual_tokens);
    if (const auto* error = std::get_if<ApiError>(&choices)) return send_error(*responder, *error);

    const GenerationOptions& options = order.options;
    order.format.include_usage = options.include_usage;
    order.format.logprobs = options.logprobs;
    order.format.request_id = responder->request().id;
    GenerationPlan plan;
    plan.choices = std::move(std::get<std::vector<engine::Request>>(choices));
    plan.choices_per_prompt = options.n;
    plan.format = order.dialect.make_format({order.id, std::time(nullptr), options.model.empty() ? model.name : options.model, model.fingerprint},
                                            std::move(order.format), tokenizer);
    plan.stream = options.stream;
    plan.logprobs = options.logprobs;
    plan.output = std::move(order.output);
    plan.headers = std::move(order.headers);
    plan.form_param = options.form.param;
    plan.heartbeat = state->options.heartbeat;
    plan.on_progress = [state, id = order.id](std::size_t choice, const engine::Progress& progress) {
        state->prompts_read.note(fmt::format("{} {}", id, choice), progress);
    };
    plan.on_finished = [state, id = order.id, count = plan.choices.size()](const engine::Finished& finished, std::optional<double> first_token) {
        state->metrics.add_generation(finished, first_token);
        if (first_token) return;
        for (std::size_t choice = 0; choice < count; ++choice) // one that ended while it was read
            state->prompts_read.forget(fmt::format("{} {}", id, choice));
    };
    plan.on_answered = [state, id = responder->request().id](const Usage& usage) { state->note_usage(id, usage); };
    plan.on_complete = std::move(order.on_complete);
    Generation::start(responder, model.backend, std::move(plan));
}

std::string new_id(const Dialect& dialect) { return fmt::format("{}{:016x}", dialect.id_prefix, random_bits()); }

// What a chat program asks for beside the conversation, titles and the like: Open WebUI begins all of that with these
// words. The person waits for the next answer, not for that.
bool is_background(const Json& messages) {
    if (messages.empty() || messages.back()["role"] != "user") return false;
    const auto content = messages.back().find("content");
    return content != messages.back().end() && content->is_string() && content->get_ref<const std::string&>().starts_with("### Task:");
}

struct ChatExtras {
    FormatOptions format;
    Headers headers;
    std::string id;
    std::function<void(std::span<const Choice>)> on_complete;
};

// A turn that called tools, as the next request's history will have it. One that was cut off, or that a stop string ended,
// is not what the model would have written.
void remember(ToolMemory& memory, const TurnPlace& place, const Choice& choice) {
    if (choice.calls.empty() || choice.reason != engine::FinishReason::stop || choice.stop_string) return;
    RememberedTurn turn{place, choice.tokens, choice.text, Json::array(), !choice.reasoning.empty()};
    for (const ToolCall& call : choice.calls) {
        auto arguments = parse_json(call.arguments);
        if (call.broken || !std::holds_alternative<Json>(arguments)) return;
        turn.calls.push_back({{"id", call.id}, {"name", call.name}, {"arguments", std::move(std::get<Json>(arguments))}});
    }
    memory.put(std::move(turn));
}

void run_chat(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, ChatRequest& request,
              const Dialect& dialect, ChatExtras extras) {
    auto grammar = grammar_of(request);
    if (const auto* error = std::get_if<ApiError>(&grammar)) return send_error(*responder, *error);
    const bool is_held = std::get<text::Grammar::Pointer>(grammar) != nullptr;
    auto answer = model.prompts.chat(request, is_held || request.thinking.has_budget, &state->tool_memory);
    if (const auto* error = std::get_if<ApiError>(&answer)) return send_error(*responder, *error);
    auto& prompt = std::get<ChatPrompt>(answer);

    Order order{dialect, request.options, {}, std::move(extras.format), std::get<text::Grammar::Pointer>(grammar), {}, {}, std::move(extras.headers), std::move(extras.id), std::move(extras.on_complete)};
    order.background = is_background(request.messages);
    const ModelStyle& style = model.prompts.style();
    const bool has_tools = !request.tools.is_null() && !request.tools.empty();
    if (style.reasons() || has_tools) {
        order.output.emplace();
        order.output->markers = style.reasoning;
        order.output->starts_inside = prompt.opens_reasoning;
        order.output->tools = std::make_shared<const text::ToolSet>(has_tools ? request.tools : Json());
        order.output->one_call = request.one_call;
    }
    if (prompt.opens_reasoning) {
        engine::Reasoning reasoning;
        reasoning.close = style.reasoning.close;
        const bool has_words = model.card && model.card->closing.find(style.reasoning.close) != std::string::npos;
        reasoning.closing = model.backend->tokenizer().encode(has_words ? model.card->closing : style.closes, {.parse_special = true});
        reasoning.soft_ratio = static_cast<float>(request.thinking.soft_ratio);
        const std::size_t context = model.backend->model().context;
        const std::size_t space = context - std::min(context, prompt.tokens.size());
        const auto plan = plan_thinking(request.thinking, model.budgets, std::min(space, request.options.max_tokens.value_or(space)), reasoning.closing.size());
        reasoning.budget = plan.budget;
        if (request.thinking.budget && plan.most_tokens > 0) request.options.max_tokens = plan.most_tokens;
        order.format.reports_reasoning = request.thinking.has_budget;
        order.reasoning = std::move(reasoning);
    }
    if (has_tools && !prompt.place.opening.empty()) {
        order.on_complete = [state, place = std::move(prompt.place), then = std::move(order.on_complete)](std::span<const Choice> choices) {
            for (const Choice& choice : choices) remember(state->tool_memory, place, choice);
            if (then) then(choices);
        };
    }
    order.format.hides_reasoning = request.thinking.hidden;
    order.prompts.push_back(std::move(prompt.tokens));
    generate(state, responder, model, std::move(order));
}

void chat(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    auto parsed = parse_chat_request(body, model.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    run_chat(state, responder, model, std::get<ChatRequest>(parsed), kChat, {{}, told_headers(ignored_fields(body)), new_id(kChat), {}});
}

void messages(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    auto translated = chat_body_of_messages(body, false);
    if (const auto* error = std::get_if<ApiError>(&translated)) return send_error(*responder, *error);
    auto parsed = parse_chat_request(std::get<Json>(translated), model.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    Headers headers = told_headers(ignored_in_messages(body));
    headers.emplace_back("request-id", responder->request().id);
    run_chat(state, responder, model, std::get<ChatRequest>(parsed), kMessages, {{}, headers, new_id(kMessages), {}});
}

void count_tokens(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    auto translated = chat_body_of_messages(body, true);
    if (const auto* error = std::get_if<ApiError>(&translated)) return send_error(*responder, *error);
    auto parsed = parse_chat_request(std::get<Json>(translated), model.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    auto prompt = model.prompts.chat(std::get<ChatRequest>(parsed), false, &state->tool_memory);
    if (const auto* error = std::get_if<ApiError>(&prompt)) return send_error(*responder, *error);
    send_json(*responder, {{"input_tokens", std::get<ChatPrompt>(prompt).tokens.size()}});
}

// What the model said, as the next turn's history has it.
Json said(const Choice& choice) {
    Json message{{"role", "assistant"}, {"content", choice.text}};
    if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
    for (const ToolCall& call : choice.calls)
        if (!call.broken) message["tool_calls"].push_back({{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    return message;
}

// Where keys tell clients apart, one finds only its own answers.
std::string name_in_store(const ApiOptions& options, const Request& request, const std::string& id) {
    return options.needs_key ? fmt::format("{} {:x}", id, request.client) : id;
}

void responses(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    Json before;
    Fields fields(body);
    if (const auto previous = fields.string("previous_response_id")) {
        auto kept = state->responses.get(name_in_store(state->options, responder->request(), *previous));
        if (!kept) {
            ApiError error = bad_field("previous_response_id", fmt::format("Previous response with id '{}' not found: it was not stored, or is too old.", *previous));
            error.code = "previous_response_not_found";
            return send_error(*responder, error);
        }
        before = std::move(*kept);
    }
    if (fields.error()) return send_error(*responder, *fields.error());
    auto translated = chat_body_of_responses(body, before);
    if (const auto* error = std::get_if<ApiError>(&translated)) return send_error(*responder, *error);
    auto& input = std::get<ResponsesInput>(translated);
    auto parsed = parse_chat_request(input.body, model.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);

    ChatExtras extras;
    extras.headers = told_headers(ignored_in_responses(body));
    extras.id = new_id(kResponses);
    extras.format.request = body;
    extras.format.request.erase("input");
    extras.format.request["free_tools"] = input.free_tools;
    if (input.stores) {
        extras.on_complete = [state, name = name_in_store(state->options, responder->request(), extras.id), conversation = std::move(input.conversation)](std::span<const Choice> choices) {
            Json whole = conversation;
            whole.push_back(said(choices.front()));
            state->responses.put(name, std::move(whole));
        };
    }
    run_chat(state, responder, model, std::get<ChatRequest>(parsed), kResponses, std::move(extras));
}

std::string echo_text(const TextOrTokens& prompt, const text::Tokenizer& tokenizer) {
    if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
    text::Utf8Stream stream;
    std::string text = stream.push(tokenizer.decode(std::get<Tokens>(prompt), true));
    return text += stream.finish();
}

void completion(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    auto parsed = parse_completion_request(body, model.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    const auto& request = std::get<CompletionRequest>(parsed);
    auto grammar = grammar_of(request.options.form);
    if (const auto* error = std::get_if<ApiError>(&grammar)) return send_error(*responder, *error);
    Order order{kCompletion, request.options, {}, {}, std::get<text::Grammar::Pointer>(grammar), {}, {}, told_headers(ignored_fields(body)), new_id(kCompletion), {}};
    for (const auto& given : request.prompts) {
        auto tokens = !request.suffix.empty() ? model.prompts.between(given, request.suffix)
                      : std::holds_alternative<std::string>(given)
                          ? model.prompts.completion(std::get<std::string>(given))
                          : model.prompts.completion(std::get<Tokens>(given), "prompt");
        if (const auto* error = std::get_if<ApiError>(&tokens)) return send_error(*responder, *error);
        order.prompts.push_back(std::move(std::get<Tokens>(tokens)));
        if (!request.echo) continue;
        order.format.echoes.insert(order.format.echoes.end(), request.options.n, echo_text(given, model.backend->tokenizer()));
    }
    generate(state, responder, model, std::move(order));
}

} // namespace

void add_generation_routes(const AddRoute& add, const StatePointer& state) {
    const auto post = [&](std::string_view pattern, auto function) {
        add("POST", pattern,
            [state, function](const Request&, std::shared_ptr<Responder> responder) {
                state->with_body(std::move(responder),
                                 [state, function](const std::shared_ptr<Responder>& keep, const ReadyModel& model,
                                                   const Json& body) { function(state, keep, model, body); });
            },
            {});
    };
    post("/v1/chat/completions", chat);
    post("/chat/completions", chat);
    post("/v1/completions", completion);
    post("/v1/messages", messages);
    post("/v1/messages/count_tokens", count_tokens);
    post("/v1/responses", responses);
}

} // namespace lucebox::server
