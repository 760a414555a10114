// What a client must be told to find this server, client by client.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lucebox::app {

struct ServerFacts {
    std::string base;        // http://host:port
    std::string model;       // as the server lists it; most clients may call it by any name
    std::string key;         // a placeholder where none is needed: most clients refuse to start without one
    std::size_t context = 0; // tokens
};

using Variables = std::vector<std::pair<std::string, std::string>>;
Variables claude_variables(const ServerFacts& server);

// Codex's `-c key=value`, one for each setting. `models`: the file with the server's list.
std::vector<std::string> codex_settings(const ServerFacts& server, const std::string& models);
constexpr std::string_view codex_key_variable = "LUCEBOX_API_KEY";

struct ClientSettings {
    std::string text;  // to be read and pasted, with what to do with it
    std::string file;  // where it belongs, if it is a file of its own: relative to the folder one works in
    std::string content; // of that file
};
Result<ClientSettings> settings_for(std::string_view client, const ServerFacts& server);

// Fewer tokens than the client's own prompt and a little work take; empty: enough.
std::string context_warning(std::string_view client, const ServerFacts& server);

std::string shell_quoted(std::string_view text); // 'it'\''s'; plain words as they are

} // namespace lucebox::app
