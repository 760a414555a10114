#include "server/api/answer_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace lucebox::server {

namespace {

using decode::Sample;
using engine::FinishReason;

constexpr double kNever = -9999; // OpenAI's stand-in for minus infinity, which JSON cannot say

double finite(float logprob) {
    return std::isfinite(logprob) ? logprob : kNever;
}
double rounded(double value) {
    return std::round(value * 10) / 10;
}

std::string_view reason_name(const Choice& choice) {
    if (choice.reason == FinishReason::length) return "length";
    return choice.has_calls() ? "tool_calls" : "stop";
}

std::string_view close_name(engine::ReasoningClose close) {
    switch (close) {
    case engine::ReasoningClose::natural: return "natural";
    case engine::ReasoningClose::soft: return "soft";
    case engine::ReasoningClose::hard: return "hard";
    case engine::ReasoningClose::none: break;
    }
    return "none";
}

Json finish_details(const Choice& choice) {
    return {{"close_kind", close_name(choice.reasoning_close)},
            {"thinking_tokens", choice.reasoning_tokens},
            {"content_tokens", choice.generated_tokens - std::min(choice.generated_tokens, choice.reasoning_tokens)},
            {"total_tokens", choice.generated_tokens}};
}

std::string event(const Json& json) {
    return "data: " + to_text(json) + "\n\n";
}

std::size_t characters(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// The envelope that chat and text completions have in common.
class OpenAiFormat : public AnswerFormat {
public:
    OpenAiFormat(AnswerIdentity identity, FormatOptions options, const text::Tokenizer& tokenizer)
        : identity_(std::move(identity)), options_(std::move(options)), tokenizer_(tokenizer) {}

    std::string close(std::span<const Choice>, const Usage& usage) override {
        std::string text;
        if (options_.include_usage) {
            Json chunk = envelope(stream_object());
            chunk["choices"] = Json::array();
            chunk["usage"] = usage_json(usage);
            chunk["timings"] = timings_json(usage);
            text = event(chunk);
        }
        return text + "data: [DONE]\n\n";
    }

    std::string failure(const ApiError& error) override {
        return "data: " + error_json(error) + "\n\ndata: [DONE]\n\n";
    }

protected:
    virtual const char* stream_object() const = 0;

    Json envelope(const char* object) const {
        return {{"id", identity_.id},
                {"object", object},
                {"created", identity_.created},
                {"model", identity_.model},
                {"system_fingerprint", identity_.fingerprint}};
    }

    std::string chunk(Json choice) const {
        Json json = envelope(stream_object());
        json["choices"] = Json::array({std::move(choice)});
        if (options_.include_usage) json["usage"] = Json();
        return event(json);
    }

    std::string whole_body(const char* object, Json choices, const Usage& usage) const {
        Json json = envelope(object);
        json["choices"] = std::move(choices);
        json["usage"] = usage_json(usage);
        json["timings"] = timings_json(usage);
        return to_text(json);
    }

    const FormatOptions& options() const { return options_; }
    const text::Tokenizer& tokenizer() const { return tokenizer_; }

private:
    AnswerIdentity identity_;
    FormatOptions options_;
    const text::Tokenizer& tokenizer_;
};

class ChatFormat final : public OpenAiFormat {
public:
    using OpenAiFormat::OpenAiFormat;

    std::string begin(std::size_t choice) override {
        return delta(choice, {{"role", "assistant"}, {"content", ""}}, Json(), Json());
    }
    std::string piece(std::size_t choice, const Choice& so_far, const text::OutputEvent& event,
                      std::span<const Sample> samples) override {
        using Kind = text::OutputEvent::Kind;
        const auto call = [&](Json function, bool first) {
            Json entry{{"index", event.call}};
            if (first) {
                entry["id"] = so_far.calls[event.call].id;
                entry["type"] = "function";
            }
            entry["function"] = std::move(function);
            return delta(choice, {{"tool_calls", Json::array({std::move(entry)})}}, Json(), Json());
        };
        switch (event.kind) {
        case Kind::content: return delta(choice, {{"content", event.text}}, logprobs(samples), Json());
        case Kind::reasoning: // servers settled on two names
            if (options().hides_reasoning) return "";
            return delta(choice, {{"reasoning_content", event.text}, {"reasoning", event.text}}, Json(), Json());
        case Kind::call_begin: return call({{"name", event.text}, {"arguments", ""}}, true);
        case Kind::call_arguments: return call({{"arguments", event.text}}, false);
        case Kind::call_end:
        case Kind::call_broken: break;
        }
        return "";
    }
    std::string end(std::size_t choice, const Choice& whole) override {
        Json last{{"index", choice}, {"delta", Json::object()}, {"logprobs", Json()}, {"finish_reason", reason_name(whole)}};
        if (options().reports_reasoning) last["finish_details"] = finish_details(whole);
        return chunk(std::move(last));
    }

    std::string whole(std::span<const Choice> choices, const Usage& usage) override {
        Json list = Json::array();
        for (const Choice& choice : choices) {
            Json entry{{"index", list.size()},
                       {"message", message(choice)},
                       {"logprobs", logprobs(choice.samples)},
                       {"finish_reason", reason_name(choice)}};
            if (options().reports_reasoning) entry["finish_details"] = finish_details(choice);
            list.push_back(std::move(entry));
        }
        return whole_body("chat.completion", std::move(list), usage);
    }

private:
    const char* stream_object() const override { return "chat.completion.chunk"; }

    Json message(const Choice& choice) const {
        const bool only_calls = choice.has_calls() && choice.text.empty();
        Json message{{"role", "assistant"}, {"content", only_calls ? Json() : Json(choice.text)}, {"refusal", Json()}};
        if (!choice.reasoning.empty() && !options().hides_reasoning) {
            message["reasoning_content"] = choice.reasoning;
            message["reasoning"] = choice.reasoning;
            message["reasoning_details"] = Json::array({{{"type", "reasoning.text"}, {"text", choice.reasoning}}});
        }
        for (const ToolCall& call : choice.calls) {
            if (call.broken) continue;
            message["tool_calls"].push_back({{"id", call.id},
                                             {"type", "function"},
                                             {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
        }
        return message;
    }

    std::string delta(std::size_t choice, Json delta, Json logprobs, Json reason) const {
        return chunk({{"index", choice},
                      {"delta", std::move(delta)},
                      {"logprobs", std::move(logprobs)},
                      {"finish_reason", std::move(reason)}});
    }

    Json entry(text::TokenId token, float logprob) const {
        Json bytes = Json::array();
        for (const char byte : tokenizer().token_bytes(token, true))
            bytes.push_back(static_cast<unsigned char>(byte));
        return {{"token", token_text(tokenizer(), token)}, {"logprob", finite(logprob)}, {"bytes", std::move(bytes)}};
    }

    Json logprobs(std::span<const Sample> samples) const {
        if (!options().logprobs) return {};
        Json content = Json::array();
        for (const Sample& sample : samples) {
            Json token = entry(sample.token, sample.logprob);
            Json& top = token["top_logprobs"] = Json::array();
            for (const auto& other : sample.top)
                top.push_back(entry(other.token, other.logprob));
            content.push_back(std::move(token));
        }
        return {{"content", std::move(content)}, {"refusal", Json()}};
    }
};

class CompletionFormat final : public OpenAiFormat {
public:
    using OpenAiFormat::OpenAiFormat;

    std::string begin(std::size_t choice) override {
        const std::string& echo = echo_of(choice);
        return echo.empty() ? "" : part(choice, echo, Json(), Json());
    }
    std::string piece(std::size_t choice, const Choice&, const text::OutputEvent& event,
                      std::span<const Sample> samples) override {
        if (offsets_.size() <= choice) offsets_.resize(choice + 1);
        Json log = logprobs(samples, characters(echo_of(choice)) + offsets_[choice]);
        offsets_[choice] += characters(event.text);
        return part(choice, event.text, std::move(log), Json());
    }
    std::string end(std::size_t choice, const Choice& whole) override {
        return part(choice, "", Json(), reason_name(whole));
    }

    std::string whole(std::span<const Choice> choices, const Usage& usage) override {
        Json list = Json::array();
        for (const Choice& choice : choices) {
            const std::string& echo = echo_of(list.size());
            list.push_back({{"text", echo + choice.text},
                            {"index", list.size()},
                            {"logprobs", logprobs(choice.samples, characters(echo))},
                            {"finish_reason", reason_name(choice)}});
        }
        return whole_body("text_completion", std::move(list), usage);
    }

private:
    const char* stream_object() const override { return "text_completion"; }

    const std::string& echo_of(std::size_t choice) const {
        static const std::string none;
        return choice < options().echoes.size() ? options().echoes[choice] : none;
    }

    std::string part(std::size_t choice, std::string_view text, Json logprobs, Json reason) const {
        return chunk({{"text", text},
                      {"index", choice},
                      {"logprobs", std::move(logprobs)},
                      {"finish_reason", std::move(reason)}});
    }

    Json logprobs(std::span<const Sample> samples, std::size_t offset) const {
        if (!options().logprobs) return {};
        Json tokens = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
        for (const Sample& sample : samples) {
            const std::string text = token_text(tokenizer(), sample.token);
            tokens.push_back(text);
            values.push_back(finite(sample.logprob));
            offsets.push_back(offset);
            offset += characters(text);
            Json top = Json::object();
            for (const auto& other : sample.top) // the better one stays where two look alike
                top.emplace(token_text(tokenizer(), other.token), finite(other.logprob));
            tops.push_back(std::move(top));
        }
        return {{"tokens", std::move(tokens)},
                {"token_logprobs", std::move(values)},
                {"top_logprobs", std::move(tops)},
                {"text_offset", std::move(offsets)}};
    }

    std::vector<std::size_t> offsets_; // characters sent so far, for each choice
};

} // namespace

bool Choice::has_calls() const {
    return std::any_of(calls.begin(), calls.end(), [](const ToolCall& call) { return !call.broken; });
}

std::string random_hex(std::size_t digits) {
    static thread_local std::mt19937_64 random{(std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
    std::string text;
    while (text.size() < digits) text += fmt::format("{:016x}", random());
    text.resize(digits);
    return text;
}

void Usage::add(const engine::Finished& finished, const Choice& choice, bool first_of_its_prompt) {
    reasoning_tokens += choice.reasoning_tokens;
    if (first_of_its_prompt) prompt_tokens += finished.prompt_tokens;
    if (first_of_its_prompt) cached_tokens += finished.cached_tokens;
    processed_tokens += finished.prompt_tokens - std::min(finished.prompt_tokens, finished.cached_tokens);
    completion_tokens += finished.generated_tokens;
    prompt_seconds = std::max(prompt_seconds, finished.timings.prompt);
    generation_seconds = std::max(generation_seconds, finished.timings.generation);
    speculation.add(finished.speculation);
}

Json speculation_json(const decode::SpeculationStats& stats) {
    const auto ratio = [](std::uint64_t part, std::uint64_t whole) {
        return whole > 0 ? std::round(1e4 * static_cast<double>(part) / static_cast<double>(whole)) / 1e4 : 0.0;
    };
    Json by_position = Json::array();
    for (std::size_t i = 0; i < stats.positions && stats.tried_at[i] > 0; ++i) {
        by_position.push_back(ratio(stats.accepted_at[i], stats.tried_at[i]));
    }
    return {{"steps", stats.steps},
            {"drafted", stats.drafted},
            {"accepted", stats.accepted},
            {"accepted_from_lookup", stats.accepted_from_lookup},
            {"acceptance_rate", ratio(stats.accepted, stats.drafted)},
            {"acceptance_by_position", std::move(by_position)},
            {"tokens_per_step", ratio(stats.tokens, stats.steps)}};
}

Json usage_json(const Usage& usage) {
    const double tokens = static_cast<double>(usage.completion_tokens);
    const double rate = usage.generation_seconds > 0 ? tokens / usage.generation_seconds : 0;
    return {{"prompt_tokens", usage.prompt_tokens},
            {"completion_tokens", usage.completion_tokens},
            {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
            {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
            {"completion_tokens_details",
             {{"reasoning_tokens", usage.reasoning_tokens},
              {"accepted_prediction_tokens", usage.speculation.accepted},
              {"rejected_prediction_tokens", usage.speculation.drafted - usage.speculation.accepted}}},
            {"speculation", speculation_json(usage.speculation)},
            {"timings",
             {{"prefill_ms", rounded(1000 * usage.prompt_seconds)},
              {"decode_ms", rounded(1000 * usage.generation_seconds)},
              {"decode_tokens_per_sec", rounded(rate)}}}};
}

Json timings_json(const Usage& usage) {
    const auto pair = [](Json& json, const std::string& name, std::size_t count, double seconds) {
        const double n = static_cast<double>(count);
        json[name + "_n"] = count;
        json[name + "_ms"] = 1000 * seconds;
        json[name + "_per_token_ms"] = count > 0 ? 1000 * seconds / n : 0;
        json[name + "_per_second"] = seconds > 0 ? n / seconds : 0;
    };
    Json json{{"cache_n", usage.cached_tokens}};
    pair(json, "prompt", usage.processed_tokens, usage.prompt_seconds);
    pair(json, "predicted", usage.completion_tokens, usage.generation_seconds);
    json["draft_n"] = usage.speculation.drafted;
    json["draft_n_accepted"] = usage.speculation.accepted;
    return json;
}

std::string token_text(const text::Tokenizer& tokenizer, text::TokenId token) {
    text::Utf8Stream stream;
    std::string text = stream.push(tokenizer.token_bytes(token, true));
    return text += stream.finish();
}

std::unique_ptr<AnswerFormat> chat_format(AnswerIdentity identity, FormatOptions options,
                                          const text::Tokenizer& tokenizer) {
    return std::make_unique<ChatFormat>(std::move(identity), std::move(options), tokenizer);
}

std::unique_ptr<AnswerFormat> completion_format(AnswerIdentity identity, FormatOptions options,
                                                const text::Tokenizer& tokenizer) {
    return std::make_unique<CompletionFormat>(std::move(identity), std::move(options), tokenizer);
}

} // namespace lucebox::server
