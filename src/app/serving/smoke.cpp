// lucebox smoke: asks a running server what a client would, and says whether it answers as one expects.
//
// /props has the fields that tools read; a streamed chat brings text; a forced tool call is made, if the build has
// tools.
#include "app/commands.h"
#include "app/serving/api_keys.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <chrono>
#include <memory>

namespace lucebox::app {
namespace {

using Json = nlohmann::json;
constexpr std::size_t most_bytes = 16u << 20;
constexpr int tool_tries = 3; // a small model may miss at first

struct Reply {
    long status = 0;
    std::string body;
    double seconds = 0;
};

class Client {
public:
    Client(std::string url, std::string key, std::chrono::milliseconds timeout)
        : url_(std::move(url)), key_(std::move(key)), timeout_(timeout) {
        while (url_.ends_with('/'))
            url_.pop_back();
    }

    // GET when `body` is null.
    Result<Reply> ask(const std::string& path, const Json& body = nullptr) const {
        const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
        if (!curl) return Error{ErrorKind::internal, "no HTTP client could be made"};
        Reply reply;
        const std::string address = url_ + path, text = body.is_null() ? "" : body.dump();
        curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
        if (!key_.empty()) list = curl_slist_append(list, ("Authorization: Bearer " + key_).c_str());
        const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(list, curl_slist_free_all);
        curl_easy_setopt(curl.get(), CURLOPT_URL, address.c_str());
        curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_.count()));
        curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
        if (!body.is_null()) curl_easy_setopt(curl.get(), CURLOPT_COPYPOSTFIELDS, text.c_str());
        curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &reply.body);
        curl_easy_setopt(
            curl.get(), CURLOPT_WRITEFUNCTION,
            +[](char* data, std::size_t size, std::size_t count, void* out) -> std::size_t {
                auto& text_so_far = *static_cast<std::string*>(out);
                if (text_so_far.size() + size * count > most_bytes) return 0;
                text_so_far.append(data, size * count);
                return size * count;
            });
        const auto begin = std::chrono::steady_clock::now();
        if (const CURLcode code = curl_easy_perform(curl.get()); code != CURLE_OK) {
            return Error{ErrorKind::unavailable, fmt::format("{}: {}", address, curl_easy_strerror(code)),
                         "is the server running? lucebox serve, or name another with --url"};
        }
        reply.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &reply.status);
        return reply;
    }

private:
    std::string url_, key_;
    std::chrono::milliseconds timeout_;
};

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

Result<Finding> check_props(const Client& client, bool& tools) {
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

Result<Finding> check_stream(const Client& client) {
    const Json body{{"messages", {{{"role", "user"}, {"content", "Say hello in one short sentence."}}}},
                    {"max_tokens", 32},
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

Result<Finding> check_tool(const Client& client) {
    const Json tool{{"type", "function"},
                    {"function",
                     {{"name", "report_status"},
                      {"description", "Reports whether all is well."},
                      {"parameters",
                       {{"type", "object"},
                        {"properties", {{"ok", {{"type", "boolean"}}}}},
                        {"required", {"ok"}},
                        {"additionalProperties", false}}}}}}; // else a small model goes on inventing arguments
    const Json body{{"messages", {{{"role", "user"}, {"content", "Report the status: all is well."}}}},
                    {"tools", {tool}},
                    {"tool_choice", {{"type", "function"}, {"function", {{"name", "report_status"}}}}},
                    {"max_tokens", 128}};
    Reply reply;
    for (int i = 0; i < tool_tries; ++i) {
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
    LUCEBOX_TRY(const std::vector<std::string> keys, api_keys(options));
    const std::string url =
        options.is_set("url") ? options.text("url") : fmt::format("http://127.0.0.1:{}", options.integer("port"));
    const Client client(url, keys.empty() ? "" : keys.front(), options.duration("timeout"));
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
    return Error{ErrorKind::unavailable, fmt::format("the server at {} does not answer as it should", url),
                 "its log says more"};
}

} // namespace lucebox::app
