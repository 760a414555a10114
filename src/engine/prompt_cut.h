// Where prompts are cut into pieces, on a device that computes steps of more than max_tree_rows rows in an arithmetic of their
// own (Device::prompt_border). There a token's arithmetic is a matter of its prompt alone, whoever else is served: between two
// multiples of the border a prompt is read in long pieces, which have steps to themselves, or, where no more than max_tree_rows
// tokens lie, in short ones, beside others. What is kept of it ends where going on gives every later token the arithmetic that it
// has when all is read anew.
#pragma once

#include "compute/step_plan.h"

#include <algorithm>
#include <cstddef>

namespace lucebox::engine {

struct PromptCut {
    std::size_t border = 0; // a multiple of max_tree_rows; 0: all rows are one arithmetic, and cuts are free

    static constexpr std::size_t most_short = compute::max_tree_rows; // rows of a piece in the arithmetic of answers

    static constexpr std::size_t most_beside = 256; // rows of a long piece that others wait for: 30 ms of a 27B on an H100

    static constexpr bool is_long(std::size_t rows) { return rows > most_short; }
    // Whether a prompt of `prompt` tokens is read in long pieces at `begin`.
    bool is_long_at(std::size_t begin, std::size_t prompt) const {
        return border > 0 && is_long(std::min(prompt - begin / border * border, border));
    }

    // Rows of the piece that begins at `begin`, of a prompt of `prompt` tokens, in a step that has room for so many. `waited_for`: by
    // others, who get their turn sooner if a long piece is cut once more, at a multiple of most_short. 0: not in this step.
    std::size_t piece(std::size_t begin, std::size_t prompt, std::size_t room, bool waited_for) const {
        const std::size_t left = prompt - begin;
        if (border == 0) return std::min(left, room);
        const std::size_t own = std::min(left, border - begin % border);
        if (!is_long_at(begin, prompt)) return std::min(own, room);
        std::size_t rows = own;
        if (waited_for && own > most_beside) rows = is_long(own - most_beside) ? most_beside : most_beside - most_short; // what is left of it is long, too
        return rows <= room ? rows : 0;
    }

    // Whether tokens of a piece are what any other prompt that begins alike has there, given that all before them are.
    bool is_kept(std::size_t begin, std::size_t rows) const { return border == 0 || (is_long(rows) && begin % most_short == 0); }

    // Of `common` tokens that are kept: how many a prompt of `prompt` tokens (more than those) may go on from.
    std::size_t usable(std::size_t common, std::size_t prompt) const {
        common = std::min(common, prompt - 1); // the last token is read in any case
        if (border == 0) return common;
        const std::size_t length = common / most_short * most_short, last = last_border(prompt);
        if (length % border == 0) return length;
        if (length > last && !is_long(prompt - last)) return last; // its last piece is short
        const std::size_t next = length > last ? prompt : (length / border + 1) * border;
        return is_long(next - length) ? length : length - most_short; // what is left of the piece must be long, too
    }
    // Where a prompt's last piece begins.
    std::size_t last_border(std::size_t prompt) const { return border == 0 ? 0 : (prompt - 1) / border * border; }
};

} // namespace lucebox::engine
