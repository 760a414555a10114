// Any text as a model's output, written as a stream in each dialect: every event is whole, named as its data and JSON on one
// line, and what a client puts together of the pieces is what the model said.
#include "api_fakes.h"
#include "server/api/answer_format.h"

#include <cstdlib>

namespace lucebox::server {
namespace {

using Kind = text::OutputEvent::Kind;

void use(bool condition) {
    if (!condition) std::abort();
}

struct Said {
    std::string content, reasoning;
    std::vector<std::string> arguments;
};

std::vector<Json> events_of(std::string_view stream, bool named) {
    std::vector<Json> events;
    while (!stream.empty()) {
        const std::size_t end = stream.find("\n\n");
        use(end != std::string_view::npos);
        std::string_view event = stream.substr(0, end);
        stream.remove_prefix(end + 2);
        if (event.starts_with(":")) continue;
        std::string_view name;
        if (named) {
            use(event.starts_with("event: "));
            const std::size_t line = event.find('\n');
            use(line != std::string_view::npos);
            name = event.substr(7, line - 7);
            event.remove_prefix(line + 1);
        }
        use(event.starts_with("data: ") && event.find_first_of("\r\n") == std::string_view::npos);
        if (event == "data: [DONE]") {
            use(!named && stream.empty());
            continue;
        }
        Json data = Json::parse(event.substr(6), nullptr, false);
        use(!data.is_discarded());
        use(!named || data["type"] == name);
        events.push_back(std::move(data));
    }
    return events;
}

// Chat and text completions.
Said put_together(const std::vector<Json>& events, bool is_chat) {
    Said said;
    for (const Json& event : events) {
        if (event["choices"].empty()) continue;
        const Json& choice = event["choices"][0];
        if (!is_chat) {
            said.content += choice["text"].get<std::string>();
            continue;
        }
        const Json& delta = choice["delta"];
        if (delta.contains("content") && delta["content"].is_string()) said.content += delta["content"].get<std::string>();
        if (delta.contains("reasoning_content")) said.reasoning += delta["reasoning_content"].get<std::string>();
        if (!delta.contains("tool_calls")) continue;
        for (const Json& call : delta["tool_calls"]) {
            const auto index = call["index"].get<std::size_t>();
            use(index <= said.arguments.size());
            if (index == said.arguments.size()) {
                use(call.contains("id") && call["function"].contains("name"));
                said.arguments.emplace_back();
            }
            said.arguments[index] += call["function"].value("arguments", "");
        }
    }
    return said;
}

// Blocks come one behind the other, each opened, filled and closed.
Said put_together_messages(const std::vector<Json>& events) {
    Said said;
    std::size_t next = 0;
    bool is_open = false;
    use(!events.empty() && events.front()["type"] == "message_start" && events.back()["type"] == "message_stop");
    for (const Json& event : events) {
        const std::string type = event["type"];
        if (type == "content_block_start") {
            use(!is_open && event["index"] == next);
            is_open = true;
            if (event["content_block"]["type"] == "tool_use") said.arguments.emplace_back();
        } else if (type == "content_block_delta") {
            use(is_open && event["index"] == next);
            const Json& delta = event["delta"];
            if (delta["type"] == "text_delta") said.content += delta["text"].get<std::string>();
            if (delta["type"] == "thinking_delta") said.reasoning += delta["thinking"].get<std::string>();
            if (delta["type"] == "input_json_delta") said.arguments.back() += delta["partial_json"].get<std::string>();
        } else if (type == "content_block_stop") {
            use(is_open && event["index"] == next++);
            is_open = false;
        }
    }
    use(!is_open);
    return said;
}

Said put_together_responses(const std::vector<Json>& events) {
    Said said;
    std::size_t sequence = 0, items = 0;
    for (const Json& event : events) {
        use(event["sequence_number"] == sequence++);
        const std::string type = event["type"];
        if (type == "response.output_item.added") use(event["output_index"] == items++);
        if (event.contains("output_index")) use(event["output_index"].get<std::size_t>() < items);
        if (type == "response.output_text.delta") said.content += event["delta"].get<std::string>();
        if (type == "response.reasoning_summary_text.delta") said.reasoning += event["delta"].get<std::string>();
        if (type == "response.output_item.done" && event["item"]["type"] == "function_call") said.arguments.push_back(event["item"]["arguments"]);
    }
    use(!events.empty() && (events.back()["type"] == "response.completed" || events.back()["type"] == "response.incomplete"));
    return said;
}

struct Dialect {
    std::unique_ptr<AnswerFormat> (*make)(AnswerIdentity, FormatOptions, const text::Tokenizer&);
    bool named;
};
constexpr Dialect dialects[] = {{chat_format, false}, {completion_format, false}, {messages_format, true}, {responses_format, true}};

void run(std::size_t which, std::string_view text, std::size_t piece, bool fails) {
    static const text::ToolSet tools(Json::parse(R"([{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{"type":"string"}}}}},{"type":"function","function":{"name":"g"}}])"));
    static const text::ToolSet none{Json()};
    static const FakeTokenizer tokenizer;
    const bool is_completion = which == 1;
    FormatOptions options;
    options.include_usage = true;
    const auto make = [&] { return dialects[which].make({"id_1", 1, "a \"model\"\n", "print"}, options, tokenizer); };
    const auto format = make();
    Choice choice;
    std::string stream = format->open();
    stream += format->begin(0);
    const auto take = [&](std::vector<text::OutputEvent>& events) {
        for (text::OutputEvent& event : events) {
            if (event.kind == Kind::call_broken) {
                choice.calls[event.call].broken = true;
                event.kind = Kind::content;
            }
            if (event.kind == Kind::reasoning) choice.reasoning += event.text;
            if (event.kind == Kind::content) choice.text += event.text;
            if (event.kind == Kind::call_begin) choice.calls.push_back({"call_" + std::to_string(event.call), event.text, "", false});
            if (event.kind == Kind::call_arguments) choice.calls[event.call].arguments += event.text;
            stream += format->piece(0, choice, event, {});
            if (fails) break;
        }
    };
    text::OutputParser parser(is_completion ? text::ReasoningMarkers{"", "", false} : text::ReasoningMarkers{}, is_completion ? none : tools, false);
    text::Utf8Stream utf8; // the engine gives whole characters
    std::vector<text::OutputEvent> events;
    for (std::size_t at = 0; at < text.size(); at += piece) {
        parser.push(utf8.push(text.substr(at, piece)), events);
        take(events);
        events.clear();
        if (fails) break;
    }
    if (fails) { // in the midst of it: what came before is whole, and the failure is an event like others
        for (const Json& event : events_of(stream + format->failure(bad_field("", "It \"broke\"\n\ndata: x")), dialects[which].named)) use(event.is_object());
        return;
    }
    parser.push(utf8.finish(), events);
    parser.finish(true, events);
    take(events);
    const std::span<const Choice> choices(&choice, 1);
    stream += format->end(0, choice);
    stream += format->close(choices, {});
    const auto list = events_of(stream, dialects[which].named);
    const Said said = which == 2 ? put_together_messages(list) : which == 3 ? put_together_responses(list) : put_together(list, which == 0);
    use(said.content == choice.text && said.reasoning == choice.reasoning);
    for (std::size_t i = 0, whole = 0; i < choice.calls.size(); ++i) {
        if (choice.calls[i].broken) continue;
        const std::size_t at = which == 3 ? whole++ : i; // items that were never done are left out there
        use(at < said.arguments.size() && Json::parse(said.arguments[at], nullptr, false) == Json::parse(choice.calls[i].arguments, nullptr, false));
    }
    use(Json::accept(make()->whole(choices, {})));
}

} // namespace
} // namespace lucebox::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0 || size > 600) return 0; // a byte a piece makes thousands of events of four dialects
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    for (std::size_t which = 0; which < 4; ++which) lucebox::server::run(which, text, 1 + data[0] % 16, data[0] >= 224);
    return 0;
}
