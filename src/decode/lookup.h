// Guesses from the text itself: what followed the last time that the text read like this?
//
// An index over prompt and output finds earlier places that end in the same tokens as the text does now, the longest
// agreement first; what stood behind them is proposed. Costs microseconds a token and no model. One sequence each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lucebox::decode {

using TokenId = std::int32_t;

class LookupIndex {
public:
    // Agreement is counted up to this many tokens.
    static constexpr std::size_t longest_match = 32;

    void clear();
    void add(TokenId token);
    void add(std::span<const TokenId> tokens);
    std::size_t size() const { return text_.size(); }

    struct Match {
        std::size_t next = 0;   // where the continuation begins
        std::size_t length = 0; // tokens of agreement in front of it; 0: the place that the last match would have come to
    };
    // Up to `most` matches whose continuations begin differently, best first.
    void find(std::size_t most, std::vector<Match>& matches);
    std::span<const TokenId> text() const { return text_; }

private:
    // Places that end in the same n tokens form a list, latest first.
    struct Chain {
        std::size_t n;
        std::unordered_map<std::uint64_t, std::int32_t> head; // hash of n tokens -> index behind them
        std::vector<std::int32_t> previous;                   // for each index
    };

    void consider(std::size_t place, std::vector<Match>& found) const;

    std::vector<TokenId> text_;
    Chain long_{6, {}, {}}, short_{2, {}, {}};
    std::size_t expected_ = 0; // where the continuation that was proposed last would go on; 0: nowhere
};

} // namespace lucebox::decode
