#include "text/pretokenizer.h"

#include "text/unicode.h"
#include "text/utf8.h"

#include <array>

namespace lucebox::text {
namespace {

struct Name {
    std::string_view name;
    PretokenizerRules rules;
};

constexpr PretokenizerRules kGpt2 = {};
constexpr PretokenizerRules kSmolLm = {.number_length = 1, .numbers_cut_first = true};
constexpr PretokenizerRules kLlama3 = {.cl100k = true, .number_length = 3};
constexpr PretokenizerRules kQwen2 = {.cl100k = true, .number_length = 1};
constexpr PretokenizerRules kQwen35 = {.cl100k = true, .marks_are_letters = true, .number_length = 1};
constexpr PretokenizerRules kLaguna = {.cl100k = true, .number_length = 1, .newlines_cut_first = true};

constexpr std::array kNames = {
    Name{"gpt-2", kGpt2},    Name{"gpt2", kGpt2},       Name{"smollm", kSmolLm}, Name{"llama-bpe", kLlama3},
    Name{"llama3", kLlama3}, Name{"llama-v3", kLlama3}, Name{"qwen2", kQwen2},   Name{"deepseek-r1-qwen", kQwen2},
    Name{"qwen35", kQwen35}, Name{"laguna", kLaguna},
};

// Categories of ASCII, so that the usual text needs no function call: 0 letter, 1 number, 2 space, 3 symbol.
constexpr std::array<std::uint8_t, 128> kAscii = [] {
    std::array<std::uint8_t, 128> table{};
    for (std::size_t c = 0; c < table.size(); ++c) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool number = c >= '0' && c <= '9';
        const bool space = c == ' ' || (c >= '\t' && c <= '\r');
        table[c] = letter ? 0 : number ? 1 : space ? 2 : 3;
    }
    return table;
}();

bool is_newline(char c) {
    return c == '\r' || c == '\n';
}

char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

} // namespace

std::optional<PretokenizerRules> pretokenizer_rules(std::string_view name) {
    for (const Name& known : kNames)
        if (known.name == name) return known.rules;
    return std::nullopt;
}

PieceScanner::Character PieceScanner::at(std::size_t position) const {
    const auto byte = static_cast<unsigned char>(text_[position]);
    if (byte < 0x80) return {static_cast<Class>(kAscii[byte]), 1};
    const DecodedCharacter c = decode_utf8_slow(text_, position);
    const Category kind = category(c.code_point);
    if (is_letter(kind)) return {Class::letter, c.bytes};
    if (kind == Category::mark) return {rules_.marks_are_letters ? Class::letter : Class::symbol, c.bytes};
    if (kind == Category::number) return {Class::number, c.bytes};
    return {kind == Category::space ? Class::space : Class::symbol, c.bytes};
}

// The end of the run of `kind` characters from `position` on.
std::size_t PieceScanner::skip(Class kind, std::size_t position) const {
    while (position < end_) {
        const Character c = at(position);
        if (c.kind != kind) break;
        position += c.bytes;
    }
    return position;
}

std::size_t PieceScanner::skip_newlines(std::size_t position) const {
    while (position < end_ && is_newline(text_[position]))
        ++position;
    return position;
}

