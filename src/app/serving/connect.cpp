// lucebox connect CLIENT: the settings with which a client finds this server, to paste or written to their file.
// lucebox claude, lucebox codex: the client itself, started with them.
#include "app/commands.h"
#include "app/serving/client_settings.h"
#include "app/serving/server_client.h"
#include "base/file.h"
#include "base/log.h"
#include "hub/settings.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <unistd.h>

namespace lucebox::app {
namespace {

constexpr const char* placeholder_key = "sk-lucebox";

Error wrong_answer(const ServerClient& client, const Reply& reply) {
    const std::string what = fmt::format("{} answers with status {}", client.url(), reply.status);
    if (reply.status == 401) return {ErrorKind::unavailable, what + ": it wants a key", "--api-key-file, or LUCEBOX_API_KEYS"};
    if (reply.status == 503) return {ErrorKind::unavailable, what + ": the model is still loading", "try again in a moment"};
    return {ErrorKind::unavailable, what + ": is it a Lucebox server?", "name another with --url"};
}

Result<nlohmann::json> answer_of(const ServerClient& client, const std::string& path) {
    LUCEBOX_TRY(const Reply reply, client.ask(path));
    auto json = nlohmann::json::parse(reply.body, nullptr, false);
    if (reply.status != 200 || !json.is_object()) return wrong_answer(client, reply);
    return json;
}

Result<ServerFacts> facts_of(const ServerClient& client) {
    LUCEBOX_TRY(const nlohmann::json models, answer_of(client, "/v1/models"));
    ServerFacts facts;
    facts.base = client.url();
    facts.key = client.key().empty() ? placeholder_key : client.key();
    const auto data = models.find("data");
    if (data == models.end() || !data->is_array() || data->empty() || !(*data)[0].is_object()) return wrong_answer(client, {200, "", 0});
    facts.model = (*data)[0].value("id", "lucebox");
    facts.context = (*data)[0].value("context_length", std::size_t{0});
    return facts;
}

void warn_of_context(std::string_view client, const ServerFacts& facts) {
    if (const std::string warning = context_warning(client, facts); !warning.empty()) log_warning("{}", warning);
}

// Where there is a file already it is somebody's: it is left alone.
Status write_new(const std::string& path, const std::string& content) {
    std::error_code error;
    if (std::filesystem::exists(path, error)) {
        return Error{ErrorKind::io, path + " is there already and was left as it is", "without --write the settings are shown, to be put into it"};
    }
    if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty()) std::filesystem::create_directories(folder, error);
    LUCEBOX_CHECK(write_file_atomically(path, std::as_bytes(std::span(content))));
    fmt::print("{} written\n", path);
    return Ok{};
}

// Becomes the client; comes back only if that fails.
Error become(const std::string& program, const std::vector<std::string>& arguments, const Variables& variables) {
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> values;
    for (std::string& word : words) values.push_back(word.data());
    values.push_back(nullptr);
    std::fflush(nullptr);
    execvp(program.c_str(), values.data());
    return {ErrorKind::not_found, fmt::format("{} cannot be started: {}", program, std::strerror(errno)), "is it installed and on the PATH?"};
}

} // namespace

Status connect(const Invocation& invocation) {
    if (invocation.operands.size() != 1) return Error{ErrorKind::usage, "connect needs the name of one client", "claude, codex, opencode, aider or openwebui"};
    const std::string& client = invocation.operands[0];
    LUCEBOX_CHECK(settings_for(client, {})); // before the server is asked
    LUCEBOX_TRY(const ServerClient server, ServerClient::of(invocation.options));
    LUCEBOX_TRY(ServerFacts facts, facts_of(server));
    if (invocation.options.is_set("shown-url")) facts.base = invocation.options.text("shown-url");
    LUCEBOX_TRY(const ClientSettings settings, settings_for(client, facts));
    warn_of_context(client, facts);
    if (!invocation.options.boolean("write")) {
        fmt::print("{}", settings.text);
        return Ok{};
    }
    if (settings.file.empty()) return Error{ErrorKind::usage, fmt::format("the settings of {} are no file of their own", client), "without --write they are shown"};
    return write_new(settings.file, settings.content);
}

Status claude(const Invocation& invocation) {
    LUCEBOX_TRY(const ServerClient server, ServerClient::of(invocation.options));
    LUCEBOX_TRY(const ServerFacts facts, facts_of(server));
    warn_of_context("claude", facts);
    return become("claude", invocation.operands, claude_variables(facts));
}

Status codex(const Invocation& invocation) {
    LUCEBOX_TRY(const ServerClient server, ServerClient::of(invocation.options));
    LUCEBOX_TRY(const ServerFacts facts, facts_of(server));
    warn_of_context("codex", facts);
    // Codex reads what it should know of a model from a file only.
    LUCEBOX_TRY(const nlohmann::json models, answer_of(server, "/v1/models?client_version=1"));
    const std::filesystem::path folder = hub::hub_settings(process_environment()).cache;
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    const std::filesystem::path list = folder / "codex-models.json";
    const std::string text = models.dump();
    LUCEBOX_CHECK(write_file_atomically(list, std::as_bytes(std::span(text))));
    std::vector<std::string> arguments;
    for (const std::string& setting : codex_settings(facts, std::filesystem::absolute(list).string())) {
        arguments.push_back("-c");
        arguments.push_back(setting);
    }
    arguments.insert(arguments.end(), invocation.operands.begin(), invocation.operands.end());
    return become("codex", arguments, {{std::string(codex_key_variable), facts.key}});
}

} // namespace lucebox::app
