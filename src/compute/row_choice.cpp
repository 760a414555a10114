// Nobody reads the floating-point exception flags, and only without them does GCC turn the conditionals of
// exp_negative into lanes (3.4 times as fast). The values are the same either way.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include "compute/row_choice.h"

#include <algorithm>
#include <cmath>

namespace lucebox::compute {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

bool any_above(const float* logits, std::size_t count, float limit) {
    int above = 0;
    for (std::size_t i = 0; i < count; ++i) above |= logits[i] > limit;
    return above != 0;
}

} // namespace

float largest(std::span<const float> logits) {
    float lanes[choice_lanes];
    std::fill(std::begin(lanes), std::end(lanes), minus_infinity);
    const std::size_t whole = logits.size() / choice_lanes * choice_lanes;
    for (std::size_t i = 0; i < whole; i += choice_lanes)
        for (std::size_t j = 0; j < choice_lanes; ++j)
            lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
    float best = minus_infinity;
    for (const float lane : lanes) best = lane > best ? lane : best;
    for (std::size_t i = whole; i < logits.size(); ++i) best = logits[i] > best ? logits[i] : best;
    return best;
}

double block_mass(std::span<const float> block, float best, float temperature, float floor) {
    const auto weight = [&](float logit) {
        const float full = exp_negative((logit - best) / temperature); // always computed, so that lanes run together
        return logit >= floor ? full : 0.0f;
    };
    float lanes[choice_lanes] = {};
    const std::size_t whole = block.size() / choice_lanes * choice_lanes;
    for (std::size_t i = 0; i < whole; i += choice_lanes)
        for (std::size_t j = 0; j < choice_lanes; ++j)
            lanes[j] += weight(block[i + j]);
    double mass = 0;
    for (const float lane : lanes) mass += lane;
    for (std::size_t i = whole; i < block.size(); ++i) mass += weight(block[i]);
    return mass;
}

// A scan with a rising limit: nearly all blocks hold nothing above it and cost one comparison a lane.
void best_candidates(std::span<const float> logits, std::size_t count, float floor, std::vector<RowCandidate>& out) {
    out.clear();
    count = std::min(count, logits.size());
    if (count == 0) return;
    const std::size_t room = std::max(2 * count, count + 256);
    float limit = std::nextafter(floor, minus_infinity);
    for (std::size_t begin = 0; begin < logits.size(); begin += choice_lanes) {
        const std::size_t end = std::min(begin + choice_lanes, logits.size());
        if (!any_above(logits.data() + begin, end - begin, limit)) continue;
        for (std::size_t i = begin; i < end; ++i)
            if (logits[i] > limit) out.push_back({logits[i], static_cast<std::int32_t>(i)});
        if (out.size() < room) continue;
        // An equal logit that comes later has the higher id, so "above the worst kept one" is enough from here on.
        std::nth_element(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count - 1), out.end(), precedes);
        out.resize(count);
        limit = std::max(limit, out.back().logit);
    }
    std::sort(out.begin(), out.end(), precedes);
    if (out.size() > count) out.resize(count);
}

void forbid(std::span<float> logits, std::span<const std::uint64_t> mask, std::size_t first) {
    for (std::size_t begin = 0, word = first / 64; begin < logits.size(); begin += 64, ++word) {
        const auto block = logits.subspan(begin, std::min<std::size_t>(64, logits.size() - begin));
        const std::uint64_t bits = word < mask.size() ? mask[word] : 0;
        if (bits == ~std::uint64_t{0}) continue;
        if (bits == 0) {
            std::fill(block.begin(), block.end(), minus_infinity);
            continue;
        }
        for (std::size_t i = 0; i < block.size(); ++i)
            if ((bits >> i & 1) == 0) block[i] = minus_infinity;
    }
}

} // namespace lucebox::compute
