// Cuts text into the pieces that byte-level BPE merges within, by the rules that `tokenizer.ggml.pre` names.
//
// Each name stands for a published regular expression; the scanner here is that expression written by hand: one pass,
// no backtracking beyond one character, no recursion, any bytes. Every byte lands in exactly one piece. A byte that is
// not UTF-8 counts as a symbol. Scanners are cheap values over a view they don't own; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lucebox::text {

struct PretokenizerRules {
    // false: the GPT-2 expression. Contractions are lower case; one space may lead letters or symbols.
    // true: the cl100k expression and its descendants. Contractions have any case; any one character that is no letter,
    // number, CR or LF may lead letters; symbols take the newlines behind them; whitespace is cut behind its last
    // newline.
    bool cl100k = false;
    bool marks_are_letters = false;  // \p{M} joins \p{L}
    std::uint8_t number_length = 0;  // characters of a number piece; 0: any, and one space may lead (GPT-2 only)
    bool numbers_cut_first = false;  // numbers are cut out before the expression sees the text
    bool newlines_cut_first = false; // the text is cut in front of each run of newlines before the expression sees it
};

// The rules that a value of `tokenizer.ggml.pre` stands for.
std::optional<PretokenizerRules> pretokenizer_rules(std::string_view name);

class PieceScanner {
public:
    PieceScanner(PretokenizerRules rules, std::string_view text) : rules_(rules), text_(text) {}

    std::string_view next(); // empty: the text is at its end

private:
    enum class Class : std::uint8_t { letter, number, space, symbol };
    struct Character {
        Class kind;
        std::uint32_t bytes;
    };

    Character at(std::size_t position) const;
    std::size_t skip(Class kind, std::size_t position) const;
    std::size_t skip_newlines(std::size_t position) const;
    std::size_t contraction(std::size_t begin) const;
    std::size_t number(std::size_t begin) const;
    std::size_t whitespace(std::size_t begin) const;
    std::size_t gpt2_piece(std::size_t begin) const;
    std::size_t cl100k_piece(std::size_t begin) const;
    std::size_t chunk_end(std::size_t begin) const;

    PretokenizerRules rules_;
    std::string_view text_;
    std::size_t position_ = 0;
    std::size_t end_ = 0; // of the chunk that the expression sees
};

} // namespace lucebox::text
