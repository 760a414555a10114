// From logits to a token, reproducibly.
//
// The random number of a choice depends on (seed, position) alone, so the same request gives the same text whatever
// else runs beside it, and a verified draft gives the text of plain decoding. `position` is the token's place in the
// text, counted from the first prompt token. Pure functions of their arguments; any thread.
//
// Order of operations: logit bias, penalties, then (at temperature 0) the best token; otherwise temperature, top-k,
// min-p, top-p, draw. Ties go to the lower id.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lucebox::decode {

using TokenId = std::int32_t;

struct SamplingParams {
    float temperature = 1;        // 0: greedy
    std::int32_t top_k = 0;       // keep the k best; 0: all
    float top_p = 1;              // keep the smallest set of the best that reaches this mass
    float min_p = 0;              // keep tokens at least this fraction of the best one's probability
    float repetition_penalty = 1; // divides positive, multiplies negative logits of tokens seen
    float frequency_penalty = 0;  // minus this times the count among generated tokens
    float presence_penalty = 0;   // minus this if generated at all
    std::int32_t penalty_window = 64; // last tokens (prompt included) that repetition_penalty looks at; -1: all
    std::vector<std::pair<TokenId, float>> logit_bias;
    std::uint64_t seed = 0;
};

// Names the field that is out of range.
Status validate(const SamplingParams& params);

// What penalties need to know of the text so far; kept by the caller beside the sequence.
class TokenHistory {
public:
    void add_prompt(std::span<const TokenId> tokens);
    void add_generated(TokenId token);

    std::span<const TokenId> tokens() const { return tokens_; }
    const std::unordered_map<TokenId, std::int32_t>& generated() const { return generated_; }

private:
    std::vector<TokenId> tokens_;
    std::unordered_map<TokenId, std::int32_t> generated_;
};

struct TokenLogprob {
    TokenId token = -1;
    float logprob = 0; // natural logarithm, of the model's own distribution (before temperature and truncation)
};

struct Sample {
    TokenId token = -1;
    float logprob = 0;
    std::vector<TokenLogprob> top; // best first
};

// Uniform in [0, 1) from (seed, position): Philox 4x32-10 (Salmon et al., SC 2011).
double uniform(std::uint64_t seed, std::uint64_t position);

// Reused between calls so that sampling allocates nothing in steady state. One per thread.
class Sampler {
public:
    // logits: [vocabulary], may be changed. logprobs: whether to fill Sample::logprob and `top` (that many).
    Sample sample(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                  std::uint64_t position, bool logprobs = false, std::int32_t top_logprobs = 0);

private:
    struct Candidate {
        float logit;
        TokenId token;
    };
    std::vector<Candidate> candidates_;
};

} // namespace lucebox::decode
