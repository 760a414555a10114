// OpenAI's Responses as a chat request, and the conversations that previous_response_id refers to.
#include "server/api/dialects.h"

#include "server/api/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lucebox::server {

namespace {

std::string string_of(const Json& object, const char* name) {
    const auto at = object.find(name);
    return at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

// Text, a list of parts, or something that is shown as it is.
std::string output_text(const Json& item) {
    const auto output = item.find("output");
    if (output == item.end()) return "";
    if (output->is_string()) return *output;
    if (!output->is_array()) return to_text(*output);
    std::string text;
    for (const Json& part : *output) {
        const bool is_text = part.is_object() && part.contains("text") && part["text"].is_string();
        text += is_text ? part["text"].get<std::string>() : "[omitted]";
    }
    return text;
}

class ResponsesReader {
public:
    ResponsesReader(const Json& body, const Json& before) : fields_(body), before_(before) {}

    Answer<ResponsesInput> run() {
        copy({"model", "stream", "temperature", "top_p", "parallel_tool_calls", "seed", "chat_template_kwargs", "top_k", "min_p"});
        if (const auto most = fields_.integer("max_output_tokens", 1, INT32_MAX)) out_.body["max_tokens"] = *most;
        out_.stores = fields_.boolean("store").value_or(true);
        if (const Json* reasoning = fields_.object("reasoning"); reasoning && !string_of(*reasoning, "effort").empty())
            out_.body["reasoning"] = {{"effort", string_of(*reasoning, "effort")}};
        out_.conversation = before_.is_array() ? before_ : Json::array();
        read_input();
        read_tools();
        read_tool_choice();
        if (const Json* text = fields_.object("text"); text && text->contains("format") && (*text)["format"].is_object())
            out_.body["response_format"] = (*text)["format"];
        if (fields_.error()) return *fields_.error();
        finish_messages();
        return std::move(out_);
    }

private:
    void copy(std::initializer_list<const char*> names) {
        for (const char* name : names)
            if (const Json* value = fields_.any(name)) out_.body[name] = *value;
    }

    void read_input() {
        const Json* input = fields_.any("input");
        if (input == nullptr) return;
        if (input->is_string()) {
            out_.conversation.push_back({{"role", "user"}, {"content", *input}});
            return;
        }
        if (!input->is_array()) return fields_.refuse("input", "input must be a string or an array of items.");
        for (std::size_t i = 0; i < input->size(); ++i) {
            const Json& item = (*input)[i];
            if (!item.is_object()) return fields_.refuse(fmt::format("input[{}]", i), "Items of input must be objects.");
            read_item(item);
        }
    }

    void read_item(const Json& item) {
        const std::string type = item.contains("type") ? string_of(item, "type") : "message";
        Json& messages = out_.conversation;
        if (type == "message") {
            Json message{{"role", string_of(item, "role")}, {"content", item.contains("content") ? item["content"] : Json("")}};
            if (!thought_.empty() && message["role"] == "assistant") message["reasoning_content"] = thought_;
            thought_.clear();
            messages.push_back(std::move(message));
        } else if (type == "function_call" || type == "custom_tool_call") {
            Json arguments = item.contains("arguments") ? item["arguments"] : Json("{}");
            if (type == "custom_tool_call") arguments = Json{{"input", string_of(item, "input")}};
            add_call({{"id", string_of(item, "call_id")}, {"type", "function"}, {"function", {{"name", string_of(item, "name")}, {"arguments", std::move(arguments)}}}});
        } else if (type == "function_call_output" || type == "custom_tool_call_output") {
            Json message{{"role", "tool"}, {"tool_call_id", string_of(item, "call_id")}, {"content", output_text(item)}};
            if (const auto name = names_.find(string_of(item, "call_id")); name != names_.end()) message["name"] = name->second;
            messages.push_back(std::move(message));
        } else if (type == "reasoning") {
            const char* holder = item.contains("content") && item["content"].is_array() && !item["content"].empty() ? "content" : "summary";
            if (!item.contains(holder) || !item[holder].is_array()) return;
            for (const Json& part : item[holder])
                if (part.is_object()) thought_ += string_of(part, "text");
        } // items of tools that only other servers run are passed over
    }

    // Calls belong to the assistant's message in front of them.
    void add_call(Json call) {
        Json& messages = out_.conversation;
        names_[call["id"]] = call["function"]["name"];
        if (messages.empty() || messages.back()["role"] != "assistant") messages.push_back({{"role", "assistant"}, {"content", ""}});
        if (!thought_.empty()) messages.back()["reasoning_content"] = thought_;
        thought_.clear();
        messages.back()["tool_calls"].push_back(std::move(call));
    }

    void add_tool(const Json& tool) {
        if (!tool.is_object()) return;
        const std::string type = string_of(tool, "type");
        if (type == "namespace" && tool.contains("tools") && tool["tools"].is_array()) {
            for (const Json& inner : tool["tools"])
                if (string_of(inner, "type") != "namespace") add_tool(inner);
        } else if (type == "function") {
            Json function = Json::object();
            const Json& given = tool.contains("function") && tool["function"].is_object() ? tool["function"] : tool;
            for (const char* name : {"name", "description", "parameters"})
                if (given.contains(name) && !given[name].is_null()) function[name] = given[name];
            out_.body["tools"].push_back({{"type", "function"}, {"function", std::move(function)}});
        } else if (type == "custom") {
            const std::string name = string_of(tool, "name");
            out_.free_tools.insert(name);
            out_.body["tools"].push_back({{"type", "function"},
                                          {"function",
                                           {{"name", name},
                                            {"description", string_of(tool, "description")},
                                            {"parameters",
                                             {{"type", "object"}, {"properties", {{"input", {{"type", "string"}}}}}, {"required", Json::array({"input"})}}}}}});
        } // web_search and the like: nobody here can run them
    }

    void read_tools() {
        const Json* tools = fields_.array("tools", 1024);
        if (tools == nullptr) return;
        for (const Json& tool : *tools) add_tool(tool);
    }

    void read_tool_choice() {
        const Json* choice = fields_.any("tool_choice");
        if (choice == nullptr || !out_.body.contains("tools")) return;
        if (choice->is_string()) {
            out_.body["tool_choice"] = *choice;
        } else if (choice->is_object() && !string_of(*choice, "name").empty()) {
            out_.body["tool_choice"] = {{"type", "function"}, {"function", {{"name", string_of(*choice, "name")}}}};
        }
    }

    // One system message in front: instructions, then what the conversation holds of them.
    void finish_messages() {
        std::string system = fields_.string("instructions").value_or("");
        Json messages = Json::array();
        for (const Json& message : out_.conversation) {
            const bool is_system = message["role"] == "system" || message["role"] == "developer";
            if (!is_system) {
                messages.push_back(message);
                continue;
            }
            std::string text;
            if (message["content"].is_string()) text = message["content"];
            if (message["content"].is_array())
                for (const Json& part : message["content"])
                    if (part.is_object()) text += string_of(part, "text");
            if (!system.empty() && !text.empty()) system += "\n\n";
            system += text;
        }
        if (messages.empty()) messages.push_back({{"role", "user"}, {"content", ""}}); // a probe
        if (!system.empty()) messages.insert(messages.begin(), Json{{"role", "system"}, {"content", system}});
        out_.body["messages"] = std::move(messages);
    }

    Fields fields_;
    const Json& before_;
    ResponsesInput out_{Json::object(), Json::array(), {}, true};
    std::string thought_; // that belongs to the next message
    std::unordered_map<std::string, std::string> names_;
};

} // namespace

std::vector<std::string> ignored_in_responses(const Json& body) {
    static constexpr auto read = std::to_array<std::string_view>(
        {"model", "input", "instructions", "stream", "temperature", "top_p", "top_k", "min_p", "seed", "chat_template_kwargs", "max_output_tokens",
         "store", "reasoning", "text", "tools", "tool_choice", "parallel_tool_calls", "previous_response_id", "metadata"});
    auto ignored = ignored_fields(body, read);
    if (const auto tools = body.find("tools"); tools != body.end() && tools->is_array())
        for (const Json& tool : *tools) {
            const std::string type = tool.is_object() ? string_of(tool, "type") : "";
            if (type != "function" && type != "custom" && type != "namespace") ignored.push_back("tools." + type);
        }
    return ignored;
}

Answer<ResponsesInput> chat_body_of_responses(const Json& body, const Json& before) {
    try {
        return ResponsesReader(body, before).run();
    } catch (const Json::exception&) {
        return bad_field("input", "The input holds an item whose fields have wrong types.");
    }
}

void ResponseStore::put(const std::string& id, Json conversation) {
    const std::size_t bytes = to_text(conversation).size() + 256;
    if (bytes > most_bytes_) return;
    const std::lock_guard lock(mutex_);
    entries_.push_front({id, std::move(conversation), bytes});
    by_id_[id] = entries_.begin();
    bytes_ += bytes;
    while (entries_.size() > most_entries_ || bytes_ > most_bytes_) {
        bytes_ -= entries_.back().bytes;
        by_id_.erase(entries_.back().id);
        entries_.pop_back();
    }
}

std::optional<Json> ResponseStore::get(const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto at = by_id_.find(id);
    if (at == by_id_.end()) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, at->second);
    return at->second->conversation;
}

} // namespace lucebox::server
