// Python's string methods as plain functions over views, shared by filters and methods. They pay for what they scan.
#pragma once

#include "text/jinja/operators.h"

#include <string_view>
#include <vector>

namespace lucebox::text::jinja {

// Linear in the text, whatever the needle. npos if there is none.
std::size_t find_text(Runtime& runtime, std::string_view text, std::string_view needle, std::size_t from = 0);
std::size_t find_last_text(Runtime& runtime, std::string_view text, std::string_view needle);

// A string argument; anything else is refused, naming what wanted it.
std::string_view string_argument(const Value& value, std::string_view who);
// Markup takes what isn't markup in escaped.
std::string_view text_for(Runtime& runtime, const Value& receiver, const Value& argument, std::string_view who);

// Which ends of a text are meant.
enum class Sides : std::uint8_t { left, right, both };

// `chars`: a set of characters; none or missing for whitespace.
std::string_view strip(Runtime& runtime, std::string_view text, const Value& chars, Sides sides);
std::vector<std::string_view> split(Runtime& runtime, std::string_view text, const Value& separator,
                                    std::int64_t limit);
std::vector<std::string_view> split_from_right(Runtime& runtime, std::string_view text, const Value& separator,
                                               std::int64_t limit);
std::vector<std::string_view> split_lines(Runtime& runtime, std::string_view text, bool keep_ends);
// `limit` < 0: all of them.
std::string replace(Runtime& runtime, std::string_view text, std::string_view from, std::string_view to,
                    std::int64_t limit);
// Fills up to `width` characters: on which sides the text gets padding. Both: the odd one goes where Python puts it.
std::string pad(Runtime& runtime, const Value& text, std::int64_t width, std::string_view fill, Sides sides);
std::string title_case(std::string_view text); // str.title

// The numbers that int() and float() read from a text; none if it holds none.
std::optional<std::int64_t> parse_integer(std::string_view text, int base);
std::optional<double> parse_real(std::string_view text);

} // namespace lucebox::text::jinja
