// Strings as Python sees them: sequences of code points, here over UTF-8 bytes.
//
// A character is a byte that is not a continuation byte plus the continuation bytes behind it, so that counting,
// indexing and slicing agree with each other on malformed input too. Pure functions; nothing allocates but the appends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lucebox::text::jinja {

using CodePoint = std::uint32_t;

bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view text);

std::size_t count_characters(std::string_view text);
// Bytes of the character that begins at `offset` (< text.size()).
std::size_t character_size(std::string_view text, std::size_t offset);
// Byte offset of the character number `index`; text.size() when there are not so many.
std::size_t byte_offset(std::string_view text, std::size_t index);

// The code point of one character; bytes that are no UTF-8 stand for themselves.
CodePoint decode(std::string_view character);
void append_utf8(std::string& out, CodePoint code_point);

bool is_space(CodePoint code_point);     // str.isspace
bool is_printable(CodePoint code_point); // what repr() writes as it is
bool is_upper(CodePoint code_point);
bool is_lower(CodePoint code_point);
bool is_digit(CodePoint code_point); // ASCII digits
bool is_alpha(CodePoint code_point);
bool is_alphanumeric(CodePoint code_point);
CodePoint upper(CodePoint code_point);
CodePoint lower(CodePoint code_point);

// Whole strings; one-to-one mappings but for the German sharp s and the Turkish dotted I.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text); // first character upper, the rest lower

std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

} // namespace lucebox::text::jinja
