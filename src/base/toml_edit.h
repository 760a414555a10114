// Changes one value of a TOML text and leaves every other byte as it is: comments, order, keys that nobody here knows.
//
// Works on lines, so it can only change values that stand on a line of their own; the result is parsed and compared, and a text
// that cannot be changed safely is an error. Pure functions.
#pragma once

#include "base/result.h"

#include <optional>
#include <string>
#include <string_view>

namespace lucebox {

// Sets `key` of [section] to `literal` (TOML, as it is to stand in the file), or takes the key out if there is none.
Result<std::string> edit_toml(std::string_view text, std::string_view section, std::string_view key,
                              const std::optional<std::string>& literal);

// What [section] says of `key`, as a person would write it; nothing if it says nothing. What is no single value reads as "...".
Result<std::optional<std::string>> toml_value(std::string_view text, std::string_view section, std::string_view key);

std::string toml_string(std::string_view text); // quoted and escaped

} // namespace lucebox
