#include "app/serving/client_settings.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view any_name = "lucebox"; // for clients that don't look into the list of models

// Kept for an answer: an eighth of the context, within what agents ask for.
std::size_t answer_tokens(std::size_t context) { return std::clamp<std::size_t>(context / 8, 1024, 32'000); }

std::string exports(const Variables& variables) {
    std::string text;
    for (const auto& [name, value] : variables) text += fmt::format("export {}={}\n", name, shell_quoted(value));
    return text;
}

ClientSettings claude(const ServerFacts& server) {
    Json env = Json::object();
    for (const auto& [name, value] : claude_variables(server)) env[name] = value;
    ClientSettings settings;
    settings.file = ".claude/settings.local.json";
    settings.content = Json{{"env", env}}.dump(2) + "\n";
    settings.text = "# Claude Code: in the shell that starts it (or: lucebox claude)\n" + exports(claude_variables(server));
    return settings;
}

ClientSettings codex(const ServerFacts& server) {
    ClientSettings settings;
    const std::string authorization = fmt::format("-H 'Authorization: Bearer {}' ", server.key);
    settings.text = "# Codex: in ~/.codex/config.toml (or: lucebox codex)\n" +
                    fmt::format("model = {}\nmodel_provider = \"lucebox\"\n"
                                "model_catalog_json = \"~/.codex/lucebox-models.json\" # else Codex does not know the model; write the whole path\n\n"
                                "[model_providers.lucebox]\nname = \"Lucebox\"\nbase_url = \"{}/v1\"\nenv_key = \"{}\"\nwire_api = \"responses\"\n",
                                Json(server.model).dump(), server.base, codex_key_variable) +
                    fmt::format("\n# and in the shell that starts it\nexport {}={}\ncurl -s {}'{}/v1/models?client_version=1' > ~/.codex/lucebox-models.json\n",
                                codex_key_variable, shell_quoted(server.key), authorization, server.base);
    return settings;
}

ClientSettings opencode(const ServerFacts& server) {
    const std::string name = fmt::format("lucebox/{}", any_name);
    const Json limits{{"context", server.context}, {"output", answer_tokens(server.context)}};
    const Json provider{{"npm", "@ai-sdk/openai-compatible"},
                        {"name", "Lucebox"},
                        {"options", {{"baseURL", server.base + "/v1"}, {"apiKey", server.key}, {"timeout", 600'000}, {"chunkTimeout", 60'000}}},
                        {"models", {{any_name, {{"name", server.model}, {"limit", limits}}}}}};
    const Json whole{{"$schema", "https://opencode.ai/config.json"}, {"model", name}, {"small_model", name}, {"provider", {{"lucebox", provider}}}};
    ClientSettings settings;
    settings.file = "opencode.json";
    settings.content = whole.dump(2) + "\n";
    settings.text = "// OpenCode: opencode.json in the project's folder\n" + settings.content;
    return settings;
}

ClientSettings aider(const ServerFacts& server) {
    const std::string name = fmt::format("openai/{}", any_name);
    const Json facts{{"max_input_tokens", server.context}, {"max_output_tokens", answer_tokens(server.context)}, {"input_cost_per_token", 0},
                     {"output_cost_per_token", 0},         {"litellm_provider", "openai"},                      {"mode", "chat"}};
    ClientSettings settings;
    settings.file = ".aider.model.metadata.json";
    settings.content = Json{{name, facts}}.dump(2) + "\n";
    settings.text = "# aider: in the shell that starts it\n" + exports({{"OPENAI_API_BASE", server.base + "/v1"}, {"OPENAI_API_KEY", server.key}}) +
                    fmt::format("aider --model {0} --weak-model {0}\n\n# .aider.model.metadata.json beside the code, so that it knows the context\n{1}", name, settings.content);
    return settings;
}

ClientSettings openwebui(const ServerFacts& server) {
    const std::size_t colon = server.base.rfind(':');
    const std::string port = colon > 5 && colon != std::string::npos ? server.base.substr(colon + 1) : "80";
    ClientSettings settings;
    settings.text = fmt::format("# Open WebUI in a container, with this server on the same machine\n"
                                "docker run -p 3000:8080 --add-host=host.docker.internal:host-gateway \\\n"
                                "  -e OPENAI_API_BASE_URL=http://host.docker.internal:{}/v1 -e OPENAI_API_KEY={} -e ENABLE_OLLAMA_API=False \\\n"
                                "  ghcr.io/open-webui/open-webui:main\n"
                                "# A server that listens on 127.0.0.1 is not seen from a container: start it with --host, --api-key-file and\n"
                                "# --allowed-hosts host.docker.internal.\n",
                                port, shell_quoted(server.key));
    return settings;
}

} // namespace

std::string shell_quoted(std::string_view text) {
    const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("_-./:@%+=").find(c) != std::string_view::npos;
    });
    if (plain) return std::string(text);
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    return quoted + "'";
}

// Claude Code asks for models of several names; here all are this one. It takes a model that it does not know for one with
// a very large context, and would not make room in time.
Variables claude_variables(const ServerFacts& server) {
    const std::string model(any_name);
    Variables variables{{"ANTHROPIC_BASE_URL", server.base},
                        {"ANTHROPIC_AUTH_TOKEN", server.key},
                        {"ANTHROPIC_MODEL", model},
                        {"ANTHROPIC_DEFAULT_OPUS_MODEL", model},
                        {"ANTHROPIC_DEFAULT_SONNET_MODEL", model},
                        {"ANTHROPIC_DEFAULT_HAIKU_MODEL", model},
                        {"CLAUDE_CODE_ATTRIBUTION_HEADER", "0"},
                        {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"},
                        {"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1"}};
    variables.emplace_back("CLAUDE_CODE_MAX_CONTEXT_TOKENS", std::to_string(server.context));
    variables.emplace_back("CLAUDE_CODE_MAX_OUTPUT_TOKENS", std::to_string(answer_tokens(server.context)));
    return variables;
}

std::vector<std::string> codex_settings(const ServerFacts& server, const std::string& models) {
    const auto quoted = [](const std::string& text) { return Json(text).dump(); }; // a TOML string, too
    return {"model=" + quoted(server.model), "model_provider=\"lucebox\"", "model_catalog_json=" + quoted(models),
            fmt::format("model_providers.lucebox={{name=\"Lucebox\",base_url={},env_key=\"{}\",wire_api=\"responses\"}}", quoted(server.base + "/v1"), codex_key_variable)};
}

Result<ClientSettings> settings_for(std::string_view client, const ServerFacts& server) {
    if (client == "claude") return claude(server);
    if (client == "codex") return codex(server);
    if (client == "opencode") return opencode(server);
    if (client == "aider") return aider(server);
    if (client == "openwebui") return openwebui(server);
    return Error{ErrorKind::usage, fmt::format("no settings are known for \"{}\"", client), "claude, codex, opencode, aider or openwebui"};
}

std::string context_warning(std::string_view client, const ServerFacts& server) {
    const std::size_t wanted = client == "claude" || client == "opencode" ? 65'536 : client == "codex" ? 32'768 : 0;
    if (server.context >= wanted) return "";
    return fmt::format("the server's context is {} tokens; {} wants {} or more (lucebox serve --context)", server.context, client, wanted);
}

} // namespace lucebox::app