// 's 't 're 've 'm 'll 'd: the end of the one at `begin`, or `begin` if there is none.
std::size_t PieceScanner::contraction(std::size_t begin) const {
    if (text_[begin] != '\'' || begin + 1 >= end_) return begin;
    const auto letter = [&](std::size_t offset) {
        if (begin + offset >= end_) return '\0';
        const char c = text_[begin + offset];
        return rules_.cl100k ? ascii_lower(c) : c;
    };
    const char first = letter(1);
    const char second = letter(2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return begin + 2;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
        return begin + 3;
    // Unicode's case folding makes the long s (U+017F) an s, and the expressions are matched with it.
    if (rules_.cl100k && text_.substr(begin + 1, 2) == "\xC5\xBF" && begin + 3 <= end_) return begin + 3;
    return begin;
}

std::size_t PieceScanner::number(std::size_t begin) const {
    if (rules_.number_length == 0) return skip(Class::number, begin);
    std::size_t position = begin;
    for (unsigned taken = 0; taken < rules_.number_length && position < end_; ++taken) {
        const Character c = at(position);
        if (c.kind != Class::number) break;
        position += c.bytes;
    }
    return position;
}

// What \s*[\r\n]+ (cl100k only), \s+(?!\S), \s+ take, in this order, of the whitespace at `begin`.
std::size_t PieceScanner::whitespace(std::size_t begin) const {
    std::size_t end = begin;
    std::size_t last = begin;    // where the last character of the run begins
    std::size_t newline = begin; // behind the last newline of the run
    Class follower = Class::space;
    while (end < end_) {
        const Character c = at(end);
        follower = c.kind;
        if (c.kind != Class::space) break;
        last = end;
        end += c.bytes;
        if (is_newline(text_[last])) newline = end;
    }
    if (rules_.cl100k && newline > begin) return newline;
    const bool text_ends = end == end_ || (rules_.numbers_cut_first && follower == Class::number);
    if (text_ends || last == begin) return end;
    return last; // the last character goes with what follows
}

//  's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+      (GPT-2)
std::size_t PieceScanner::gpt2_piece(std::size_t begin) const {
    if (const std::size_t end = contraction(begin); end != begin) return end;
    Character c = at(begin);
    if (c.kind == Class::number) return number(begin);
    if (c.kind != Class::space) return skip(c.kind, begin + c.bytes);
    const std::size_t next = begin + 1;
    if (text_[begin] == ' ' && next < end_) {
        c = at(next);
        if (c.kind == Class::number && !rules_.numbers_cut_first) return number(next);
        if (c.kind == Class::letter || c.kind == Class::symbol) return skip(c.kind, next);
    }
    return whitespace(begin);
}

//  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//  (Llama 3; Qwen: one \p{N}; Qwen3.5: [\p{L}\p{M}] for \p{L} except in front of the letters, where it changes nothing)
std::size_t PieceScanner::cl100k_piece(std::size_t begin) const {
    if (const std::size_t end = contraction(begin); end != begin) return end;
    const Character c = at(begin);
    if (c.kind == Class::letter) return skip(Class::letter, begin + c.bytes);
    if (c.kind == Class::number) return number(begin);

    const std::size_t next = begin + c.bytes;
    const bool followed = next < end_;
    const Class follower = followed ? at(next).kind : Class::space;
    if (followed && follower == Class::letter && !is_newline(text_[begin])) return skip(Class::letter, next);
    if (c.kind == Class::symbol) return skip_newlines(skip(Class::symbol, next));
    if (text_[begin] == ' ' && followed && follower == Class::symbol) return skip_newlines(skip(Class::symbol, next));
    return whitespace(begin);
}

// Where the next run of newlines (LF or CR LF) behind the one at `begin`, if any, starts.
std::size_t PieceScanner::chunk_end(std::size_t begin) const {
    std::size_t position = begin;
    const auto newline_at = [&](std::size_t p) -> std::size_t {
        if (p < text_.size() && text_[p] == '\n') return 1;
        return text_.substr(p, 2) == "\r\n" ? 2 : 0;
    };
    while (position < text_.size()) {
        const std::size_t bytes = newline_at(position);
        if (bytes == 0) break;
        position += bytes;
    }
    const std::size_t line_feed = text_.find('\n', position);
    if (line_feed == std::string_view::npos) return text_.size();
    return line_feed > position && text_[line_feed - 1] == '\r' ? line_feed - 1 : line_feed;
}

std::string_view PieceScanner::next() {
    if (position_ == text_.size()) return {};
    if (position_ == end_) end_ = rules_.newlines_cut_first ? chunk_end(position_) : text_.size();
    const std::size_t begin = position_;
    position_ = rules_.cl100k ? cl100k_piece(begin) : gpt2_piece(begin);
    return text_.substr(begin, position_ - begin);
}

} // namespace lucebox::text
