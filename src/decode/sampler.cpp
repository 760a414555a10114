// Nobody reads the floating-point exception flags, and only without them does GCC turn the conditionals of
// exp_negative into lanes (3.4 times as fast). The values are the same either way.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include "decode/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace lucebox::decode {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr std::size_t kLanes = 16;   // one AVX-512 register, or four SSE ones
constexpr std::size_t kBlock = 1024; // floats summed in single precision before a double takes over

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

// The comparison is false for NaN, which therefore never becomes the maximum.
float maximum(std::span<const float> logits) {
    float lanes[kLanes];
    std::fill(std::begin(lanes), std::end(lanes), kMinusInfinity);
    const std::size_t whole = logits.size() / kLanes * kLanes;
    for (std::size_t i = 0; i < whole; i += kLanes)
        for (std::size_t j = 0; j < kLanes; ++j)
            lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
    float best = kMinusInfinity;
    for (const float lane : lanes)
        best = lane > best ? lane : best;
    for (std::size_t i = whole; i < logits.size(); ++i)
        best = logits[i] > best ? logits[i] : best;
    return best;
}

TokenId first_equal(std::span<const float> logits, float value) {
    const auto at = std::find(logits.begin(), logits.end(), value);
    return at == logits.end() ? 0 : static_cast<TokenId>(at - logits.begin());
}

bool any_above(const float* logits, std::size_t count, float limit) {
    int above = 0;
    for (std::size_t i = 0; i < count; ++i)
        above |= logits[i] > limit;
    return above != 0;
}

bool better(const Sampler::Candidate& a, const Sampler::Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Differences to an infinite maximum are NaN; the largest finite numbers order the same way.
void make_finite(std::span<float> logits) {
    for (float& logit : logits)
        logit = std::min(logit, std::numeric_limits<float>::max());
}

void forbid(std::span<float> logits, std::span<const std::uint64_t> mask) {
    for (std::size_t begin = 0, word = 0; begin < logits.size(); begin += 64, ++word) {
        const auto block = logits.subspan(begin, std::min<std::size_t>(64, logits.size() - begin));
        const std::uint64_t bits = word < mask.size() ? mask[word] : 0;
        if (bits == ~std::uint64_t{0}) continue;
        if (bits == 0) {
            std::fill(block.begin(), block.end(), kMinusInfinity);
            continue;
        }
        for (std::size_t i = 0; i < block.size(); ++i)
            if ((bits >> i & 1) == 0) block[i] = kMinusInfinity;
    }
}

Status check_range(const char* field, double value, double low, double high) {
    if (value >= low && value <= high) return Ok{};
    return Error{ErrorKind::usage, fmt::format("{} must be from {} to {}, not {}", field, low, high, value)};
}

} // namespace

Status validate(const SamplingParams& params) {
    LUCEBOX_CHECK(check_range("temperature", params.temperature, 0, 100));
    LUCEBOX_CHECK(check_range("top_k", params.top_k, 0, std::numeric_limits<std::int32_t>::max()));
    LUCEBOX_CHECK(check_range("top_p", params.top_p, 0, 1));
    LUCEBOX_CHECK(check_range("min_p", params.min_p, 0, 1));
    LUCEBOX_CHECK(check_range("repetition_penalty", params.repetition_penalty, 0.01, 100));
    LUCEBOX_CHECK(check_range("frequency_penalty", params.frequency_penalty, -2, 2));
    LUCEBOX_CHECK(check_range("presence_penalty", params.presence_penalty, -2, 2));
    LUCEBOX_CHECK(check_range("penalty_window", params.penalty_window, -1, std::numeric_limits<std::int32_t>::max()));
    for (const auto& [token, bias] : params.logit_bias) {
        if (token < 0) return Error{ErrorKind::usage, fmt::format("logit_bias names the token {}", token)};
        LUCEBOX_CHECK(check_range("logit_bias", bias, -100, 100));
    }
    return Ok{};
}

bool takes_the_best(const SamplingParams& params) {
    return params.temperature == 0 && params.repetition_penalty == 1 && params.frequency_penalty == 0 &&
           params.presence_penalty == 0 && params.logit_bias.empty();
}

void TokenHistory::add_prompt(std::span<const TokenId> tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void TokenHistory::add_generated(TokenId token) {
    tokens_.push_back(token);
    ++generated_[token];
}

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
        const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
        counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
        key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
    }
    return counter;
}

double uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t draw) {
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    const auto words = philox4x32({low(position), low(position >> 32), draw, 0}, {low(seed), low(seed >> 32)});
    const std::uint64_t bits = (std::uint64_t{words[0]} << 32 | words[1]) >> 11;
    return static_cast<double>(bits) * 0x1p-53;
}

