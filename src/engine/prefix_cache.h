// Sequences that have ended and still hold their tokens, so that a request that begins alike need not read them again.
//
// Attention keeps every prefix of what it read; recurrent layers only the whole. Results don't depend on how a prompt was
// cut into steps, so what is taken over is bit for bit what reading it again would give. Used by the engine's thread only.
#pragma once

#include "model/runner.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lucebox::engine {

class PrefixCache {
public:
    explicit PrefixCache(model::Runner& runner) : runner_(runner) {}

    struct Claim {
        model::SequenceId sequence = -1;
        std::size_t kept = 0; // tokens of the prompt that it holds already; less than all
    };
    // A sequence for `prompt`. The caller has made sure that fewer are running than there are.
    Claim claim(std::span<const model::TokenId> prompt);
    // Takes a sequence back; `tokens` are those it holds.
    void rest(model::SequenceId sequence, std::span<const model::TokenId> tokens);

    std::size_t resting() const { return resting_.size(); }
    std::size_t tokens() const; // in resting sequences

private:
    struct Resting {
        model::SequenceId sequence;
        std::vector<model::TokenId> tokens;
        std::uint64_t last_use;
    };
    std::size_t usable(const Resting& resting, std::span<const model::TokenId> prompt) const;

    model::Runner& runner_;
    std::vector<Resting> resting_;
    std::uint64_t uses_ = 0;
};

} // namespace lucebox::engine
