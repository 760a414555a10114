// Template source to syntax tree.
#pragma once

#include "text/jinja/syntax.h"

#include <initializer_list>
#include <memory>
#include <string_view>

namespace lucebox::text::jinja {

// Chat templates are some 20 KB at most; the limit keeps the cost of a hostile one in milliseconds.
inline constexpr std::size_t max_source_bytes = 256 * 1024;

// Throws Failure with the line and what was expected there.
std::unique_ptr<Template> parse_template(std::string_view source);

} // namespace lucebox::text::jinja
