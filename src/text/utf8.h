// UTF-8, one character at a time, for bytes that need not be UTF-8.
//
// Never reads past the view it is given, never fails: what is no character is reported as such, with the length of its
// "maximal subpart" (The Unicode Standard, chapter 3, "U+FFFD Substitution of Maximal Subparts"), which is what a
// decoder replaces by one U+FFFD. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lucebox::text {

struct DecodedCharacter {
    enum class Kind : std::uint8_t {
        whole,      // `code_point` is valid
        invalid,    // `bytes` bytes that can never become a character
        unfinished, // the text ends within a character that is valid so far
    };
    char32_t code_point; // U+FFFD unless whole
    std::uint32_t bytes; // 1..4; the part that is there, if unfinished
    Kind kind;
};

// `position` must be less than text.size().
DecodedCharacter decode_utf8_slow(std::string_view text, std::size_t position);

inline DecodedCharacter decode_utf8(std::string_view text, std::size_t position) {
    const auto lead = static_cast<unsigned char>(text[position]);
    if (lead < 0x80) return {lead, 1, DecodedCharacter::Kind::whole};
    return decode_utf8_slow(text, position);
}

// `code_point` must be a Unicode scalar value.
void append_utf8(std::string& out, char32_t code_point);

} // namespace lucebox::text
