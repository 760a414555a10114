// One sequence from its prompt to its end, with speculation: what commands and tests do without an engine.
#pragma once

#include "decode/sampler.h"
#include "decode/speculator.h"

#include <functional>

namespace lucebox::decode {

struct ContinueOptions {
    SamplingParams sampling;
    std::size_t max_tokens = 0;               // at least 1
    std::size_t rows = 256;                   // of a prompt's step
    std::function<bool(TokenId)> ends = {};   // whether a token ends the text; none: nothing does
    bool keep_steps = false;
};

struct VerifiedStep {
    std::size_t start = 0;             // position of the token that the step feeds first
    std::vector<DraftNode> proposals;  // the tree's nodes but for the root
    std::size_t accepted = 0;
};

struct ContinuedText {
    std::vector<TokenId> tokens;
    bool ended = false; // by a token that ends texts, which is not among them
    std::vector<VerifiedStep> steps;
    SpeculationStats stats;
    double prompt_seconds = 0, seconds = 0; // to the first token, and from there
};

// `sequence` is open and empty; it stays open.
Result<ContinuedText> continue_text(model::Runner& runner, Speculator& speculator, model::SequenceId sequence,
                                    std::span<const TokenId> prompt, const ContinueOptions& options);

} // namespace lucebox::decode
