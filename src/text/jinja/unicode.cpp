#include "text/jinja/unicode.h"

#include "text/jinja/unicode_tables.h"
#include "text/unicode.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace lucebox::text::jinja {
namespace {

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0u) == 0x80u; }

template <std::size_t N>
CodePoint map_case(const CaseRange (&ranges)[N], CodePoint code_point) {
    const auto* range = std::upper_bound(std::begin(ranges), std::end(ranges), code_point,
                                         [](CodePoint value, const CaseRange& r) { return value < r.first; });
    if (range == std::begin(ranges)) return code_point;
    --range;
    if (code_point > range->last || (code_point - range->first) % range->stride != 0) return code_point;
    return static_cast<CodePoint>(static_cast<std::int64_t>(code_point) + range->delta);
}

// The length that the lead byte promises; 0 for a byte that can't lead.
std::size_t promised_length(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead < 0xE0) return 2;
    if (lead >= 0xE0 && lead < 0xF0) return 3;
    if (lead >= 0xF0 && lead < 0xF5) return 4;
    return 0;
}

template <class Map>
std::string map_characters(std::string_view text, Map map) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = character_size(text, i);
        map(out, text.substr(i, size), i == 0);
        i += size;
    }
    return out;
}

void append_upper(std::string& out, std::string_view character) {
    const CodePoint c = decode(character);
    const CodePoint mapped = upper(c);
    if (c == 0xDF) {
        out += "SS";
    } else if (mapped == c) {
        out += character;
    } else {
        append_utf8(out, mapped);
    }
}

void append_lower(std::string& out, std::string_view character) {
    const CodePoint c = decode(character);
    const CodePoint mapped = lower(c);
    if (c == 0x130) { // capital I with a dot: small i, dot above
        out += "i\xCC\x87";
    } else if (mapped == c) {
        out += character;
    } else {
        append_utf8(out, mapped);
    }
}

} // namespace

bool is_ascii(std::string_view text) {
    std::size_t i = 0;
    for (; i + 8 <= text.size(); i += 8) {
        std::uint64_t word;
        std::memcpy(&word, text.data() + i, 8);
        if (word & 0x8080808080808080u) return false;
    }
    for (; i < text.size(); ++i) {
        if (static_cast<unsigned char>(text[i]) >= 0x80) return false;
    }
    return true;
}

bool is_valid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const std::size_t size = promised_length(lead);
        if (size == 0 || i + size > text.size()) return false;
        for (std::size_t k = 1; k < size; ++k) {
            if (!is_continuation(text[i + k])) return false;
        }
        if (size > 2) { // overlong forms, surrogates, and what lies beyond U+10FFFF
            const auto second = static_cast<unsigned char>(text[i + 1]);
            if (lead == 0xE0 && second < 0xA0) return false;
            if (lead == 0xED && second > 0x9F) return false;
            if (lead == 0xF0 && second < 0x90) return false;
            if (lead == 0xF4 && second > 0x8F) return false;
        }
        i += size;
    }
    return true;
}

std::size_t count_characters(std::string_view text) {
    // The first byte counts whatever it is, as character_size() takes it.
    std::size_t count = !text.empty() && is_continuation(text[0]) ? 1 : 0;
    for (const char byte : text) count += is_continuation(byte) ? 0 : 1;
    return count;
}

std::size_t character_size(std::string_view text, std::size_t offset) {
    std::size_t end = offset + 1;
    while (end < text.size() && is_continuation(text[end])) ++end;
    return end - offset;
}

std::size_t byte_offset(std::string_view text, std::size_t index) {
    std::size_t offset = 0;
    while (index > 0 && offset < text.size()) {
        offset += character_size(text, offset);
        --index;
    }
    return offset;
}

CodePoint decode(std::string_view character) {
    const auto byte = [&](std::size_t i) { return static_cast<CodePoint>(static_cast<unsigned char>(character[i])); };
    if (character.empty()) return 0;
    if (character.size() == 2) return ((byte(0) & 0x1Fu) << 6) | (byte(1) & 0x3Fu);
    if (character.size() == 3) return ((byte(0) & 0x0Fu) << 12) | ((byte(1) & 0x3Fu) << 6) | (byte(2) & 0x3Fu);
    if (character.size() == 4) {
        return ((byte(0) & 0x07u) << 18) | ((byte(1) & 0x3Fu) << 12) | ((byte(2) & 0x3Fu) << 6) | (byte(3) & 0x3Fu);
    }
    return byte(0);
}

void append_utf8(std::string& out, CodePoint c) {
    const auto put = [&](CodePoint byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0u | (c >> 6));
        put(0x80u | (c & 0x3Fu));
    } else if (c < 0x10000) {
        put(0xE0u | (c >> 12));
        put(0x80u | ((c >> 6) & 0x3Fu));
        put(0x80u | (c & 0x3Fu));
    } else {
        put(0xF0u | ((c >> 18) & 0x07u));
        put(0x80u | ((c >> 12) & 0x3Fu));
        put(0x80u | ((c >> 6) & 0x3Fu));
        put(0x80u | (c & 0x3Fu));
    }
}

bool is_space(CodePoint c) {
    if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_printable(CodePoint c) {
    if (c < 0x80) return c >= 0x20 && c < 0x7F;
    const Category kind = category(c);
    return kind != Category::other && kind != Category::space;
}

bool is_digit(CodePoint c) { return c >= '0' && c <= '9'; }

bool is_upper(CodePoint c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z';
    return category(c) == Category::upper;
}

bool is_lower(CodePoint c) {
    if (c < 0x80) return c >= 'a' && c <= 'z';
    return category(c) == Category::lower;
}

bool is_alpha(CodePoint c) {
    if (c < 0x80) return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return is_letter(category(c));
}

bool is_alphanumeric(CodePoint c) { return is_digit(c) || is_alpha(c) || (c >= 0x80 && category(c) == Category::number); }

CodePoint upper(CodePoint c) {
    if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
    return map_case(to_upper_ranges, c);
}

CodePoint lower(CodePoint c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return map_case(to_lower_ranges, c);
}

std::string to_upper(std::string_view text) {
    return map_characters(text, [](std::string& out, std::string_view c, bool) { append_upper(out, c); });
}

std::string to_lower(std::string_view text) {
    return map_characters(text, [](std::string& out, std::string_view c, bool) { append_lower(out, c); });
}

std::string capitalize(std::string_view text) {
    return map_characters(text, [](std::string& out, std::string_view c, bool first) {
        first ? append_upper(out, c) : append_lower(out, c);
    });
}

std::string_view strip_left(std::string_view text) {
    while (!text.empty()) {
        const std::size_t size = character_size(text, 0);
        if (!is_space(decode(text.substr(0, size)))) break;
        text.remove_prefix(size);
    }
    return text;
}

std::string_view strip_right(std::string_view text) {
    while (!text.empty()) {
        std::size_t begin = text.size() - 1;
        while (begin > 0 && is_continuation(text[begin])) --begin;
        if (!is_space(decode(text.substr(begin)))) break;
        text.remove_suffix(text.size() - begin);
    }
    return text;
}

} // namespace lucebox::text::jinja
