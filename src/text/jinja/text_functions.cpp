#include "text/jinja/text_functions.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace lucebox::text::jinja {

std::size_t find_text(Runtime& runtime, std::string_view text, std::string_view needle, std::size_t from) {
    if (needle.size() > text.size() - from) return std::string_view::npos;
    if (needle.empty()) return from;
    // memmem is linear for any needle (two-way search); string_view::find can be made quadratic.
    const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
    const std::size_t at =
        found == nullptr ? std::string_view::npos
                         : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    runtime.meter().charge_bytes((found == nullptr ? text.size() : at) - from + needle.size());
    return at;
}

std::size_t find_last_text(Runtime& runtime, std::string_view text, std::string_view needle) {
    const std::string mirrored(text.rbegin(), text.rend());
    const std::string mirrored_needle(needle.rbegin(), needle.rend());
    const std::size_t at = find_text(runtime, mirrored, mirrored_needle);
    return at == std::string_view::npos ? at : text.size() - at - needle.size();
}

std::string_view string_argument(const Value& value, std::string_view who) {
    if (!value.is_string()) fail_type("a string for '" + std::string(who) + "'", value);
    return value.text();
}

std::string_view text_for(Runtime& runtime, const Value& receiver, const Value& argument, std::string_view who) {
    if (receiver.is_string() && receiver.is_markup()) return escape_html(runtime, argument).text();
    return string_argument(argument, who);
}

std::string_view strip(Runtime& runtime, std::string_view text, const Value& chars, Sides sides) {
    const std::size_t before = text.size();
    if (chars.is_missing() || chars.is(Kind::none)) {
        if (sides != Sides::right) text = strip_left(text);
        if (sides != Sides::left) text = strip_right(text);
        runtime.meter().charge_characters(before - text.size());
        return text;
    }
    const std::string_view set = string_argument(chars, "strip");
    const auto in_set = [&](std::string_view character) {
        runtime.meter().charge(1 + set.size() / 64);
        return set.find(character) != std::string_view::npos;
    };
    while (sides != Sides::right && !text.empty()) {
        const std::size_t size = character_size(text, 0);
        if (!in_set(text.substr(0, size))) break;
        text.remove_prefix(size);
    }
    while (sides != Sides::left && !text.empty()) {
        std::size_t begin = text.size() - 1;
        while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u) --begin;
        if (!in_set(text.substr(begin))) break;
        text.remove_suffix(text.size() - begin);
    }
    return text;
}

namespace {

bool no_separator(const Value& separator) { return separator.is_missing() || separator.is(Kind::none); }

std::string_view checked_separator(const Value& separator) {
    const std::string_view text = string_argument(separator, "split");
    if (text.empty()) fail("the separator is empty");
    return text;
}

std::vector<std::string_view> split_at_space(Runtime& runtime, std::string_view text, std::int64_t limit) {
    std::vector<std::string_view> parts;
    runtime.meter().charge_characters(text.size());
    for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
        runtime.meter().charge(1);
        if (limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
            parts.push_back(text);
            break;
        }
        std::size_t end = 0;
        while (end < text.size() && !is_space(decode(text.substr(end, character_size(text, end))))) {
            end += character_size(text, end);
        }
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    return parts;
}

std::vector<std::string_view> split_at_space_from_right(Runtime& runtime, std::string_view text, std::int64_t limit) {
    std::vector<std::string_view> parts = split_at_space(runtime, text, -1);
    if (limit < 0 || static_cast<std::int64_t>(parts.size()) <= limit) return parts;
    const std::size_t merged = parts.size() - static_cast<std::size_t>(limit); // the words left together
    const std::string_view last = parts[merged - 1];
    const std::string_view rest(parts[0].data(), static_cast<std::size_t>(last.data() + last.size() - parts[0].data()));
    parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(merged - 1));
    // What stays together keeps the blanks it begins with.
    parts[0] = std::string_view(text.data(), static_cast<std::size_t>(rest.data() + rest.size() - text.data()));
    return parts;
}

} // namespace

std::vector<std::string_view> split(Runtime& runtime, std::string_view text, const Value& separator,
                                    std::int64_t limit) {
    if (no_separator(separator)) return split_at_space(runtime, text, limit);
    const std::string_view needle = checked_separator(separator);
    std::vector<std::string_view> parts;
    std::size_t from = 0;
    while (limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) {
        const std::size_t at = find_text(runtime, text, needle, from);
        if (at == std::string_view::npos) break;
        parts.push_back(text.substr(from, at - from));
        from = at + needle.size();
    }
    parts.push_back(text.substr(from));
    return parts;
}

std::vector<std::string_view> split_from_right(Runtime& runtime, std::string_view text, const Value& separator,
                                               std::int64_t limit) {
    if (no_separator(separator)) return split_at_space_from_right(runtime, text, limit);
    const std::string_view needle = checked_separator(separator);
    const std::string mirrored(text.rbegin(), text.rend());
    const std::string mirrored_needle(needle.rbegin(), needle.rend());
    std::vector<std::string_view> parts;
    std::size_t from = 0;
    while (limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) {
        const std::size_t at = find_text(runtime, mirrored, mirrored_needle, from);
        if (at == std::string_view::npos) break;
        parts.push_back(text.substr(text.size() - at, at - from));
        from = at + needle.size();
    }
    parts.push_back(text.substr(0, text.size() - from));
    std::reverse(parts.begin(), parts.end());
    return parts;
}

