// Keeps control tokens out of text that clients write.
//
// A chat template's output mixes trusted text, whose control tokens count ("<|im_start|>"), with the client's, whose
// literal "<|im_end|>" must stay six ordinary tokens. Telling them apart by wrapping the client's strings would defeat
// templates that trim, compare or split them. So the client's strings pass through the template unchanged but for a
// mark, a code point that occurs nowhere else, put only where a control token could arise:
//
//   - before each place where a control token's name begins, wherever that is in the string;
//   - before an end of the string that begins a name which the text behind it could complete;
//   - before a beginning of the string that could continue a name begun in front of it.
//
// Ends and beginnings count with and without the white space there, because templates trim. Beginnings of strings that
// are one plain word stay unmarked, because templates compare those ("function", "low"). In the rendered text, no
// name may begin at or reach across a mark. Stretches between control tokens that hold marks are encoded, without the
// marks, as plain text; all others as trusted text in one piece. Text without marks, which is nearly all, is thus
// encoded exactly as if it had been trusted.
//
// What this cannot see: a template that changes the client's text (its case, say) into a name, or that puts "<|" and
// "|>" around a client's word. Templates do the latter to roles, hence those come from a closed list.
//
// Immutable after construction; any thread. The tokenizer must outlive it.
#pragma once

#include "server/api/json.h"
#include "text/tokenizer.h"

#include <bitset>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::server {

class ControlText {
public:
    explicit ControlText(const text::Tokenizer& tokenizer);
    ControlText(const ControlText&) = delete; // suffixes_ point into names_
    ControlText(ControlText&&) = default;

    // The UTF-8 of a code point that none of the given texts holds; empty if there is none left.
    std::string unused_mark(const Json& strings, std::string_view other) const;

    std::string marked(std::string_view text, std::string_view mark) const;
    Json marked_strings(const Json& json, std::string_view mark) const; // all strings and keys within
    static std::string unmarked(std::string_view text, std::string_view mark);

    // Where the last control token's name in rendered text begins, not before `from`; npos: none.
    std::size_t last_name(std::string_view text, std::size_t from) const;

    // Ids of rendered text, as described above.
    std::vector<text::TokenId> encode(std::string_view text, std::string_view mark) const;

private:
    std::size_t match_at(std::string_view text, std::size_t begin, bool* unfinished = nullptr) const;
    bool continues_a_name(std::string_view text) const;

    const text::Tokenizer& tokenizer_;
    std::vector<std::string> names_;         // sorted
    std::vector<std::string_view> suffixes_; // proper ones of all names, sorted
    std::bitset<256> first_;                 // bytes that begin a name
    std::size_t longest_ = 0;
};

} // namespace lucebox::server
