// Anthropic's Messages as a chat request.
#include "server/api/dialects.h"

#include "server/api/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lucebox::server {

namespace {

constexpr const char* kNoImage = "[image omitted]";

std::string text_of(const Json& block) {
    const auto text = block.find("text");
    return text != block.end() && text->is_string() ? text->get<std::string>() : "";
}

std::string type_of(const Json& block) {
    if (!block.is_object()) return "";
    const auto type = block.find("type");
    return type != block.end() && type->is_string() ? type->get<std::string>() : "";
}

// A result may be text, blocks, or nothing.
std::string result_text(const Json& block) {
    std::string text;
    const auto content = block.find("content");
    if (content != block.end() && content->is_string()) text = *content;
    if (content != block.end() && content->is_array()) {
        for (const Json& part : *content) {
            const std::string type = type_of(part);
            if (type == "text") text += text_of(part);
            else if (type == "image") text += kNoImage;
            else if (type == "tool_reference") text += part.value("tool_name", "");
        }
    }
    if (const auto failed = block.find("is_error"); failed != block.end() && *failed == true) text = "Error: " + text;
    return text;
}

class MessagesReader {
public:
    explicit MessagesReader(const Json& body) : fields_(body), body_(body) {}

    Answer<Json> run(bool counts) {
        copy({"model", "stream", "temperature", "top_p", "top_k", "thinking", "seed", "chat_template_kwargs"});
        if (const auto most = fields_.integer("max_tokens", 1, INT32_MAX)) out_["max_tokens"] = *most;
        else if (!counts) fields_.refuse("max_tokens", "max_tokens is missing.");
        if (const auto stops = fields_.strings("stop_sequences", 64); !stops.empty()) out_["stop"] = stops;
        refuse_thread();
        read_system();
        read_messages();
        read_tools();
        read_tool_choice();
        read_format();
        if (fields_.error()) return *fields_.error();
        return std::move(out_);
    }

private:
    void copy(std::initializer_list<const char*> names) {
        for (const char* name : names)
            if (const Json* value = fields_.any(name)) out_[name] = *value;
    }

    // {"type":"create"} or {"type":"continue"}: only the newest messages would follow.
    void refuse_thread() {
        if (fields_.object("thread") == nullptr) return;
        ApiError error = unsupported_field("thread", "This server holds no message threads; send the whole conversation, without \"thread\".");
        error.code = threads_unsupported_code;
        fields_.fail(error);
    }

    void read_system() {
        const Json* system = fields_.any("system");
        std::string text;
        const auto add = [&](std::string block) {
            if (!text.empty() && !block.empty()) text += "\n\n";
            text += block;
        };
        if (system != nullptr && system->is_string()) add(*system);
        else if (system != nullptr && system->is_array())
            for (const Json& block : *system) add(block.is_object() ? text_of(block) : "");
        else if (system != nullptr)
            return fields_.refuse("system", "system must be a string or an array of text blocks.");
        out_["messages"] = Json::array();
        if (!text.empty()) out_["messages"].push_back({{"role", "system"}, {"content", text}});
    }

