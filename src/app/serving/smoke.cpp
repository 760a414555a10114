// lucebox smoke: asks a running server what a client would, and says whether it answers as one expects.
//
// /props has the fields that tools read; a streamed chat brings text; a forced tool call is made, if the build has
// tools. Nothing is left to chance: the same server passes or fails each time.
#include "app/commands.h"
#include "app/serving/server_client.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace lucebox::app {
namespace {

using Json = nlohmann::json;
constexpr int tool_tries = 3; // a small model may miss at first

struct Finding {
    std::string name, text;
    bool fine = false;
};

Json parse(const std::string& text) {
    return Json::parse(text, nullptr, false);
}

std::string what_failed(const Reply& reply) {
    return fmt::format("status {}: {}", reply.status, reply.body.substr(0, 200));
}

Result<Finding> check_props(const ServerClient& client, bool& tools) {
    LUCEBOX_TRY(const Reply reply, client.ask("/props"));
    const Json props = parse(reply.body);
    if (reply.status != 200 || !props.is_object()) return Finding{"props", what_failed(reply)};
    std::string missing;
    for (const char* key :
         {"default_generation_settings", "model_alias", "model_path", "build_info", "speculative_mode", "runtime"}) {
        if (!props.contains(key)) missing += fmt::format(" {}", key);
    }
    for (const char* key : {"n_ctx", "temperature", "top_p", "top_k", "min_p"}) {
        if (!props.value("default_generation_settings", Json::object()).contains(key))
            missing += fmt::format(" {}", key);
    }
    if (!missing.empty()) return Finding{"props", "lacks" + missing};
    tools = props.value("capabilities", Json::object()).value("tools_supported", false);
    return Finding{"props", props["build_info"].is_string() ? props["build_info"].get<std::string>() : "no build_info",
                   props["build_info"].is_string()};
}

Result<Finding> check_stream(const ServerClient& client) {
    const Json body{{"messages", {{{"role", "user"}, {"content", "Say hello in one short sentence."}}}},
                    {"max_tokens", 32},
                    {"temperature", 0},
                    {"stream", true}};
    LUCEBOX_TRY(const Reply reply, client.ask("/v1/chat/completions", body));
    if (reply.status != 200) return Finding{"chat", what_failed(reply)};
    std::size_t deltas = 0;
    bool done = false;
    std::string text;
    for (std::size_t begin = 0; begin < reply.body.size();) {
        const std::size_t end = std::min(reply.body.find('\n', begin), reply.body.size());
        const std::string line = reply.body.substr(begin, end - begin);
        begin = end + 1;
        if (!line.starts_with("data:")) continue;
        if (line.find("[DONE]") != std::string::npos) done = true;
        const Json event = parse(line.substr(5));
        if (!event.is_object() || !event.contains("choices") || event["choices"].empty()) continue;
        const Json delta = event["choices"][0].value("delta", Json::object());
        if (!delta.contains("content") || !delta["content"].is_string() || delta["content"].get<std::string>().empty())
            continue;
        text += delta["content"].get<std::string>();
        ++deltas;
    }
    return Finding{"chat", fmt::format("{} pieces in {:.1f} s", deltas, reply.seconds), deltas > 0 && done};
}

Result<Finding> check_tool(const ServerClient& client) {
    const Json tool{{"type", "function"},
                    {"function",
                     {{"name", "report_status"},
                      {"description", "Reports whether all is well."},
                      {"parameters",
                       {{"type", "object"},
                        {"properties", {{"ok", {{"type", "boolean"}}}}},
                        {"required", {"ok"}},
                        {"additionalProperties", false}}}}}}; // else a small model goes on inventing arguments
    Json body{{"messages", {{{"role", "user"}, {"content", "Report the status: all is well."}}}},
              {"tools", {tool}},
              {"tool_choice", {{"type", "function"}, {"function", {{"name", "report_status"}}}}},
              {"max_tokens", 128}};
    Reply reply;
    for (int i = 0; i < tool_tries; ++i) {
        body["temperature"] = i == 0 ? 0 : 1;
        body["seed"] = i;
        LUCEBOX_TRY(reply, client.ask("/v1/chat/completions", body));
        const Json answer = parse(reply.body);
        if (reply.status != 200 || !answer.is_object() || !answer.contains("choices") || answer["choices"].empty())
            continue;
        const Json calls = answer["choices"][0].value("message", Json::object()).value("tool_calls", Json::array());
        if (!calls.is_array() || calls.empty() ||
            calls[0].value("function", Json::object()).value("name", "") != "report_status")
            continue;
        if (parse(calls[0]["function"].value("arguments", "")).is_object())
            return Finding{"tool call", fmt::format("made at try {}", i + 1), true};
    }
    return Finding{"tool call", "not made: " + what_failed(reply)};
}

} // namespace

Status smoke(const Invocation& invocation) {
    const Options& options = invocation.options;
    LUCEBOX_TRY(const ServerClient client, ServerClient::of(options));
    bool tools = false;
    std::vector<Finding> findings;
    LUCEBOX_TRY(Finding props, check_props(client, tools));
    findings.push_back(std::move(props));
    LUCEBOX_TRY(Finding stream, check_stream(client));
    findings.push_back(std::move(stream));
    if (tools && options.boolean("tools")) {
        LUCEBOX_TRY(Finding tool, check_tool(client));
        findings.push_back(std::move(tool));
    }
    bool fine = true;
    for (const Finding& finding : findings) {
        fmt::print("{} {:<10} {}\n", finding.fine ? "✓" : "✗", finding.name, finding.text);
        fine = fine && finding.fine;
    }
    if (!tools) fmt::print("  {:<10} not asked for: the server says that it has no tools\n", "tool call");
    fmt::print("{}\n", fine ? "PASS" : "FAIL");
    if (fine) return Ok{};
    return Error{ErrorKind::unavailable, fmt::format("the server at {} does not answer as it should", client.url()),
                 "its log says more"};
}

} // namespace lucebox::app
