#include "text/tools/json_stream.h"

#include "text/tools/tool_set.h"

#include <array>

namespace lucebox::text {
namespace {

constexpr std::size_t most_depth = 96;
constexpr std::size_t most_scalar_bytes = 512;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_scalar(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' || c == '.';
}
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// RFC 8259, section 6.
bool is_number(std::string_view text) {
    std::size_t i = 0;
    const auto digits = [&] {
        const std::size_t begin = i;
        while (i < text.size() && is_digit(text[i])) ++i;
        return i - begin;
    };
    if (i < text.size() && text[i] == '-') ++i;
    const bool zero = i < text.size() && text[i] == '0';
    const std::size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) return false;
    if (i < text.size() && text[i] == '.') {
        ++i;
        if (digits() == 0) return false;
    }
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
        if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
        if (digits() == 0) return false;
    }
    return i == text.size();
}

} // namespace

bool JsonValueScanner::complete() const {
    if (place_ != Place::number || !stack_.empty()) return false;
    return is_number(scalar_) || scalar_ == "true" || scalar_ == "false" || scalar_ == "null";
}

JsonValueScanner::State JsonValueScanner::value_begins(char c) {
    if (c == '{' || c == '[') {
        if (stack_.size() == most_depth) return State::failed;
        stack_ += c;
        place_ = c == '{' ? Place::key_or_end : Place::value_or_end;
    } else if (c == '"') {
        is_key_ = false;
        place_ = Place::string;
    } else if (is_scalar(c)) {
        scalar_ = c;
        place_ = Place::number;
    } else {
        return State::failed;
    }
    return State::more;
}

JsonValueScanner::State JsonValueScanner::value_ended() {
    place_ = Place::after_value;
    return stack_.empty() ? State::done : State::more;
}

JsonValueScanner::State JsonValueScanner::close(char c) {
    if (stack_.empty() || (c == '}') != (stack_.back() == '{')) return State::failed;
    stack_.pop_back();
    return value_ended();
}

JsonValueScanner::State JsonValueScanner::push(char c) {
    switch (place_) {
    case Place::string:
        if (c == '\\') place_ = Place::escape;
        if (c != '"') return State::more;
        if (!is_key_) return value_ended();
        place_ = Place::colon;
        return State::more;
    case Place::escape:
        if (std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos) return State::failed;
        digits_ = 4;
        place_ = c == 'u' ? Place::unicode : Place::string;
        return State::more;
    case Place::unicode:
        if (!is_hex(c)) return State::failed;
        if (--digits_ == 0) place_ = Place::string;
        return State::more;
    case Place::number:
    case Place::word:
        if (is_scalar(c)) {
            scalar_ += c;
            return scalar_.size() > most_scalar_bytes ? State::failed : State::more;
        }
        if (!is_number(scalar_) && scalar_ != "true" && scalar_ != "false" && scalar_ != "null") return State::failed;
        if (value_ended() == State::done) return State::done_before;
        return push(c);
    case Place::value: return is_space(c) ? State::more : value_begins(c);
    case Place::value_or_end:
        if (c == ']') return close(c);
        return is_space(c) ? State::more : value_begins(c);
    case Place::key_or_end:
    case Place::key:
        if (is_space(c)) return State::more;
        if (c == '}' && place_ == Place::key_or_end) return close(c);
        if (c != '"') return State::failed;
        is_key_ = true;
        place_ = Place::string;
        return State::more;
    case Place::colon:
        if (is_space(c)) return State::more;
        if (c != ':') return State::failed;
        place_ = Place::value;
        return State::more;
    case Place::after_value:
        if (is_space(c)) return State::more;
        if (c == ',') {
            place_ = stack_.back() == '{' ? Place::key : Place::value;
            return State::more;
        }
        return c == '}' || c == ']' ? close(c) : State::failed;
    }
    return State::failed;
}

void append_repaired(std::string& out, char c, bool in_string) {
    if (in_string && static_cast<unsigned char>(c) < 0x20) return append_escaped(out, std::string_view(&c, 1));
    out += c;
}

} // namespace lucebox::text
