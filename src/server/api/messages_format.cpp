// Answers in the dialect of Anthropic's Messages.
#include "server/api/answer_format.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::server {

namespace {

using engine::FinishReason;
using Kind = text::OutputEvent::Kind;

// Clients hand it back with the thought and check only that it is there.
constexpr const char* kSignature = "bHVjZWJveA==";

std::string event(const char* type, Json data) {
    Json json{{"type", type}};
    json.update(data);
    return fmt::format("event: {}\ndata: {}\n\n", type, to_text(json));
}

std::string_view stop_reason(const Choice& choice) {
    if (choice.reason == FinishReason::length) return "max_tokens";
    if (choice.has_calls()) return "tool_use";
    return choice.stop_string ? "stop_sequence" : "end_turn";
}

Json usage_of(std::size_t prompt, std::size_t cached, std::size_t output) {
    return {{"input_tokens", prompt - std::min(prompt, cached)},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", cached},
            {"output_tokens", output}};
}

class MessagesFormat final : public AnswerFormat {
public:
    MessagesFormat(AnswerIdentity identity, FormatOptions options) : identity_(std::move(identity)), options_(std::move(options)) {}

    std::string open() override {
        Json message = shell();
        message["content"] = Json::array();
        message["stop_reason"] = Json();
        message["stop_sequence"] = Json();
        message["usage"] = usage_of(options_.prompt_tokens, 0, 0);
        return event("message_start", {{"message", std::move(message)}}) + event("ping", Json::object());
    }
    std::string begin(std::size_t) override { return ""; }

    std::string piece(std::size_t, const Choice& so_far, const text::OutputEvent& given, std::span<const decode::Sample>) override {
        switch (given.kind) {
        case Kind::reasoning:
            if (options_.hides_reasoning) return "";
            return in_block(Block::thinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}},
                            {{"type", "thinking_delta"}, {"thinking", given.text}});
        case Kind::content:
            return in_block(Block::text, {{"type", "text"}, {"text", ""}}, {{"type", "text_delta"}, {"text", given.text}});
        case Kind::call_begin:
            return in_block(Block::call, {{"type", "tool_use"}, {"id", so_far.calls[given.call].id}, {"name", given.text}, {"input", Json::object()}}, Json());
        case Kind::call_arguments: return delta({{"type", "input_json_delta"}, {"partial_json", given.text}});
        case Kind::call_end: return stop_block();
        case Kind::call_broken: break;
        }
        return "";
    }
    std::string end(std::size_t, const Choice&) override { return stop_block(); }

    std::string close(std::span<const Choice> choices, const Usage& usage) override {
        const Choice& choice = choices.front();
        return event("message_delta", {{"delta", {{"stop_reason", stop_reason(choice)}, {"stop_sequence", stop_sequence(choice)}}}, {"usage", usage_json_of(usage)}}) +
               event("message_stop", Json::object());
    }
    std::string failure(const ApiError& error) override {
        return "event: error\ndata: " + anthropic_error_json(error, options_.request_id) + "\n\n";
    }
    std::string heartbeat() override { return event("ping", Json::object()); }

    std::string whole(std::span<const Choice> choices, const Usage& usage) override {
        const Choice& choice = choices.front();
        Json content = Json::array();
        if (!choice.reasoning.empty() && !options_.hides_reasoning)
            content.push_back({{"type", "thinking"}, {"thinking", choice.reasoning}, {"signature", kSignature}});
        if (!choice.text.empty()) content.push_back({{"type", "text"}, {"text", choice.text}});
        for (const ToolCall& call : choice.calls) {
            if (call.broken) continue;
            const Json input = Json::parse(call.arguments, nullptr, false);
            content.push_back({{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", input.is_object() ? input : Json::object()}});
        }
        Json message = shell();
        message["content"] = std::move(content);
        message["stop_reason"] = stop_reason(choice);
        message["stop_sequence"] = stop_sequence(choice);
        message["usage"] = usage_json_of(usage);
        return to_text(message);
    }
    std::string_view call_prefix() const override { return "toolu_"; }

private:
    enum class Block { none, thinking, text, call };

    Json shell() const { return {{"id", identity_.id}, {"type", "message"}, {"role", "assistant"}, {"model", identity_.model}}; }

    static Json stop_sequence(const Choice& choice) {
        return choice.stop_string && stop_reason(choice) == "stop_sequence" ? Json(*choice.stop_string) : Json();
    }
    static Json usage_json_of(const Usage& usage) {
        Json json = usage_of(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens);
        json["timings"] = usage_json(usage)["timings"];
        return json;
    }

    // Each part of a stream changes what the next one says, so parts are made one behind the other.
    std::string in_block(Block block, Json start, Json grows) {
        std::string text;
        if (block_ != block || block == Block::call) {
            text = stop_block();
            block_ = block;
            text += event("content_block_start", {{"index", index_}, {"content_block", std::move(start)}});
        }
        if (!grows.is_null()) text += delta(std::move(grows));
        return text;
    }
    std::string delta(Json what) const { return event("content_block_delta", {{"index", index_}, {"delta", std::move(what)}}); }
    std::string stop_block() {
        if (block_ == Block::none) return "";
        std::string text;
        if (block_ == Block::thinking) text = delta({{"type", "signature_delta"}, {"signature", kSignature}});
        block_ = Block::none;
        text += event("content_block_stop", {{"index", index_++}});
        return text;
    }

    const AnswerIdentity identity_;
    const FormatOptions options_;
    Block block_ = Block::none;
    std::size_t index_ = 0;
};

} // namespace

std::unique_ptr<AnswerFormat> messages_format(AnswerIdentity identity, FormatOptions options, const text::Tokenizer&) {
    return std::make_unique<MessagesFormat>(std::move(identity), std::move(options));
}

} // namespace lucebox::server
