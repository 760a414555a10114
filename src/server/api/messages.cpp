#include "server/api/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lucebox::server {

namespace {

// A closed list: some templates build a control token from the role ('<|' + role + '|>').
constexpr std::array<std::string_view, 6> kRoles{"system", "developer", "user", "assistant", "tool", "function"};

std::string joined_parts(Fields& fields, const Json& parts, const std::string& path) {
    std::string text;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const std::string part_path = fmt::format("{}[{}].", path, i);
        Fields part(parts[i], part_path);
        const std::string type = part.string("type").value_or("");
        if (!part.error() && type != "text" && type != "input_text" && type != "output_text" && type != "refusal")
            part.fail(unsupported_field(
                part.path("type"), fmt::format("unsupported content part: this model reads text, not \"{}\".", type)));
        const auto piece = part.string(type == "refusal" ? "refusal" : "text");
        if (!piece) part.refuse("text", fmt::format("{}text is missing.", part_path));
        text += piece.value_or("");
        if (part.error()) {
            fields.fail(*part.error());
            break;
        }
    }
    return text;
}

std::string read_content(Fields& fields, Fields& message, bool required) {
    const Json* content = message.any("content");
    if (content == nullptr) {
        if (required) message.refuse("content", fmt::format("{} is missing.", message.path("content")));
        return "";
    }
    if (content->is_string()) return content->get<std::string>();
    if (content->is_array()) return joined_parts(fields, *content, message.path("content"));
    message.refuse("content", fmt::format("{} must be a string or an array of parts.", message.path("content")));
    return "";
}

// Clients send arguments as the text of an object; templates want the object. What is no object stays text.
Json read_tool_calls(Fields& fields, const Json& calls, const std::string& path) {
    Json result = Json::array();
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const std::string call_path = fmt::format("{}[{}].", path, i);
        Fields call(calls[i], call_path);
        const Json* function = call.object("function");
        if (function == nullptr) call.refuse("function", fmt::format("{}function is missing.", call_path));
        if (call.error()) {
            fields.fail(*call.error());
            return {};
        }
        Fields inner(*function, call_path + "function.");
        if (!inner.string("name")) inner.refuse("name", fmt::format("{}function.name is missing.", call_path));
        Json copy = calls[i];
        Json& arguments = copy["function"]["arguments"];
        if (arguments.is_null()) arguments = Json::object();
        if (!arguments.is_object() && !arguments.is_string())
            inner.refuse("arguments", fmt::format("{}function.arguments must be a string.", call_path));
        if (inner.error()) {
            fields.fail(*inner.error());
            return {};
        }
        if (arguments.is_string()) {
            auto parsed = parse_json(arguments.get_ref<const std::string&>());
            if (const Json* object = std::get_if<Json>(&parsed); object != nullptr && object->is_object())
                arguments = Json(*object);
        }
        result.push_back(std::move(copy));
    }
    return result;
}

Json read_message(Fields& fields, const Json& given, const std::string& path) {
    Fields message(given, path + ".");
    const auto role = message.string("role");
    if (!role) message.refuse("role", fmt::format("{}.role is missing.", path));
    if (role && std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end())
        message.refuse("role", fmt::format("{}.role must be system, developer, user, assistant, tool or function, not "
                                           "\"{}\".",
                                           path, *role));
    const std::string content = read_content(fields, message, role != "assistant");
    const Json* calls = message.array("tool_calls", 1024);
    for (const char* name : {"name", "tool_call_id", "reasoning_content"})
        static_cast<void>(message.string(name));
    if (message.error()) {
        fields.fail(*message.error());
        return {};
    }
    Json result = Json::object();
    for (const auto& [key, value] : given.items())
        if (!value.is_null()) result[key] = value;
    result["content"] = content;
    if (calls != nullptr && calls->empty()) result.erase("tool_calls");
    if (calls != nullptr && !calls->empty())
        result["tool_calls"] = read_tool_calls(fields, *calls, path + ".tool_calls");
    return result;
}

Json read_tool(Fields& fields, const Json& given, const std::string& path) {
    Fields tool(given, path + ".");
    const std::string type = tool.string("type").value_or("function");
    if (!tool.error() && type != "function")
        tool.fail(unsupported_field(tool.path("type"), fmt::format("Tools of type \"{}\" are not supported.", type)));
    const Json* function = tool.object("function");
    Fields inner(function != nullptr ? *function : given, path + (function != nullptr ? ".function." : "."));
    const auto name = inner.string("name");
    if (!name || name->empty()) inner.refuse("name", fmt::format("{} is missing.", inner.path("name")));
    static_cast<void>(inner.string("description"));
    static_cast<void>(inner.object("parameters"));
    const Json* schema = inner.object("input_schema");
    if (tool.error()) fields.fail(*tool.error());
    if (inner.error()) fields.fail(*inner.error());
    if (fields.error() || function != nullptr) return given;

    Json flat = Json::object();
    for (const auto& [key, value] : given.items())
        if (key != "type" && key != "input_schema") flat[key] = value;
    if (schema != nullptr) flat["parameters"] = *schema;
    return {{"type", "function"}, {"function", flat}};
}

// Whether the model may see the tools at all.
bool tools_are_wanted(Fields& fields) {
    const Json* choice = fields.any("tool_choice");
    if (choice == nullptr) return true;
    if (choice->is_object()) return true;
    const std::string word = choice->is_string() ? choice->get<std::string>() : "";
    if (word != "auto" && word != "none" && word != "required" && word != "any")
        fields.refuse("tool_choice", "tool_choice must be \"auto\", \"none\", \"required\" or an object.");
    return word != "none";
}

} // namespace

Json read_messages(Fields& fields, std::size_t most) {
    const Json* messages = fields.array("messages", most);
    if (messages == nullptr || messages->empty()) {
        fields.refuse("messages", messages == nullptr ? "messages is missing." : "messages is empty.");
        return {};
    }
    Json result = Json::array();
    for (std::size_t i = 0; i < messages->size() && !fields.error(); ++i)
        result.push_back(read_message(fields, (*messages)[i], fmt::format("messages[{}]", i)));
    return result;
}

Json read_tools(Fields& fields, std::size_t most) {
    const bool wanted = tools_are_wanted(fields);
    const Json* tools = fields.array("tools", most);
    if (tools == nullptr || tools->empty()) return {};
    Json result = Json::array();
    for (std::size_t i = 0; i < tools->size() && !fields.error(); ++i)
        result.push_back(read_tool(fields, (*tools)[i], fmt::format("tools[{}]", i)));
    return wanted ? result : Json();
}

} // namespace lucebox::server
