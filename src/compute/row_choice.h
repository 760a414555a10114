// The arithmetic by which a token is chosen from a row of logits: the same bits wherever it is done. Pure functions.
#pragma once

#include "compute/device.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace lucebox::compute {

inline constexpr std::size_t choice_lanes = 16; // one AVX-512 register, or four SSE ones

// e^x for x <= 0, the same bits on every machine, which libm does not promise. x = n ln 2 + r, |r| <= ln 2 / 2; the
// Taylor series to r^7 is off by less than one unit in the last place. Below -87 (and for NaN) zero: 2^n would be
// subnormal.
inline float exp_negative(float x) {
    constexpr float lowest = -87;
    constexpr float to_integer = 12582912; // 1.5 * 2^23: adding it rounds to an integer
    const float bounded = x > lowest ? x : lowest;
    const float n = (bounded * 1.44269504f + to_integer) - to_integer;
    const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f; // ln 2 in two parts
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1;
    sum = sum * r + 1;
    const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
    const float value = sum * std::bit_cast<float>(exponent);
    return x > lowest ? value : 0;
}

// Of a NaN nothing is said: it is never the largest. Minus infinity, if there is no number.
float largest(std::span<const float> logits);

// The sum of exp_negative((logit - best) / temperature) over a block's logits of at least `floor`: lane i adds those at
// i, i + 16, ... in f32; then all lanes in f64, and what is left of the block one by one.
double block_mass(std::span<const float> block, float best, float temperature, float floor);

constexpr bool precedes(const RowCandidate& a, const RowCandidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}
// The `count` best that are at least `floor` and above minus infinity, best first.
void best_candidates(std::span<const float> logits, std::size_t count, float floor, std::vector<RowCandidate>& out);
// Room that best_candidates takes in `out` meanwhile.
constexpr std::size_t candidates_room(std::size_t count) { return (2 * count > count + 256 ? 2 * count : count + 256) + choice_lanes; }

// Minus infinity to all that the mask does not allow; what lies behind its end is not allowed. logits[0] is token `first`, a
// multiple of 64.
void forbid(std::span<float> logits, std::span<const std::uint64_t> mask, std::size_t first = 0);

} // namespace lucebox::compute
