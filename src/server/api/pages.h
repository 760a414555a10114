// The web pages, from web/*.html: each one file that loads nothing else.
#pragma once

#include <string_view>

namespace lucebox::server {

extern const std::string_view chat_page, status_page;

} // namespace lucebox::server
