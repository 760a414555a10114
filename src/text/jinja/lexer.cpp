#include "text/jinja/lexer.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace lucebox::text::jinja {
namespace {

constexpr std::pair<std::string_view, TokenKind> operators[] = {
    // Longer ones first.
    {"//", TokenKind::floor_div},   {"**", TokenKind::pow},           {"==", TokenKind::eq},
    {"!=", TokenKind::ne},          {">=", TokenKind::ge},            {"<=", TokenKind::le},
    {"+", TokenKind::add},          {"-", TokenKind::sub},            {"*", TokenKind::mul},
    {"/", TokenKind::div},          {"%", TokenKind::mod},            {"~", TokenKind::tilde},
    {"<", TokenKind::lt},           {">", TokenKind::gt},             {"=", TokenKind::assign},
    {".", TokenKind::dot},          {",", TokenKind::comma},          {":", TokenKind::colon},
    {";", TokenKind::semicolon},    {"|", TokenKind::pipe},           {"(", TokenKind::left_paren},
    {")", TokenKind::right_paren},  {"[", TokenKind::left_bracket},   {"]", TokenKind::right_bracket},
    {"{", TokenKind::left_brace},   {"}", TokenKind::right_brace},
};

bool is_decimal(char c) { return c >= '0' && c <= '9'; }

int digit_value(char c) {
    if (is_decimal(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 99;
}

bool is_name_byte(char c) {
    return is_decimal(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

// The escapes of a Python string literal.
class Unescaper {
public:
    Unescaper(std::string_view body, std::uint32_t line) : body_(body), line_(line) {}

    std::string run() {
        while (at_ < body_.size()) {
            if (body_[at_] == '\\' && at_ + 1 < body_.size()) {
                ++at_;
                escape();
            } else {
                out_ += body_[at_++];
            }
        }
        return std::move(out_);
    }

private:
    void escape() {
        const char c = body_[at_++];
        static constexpr std::string_view letters = "\\'\"abfnrtv";
        static constexpr std::string_view meaning = "\\'\"\a\b\f\n\r\t\v";
        if (c == '\n') return; // a continued line
        if (const auto found = letters.find(c); found != std::string_view::npos) {
            out_ += meaning[found];
        } else if (c >= '0' && c <= '7') {
            octal(c);
        } else if (c == 'x') {
            hexadecimal(2);
        } else if (c == 'u') {
            hexadecimal(4);
        } else if (c == 'U') {
            hexadecimal(8);
        } else if (c == 'N') {
            throw Failure{ErrorKind::unsupported, "characters by name, \\N{...}, are not supported", line_};
        } else if (static_cast<unsigned char>(c) >= 0x80) {
            spelled_out();
        } else { // not an escape at all
            out_ += '\\';
            out_ += c;
        }
    }

    void octal(char first) {
        CodePoint code = static_cast<CodePoint>(first - '0');
        for (int i = 0; i < 2 && at_ < body_.size() && body_[at_] >= '0' && body_[at_] <= '7'; ++i) {
            code = code * 8 + static_cast<CodePoint>(body_[at_++] - '0');
        }
        append_utf8(out_, code);
    }

    void hexadecimal(int digits) {
        CodePoint code = 0;
        for (int i = 0; i < digits; ++i) {
            const int value = at_ < body_.size() ? digit_value(body_[at_]) : 99;
            if (value > 15) throw Failure{ErrorKind::invalid_data, "expected a hexadecimal digit in an escape", line_};
            code = code * 16 + static_cast<CodePoint>(value);
            ++at_;
        }
        if (code > 0x10FFFF) throw Failure{ErrorKind::invalid_data, "an escape names no character", line_};
        // Half a surrogate pair can't be written in UTF-8.
        append_utf8(out_, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
    }

    // The original turns non-ASCII text into escapes before it reads escapes, so a backslash before such a character
    // leaves the escape's text behind.
    void spelled_out() {
        const std::size_t size = character_size(body_, --at_);
        const CodePoint code = decode(body_.substr(at_, size));
        at_ += size;
        static constexpr char hex[] = "0123456789abcdef";
        const int digits = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
        out_ += '\\';
        out_ += digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
        for (int i = digits - 1; i >= 0; --i) out_ += hex[(code >> (4 * i)) & 15u];
    }

    std::string_view body_;
    std::uint32_t line_;
    std::size_t at_ = 0;
    std::string out_;
};

class Lexer {
public:
    Lexer(std::string_view source, Heap& heap) : source_(source), heap_(heap) {}

    std::vector<Token> run() {
        while (at_ < source_.size()) root();
        push(TokenKind::end);
        return std::move(tokens_);
    }

private:
    enum class Sign : std::uint8_t { none, minus, plus };

    char peek(std::size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
    bool starts_with(std::string_view text) const { return source_.substr(at_).starts_with(text); }

    [[noreturn]] void fail_here(std::string message) const {
        throw Failure{ErrorKind::invalid_data, std::move(message), line_};
    }

    void push(TokenKind kind, std::string_view text = {}) { tokens_.push_back({kind, line_, text}); }

    void advance(std::size_t bytes) {
        const auto passed = source_.substr(at_, bytes);
        line_ += static_cast<std::uint32_t>(std::count(passed.begin(), passed.end(), '\n'));
        if (!passed.empty()) line_starting_ = passed.back() == '\n';
        at_ += passed.size();
    }

    void skip_space() { advance(source_.size() - at_ - strip_left(source_.substr(at_)).size()); }

    // Literal text up to `end`, then the tag that begins there; `strippable`: lstrip_blocks applies to that tag.
    void data(std::size_t end, Sign sign, bool strippable) {
        std::string_view text = source_.substr(at_, end - at_);
        if (sign == Sign::minus) {
            text = strip_right(text);
        } else if (sign == Sign::none && strippable) {
            const std::size_t newline = text.rfind('\n');
            const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
            if ((begin > 0 || line_starting_) && strip_left(text.substr(begin)).empty()) text = text.substr(0, begin);
        }
        if (!text.empty()) push(TokenKind::data, text);
        advance(end - at_);
    }

    static Sign sign_of(char c) { return c == '-' ? Sign::minus : c == '+' ? Sign::plus : Sign::none; }

    void root() {
        std::size_t begin = at_;
        while (true) {
            begin = source_.find('{', begin);
            if (begin == std::string_view::npos || begin + 1 >= source_.size()) {
                push(TokenKind::data, source_.substr(at_));
                advance(source_.size() - at_);
                return;
            }
            const char next = source_[begin + 1];
            if (next == '%' || next == '{' || next == '#') break;
            ++begin;
        }
        const char next = source_[begin + 1];
        const Sign sign = begin + 2 < source_.size() ? sign_of(source_[begin + 2]) : Sign::none;
        data(begin, sign, next != '{');
        const std::size_t opening = sign == Sign::none ? 2 : 3;
        if (next == '#') {
            advance(opening);
            comment();
        } else if (next == '{') {
            push(TokenKind::variable_begin);
            advance(opening);
            inside(TokenKind::variable_end);
        } else if (const std::size_t raw = raw_begin(opening); raw > 0) {
            advance(raw);
            raw_block();
        } else {
            push(TokenKind::block_begin);
            advance(opening);
            inside(TokenKind::block_end);
        }
    }

    void comment() {
        const std::uint32_t line = line_;
        if (at_ == source_.size()) return; // the original lets this pass
        const std::size_t close = source_.find("#}", at_);
        if (close == std::string_view::npos) throw Failure{ErrorKind::invalid_data, "expected '#}' after '{#'", line};
        const Sign sign = close > at_ ? sign_of(source_[close - 1]) : Sign::none;
        advance(close + 2 - at_);
        after_tag(sign);
    }

    void after_tag(Sign sign) {
        if (sign == Sign::minus) skip_space();
        if (sign == Sign::none && peek() == '\n') advance(1);
    }

    // Length of a "{% raw %}" that stands here, 0 if it is another tag.
    std::size_t raw_begin(std::size_t opening) const {
        std::string_view rest = strip_left(source_.substr(at_ + opening));
        if (!rest.starts_with("raw")) return 0;
        rest = strip_left(rest.substr(3));
        if (rest.starts_with("-%}")) return source_.size() - at_ - strip_left(rest.substr(3)).size();
        return rest.starts_with("%}") ? source_.size() - at_ - (rest.size() - 2) : 0;
    }

    void raw_block() {
        const std::uint32_t line = line_;
        if (at_ == source_.size()) return; // the original lets this pass
        for (std::size_t begin = source_.find("{%", at_); begin != std::string_view::npos;
             begin = source_.find("{%", begin + 1)) {
            std::string_view rest = source_.substr(begin + 2);
            const Sign sign = rest.empty() ? Sign::none : sign_of(rest[0]);
            rest = strip_left(rest.substr(sign == Sign::none ? 0 : 1));
            if (!rest.starts_with("endraw")) continue;
            rest = strip_left(rest.substr(6));
            const Sign closing = rest.empty() ? Sign::none : sign_of(rest[0]);
            if (closing != Sign::none) rest.remove_prefix(1);
            if (!rest.starts_with("%}")) continue;
            data(begin, sign, true);
            advance(source_.size() - at_ - (rest.size() - 2));
            after_tag(closing);
            return;
        }
        throw Failure{ErrorKind::invalid_data, "expected '{% endraw %}' after '{% raw %}'", line};
    }

    // The inside of a tag, to its end.
    void inside(TokenKind closing) {
        const bool block = closing == TokenKind::block_end;
        const std::string_view end = block ? "%}" : "}}";
        while (at_ < source_.size()) {
            const char c = peek();
            if (open_.empty()) { // an end that stands inside brackets is operators
                const Sign sign = sign_of(c);
                const bool signed_end = sign == Sign::minus || (sign == Sign::plus && block);
                if (signed_end && source_.substr(at_ + 1).starts_with(end)) return finish(closing, 3, sign);
                if (starts_with(end)) return finish(closing, 2, Sign::none);
            }
            if (const std::string_view rest = source_.substr(at_); strip_left(rest).size() != rest.size()) {
                skip_space();
            } else if (is_decimal(c)) {
                number();
            } else if (is_name_byte(c)) {
                name();
            } else if (c == '"' || c == '\'') {
                string(c);
            } else {
                operation();
            }
        }
    }

    void finish(TokenKind closing, std::size_t bytes, Sign sign) {
        push(closing);
        advance(bytes);
        if (closing == TokenKind::block_end) {
            after_tag(sign);
        } else if (sign == Sign::minus) {
            skip_space();
        }
    }

    void name() {
        std::size_t size = 0;
        while (is_name_byte(peek(size))) ++size;
        push(TokenKind::name, source_.substr(at_, size));
        advance(size);
    }

    void string(char quote) {
        std::size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
        if (end >= source_.size()) fail_here(std::string("expected the end of a string, ") + quote);
        const std::string_view body = source_.substr(at_ + 1, end - at_ - 1);
        push(TokenKind::string,
             body.find('\\') == std::string_view::npos ? body : heap_.copy(Unescaper(body, line_).run()));
        advance(end + 1 - at_);
    }

    // Digits with single underscores between them; the number of bytes.
    std::size_t digits(std::size_t from, int base) const {
        std::size_t size = from;
        while (digit_value(peek(size)) < base || (peek(size) == '_' && digit_value(peek(size + 1)) < base)) ++size;
        return size - from;
    }

    std::size_t exponent(std::size_t from) const {
        if (peek(from) != 'e' && peek(from) != 'E') return 0;
        const std::size_t sign = peek(from + 1) == '+' || peek(from + 1) == '-' ? 1 : 0;
        if (!is_decimal(peek(from + 1 + sign))) return 0;
        return 1 + sign + digits(from + 1 + sign, 10);
    }

    void number() {
        const bool after_dot = at_ > 0 && source_[at_ - 1] == '.'; // x.0.1 holds no number 0.1
        const std::size_t whole = digits(0, 10);
        std::size_t size = whole;
        if (peek(size) == '.' && is_decimal(peek(size + 1))) size += 1 + digits(size + 1, 10);
        size += exponent(size);
        if (size > whole && !after_dot) return real(size);
        static constexpr std::pair<char, int> bases[] = {{'x', 16}, {'o', 8}, {'b', 2}};
        for (const auto& [letter, base] : bases) {
            if (peek() != '0' || (peek(1) | 0x20) != letter) continue;
            const std::size_t count = peek(2) == '_' || digit_value(peek(2)) < base ? digits(2, base) : 0;
            if (count > 0) return integer(2, count, base);
        }
        integer(0, peek() == '0' ? zeros() : whole, 10);
    }

    // "007" is three numbers to the original's lexer and an error to its parser.
    std::size_t zeros() const {
        std::size_t size = 1;
        while (peek(size) == '0' || (peek(size) == '_' && peek(size + 1) == '0')) ++size;
        return size;
    }

    std::string plain_digits(std::size_t from, std::size_t count) const {
        std::string text(source_.substr(at_ + from, count));
        std::erase(text, '_');
        return text;
    }

    void integer(std::size_t prefix, std::size_t count, int base) {
        const std::string text = plain_digits(prefix, count);
        push(TokenKind::integer);
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + text.size(), tokens_.back().integer, base);
        if (error != std::errc{}) fail_here("this integer needs more than 64 bits");
        advance(prefix + count);
    }

    void real(std::size_t size) {
        const std::string text = plain_digits(0, size);
        push(TokenKind::real);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens_.back().real);
        if (error != std::errc{}) fail_here("this number is too large or too small for a double");
        advance(size);
    }

    void operation() {
        for (const auto& [text, kind] : operators) {
            if (!starts_with(text)) continue;
            balance(text[0]);
            push(kind);
            advance(text.size());
            return;
        }
        fail_here("unexpected character " + std::string(source_.substr(at_, character_size(source_, at_))));
    }

    void balance(char c) {
        if (c == '(') open_ += ')';
        if (c == '[') open_ += ']';
        if (c == '{') open_ += '}';
        if (c != ')' && c != ']' && c != '}') return;
        if (open_.empty()) fail_here(std::string("unexpected '") + c + "'");
        if (open_.back() != c) fail_here(std::string("expected '") + open_.back() + "', found '" + c + "'");
        open_.pop_back();
    }

    std::string_view source_;
    Heap& heap_;
    std::vector<Token> tokens_;
    std::string open_; // the closing brackets that are due
    std::size_t at_ = 0;
    std::uint32_t line_ = 1;
    bool line_starting_ = true; // nothing has been read of this line
};

} // namespace

std::string describe(TokenKind kind) {
    switch (kind) {
    case TokenKind::data: return "template text";
    case TokenKind::variable_begin: return "'{{'";
    case TokenKind::variable_end: return "'}}'";
    case TokenKind::block_begin: return "'{%'";
    case TokenKind::block_end: return "'%}'";
    case TokenKind::name: return "a name";
    case TokenKind::string: return "a string";
    case TokenKind::integer: return "an integer";
    case TokenKind::real: return "a number";
    case TokenKind::end: return "the end of the template";
    default: break;
    }
    for (const auto& [text, operation] : operators) {
        if (operation == kind) return "'" + std::string(text) + "'";
    }
    return "a token";
}

std::string describe(const Token& token) {
    if (token.kind == TokenKind::name) return "'" + std::string(token.text.substr(0, 40)) + "'";
    return describe(token.kind);
}

std::vector<Token> tokenize(std::string_view source, Heap& heap) { return Lexer(source, heap).run(); }

std::string normalize_newlines(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r') {
            out += '\n';
            if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
        } else {
            out += source[i];
        }
    }
    if (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
}

} // namespace lucebox::text::jinja
