// Finds the tokens that are cut out of text before anything else looks at it.
//
// Leftmost first, the longest of those that begin there. A few steps for each byte that could begin one, whatever the
// number of such tokens; no token is longer than kLongest, so hostile files and texts cost no more. Immutable; any
// thread.
#pragma once

#include "base/result.h"
#include "text/tokenizer_vocabulary.h"

#include <bitset>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace lucebox::text {

class SpecialMatcher {
public:
    static constexpr std::size_t kLongest = 512; // bytes; real ones have about thirty

    // `with_control`: control and unknown tokens too, not only the user-defined.
    static Result<SpecialMatcher> build(const Vocabulary& vocabulary, bool with_control);

    struct Match {
        std::size_t begin; // text.size() if there is none
        std::size_t bytes;
        TokenId id;
    };
    Match find(std::string_view text, std::size_t from) const;

private:
    struct Entry {
        std::string_view name; // points into names_
        TokenId id;
    };
    Match match_at(std::string_view text, std::size_t begin) const;

    std::unique_ptr<std::string> names_; // in one place that moves with nothing
    std::vector<Entry> entries_;         // sorted by name, names unique
    std::bitset<256> first_;             // bytes that begin a name
    std::vector<bool> second_;           // [first][second]: bytes that can follow; all set if the first alone is a name
};

} // namespace lucebox::text
