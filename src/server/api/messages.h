// The conversation and the tools of a request, brought into the one shape that chat templates expect.
//
// Content becomes a string (text parts joined), null fields vanish, arguments of tool calls become objects, and flat or
// Anthropic-style tools become OpenAI's nested ones. Everything else a message holds is kept: templates may use it.
#pragma once

#include "server/api/json.h"

namespace lucebox::server {

// On an error, `fields` knows it and the result is of no use.
Json read_messages(Fields& fields, std::size_t most);
Json read_tools(Fields& fields, std::size_t most); // null: none, or tool_choice "none"

} // namespace lucebox::server