Sample Sampler::sample(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                       std::uint64_t position, bool logprobs, std::int32_t top_logprobs, Constraint* constraint) {
    Sample sample;
    double log_total = 0; // of the model's own distribution
    if (logprobs) {
        const float best = maximum(logits);
        log_total = best + std::log(weigh(logits, best, 1, kMinusInfinity));
        select_best(logits, static_cast<std::size_t>(std::max(top_logprobs, 0)), kMinusInfinity);
        for (const Candidate& candidate : candidates_)
            sample.top.push_back({candidate.token, static_cast<float>(candidate.logit - log_total)});
    }
    overwritten_.clear();
    sample.token = choose(logits, params, history, position, 0);
    if (constraint != nullptr && !constraint->allows(sample.token)) {
        restore(logits);
        forbid(logits, constraint->mask());
        sample.token = choose(logits, params, history, position, 1);
    }
    if (logprobs) {
        const double logprob = own_logit(logits, sample.token) - log_total;
        sample.logprob = std::isnan(logprob) ? kMinusInfinity : static_cast<float>(logprob);
    }
    return sample;
}

TokenId Sampler::choose(std::span<float> logits, const SamplingParams& params, const TokenHistory& history,
                        std::uint64_t position, std::uint32_t draw_number) {
    apply_bias(logits, params);
    apply_penalties(logits, params, history);
    float best = maximum(logits);
    if (best == std::numeric_limits<float>::infinity()) {
        make_finite(logits);
        best = std::numeric_limits<float>::max();
    }
    if (params.temperature > 0 && best > kMinusInfinity)
        return draw(logits, params, best, uniform(params.seed, position, draw_number));
    return first_equal(logits, best);
}

// The model's own logits again: later writes first, as one place may have been written twice.
void Sampler::restore(std::span<float> logits) {
    for (auto old = overwritten_.rbegin(); old != overwritten_.rend(); ++old)
        logits[static_cast<std::size_t>(old->token)] = old->logit;
    overwritten_.clear();
}

void Sampler::set(std::span<float> logits, TokenId token, float logit) {
    float& place = logits[static_cast<std::size_t>(token)];
    overwritten_.push_back({place, token});
    place = logit;
}

float Sampler::own_logit(std::span<const float> logits, TokenId token) const {
    for (const Candidate& old : overwritten_)
        if (old.token == token) return old.logit;
    return logits[static_cast<std::size_t>(token)];
}

void Sampler::apply_bias(std::span<float> logits, const SamplingParams& params) {
    for (const auto& [token, bias] : params.logit_bias)
        if (token >= 0 && static_cast<std::size_t>(token) < logits.size())
            set(logits, token, logits[static_cast<std::size_t>(token)] + bias);
}

void Sampler::apply_penalties(std::span<float> logits, const SamplingParams& params, const TokenHistory& history) {
    const auto inside = [&](TokenId token) { return token >= 0 && static_cast<std::size_t>(token) < logits.size(); };
    if (params.repetition_penalty != 1 && params.penalty_window != 0) {
        auto window = history.tokens();
        if (params.penalty_window > 0)
            window = window.last(std::min(window.size(), static_cast<std::size_t>(params.penalty_window)));
        seen_.resize(logits.size());
        for (const TokenId token : window) {
            if (!inside(token) || seen_[static_cast<std::size_t>(token)]) continue;
            seen_[static_cast<std::size_t>(token)] = 1;
            const float logit = logits[static_cast<std::size_t>(token)];
            set(logits, token, logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty);
        }
        for (const TokenId token : window)
            if (inside(token)) seen_[static_cast<std::size_t>(token)] = 0;
    }
    if (params.frequency_penalty == 0 && params.presence_penalty == 0) return;
    for (const auto& [token, count] : history.generated()) {
        if (!inside(token)) continue;
        const float penalty = params.frequency_penalty * static_cast<float>(count) + params.presence_penalty;
        set(logits, token, logits[static_cast<std::size_t>(token)] - penalty);
    }
}

// Fills candidates_ with the `count` best that are at least `floor`, best first. A scan with a rising limit: nearly all
// blocks hold nothing above it and cost one comparison a lane.
void Sampler::select_best(std::span<const float> logits, std::size_t count, float floor) {
    candidates_.clear();
    count = std::min(count, logits.size());
    if (count == 0) return;
    const std::size_t room = std::max(2 * count, count + 256);
    float limit = std::nextafter(floor, kMinusInfinity);
    for (std::size_t begin = 0; begin < logits.size(); begin += kLanes) {
        const std::size_t end = std::min(begin + kLanes, logits.size());
        if (!any_above(logits.data() + begin, end - begin, limit)) continue;
        for (std::size_t i = begin; i < end; ++i)
            if (logits[i] > limit) candidates_.push_back({logits[i], static_cast<TokenId>(i)});
        if (candidates_.size() < room) continue;
        // An equal logit that comes later has the higher id, so "above the worst kept one" is enough from here on.
        std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count - 1),
                         candidates_.end(), better);
        candidates_.resize(count);
        limit = std::max(limit, candidates_.back().logit);
    }
    std::sort(candidates_.begin(), candidates_.end(), better);
    if (candidates_.size() > count) candidates_.resize(count);
}

