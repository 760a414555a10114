#include "compute/cpu/top_k.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace lucebox::compute::cpu {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

struct Candidate {
    float logit;
    std::int32_t id;
};

// Candidates come by rising id, so an equal one never displaces an earlier one.
void insert(std::span<Candidate> best, Candidate candidate) {
    std::size_t place = best.size() - 1;
    for (; place > 0 && best[place - 1].logit < candidate.logit; --place) best[place] = best[place - 1];
    best[place] = candidate;
}

bool any_above(const float* x, std::size_t n, float limit) {
    int above = 0;
    for (std::size_t i = 0; i < n; ++i) above |= x[i] > limit;
    return above != 0;
}

} // namespace

void top_of_row(std::span<const float> logits, const RowKernels& kernels, std::span<std::int32_t> ids,
                std::span<float> logprobs) {
    constexpr std::size_t block = 64; // nearly all blocks hold nothing above the limit
    std::array<Candidate, max_top_k> candidates;
    const std::span best(candidates.data(), ids.size());
    std::ranges::fill(best, Candidate{minus_infinity, -1});
    for (std::size_t begin = 0; begin < logits.size(); begin += block) {
        const std::size_t end = std::min(begin + block, logits.size());
        if (!any_above(logits.data() + begin, end - begin, best.back().logit)) continue;
        for (std::size_t i = begin; i < end; ++i) {
            if (logits[i] > best.back().logit) insert(best, {logits[i], static_cast<std::int32_t>(i)});
        }
    }
    std::int32_t fallback = 0; // for rows with fewer numbers than places
    const float max = best.front().logit;
    const double log_total = max == minus_infinity ? 0 : max + std::log(kernels.sum_exponentials(logits.data(), max, logits.size()));
    for (std::size_t i = 0; i < best.size(); ++i) {
        if (best[i].id >= 0) fallback = best[i].id;
        ids[i] = fallback;
        logprobs[i] = best[i].id >= 0 ? static_cast<float>(best[i].logit - log_total) : minus_infinity;
    }
}

} // namespace lucebox::compute::cpu