    void read_messages() {
        const Json* messages = fields_.array("messages", 65'536);
        if (messages == nullptr || messages->empty()) return fields_.refuse("messages", "messages must be a list with at least one message.");
        // Thoughts are kept inside the loop of calls that is going on: behind the last text of the user.
        std::size_t last_text = 0;
        for (std::size_t i = 0; i < messages->size(); ++i) {
            const Json& message = (*messages)[i];
            if (!message.is_object() || message.value("role", Json()) != "user") continue;
            const auto content = message.find("content");
            const bool is_text = content != message.end() && (content->is_string() || (content->is_array() && std::any_of(content->begin(), content->end(), [](const Json& block) { return type_of(block) == "text"; })));
            if (is_text) last_text = i;
        }
        for (std::size_t i = 0; i < messages->size() && !fields_.error(); ++i) {
            const Json& message = (*messages)[i];
            const std::string path = fmt::format("messages[{}]", i);
            Fields inner(message, path + ".");
            const std::string role = inner.string("role").value_or("");
            if (inner.error()) return fields_.fail(*inner.error());
            const Json* content = inner.any("content");
            if (content == nullptr || (!content->is_string() && !content->is_array()))
                return fields_.refuse(path + ".content", path + ".content must be a string or an array of blocks.");
            if (role == "user") read_user(*content, path);
            else if (role == "assistant") read_assistant(*content, i > last_text);
            else if (role == "system") out_["messages"].push_back({{"role", "system"}, {"content", joined(*content)}});
            else return fields_.refuse(path + ".role", fmt::format("{}.role must be \"user\" or \"assistant\".", path));
        }
        if (fields_.error() || out_["messages"].empty()) return;
        // An answer that the client has begun is gone on with.
        Json& last = out_["messages"].back();
        if (last["role"] != "assistant" || last.contains("tool_calls")) return;
        std::string begun = last.value("content", "");
        begun.erase(begun.find_last_not_of(" \t\r\n") + 1);
        out_["messages"].erase(out_["messages"].size() - 1);
        if (!begun.empty()) out_["prefill"] = begun;
    }

    static std::string joined(const Json& content) {
        if (content.is_string()) return content;
        std::string text;
        for (const Json& block : content)
            if (type_of(block) == "text") text += text_of(block);
        return text;
    }

    void read_user(const Json& content, const std::string& path) {
        Json& messages = out_["messages"];
        if (content.is_string()) {
            messages.push_back({{"role", "user"}, {"content", content}});
            return;
        }
        std::string text;
        bool has_text = false;
        const auto flush = [&] {
            if (has_text) messages.push_back({{"role", "user"}, {"content", text}});
            text.clear();
            has_text = false;
        };
        for (std::size_t i = 0; i < content.size(); ++i) {
            const Json& block = content[i];
            const std::string type = type_of(block);
            if (type == "text") {
                text += text_of(block);
                has_text = true;
            } else if (type == "tool_result") {
                flush();
                Json message{{"role", "tool"}, {"tool_call_id", block.value("tool_use_id", "")}, {"content", result_text(block)}};
                if (const auto name = names_.find(block.value("tool_use_id", "")); name != names_.end()) message["name"] = name->second;
                messages.push_back(std::move(message));
            } else if (type == "document" && block.contains("source") && block["source"].is_object() && block["source"].value("type", "") == "text") {
                text += block["source"].value("data", "");
                has_text = true;
            } else if (type == "image" || type == "document") {
                return fields_.fail(unsupported_field(fmt::format("{}.content[{}]", path, i), fmt::format("unsupported content part: this model reads text, not \"{}\".", type)));
            } // what is unknown is passed over
        }
        flush();
        if (content.empty()) messages.push_back({{"role", "user"}, {"content", ""}});
    }

    void read_assistant(const Json& content, bool keeps_thoughts) {
        Json message{{"role", "assistant"}, {"content", ""}};
        if (content.is_string()) {
            message["content"] = content;
        } else {
            std::string text, thought;
            for (const Json& block : content) {
                const std::string type = type_of(block);
                if (type == "text") text += text_of(block);
                if (type == "thinking" && keeps_thoughts && block.contains("thinking") && block["thinking"].is_string()) thought += block["thinking"];
                if (type != "tool_use") continue;
                const std::string id = block.value("id", ""), name = block.value("name", "");
                names_[id] = name;
                message["tool_calls"].push_back({{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", block.contains("input") && block["input"].is_object() ? block["input"] : Json::object()}}}});
            }
            message["content"] = text;
            if (!thought.empty()) message["reasoning_content"] = thought;
        }
        out_["messages"].push_back(std::move(message));
    }

    void read_tools() {
        const Json* tools = fields_.array("tools", 1024);
        if (tools == nullptr) return;
        for (const Json& tool : *tools) {
            if (!tool.is_object() || !tool.contains("input_schema")) continue; // a tool of Anthropic's own servers
            Json function{{"name", tool.value("name", Json())}};
            if (tool.contains("description")) function["description"] = tool["description"];
            function["parameters"] = tool["input_schema"];
            out_["tools"].push_back({{"type", "function"}, {"function", std::move(function)}});
        }
    }

    void read_tool_choice() {
        const Json* choice = fields_.object("tool_choice");
        if (choice == nullptr) return;
        Fields inner(*choice, "tool_choice.");
        const std::string type = inner.string("type").value_or("");
        if (type == "any") out_["tool_choice"] = "required";
        else if (type == "tool") out_["tool_choice"] = {{"type", "function"}, {"function", {{"name", inner.string("name").value_or("")}}}};
        else if (type == "auto" || type == "none") out_["tool_choice"] = type;
        else inner.refuse("type", "tool_choice.type must be auto, any, tool or none.");
        if (inner.boolean("disable_parallel_tool_use").value_or(false)) out_["parallel_tool_calls"] = false;
        if (inner.error()) fields_.fail(*inner.error());
        if (!out_.contains("tools")) out_.erase("tool_choice");
    }

    void read_format() {
        const Json* format = fields_.object("output_format");
        if (const Json* config = fields_.object("output_config"); format == nullptr && config != nullptr && config->contains("format")) format = &(*config)["format"];
        if (format != nullptr && format->is_object()) out_["response_format"] = *format;
        if (const Json* config = fields_.object("output_config"); config != nullptr && config->contains("effort") && (*config)["effort"].is_string() && !body_.contains("thinking"))
            out_["reasoning_effort"] = (*config)["effort"];
    }

    Fields fields_;
    const Json& body_;
    Json out_ = Json::object();
    std::unordered_map<std::string, std::string> names_; // of tools, by the id of their call
};

} // namespace

std::vector<std::string> ignored_in_messages(const Json& body) {
    static constexpr auto read = std::to_array<std::string_view>(
        {"model", "messages", "max_tokens", "stream", "system", "temperature", "top_p", "top_k", "thinking", "seed", "chat_template_kwargs",
         "stop_sequences", "tools", "tool_choice", "output_format", "output_config", "thread"});
    auto ignored = ignored_fields(body, read);
    if (const auto tools = body.find("tools"); tools != body.end() && tools->is_array())
        for (const Json& tool : *tools)
            if (tool.is_object() && !tool.contains("input_schema")) ignored.push_back("tools." + type_of(tool));
    return ignored;
}

Answer<Json> chat_body_of_messages(const Json& body, bool counts) {
    try {
        return MessagesReader(body).run(counts);
    } catch (const Json::exception&) { // a field of another type than every client sends
        return bad_field("messages", "The messages hold a block whose fields have wrong types.");
    }
}

} // namespace lucebox::server
