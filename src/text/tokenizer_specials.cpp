#include "text/tokenizer_specials.h"

#include <algorithm>
#include <fmt/format.h>

namespace lucebox::text {
namespace {

std::size_t index_of(char byte) {
    return static_cast<unsigned char>(byte);
}

} // namespace

Result<SpecialMatcher> SpecialMatcher::build(const Vocabulary& vocabulary, bool with_control) {
    std::vector<TokenId> ids;
    std::size_t bytes = 0;
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
        const TokenKind kind = vocabulary.kind(id);
        const bool control = kind == TokenKind::control || kind == TokenKind::unknown;
        if (kind != TokenKind::user_defined && !(control && with_control)) continue;
        const std::size_t length = vocabulary.bytes(id).size();
        if (length > kLongest) {
            return Error{ErrorKind::invalid_data,
                         fmt::format("tokenizer.ggml.tokens: special token {} has {} bytes, more than {}", id, length,
                                     kLongest)};
        }
        if (length == 0) continue;
        ids.push_back(id);
        bytes += length;
    }
    // Of equal names the first id stays.
    std::sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) {
        const int order = vocabulary.bytes(a).compare(vocabulary.bytes(b));
        return order != 0 ? order < 0 : a < b;
    });
    const auto same = [&](TokenId a, TokenId b) { return vocabulary.bytes(a) == vocabulary.bytes(b); };
    ids.erase(std::unique(ids.begin(), ids.end(), same), ids.end());

    SpecialMatcher matcher;
    matcher.names_ = std::make_unique<std::string>();
    matcher.names_->reserve(bytes);
    matcher.second_.resize(256 * 256);
    for (const TokenId id : ids) {
        const std::size_t begin = matcher.names_->size();
        matcher.names_->append(vocabulary.bytes(id)); // within what is reserved: earlier views stay good
        const std::string_view name = std::string_view(*matcher.names_).substr(begin);
        matcher.entries_.push_back({name, id});
        const std::size_t first = index_of(name[0]);
        matcher.first_.set(first);
        for (std::size_t second = 0; second < 256; ++second)
            if (name.size() == 1 || index_of(name[1]) == second) matcher.second_[first * 256 + second] = true;
    }
    return matcher;
}

// Narrows the sorted names to those that share one more byte with the text, again and again.
SpecialMatcher::Match SpecialMatcher::match_at(std::string_view text, std::size_t begin) const {
    Match best{text.size(), 0, -1};
    auto low = entries_.begin();
    auto high = entries_.end();
    for (std::size_t depth = 0; begin + depth < text.size(); ++depth) {
        const std::size_t byte = index_of(text[begin + depth]);
        low = std::partition_point(low, high, [&](const Entry& e) { return index_of(e.name[depth]) < byte; });
        high = std::partition_point(low, high, [&](const Entry& e) { return index_of(e.name[depth]) <= byte; });
        if (low == high) break;
        if (low->name.size() == depth + 1) {
            best = {begin, depth + 1, low->id};
            if (++low == high) break;
        }
    }
    return best;
}

SpecialMatcher::Match SpecialMatcher::find(std::string_view text, std::size_t from) const {
    for (std::size_t i = from; i < text.size(); ++i) {
        const std::size_t first = index_of(text[i]);
        if (!first_[first]) continue;
        if (i + 1 < text.size() && !second_[first * 256 + index_of(text[i + 1])]) continue;
        if (const Match match = match_at(text, i); match.bytes > 0) return match;
    }
    return {text.size(), 0, -1};
}

} // namespace lucebox::text
