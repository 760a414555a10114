#include "decode/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace lucebox::decode {

using compute::best_candidates;
using compute::exp_negative;
using compute::forbid;
using compute::largest;
using compute::RowQuery;
using compute::RowSummary;

namespace {

constexpr std::size_t kBlock = RowSummary::mass_block;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
TokenId first_equal(std::span<const float> logits, float value) {
    const auto at = std::find(logits.begin(), logits.end(), value);
    return at == logits.end() ? 0 : static_cast<TokenId>(at - logits.begin());
}

// Differences to an infinite maximum are NaN; the largest finite numbers order the same way.
void make_finite(std::span<float> logits) {
    for (float& logit : logits)
        logit = std::min(logit, std::numeric_limits<float>::max());
}

// How far below the best one a logit still counts.
float reach(const SamplingParams& params) { return params.min_p > 0 ? params.temperature * std::log(params.min_p) : kMinusInfinity; }

bool limits_count(const SamplingParams& params, std::size_t vocabulary) {
    return params.top_k > 0 && static_cast<std::size_t>(params.top_k) < vocabulary;
}

struct BlockChoice {
    std::size_t block = 0;
    double left = 0; // of the mass drawn, in this block
};

// Rounding may carry the target past the end: the last place with any mass is the answer then.
BlockChoice choose_block(std::span<const double> masses, double target) {
    BlockChoice chosen{0, target};
    for (std::size_t block = 0; block < masses.size(); ++block) {
        if (masses[block] <= 0) continue;
        chosen = {block, target};
        if (target < masses[block]) break;
        target -= masses[block];
    }
    return chosen;
}

// block[0] is token `first`.
TokenId draw_from_block(std::span<const float> block, std::size_t first, float best, float temperature, float floor, double left) {
    TokenId last = 0;
    for (std::size_t i = 0; i < block.size(); ++i) {
        const float weight = block[i] >= floor ? exp_negative((block[i] - best) / temperature) : 0;
        if (weight <= 0) continue;
        last = static_cast<TokenId>(first + i);
        left -= weight;
        if (left < 0) break;
    }
    return last;
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

bool leaves_the_row(const SamplingParams& params) {
    SamplingParams greedy = params;
    greedy.temperature = 0;
    return takes_the_best(greedy) && params.top_k <= static_cast<std::int32_t>(RowSummary::room);
}

RowQuery query_of(const SamplingParams& params, std::size_t vocabulary) {
    RowQuery query;
    query.temperature = params.temperature;
    if (params.temperature == 0) return query;
    query.floor = reach(params);
    if (limits_count(params, vocabulary)) query.count = static_cast<std::uint32_t>(params.top_k);
    else if (params.top_p < 1) query.share = std::max(params.top_p, 1e-6f); // 0 would ask for none
    return query;
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
        const float best = largest(logits);
        log_total = best + std::log(weigh(logits, best, 1, kMinusInfinity));
        best_candidates(logits, static_cast<std::size_t>(std::max(top_logprobs, 0)), kMinusInfinity, candidates_);
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
    float best = largest(logits);
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

// The mass of all logits from `floor` up, relative to the best one; block_mass_ keeps its parts.
double Sampler::weigh(std::span<const float> logits, float best, float temperature, float floor) {
    block_mass_.clear();
    double total = 0;
    for (std::size_t begin = 0; begin < logits.size(); begin += kBlock) {
        const auto block = logits.subspan(begin, std::min(kBlock, logits.size() - begin));
        block_mass_.push_back(compute::block_mass(block, best, temperature, floor));
        total += block_mass_.back();
    }
    return total;
}

TokenId Sampler::draw(std::span<const float> logits, const SamplingParams& params, float best, double u) {
    const float floor = best + reach(params);
    if (limits_count(params, logits.size())) {
        best_candidates(logits, static_cast<std::size_t>(params.top_k), floor, candidates_);
        return draw_from_best(params, best, u);
    }
    const double total = weigh(logits, best, params.temperature, floor);
    if (params.top_p >= 1) {
        const BlockChoice chosen = choose_block(block_mass_, u * total);
        const std::size_t begin = chosen.block * kBlock;
        return draw_from_block(logits.subspan(begin, std::min(kBlock, logits.size() - begin)), begin, best, params.temperature, floor, chosen.left);
    }
    // The nucleus is small nearly always; when it is not, look for it among more.
    for (std::size_t count = 256;; count *= 8) {
        best_candidates(logits, count, floor, candidates_);
        const TokenId token = draw_from_selected(best, params, total, u);
        if (token >= 0) return token;
        if (candidates_.size() < count) {
            SamplingParams all = params; // rounding kept the sum below the mass asked for
            all.top_p = 1;
            return draw_from_selected(best, all, total, u);
        }
    }
}

// From the candidates that top_k left.
TokenId Sampler::draw_from_best(const SamplingParams& params, float best, double u) const {
    double total = 0;
    for (const Candidate& candidate : candidates_) total += exp_negative((candidate.logit - best) / params.temperature);
    return draw_from_selected(best, params, total, u);
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

TokenId Sampler::sample(RemoteRow& row, const SamplingParams& params, std::uint64_t position, Constraint* constraint) {
    const TokenId token = choose(row, params, position, 0, nullptr);
    if (constraint == nullptr || constraint->allows(token)) return token;
    const RemoteRow::Mask mask = constraint->mask();
    return choose(row, params, position, 1, &mask);
}

TokenId Sampler::choose(RemoteRow& row, const SamplingParams& params, std::uint64_t position, std::uint32_t draw_number,
                        const RemoteRow::Mask* mask) {
    if (params.temperature == 0 && mask == nullptr) return row.best();
    RowQuery query = query_of(params, row.width());
    query.masked = mask == nullptr ? 0 : 1;
    const auto summary = row.summary(query, mask == nullptr ? RemoteRow::Mask{} : *mask);
    if (std::isfinite(summary.row->best)) {
        if (params.temperature == 0) return summary.row->best_token;
        const TokenId token = draw_remotely(row, summary, params, uniform(params.seed, position, draw_number), mask);
        if (token >= 0) return token;
    }
    const std::span<float> logits = row.whole(); // what is rare is not worth a way of its own
    if (mask != nullptr) forbid(logits, *mask);
    overwritten_.clear();
    return choose(logits, params, {}, position, draw_number);
}

// -1: the device did not tell enough.
TokenId Sampler::draw_remotely(RemoteRow& row, const RemoteRow::Summary& summary, const SamplingParams& params, double u,
                               const RemoteRow::Mask* mask) {
    const float best = summary.row->best;
    if (limits_count(params, row.width())) {
        if (!collect(row, *summary.row)) return -1;
        candidates_.resize(std::min(candidates_.size(), static_cast<std::size_t>(params.top_k)));
        return draw_from_best(params, best, u);
    }
    double total = 0;
    for (const double mass : summary.masses) total += mass;
    if (params.top_p < 1) return collect(row, *summary.row) ? draw_from_selected(best, params, total, u) : -1;
    const BlockChoice chosen = choose_block(summary.masses, u * total);
    const std::size_t begin = chosen.block * kBlock;
    std::span<const float> block = row.part(begin, std::min(kBlock, row.width() - begin));
    if (mask != nullptr) {
        block_.assign(block.begin(), block.end());
        forbid(block_, *mask, begin);
        block = block_;
    }
    return draw_from_block(block, begin, best, params.temperature, best + reach(params), chosen.left);
}

// Fills candidates_ with those that the device told, best first; false if it could not tell them all.
bool Sampler::collect(RemoteRow& row, const RowSummary& summary) {
    const std::size_t found = summary.found;
    if (found == 0 || found > RowSummary::room) return false;
    const std::size_t near = std::min(found, RowSummary::near);
    candidates_.assign(summary.candidate, summary.candidate + near);
    if (found > near) {
        const auto more = row.more(found - near);
        candidates_.insert(candidates_.end(), more.begin(), more.end());
    }
    std::sort(candidates_.begin(), candidates_.end(), compute::precedes);
    return true;
}

} // namespace lucebox::decode
