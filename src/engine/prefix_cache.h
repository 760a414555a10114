// Sequences that have ended and still hold their tokens, so that a request that begins alike need not read them again.
//
// Attention keeps every prefix of what it read; recurrent layers only the whole, and what was written down of them at the
// borders of a prompt's pieces. What is taken over is bit for bit what reading it again would give: results don't depend on how
// a prompt was cut into steps, or it is cut at the same places (engine/prompt_cut.h). Used by the engine's thread only.
#pragma once

#include "engine/prompt_cut.h"
#include "model/runner.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace lucebox::engine {

class PrefixCache {
public:
    PrefixCache(model::Runner& runner, PromptCut cut) : runner_(runner), cut_(cut) {}

    struct Claim {
        model::SequenceId sequence = -1;
        std::size_t kept = 0; // tokens of the prompt that it holds already; less than all
    };
    // A sequence for `prompt`; an empty prompt gets an empty one. The caller has made sure that fewer are running than there are.
    Claim claim(std::span<const model::TokenId> prompt);
    // Writes down a running sequence's recurrent state behind `length` tokens, if it has any: a prompt's piece ends there.
    void mark(model::SequenceId sequence, std::size_t length);
    // The sequence is closed by the caller.
    void forget(model::SequenceId sequence);
    // Takes a sequence back; `tokens` are those it holds and that may be kept, from the first on. `goes_first`: it makes room
    // before any other.
    void rest(model::SequenceId sequence, std::span<const model::TokenId> tokens, bool goes_first = false);

    std::size_t resting() const { return resting_.size(); }
    std::size_t tokens() const; // in resting sequences

private:
    struct Mark {
        std::size_t length;
        std::vector<std::byte> state;
    };
    using Marks = std::vector<Mark>; // ascending
    struct Place {
        std::size_t length = 0;
        const Mark* mark = nullptr; // null: the sequence goes back there by itself
    };

    struct Resting {
        model::SequenceId sequence;
        std::vector<model::TokenId> tokens;
        std::uint64_t last_use;
    };
    Place usable(const Resting& resting, std::span<const model::TokenId> prompt) const;
    bool go_back(const Resting& resting, const Place& place);
    const Marks* marks_of(model::SequenceId sequence) const;

    model::Runner& runner_;
    PromptCut cut_;
    std::vector<Resting> resting_;
    std::map<model::SequenceId, Marks> marks_; // of all sequences
    std::uint64_t uses_ = 0;
};

} // namespace lucebox::engine
