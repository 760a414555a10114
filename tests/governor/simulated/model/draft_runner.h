// Stands for a draft: what it proposes is given beforehand.
#pragma once

#include "model/runner.h"

#include <array>

namespace lucebox::model {

inline constexpr std::size_t simulated_depth = 7, simulated_width = 8;

struct Proposal { // [depth][rank]
    std::array<std::array<std::int32_t, simulated_width>, simulated_depth> tokens{};
    std::array<std::array<float, simulated_width>, simulated_depth> logprobs{};
};

class DraftRunner {
public:
    struct Block {
        SequenceId sequence = 0;
        TokenId token = 0;
    };
    explicit DraftRunner(Runner& runner) : runner_(runner) {}

    std::function<double()> run_seconds;
    Proposal proposal; // of the next runs
    std::size_t runs = 0;

    std::size_t block() const { return simulated_depth + 1; }
    void clear(SequenceId) {}
    void truncate(SequenceId, std::size_t) {}
    void append(SequenceId, std::span<const std::int32_t>) {}
    std::size_t length(SequenceId sequence) const { return runner_.length(sequence); }
    void propose(std::span<const Block>, std::size_t, std::size_t top) {
        simulated_seconds += run_seconds();
        top_ = std::min(top, simulated_width);
        ++runs;
    }
    std::span<const std::int32_t> tokens(std::size_t, std::size_t depth) const { return std::span(proposal.tokens[depth - 1]).first(top_); }
    std::span<const float> logprobs(std::size_t, std::size_t depth) const { return std::span(proposal.logprobs[depth - 1]).first(top_); }

private:
    Runner& runner_;
    std::size_t top_ = 0;
};

} // namespace lucebox::model
