#include "decode/lookup.h"

#include <algorithm>

namespace lucebox::decode {
namespace {

// Earlier places that are looked at for each kind of chain: text that repeats has its best match among the last few.
constexpr std::size_t most_places = 24;

std::uint64_t hash_of(std::span<const TokenId> tokens) {
    std::uint64_t hash = 0xcbf29ce484222325; // FNV-1a over whole tokens
    for (const TokenId token : tokens) hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x100000001b3;
    return hash;
}

} // namespace

void LookupIndex::clear() {
    text_.clear();
    for (Chain* chain : {&long_, &short_}) {
        chain->head.clear();
        chain->previous.clear();
    }
    expected_ = 0;
}

void LookupIndex::add(std::span<const TokenId> tokens) {
    for (const TokenId token : tokens) add(token);
}

void LookupIndex::add(TokenId token) {
    text_.push_back(token);
    if (expected_ > 0) ++expected_;
    for (Chain* chain : {&long_, &short_}) {
        std::int32_t previous = -1;
        if (text_.size() >= chain->n) {
            const auto index = static_cast<std::int32_t>(text_.size());
            const auto [place, fresh] = chain->head.try_emplace(hash_of(std::span(text_).last(chain->n)), index);
            if (!fresh) {
                previous = place->second;
                place->second = index;
            }
        }
        chain->previous.push_back(previous); // of index text_.size()
    }
}

// `place`: an index whose tokens in front of it may agree with the end of the text.
void LookupIndex::consider(std::size_t place, std::vector<Match>& found) const {
    std::size_t length = 0;
    while (length < longest_match && length < place && text_[place - 1 - length] == text_[text_.size() - 1 - length]) ++length;
    if (length > 0 && std::ranges::find(found, place, &Match::next) == found.end()) found.push_back({place, length});
}

void LookupIndex::find(std::size_t most, std::vector<Match>& matches) {
    matches.clear();
    for (const Chain* chain : {&long_, &short_}) {
        if (text_.size() < chain->n) continue;
        std::int32_t place = chain->previous.back();
        for (std::size_t i = 0; i < most_places && place > 0; ++i) {
            consider(static_cast<std::size_t>(place), matches);
            place = chain->previous[static_cast<std::size_t>(place) - 1];
        }
    }
    // Of equally long agreements, the one that goes on where the last was; else the latest.
    const auto distance = [&](const Match& match) {
        return expected_ == 0 ? 0 : match.next > expected_ ? match.next - expected_ : expected_ - match.next;
    };
    std::ranges::stable_sort(matches, [&](const Match& a, const Match& b) {
        if (a.length != b.length) return a.length > b.length;
        if (distance(a) != distance(b)) return distance(a) < distance(b);
        return a.next > b.next;
    });
    // Behind a replaced word nothing agrees yet; the text that was being followed most likely goes on.
    if (expected_ > 0 && expected_ < text_.size() && std::ranges::find(matches, expected_, &Match::next) == matches.end()) {
        matches.push_back({expected_, 0});
    }
    std::size_t kept = 0;
    for (const Match& match : matches) {
        const auto same = [&](const Match& other) { return text_[other.next] == text_[match.next]; };
        if (kept == most) break;
        if (std::any_of(matches.begin(), matches.begin() + static_cast<std::ptrdiff_t>(kept), same)) continue;
        matches[kept++] = match;
    }
    matches.resize(kept);
    if (kept > 0 && matches[0].length > 0) expected_ = matches[0].next;
}

} // namespace lucebox::decode
