// From logits to a token, reproducibly.
//
// The random number of a choice depends on (seed, position) alone, so the same request gives the same text whatever
// else runs beside it, and a verified draft gives the text of plain decoding. `position` is the token's place in the
// text, counted from the first prompt token. Pure functions of their arguments; any thread.
//
// A constraint (a grammar) changes nothing while what was chosen freely is allowed. Where it is not, tokens that are
// forbidden lose their place before everything else, and the choice is made again with a random number of its own, so
// that the outcome has the distribution of the allowed tokens and text that was valid anyway stays as it was.
//
// Order of operations: logit bias, penalties, then (at temperature 0) the best token; otherwise temperature, top-k,
// min-p, top-p, draw. Ties go to the lower id. A logit that is not a number counts as minus infinity; if none is left,
// the answer is token 0.
//
// A row of logits may stay on its device: then the device says which tokens are candidates, and what they weigh, under the
// constraint's mask if there is one. The choice is the same, to the bit, as from the row itself.
#pragma once

#include "base/result.h"
#include "compute/row_choice.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lucebox::decode {

using TokenId = std::int32_t;

struct SamplingParams {
    float temperature = 1;            // 0: greedy
    std::int32_t top_k = 0;           // keep the k best; 0: all
    float top_p = 1;                  // keep the smallest set of the best that reaches this mass
    float min_p = 0;                  // keep tokens at least this fraction of the best one's probability
    float repetition_penalty = 1;     // divides positive, multiplies negative logits of tokens seen
    float frequency_penalty = 0;      // minus this times the count among generated tokens
    float presence_penalty = 0;       // minus this if generated at all
    std::int32_t penalty_window = 64; // last tokens (prompt included) that repetition_penalty looks at; -1: all
    std::vector<std::pair<TokenId, float>> logit_bias;
    std::uint64_t seed = 0;
};

// Names the field that is out of range, as the first word of the message.
Status validate(const SamplingParams& params);

// Whether the largest logit as the model gave it decides, so that nothing else of the row is needed.
bool takes_the_best(const SamplingParams& params);

// Whether the row may stay on its device: logits count as the model gave them, and no more candidates are asked for than a
// device tells.
bool leaves_the_row(const SamplingParams& params);
// What the sampler will ask of such a row first.
compute::RowQuery query_of(const SamplingParams& params, std::size_t vocabulary);

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

// Which tokens may come next, whatever their probability.
class Constraint {
public:
    virtual ~Constraint() = default;
    virtual bool allows(TokenId token) = 0;
    virtual std::span<const std::uint64_t> mask() = 0; // bit `id % 64` of word `id / 64`; ids behind its end are forbidden
};

// A row of logits on its device.
class RemoteRow {
public:
    struct Summary {
        const compute::RowSummary* row;
        std::span<const double> masses;
    };
    using Mask = std::span<const std::uint64_t>;

    virtual ~RemoteRow() = default;
    virtual std::size_t width() const = 0;
    virtual TokenId best() = 0;
    virtual Summary summary(const compute::RowQuery& query, Mask mask) = 0; // mask: if the query is masked
    // Of the last summary: its candidates from RowSummary::near on, that many; some of the logits themselves, without any mask.
    virtual std::span<const compute::RowCandidate> more(std::size_t count) = 0;
    virtual std::span<const float> part(std::size_t first, std::size_t count) = 0;
    virtual std::span<float> whole() = 0; // may be changed
};

// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

// Uniform in [0, 1): the first 53 bits of Philox with the position and the draw as counter and the seed as key.
double uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t draw = 0);

// Reused between calls so that sampling allocates nothing in steady state. One per thread.
class Sampler {
public:
    // logits: [vocabulary], may be changed. logprobs: whether to fill Sample::logprob and `top` (that many).
    Sample sample(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                  std::uint64_t position, bool logprobs = false, std::int32_t top_logprobs = 0,
                  Constraint* constraint = nullptr);

    // The same from a row that stays where it is; params: see leaves_the_row.
    TokenId sample(RemoteRow& row, const SamplingParams& params, std::uint64_t position, Constraint* constraint = nullptr);

private:
    using Candidate = compute::RowCandidate;

    TokenId choose(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                   std::uint64_t position, std::uint32_t draw);
    TokenId choose(RemoteRow& row, const SamplingParams& params, std::uint64_t position, std::uint32_t draw,
                   const RemoteRow::Mask* mask);
    TokenId draw_remotely(RemoteRow& row, const RemoteRow::Summary& summary, const SamplingParams& params, double u,
                          const RemoteRow::Mask* mask);
    bool collect(RemoteRow& row, const compute::RowSummary& summary);
    void restore(std::span<float> logits);
    void set(std::span<float> logits, TokenId token, float logit);
    void apply_bias(std::span<float> logits, const SamplingParams& params);
    void apply_penalties(std::span<float> logits, const SamplingParams& params, const TokenHistory& history);
    double weigh(std::span<const float> logits, float best, float temperature, float floor);
    TokenId draw(std::span<const float> logits, const SamplingParams& params, float best, double u);
    TokenId draw_from_best(const SamplingParams& params, float best, double u) const;
    TokenId draw_from_selected(float best, const SamplingParams& params, double total, double u) const;
    float own_logit(std::span<const float> logits, TokenId token) const;

    std::vector<Candidate> candidates_;  // best first
    std::vector<Candidate> overwritten_; // the model's own logits under bias and penalties, first write first
    std::vector<std::uint8_t> seen_;     // [vocabulary], zero between calls
    std::vector<double> block_mass_;     // of the last weigh
    std::vector<float> block_;           // of a remote row, under a mask
};

} // namespace lucebox::decode
