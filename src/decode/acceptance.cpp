#include "decode/acceptance.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace lucebox::decode {
namespace {

constexpr float most_trials = 200;   // then a bin is halved: about the last two hundred guesses count
constexpr float prior_trials = 16;   // what the prior of all sequences weighs
constexpr float shared_trials = 12;  // what all sequences weigh against one
constexpr float least_probability = 1e-3f;

// Upper edges of a draft's probability, denser where it matters.
constexpr float probability_edges[] = {0.02f, 0.05f, 0.1f, 0.2f, 0.3f, 0.45f, 0.6f, 0.75f, 0.85f, 0.93f, 0.98f};
// Upper edges of an agreement's length, and what such agreements are worth in ordinary text.
constexpr float match_edges[] = {0, 1, 2, 3, 4, 5, 7, 10, 15, 23, 31};
constexpr float match_prior[] = {0.5f, 0.15f, 0.3f, 0.4f, 0.5f, 0.55f, 0.65f, 0.75f, 0.8f, 0.85f, 0.9f, 0.95f};

} // namespace

std::size_t Acceptance::bin(std::uint8_t origin, std::int32_t depth, float evidence) {
    if (origin == from_draft) {
        const auto place = std::ranges::lower_bound(probability_edges, std::exp(evidence)) - std::begin(probability_edges);
        const std::size_t group = depth <= 1 ? 0 : depth <= 3 ? 1 : 2;
        return group * 12 + static_cast<std::size_t>(place);
    }
    const auto place = std::ranges::lower_bound(match_edges, evidence) - std::begin(match_edges);
    return bins_of_draft + static_cast<std::size_t>(origin - from_best_match) * bins_of_match + static_cast<std::size_t>(place);
}

Acceptance::Acceptance() {
    constexpr float middles[] = {0.01f, 0.03f, 0.07f, 0.15f, 0.25f, 0.37f, 0.52f, 0.67f, 0.8f, 0.89f, 0.95f, 0.99f};
    for (std::size_t i = 0; i < bins_of_draft; ++i) bins_[i] = {middles[i % 12] * prior_trials, prior_trials};
    for (std::size_t i = 0; i < 3 * bins_of_match; ++i) {
        const bool best = i < bins_of_match;
        bins_[bins_of_draft + i] = {match_prior[i % bins_of_match] * (best ? 1 : 0.5f) * prior_trials, prior_trials};
    }
}

void Acceptance::clear() { bins_ = {}; }

float Acceptance::logprob(std::uint8_t origin, std::int32_t depth, float evidence) const {
    const Bin& b = bins_[bin(origin, depth, evidence)];
    return std::log(std::max(b.trials > 0 ? b.hits / b.trials : 0.5f, least_probability));
}

float Acceptance::logprob(const Acceptance& all, std::uint8_t origin, std::int32_t depth, float evidence) const {
    const std::size_t index = bin(origin, depth, evidence);
    const Bin &own = bins_[index], &shared = all.bins_[index];
    const float expected = shared.trials > 0 ? shared.hits / shared.trials : 0.5f;
    const float probability = (own.hits + shared_trials * expected) / (own.trials + shared_trials);
    return std::log(std::max(probability, least_probability));
}

void Acceptance::observe(std::uint8_t origin, std::int32_t depth, float evidence, bool right) {
    Bin& b = bins_[bin(origin, depth, evidence)];
    b.trials += 1;
    b.hits += right ? 1.0f : 0.0f;
    if (b.trials < most_trials) return;
    b.trials /= 2;
    b.hits /= 2;
}

} // namespace lucebox::decode
