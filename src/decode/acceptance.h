// How often guesses of each kind turn out right: what a draft's confidence, or the length of a match, is really worth.
//
// Guesses are sorted into bins (origin, evidence); each bin counts hits among trials and forgets slowly, so that it follows
// the text. A sequence's own counts are read against the counts over all sequences, which begin with a rough prior.
#pragma once

#include "decode/draft_tree.h"

#include <array>

namespace lucebox::decode {

// Origins of candidates.
inline constexpr std::uint8_t from_draft = 1;        // evidence: the draft's log-probability
inline constexpr std::uint8_t from_best_match = 2;   // evidence: tokens of agreement
inline constexpr std::uint8_t from_other_match = 3;  // the same, for a second or later match
inline constexpr std::uint8_t from_continuation = 4; // evidence: 0 behind a mismatch, then tokens that were right since
inline constexpr std::uint8_t from_form = 5;         // of a node's own; not counted here

class Acceptance {
public:
    Acceptance();

    // Log of the probability that a guess of this kind is right, by these counts alone.
    float logprob(std::uint8_t origin, std::int32_t depth, float evidence) const;
    // The same, where these counts are few, by those of `all`.
    float logprob(const Acceptance& all, std::uint8_t origin, std::int32_t depth, float evidence) const;
    void observe(std::uint8_t origin, std::int32_t depth, float evidence, bool right);
    void clear(); // no counts and no prior: a new sequence

private:
    static constexpr std::size_t bins_of_draft = 3 * 12, bins_of_match = 12;
    static constexpr std::size_t bins = bins_of_draft + 3 * bins_of_match;

    struct Bin {
        float hits = 0, trials = 0;
    };
    static std::size_t bin(std::uint8_t origin, std::int32_t depth, float evidence);

    std::array<Bin, bins> bins_{};
};

} // namespace lucebox::decode
