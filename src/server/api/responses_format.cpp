// Answers in the dialect of OpenAI's Responses: items that open, grow and close, each event with its number.
#include "server/api/answer_format.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::server {

namespace {

using engine::FinishReason;
using Kind = text::OutputEvent::Kind;

class ResponsesFormat final : public AnswerFormat {
public:
    ResponsesFormat(AnswerIdentity identity, FormatOptions options) : identity_(std::move(identity)), options_(std::move(options)) {}

    std::string open() override {
        // Events are numbered as they are made: one behind the other, everywhere in here.
        std::string text = event("response.created", {{"response", response("in_progress")}});
        text += event("response.in_progress", {{"response", response("in_progress")}});
        return text;
    }
    std::string begin(std::size_t) override { return ""; }

    std::string piece(std::size_t, const Choice& so_far, const text::OutputEvent& given, std::span<const decode::Sample>) override {
        switch (given.kind) {
        case Kind::reasoning:
            if (options_.hides_reasoning) return "";
            return grow(Item::reasoning, "response.reasoning_summary_text.delta", "summary_index", given.text);
        case Kind::content: return grow(Item::message, "response.output_text.delta", "content_index", given.text);
        case Kind::call_begin: {
            std::string text = leave_item();
            const ToolCall& call = so_far.calls[given.call];
            is_free_ = is_free(given.text);
            item_ = Item::call;
            current_ = call_item(call, "in_progress");
            text += added();
            return text;
        }
        case Kind::call_arguments:
            text_ += given.text;
            if (is_free_) return ""; // its text is known when the JSON around it is whole
            return event("response.function_call_arguments.delta", {{"item_id", current_["id"]}, {"output_index", index()}, {"delta", given.text}});
        case Kind::call_end: return end_item("completed");
        case Kind::call_broken: break;
        }
        return "";
    }
    std::string end(std::size_t, const Choice& choice) override { return choice.reason == FinishReason::length ? end_item("incomplete") : leave_item(); }

    std::string close(std::span<const Choice> choices, const Usage& usage) override {
        const bool cut = choices.front().reason == FinishReason::length;
        return event(cut ? "response.incomplete" : "response.completed", {{"response", finished(choices.front(), output_, usage)}});
    }
    std::string failure(const ApiError& error) override {
        Json failed = response("failed");
        failed["error"] = {{"code", error.code.empty() ? "server_error" : error.code}, {"message", error.message}};
        failed["output"] = output_;
        return event("response.failed", {{"response", std::move(failed)}});
    }

    std::string whole(std::span<const Choice> choices, const Usage& usage) override {
        const Choice& choice = choices.front();
        const char* status = choice.reason == FinishReason::length ? "incomplete" : "completed";
        Json output = Json::array();
        if (!choice.reasoning.empty() && !options_.hides_reasoning) output.push_back(reasoning_item(choice.reasoning, status));
        if (!choice.text.empty() || !choice.has_calls()) output.push_back(message_item(choice.text, status));
        for (const ToolCall& call : choice.calls)
            if (!call.broken) output.push_back(call_item(call, "completed"));
        return to_text(finished(choice, output, usage));
    }

private:
    enum class Item { none, reasoning, message, call };

    bool is_free(const std::string& tool) const {
        const auto tools = options_.request.find("free_tools");
        return tools != options_.request.end() && std::find(tools->begin(), tools->end(), tool) != tools->end();
    }

    std::string event(const char* type, Json data) {
        Json json{{"type", type}, {"sequence_number", sequence_++}};
        json.update(data);
        return fmt::format("event: {}\ndata: {}\n\n", type, to_text(json));
    }

    // What every answer repeats of its request; typed clients want all of these keys.
    Json response(const char* status) const {
        Json json{{"id", identity_.id}, {"object", "response"}, {"created_at", identity_.created}, {"status", status},
                  {"background", false}, {"error", Json()}, {"incomplete_details", Json()}, {"model", identity_.model}, {"output", Json::array()}};
        const auto echo = [&](const char* name, Json otherwise) {
            const auto given = options_.request.find(name);
            json[name] = given != options_.request.end() && !given->is_null() ? *given : std::move(otherwise);
        };
        echo("instructions", Json());
        echo("max_output_tokens", Json());
        echo("metadata", Json::object());
        echo("parallel_tool_calls", true);
        echo("previous_response_id", Json());
        echo("reasoning", {{"effort", Json()}, {"summary", Json()}});
        echo("store", true);
        echo("temperature", 1.0);
        echo("text", {{"format", {{"type", "text"}}}});
        echo("tool_choice", "auto");
        echo("tools", Json::array());
        echo("top_p", 1.0);
        echo("truncation", "disabled");
        json["usage"] = Json();
        return json;
    }

