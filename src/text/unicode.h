// Unicode categories of code points, as the regular expressions of pre-tokenizers use them (\p{L}, \p{N}, \p{M}, \s,
// ...).
//
// Tables of Unicode 15.1 in unicode_tables.inc. Pure functions; any thread.
#pragma once

#include <cstdint>

namespace lucebox::text {

// White_Space goes before the general category: tab and newline are `space`, not `other`.
enum class Category : std::uint8_t {
    other,       // C*: control, format, private use, surrogate, unassigned
    upper,       // Lu
    lower,       // Ll
    title,       // Lt
    letter,      // Lm, Lo
    mark,        // M*
    number,      // N*
    punctuation, // P*
    symbol,      // S*
    space,       // White_Space
};

Category category(char32_t code_point); // above U+10FFFF: other

constexpr bool is_letter(Category c) {
    return c >= Category::upper && c <= Category::letter;
}

} // namespace lucebox::text
