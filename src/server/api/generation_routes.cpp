// POST /v1/chat/completions and /v1/completions: from a request to a Generation.
#include "server/api/api_state.h"
#include "server/api/generation.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <limits>
#include <random>

namespace lucebox::server {

namespace {

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

// All choices of all prompts. Each has its own seed, derived from the request's, so that choices differ.
Answer<std::vector<engine::Request>> plan_choices(const GenerationOptions& options, std::vector<Tokens> prompts,
                                                  std::size_t context) {
    const std::uint64_t seed = options.seed.value_or(random_bits());
    std::vector<engine::Request> choices;
    for (Tokens& prompt : prompts) {
        const std::size_t wanted = options.max_tokens.value_or(1);
        if (prompt.size() + wanted > context) return context_exceeded(context, prompt.size(), wanted);
        for (std::size_t i = 0; i < options.n; ++i) {
            engine::Request request;
            request.prompt = i + 1 < options.n ? prompt : std::move(prompt);
            request.sampling = options.sampling;
            request.sampling.seed = seed + i;
            request.max_tokens = options.max_tokens.value_or(std::numeric_limits<std::size_t>::max());
            request.stop = options.stop;
            request.logprobs = options.logprobs;
            request.top_logprobs = options.top_logprobs;
            request.ignore_end = options.ignore_end;
            request.show_special = options.show_special;
            choices.push_back(std::move(request));
        }
    }
    return choices;
}

// What differs between the routes once a prompt is ids.
struct Dialect {
    std::string_view id_prefix;
    std::string_view prompt_field; // named when the prompt is too long
    std::unique_ptr<AnswerFormat> (*make_format)(AnswerIdentity, FormatOptions, const text::Tokenizer&);
};
constexpr Dialect kChat{"chatcmpl_", "messages", chat_format};
constexpr Dialect kCompletion{"cmpl_", "prompt", completion_format};

void generate(const std::shared_ptr<Api::State>& state, const std::shared_ptr<Responder>& responder,
              const ReadyModel& model, const GenerationOptions& options, std::vector<Tokens> prompts,
              std::vector<std::string> echoes, const Dialect& dialect) {
    const auto& tokenizer = model.backend->tokenizer();
    if (const auto error = check_vocabulary(options, tokenizer)) return send_error(*responder, *error);
    auto choices = plan_choices(options, std::move(prompts), model.backend->model().context);
    if (auto* error = std::get_if<ApiError>(&choices)) {
        error->param = dialect.prompt_field;
        return send_error(*responder, *error);
    }

    GenerationPlan plan;
    plan.choices = std::move(std::get<std::vector<engine::Request>>(choices));
    plan.choices_per_prompt = options.n;
    plan.format = dialect.make_format({fmt::format("{}{:016x}", dialect.id_prefix, random_bits()), std::time(nullptr),
                                       options.model.empty() ? model.name : options.model, model.fingerprint},
                                      {options.include_usage, options.logprobs, std::move(echoes)}, tokenizer);
    plan.stream = options.stream;
    plan.logprobs = options.logprobs;
    plan.heartbeat = state->options.heartbeat;
    plan.on_finished = [state](const engine::Finished& finished, std::optional<double> first_token) {
        state->metrics.add_generation(finished, first_token);
    };
    plan.on_answered = [state, id = responder->request().id](const Usage& usage) { state->note_usage(id, usage); };
    Generation::start(responder, model.backend, std::move(plan));
}

void chat(const std::shared_ptr<Api::State>& state, const std::shared_ptr<Responder>& responder,
          const ReadyModel& model, const Json& body) {
    auto parsed = parse_chat_request(body, state->options.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    const auto& request = std::get<ChatRequest>(parsed);
    auto prompt = model.prompts.chat(request);
    if (const auto* error = std::get_if<ApiError>(&prompt)) return send_error(*responder, *error);
    generate(state, responder, model, request.options, {std::move(std::get<Tokens>(prompt))}, {}, kChat);
}

std::string echo_text(const std::variant<std::string, Tokens>& prompt, const text::Tokenizer& tokenizer) {
    if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
    text::Utf8Stream stream;
    std::string text = stream.push(tokenizer.decode(std::get<Tokens>(prompt), true));
    return text += stream.finish();
}

void completion(const std::shared_ptr<Api::State>& state, const std::shared_ptr<Responder>& responder,
                const ReadyModel& model, const Json& body) {
    auto parsed = parse_completion_request(body, state->options.limits);
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    const auto& request = std::get<CompletionRequest>(parsed);
    std::vector<Tokens> prompts;
    std::vector<std::string> echoes;
    for (const auto& given : request.prompts) {
        auto tokens = std::holds_alternative<std::string>(given)
                          ? model.prompts.completion(std::get<std::string>(given))
                          : model.prompts.completion(std::get<Tokens>(given), "prompt");
        if (const auto* error = std::get_if<ApiError>(&tokens)) return send_error(*responder, *error);
        prompts.push_back(std::move(std::get<Tokens>(tokens)));
        if (!request.echo) continue;
        echoes.insert(echoes.end(), request.options.n, echo_text(given, model.backend->tokenizer()));
    }
    generate(state, responder, model, request.options, std::move(prompts), std::move(echoes), kCompletion);
}

} // namespace

void add_generation_routes(const AddRoute& add, const std::shared_ptr<Api::State>& state) {
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
}

} // namespace lucebox::server
