#include "engine/prefix_cache.h"

#include <algorithm>
#include <optional>

namespace lucebox::engine {
namespace {

// Fewer tokens than this are read again in less time than it takes to think about it, and they are what any two
// conversations have in common: the template's opening.
constexpr std::size_t least_kept = 8;
// Of a sequence. A state is as large as a few hundred tokens' keys and values of a model without recurrent layers.
constexpr std::size_t most_marks = 4;

} // namespace

const PrefixCache::Marks* PrefixCache::marks_of(model::SequenceId sequence) const {
    const auto at = marks_.find(sequence);
    return at == marks_.end() ? nullptr : &at->second;
}

PrefixCache::Place PrefixCache::usable(const Resting& resting, std::span<const model::TokenId> prompt) const {
    if (prompt.empty()) return {};
    // The prompt's last token is read in any case: its logits choose the answer's first.
    const std::size_t most = std::min(resting.tokens.size(), prompt.size() - 1);
    const auto at = std::mismatch(resting.tokens.begin(), resting.tokens.begin() + static_cast<std::ptrdiff_t>(most), prompt.begin());
    const auto common = static_cast<std::size_t>(at.first - resting.tokens.begin());
    Place place;
    if (cut_.border > 0 ? !runner_.has_recurrent_layers() : runner_.rewindable(resting.sequence, common)) {
        place.length = cut_.usable(common, prompt.size());
    } else if (const Marks* marks = marks_of(resting.sequence)) {
        for (const Mark& mark : *marks)
            if (mark.length <= common && cut_.usable(mark.length, prompt.size()) == mark.length) place = {mark.length, &mark};
    }
    return place.length >= least_kept ? place : Place{};
}

bool PrefixCache::go_back(const Resting& resting, const Place& place) {
    const Status status = place.mark == nullptr ? runner_.rewind(resting.sequence, place.length)
                                                : runner_.rewind(resting.sequence, place.length, place.mark->state);
    if (!status) return false;
    // What was written down of tokens that are gone is gone with them.
    if (const auto marks = marks_.find(resting.sequence); marks != marks_.end())
        std::erase_if(marks->second, [&](const Mark& mark) { return mark.length > place.length; });
    return true;
}

PrefixCache::Claim PrefixCache::claim(std::span<const model::TokenId> prompt) {
    const auto open = [&]() -> std::optional<Claim> {
        const auto fresh = runner_.open();
        if (!fresh) return std::nullopt;
        forget(*fresh);
        return Claim{*fresh, 0};
    };
    auto best = resting_.end();
    Place place;
    for (auto resting = resting_.begin(); resting != resting_.end(); ++resting) {
        const Place here = usable(*resting, prompt);
        if (here.length <= place.length) continue;
        place = here;
        best = resting;
    }
    // Another conversation with the same opening keeps its sequence while there is an empty one.
    const bool goes_on = best != resting_.end() && 2 * place.length >= best->tokens.size();
    if (!goes_on) {
        if (const auto fresh = open()) return *fresh;
    }
    const auto oldest = std::min_element(resting_.begin(), resting_.end(), [](const auto& a, const auto& b) { return a.last_use < b.last_use; });
    // No place is empty. Whoever only shares an opening would cut off the rest of that conversation: not for less than what the
    // oldest one, which is half as likely to be asked for again, would lose.
    const auto pays = [&] { return best == oldest || best->tokens.size() - place.length <= place.length + oldest->tokens.size() / 2; };
    if (best != resting_.end() && (goes_on || pays()) && go_back(*best, place)) {
        const Claim claim{best->sequence, place.length};
        resting_.erase(best);
        return claim;
    }
    if (const auto fresh = open()) return *fresh;
    runner_.close(oldest->sequence);
    resting_.erase(oldest);
    return *open();
}

void PrefixCache::mark(model::SequenceId sequence, std::size_t length) {
    if (!runner_.has_recurrent_layers() || length < least_kept) return;
    auto state = runner_.snapshot(sequence);
    if (!state) return;
    Marks& marks = marks_[sequence];
    marks.push_back({length, std::move(*state)});
    if (marks.size() <= most_marks) return;
    // The one goes that is closest to the one before it: what stays is spread over the whole.
    auto closest = marks.begin();
    std::size_t gap = SIZE_MAX;
    for (auto mark = marks.begin(); mark + 1 != marks.end(); ++mark) { // never the newest
        const std::size_t before = mark == marks.begin() ? 0 : (mark - 1)->length;
        if (mark->length - before >= gap) continue;
        gap = mark->length - before;
        closest = mark;
    }
    marks.erase(closest);
}

void PrefixCache::forget(model::SequenceId sequence) { marks_.erase(sequence); }

void PrefixCache::rest(model::SequenceId sequence, std::span<const model::TokenId> tokens, bool goes_first) {
    if (tokens.size() < least_kept) {
        forget(sequence);
        return runner_.close(sequence);
    }
    resting_.push_back({sequence, {tokens.begin(), tokens.end()}, goes_first ? 0 : ++uses_});
}

std::size_t PrefixCache::tokens() const {
    std::size_t sum = 0;
    for (const Resting& resting : resting_) sum += resting.tokens.size();
    return sum;
}

} // namespace lucebox::engine
