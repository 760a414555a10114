#include "engine/prefix_cache.h"

#include <algorithm>

namespace lucebox::engine {
namespace {

// Fewer tokens than this are read again in less time than it takes to think about it, and they are what any two
// conversations have in common: the template's opening.
constexpr std::size_t least_kept = 8;

} // namespace

std::size_t PrefixCache::usable(const Resting& resting, std::span<const model::TokenId> prompt) const {
    // The prompt's last token is read in any case: its logits choose the answer's first.
    const std::size_t most = std::min(resting.tokens.size(), prompt.size() - 1);
    const auto at = std::mismatch(resting.tokens.begin(), resting.tokens.begin() + static_cast<std::ptrdiff_t>(most), prompt.begin());
    const auto common = static_cast<std::size_t>(at.first - resting.tokens.begin());
    return runner_.rewindable(resting.sequence, common) && common >= least_kept ? common : 0;
}

PrefixCache::Claim PrefixCache::claim(std::span<const model::TokenId> prompt) {
    auto best = resting_.end();
    std::size_t kept = 0;
    for (auto resting = resting_.begin(); resting != resting_.end(); ++resting) {
        const std::size_t common = usable(*resting, prompt);
        if (common <= kept) continue;
        kept = common;
        best = resting;
    }
    // Another conversation with the same opening keeps its sequence while there is an empty one.
    const bool goes_on = best != resting_.end() && 2 * kept >= best->tokens.size();
    if (!goes_on) {
        if (const auto fresh = runner_.open()) return {*fresh, 0};
    }
    if (best != resting_.end() && runner_.rewind(best->sequence, kept)) {
        const Claim claim{best->sequence, kept};
        resting_.erase(best);
        return claim;
    }
    if (const auto fresh = runner_.open()) return {*fresh, 0};
    const auto oldest = std::min_element(resting_.begin(), resting_.end(), [](const auto& a, const auto& b) { return a.last_use < b.last_use; });
    runner_.close(oldest->sequence);
    resting_.erase(oldest);
    return {*runner_.open(), 0};
}

void PrefixCache::rest(model::SequenceId sequence, std::span<const model::TokenId> tokens) {
    if (tokens.size() < least_kept) return runner_.close(sequence);
    resting_.push_back({sequence, {tokens.begin(), tokens.end()}, ++uses_});
}

std::size_t PrefixCache::tokens() const {
    std::size_t sum = 0;
    for (const Resting& resting : resting_) sum += resting.tokens.size();
    return sum;
}

} // namespace lucebox::engine