    Json finished(const Choice& choice, const Json& output, const Usage& usage) const {
        const bool cut = choice.reason == FinishReason::length;
        Json json = response(cut ? "incomplete" : "completed");
        if (cut) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
        json["output"] = output;
        json["output_text"] = choice.text;
        json["usage"] = {{"input_tokens", usage.prompt_tokens},
                         {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                         {"output_tokens", usage.completion_tokens},
                         {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
                         {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
        return json;
    }

    static Json text_part(const std::string& text) {
        return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
    }
    static Json message_item(const std::string& text, const char* status) {
        return {{"id", "msg_" + random_hex(24)}, {"type", "message"}, {"status", status}, {"role", "assistant"}, {"content", Json::array({text_part(text)})}};
    }
    static Json reasoning_item(const std::string& text, const char* status) {
        return {{"id", "rs_" + random_hex(24)}, {"type", "reasoning"}, {"status", status}, {"summary", Json::array({{{"type", "summary_text"}, {"text", text}}})}};
    }
    Json call_item(const ToolCall& call, const char* status) const {
        if (!is_free(call.name))
            return {{"id", "fc_" + random_hex(24)}, {"type", "function_call"}, {"status", status}, {"call_id", call.id}, {"name", call.name}, {"arguments", call.arguments}};
        return {{"id", "ctc_" + random_hex(24)}, {"type", "custom_tool_call"}, {"status", status}, {"call_id", call.id}, {"name", call.name}, {"input", free_text(call.arguments)}};
    }
    static std::string free_text(const std::string& arguments) {
        const Json json = Json::parse(arguments, nullptr, false);
        return json.is_object() && json.contains("input") && json["input"].is_string() ? json["input"].get<std::string>() : "";
    }

    std::string added() { return event("response.output_item.added", {{"output_index", index()}, {"item", current_}}); }

    std::string in_item(Item item) {
        if (item_ == item) return "";
        std::string text = leave_item();
        item_ = item;
        if (item == Item::reasoning) {
            current_ = reasoning_item("", "in_progress");
            current_["summary"] = Json::array();
            text += added();
            return text += event("response.reasoning_summary_part.added", {{"item_id", current_["id"]}, {"output_index", index()}, {"summary_index", 0}, {"part", {{"type", "summary_text"}, {"text", ""}}}});
        }
        current_ = message_item("", "in_progress");
        current_["content"] = Json::array();
        text += added();
        return text += event("response.content_part.added", {{"item_id", current_["id"]}, {"output_index", index()}, {"content_index", 0}, {"part", text_part("")}});
    }

    std::string grow(Item item, const char* type, const char* part, const std::string& text) {
        std::string events = in_item(item);
        text_ += text;
        Json data{{"item_id", current_["id"]}, {"output_index", index()}, {part, 0}, {"delta", text}};
        if (item_ == Item::message) data["logprobs"] = Json::array();
        return events += event(type, std::move(data));
    }

    std::size_t index() const { return output_.size() + abandoned_; }

    // A call that comes to no end is never "done": clients would run it. What the model wrote of it comes as text.
    std::string leave_item() {
        if (item_ != Item::call) return end_item("completed");
        ++abandoned_;
        text_.clear();
        item_ = Item::none;
        return "";
    }

    std::string end_item(const char* status) {
        if (item_ == Item::none) return "";
        std::string events;
        const Json place{{"item_id", current_["id"]}, {"output_index", index()}};
        const auto with = [&](Json more) {
            Json json = place;
            json.update(more);
            return json;
        };
        current_["status"] = status;
        if (item_ == Item::message) {
            current_["content"] = Json::array({text_part(text_)});
            events = event("response.output_text.done", with({{"content_index", 0}, {"text", text_}, {"logprobs", Json::array()}}));
            events += event("response.content_part.done", with({{"content_index", 0}, {"part", text_part(text_)}}));
        } else if (item_ == Item::reasoning) {
            const Json part{{"type", "summary_text"}, {"text", text_}};
            current_["summary"] = Json::array({part});
            events = event("response.reasoning_summary_text.done", with({{"summary_index", 0}, {"text", text_}}));
            events += event("response.reasoning_summary_part.done", with({{"summary_index", 0}, {"part", part}}));
        } else if (is_free_) {
            const std::string input = free_text(text_);
            current_["input"] = input;
            events = event("response.custom_tool_call_input.delta", with({{"delta", input}}));
            events += event("response.custom_tool_call_input.done", with({{"input", input}}));
        } else {
            current_["arguments"] = text_;
            events = event("response.function_call_arguments.done", with({{"name", current_["name"]}, {"arguments", text_}}));
        }
        events += event("response.output_item.done", {{"output_index", index()}, {"item", current_}});
        output_.push_back(std::move(current_));
        text_.clear();
        item_ = Item::none;
        return events;
    }

    const AnswerIdentity identity_;
    const FormatOptions options_;
    std::size_t sequence_ = 0;
    std::size_t abandoned_ = 0; // items that were begun and are not in output_
    Item item_ = Item::none;
    bool is_free_ = false;
    Json current_, output_ = Json::array();
    std::string text_; // of the current item
};

} // namespace

std::unique_ptr<AnswerFormat> responses_format(AnswerIdentity identity, FormatOptions options, const text::Tokenizer&) {
    return std::make_unique<ResponsesFormat>(std::move(identity), std::move(options));
}

} // namespace lucebox::server