std::vector<std::string_view> split_lines(Runtime& runtime, std::string_view text, bool keep_ends) {
    runtime.meter().charge_characters(text.size());
    std::vector<std::string_view> lines;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = character_size(text, i);
        const CodePoint c = decode(text.substr(i, size));
        std::size_t end = i + size;
        if ((c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029) {
            if (c == '\r' && end < text.size() && text[end] == '\n') ++end;
            runtime.meter().charge(1);
            lines.push_back(text.substr(begin, (keep_ends ? end : i) - begin));
            begin = end;
        }
        i = end;
    }
    if (begin < text.size()) lines.push_back(text.substr(begin));
    return lines;
}

std::string replace(Runtime& runtime, std::string_view text, std::string_view from, std::string_view to,
                    std::int64_t limit) {
    std::string out;
    std::size_t done = 0;
    const auto put = [&](std::string_view piece) {
        runtime.meter().charge_bytes(piece.size());
        runtime.meter().check_size(out.size() + piece.size());
        out += piece;
    };
    for (std::int64_t count = 0; limit < 0 || count < limit; ++count) {
        // An empty text is found before every character and at the end.
        const std::size_t skipped = from.empty() && count > 0 ? 1 : 0;
        if (skipped > 0 && done >= text.size()) break;
        const std::size_t searched = skipped > 0 ? done + character_size(text, done) : done;
        const std::size_t at = find_text(runtime, text, from, searched);
        if (at == std::string_view::npos) break;
        put(text.substr(done, at - done));
        put(to);
        done = at + from.size();
    }
    put(text.substr(done));
    return out;
}

std::string pad(Runtime& runtime, const Value& text, std::int64_t width, std::string_view fill, Sides sides) {
    runtime.meter().charge_bytes(text.text().size());
    if (count_characters(fill) != 1) fail("the fill character is not one character");
    const auto size = static_cast<std::int64_t>(*length(text));
    if (width <= size) return std::string(text.text());
    const auto missing = static_cast<std::size_t>(width - size);
    runtime.meter().check_size(text.text().size() + missing);
    runtime.meter().check_size(text.text().size() + missing * fill.size());
    runtime.meter().charge_bytes(missing * fill.size());
    std::size_t left = sides == Sides::left ? missing : 0;
    if (sides == Sides::both) left = missing / 2 + (missing & static_cast<std::size_t>(width) & 1);
    std::string out;
    for (std::size_t i = 0; i < left; ++i) out += fill;
    out += text.text();
    for (std::size_t i = left; i < missing; ++i) out += fill;
    return out;
}

std::string title_case(std::string_view text) {
    std::string out;
    bool inside = false; // a word of cased letters
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = character_size(text, i);
        const std::string_view character = text.substr(i, size);
        const CodePoint c = decode(character);
        const bool cased = is_upper(c) || is_lower(c);
        out += !cased ? std::string(character) : inside ? to_lower(character) : to_upper(character);
        inside = cased;
        i += size;
    }
    return out;
}

namespace {

int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

// Underscores stand between digits only; without them, or none.
std::optional<std::string> without_underscores(std::string_view text, int base) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '_') {
            out += text[i];
        } else if (i == 0 || i + 1 == text.size() || digit_of(text[i - 1]) >= base || digit_of(text[i + 1]) >= base) {
            return std::nullopt;
        }
    }
    return out;
}

} // namespace

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
    text = strip_right(strip_left(text));
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.size() > 2 && text[0] == '0') {
        const char letter = static_cast<char>(text[1] | 0x20);
        const int prefixed = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
        if (prefixed != 0 && (base == prefixed || base == 0)) {
            base = prefixed;
            text.remove_prefix(text[2] == '_' ? 3 : 2);
        }
    }
    if (base == 0) {
        base = 10;
        if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos) {
            return std::nullopt;
        }
    }
    if (base < 2 || base > 36) return std::nullopt;
    const auto digits = without_underscores(text, base);
    if (!digits || digits->empty() || digit_of((*digits)[0]) >= base) return std::nullopt;
    std::int64_t value = 0;
    const std::string signed_digits = (negative ? "-" : "") + *digits;
    const char* end = signed_digits.data() + signed_digits.size();
    const auto [stop, error] = std::from_chars(signed_digits.data(), end, value, base);
    if (stop != end) return std::nullopt;
    if (error == std::errc::result_out_of_range) fail("an integer grew past 64 bits");
    return value;
}

std::optional<double> parse_real(std::string_view text) {
    const auto digits = without_underscores(strip_right(strip_left(text)), 10);
    if (!digits || digits->empty()) return std::nullopt;
    const bool plus = digits->front() == '+';
    const char* begin = digits->data() + (plus ? 1 : 0);
    const char* end = digits->data() + digits->size();
    if (plus && begin != end && *begin == '-') return std::nullopt;
    double value = 0;
    const auto [stop, error] = std::from_chars(begin, end, value);
    if (stop != end || begin == end || digits->find('(') != std::string::npos) return std::nullopt;
    // Beyond a double's range: infinity, or zero.
    if (error == std::errc::result_out_of_range) value = std::strtod(begin, nullptr);
    return value;
}

} // namespace lucebox::text::jinja
