// Template source to tokens, with the whitespace rules that chat templates are written for:
// trim_blocks (a newline behind a tag goes) and lstrip_blocks (blanks before a tag that begins its line go),
// explicit `-` and `+` signs, raw blocks, comments, and no newline kept at the very end.
#pragma once

#include "text/jinja/heap.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text::jinja {

enum class TokenKind : std::uint8_t {
    data, // literal text of the template
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    add,
    sub,
    mul,
    div,
    floor_div,
    mod,
    pow,
    tilde,
    eq,
    ne,
    lt,
    le,
    gt,
    ge,
    assign,
    dot,
    comma,
    colon,
    semicolon,
    pipe,
    left_paren,
    right_paren,
    left_bracket,
    right_bracket,
    left_brace,
    right_brace,
    end, // of the template
};

struct Token {
    TokenKind kind = TokenKind::end;
    std::uint32_t line = 1;
    std::string_view text = {}; // data, name, string (unescaped)
    std::int64_t integer = 0;
    double real = 0;
};

// How a token, or a kind of token, is called in an error message.
std::string describe(TokenKind kind);
std::string describe(const Token& token);

// `source` has only "\n" as line ends (see normalize_newlines) and outlives the tokens, as does `heap`.
// Throws Failure with the line.
std::vector<Token> tokenize(std::string_view source, Heap& heap);

// "\r\n" and "\r" become "\n"; one newline at the end is dropped.
std::string normalize_newlines(std::string_view source);

} // namespace lucebox::text::jinja