// The mass of all logits from `floor` up, relative to the best one; block_mass_ keeps its parts.
double Sampler::weigh(std::span<const float> logits, float best, float temperature, float floor) {
    block_mass_.clear();
    double total = 0;
    for (std::size_t begin = 0; begin < logits.size(); begin += kBlock) {
        const auto block = logits.subspan(begin, std::min(kBlock, logits.size() - begin));
        const auto weight = [&](float logit) {
            const float full =
                exp_negative((logit - best) / temperature); // always computed, so that lanes run together
            return logit >= floor ? full : 0.0f;
        };
        float lanes[kLanes] = {};
        const std::size_t whole = block.size() / kLanes * kLanes;
        for (std::size_t i = 0; i < whole; i += kLanes)
            for (std::size_t j = 0; j < kLanes; ++j)
                lanes[j] += weight(block[i + j]);
        double mass = 0;
        for (const float lane : lanes)
            mass += lane;
        for (std::size_t i = whole; i < block.size(); ++i)
            mass += weight(block[i]);
        block_mass_.push_back(mass);
        total += mass;
    }
    return total;
}

TokenId Sampler::draw(std::span<const float> logits, const SamplingParams& params, float best, double u) {
    const float temperature = params.temperature;
    const float floor = params.min_p > 0 ? best + temperature * std::log(params.min_p) : kMinusInfinity;
    if (params.top_k > 0 && static_cast<std::size_t>(params.top_k) < logits.size()) {
        select_best(logits, static_cast<std::size_t>(params.top_k), floor);
        double total = 0;
        for (const Candidate& candidate : candidates_)
            total += exp_negative((candidate.logit - best) / temperature);
        return draw_from_selected(best, params, total, u);
    }
    const double total = weigh(logits, best, temperature, floor);
    if (params.top_p >= 1) return draw_from_all(logits, best, temperature, floor, u * total);
    // The nucleus is small nearly always; when it is not, look for it among more.
    for (std::size_t count = 256;; count *= 8) {
        select_best(logits, count, floor);
        const TokenId token = draw_from_selected(best, params, total, u);
        if (token >= 0) return token;
        if (candidates_.size() < count) {
            SamplingParams all = params; // rounding kept the sum below the mass asked for
            all.top_p = 1;
            return draw_from_selected(best, all, total, u);
        }
    }
}

// Draws from the smallest head of candidates_ that reaches top_p of `total`; -1 if they do not reach it.
TokenId Sampler::draw_from_selected(float best, const SamplingParams& params, double total, double u) const {
    const auto weight = [&](const Candidate& c) { return exp_negative((c.logit - best) / params.temperature); };
    double mass = 0;
    std::size_t kept = 0;
    const double wanted = params.top_p >= 1 ? std::numeric_limits<double>::infinity() : params.top_p * total;
    while (kept < candidates_.size() && (kept == 0 || mass < wanted)) {
        const float next = weight(candidates_[kept]);
        if (next <= 0) break; // and so are all behind it
        mass += next;
        ++kept;
    }
    if (params.top_p < 1 && mass < wanted) return -1;
    double left = u * mass;
    for (std::size_t i = 0; i + 1 < kept; ++i) {
        left -= weight(candidates_[i]);
        if (left < 0) return candidates_[i].token;
    }
    return candidates_[kept - 1].token;
}

TokenId Sampler::draw_from_all(std::span<const float> logits, float best, float temperature, float floor,
                               double target) {
    // Rounding may carry the target past the end: the last place with any mass is the answer then.
    std::size_t chosen = 0;
    double left = target;
    for (std::size_t block = 0; block < block_mass_.size(); ++block) {
        if (block_mass_[block] <= 0) continue;
        chosen = block;
        left = target;
        if (target < block_mass_[block]) break;
        target -= block_mass_[block];
    }
    TokenId last = 0;
    const std::size_t end = std::min((chosen + 1) * kBlock, logits.size());
    for (std::size_t i = chosen * kBlock; i < end; ++i) {
        const float weight = logits[i] >= floor ? exp_negative((logits[i] - best) / temperature) : 0;
        if (weight <= 0) continue;
        last = static_cast<TokenId>(i);
        left -= weight;
        if (left < 0) break;
    }
    return last;
}

} // namespace lucebox::decode
