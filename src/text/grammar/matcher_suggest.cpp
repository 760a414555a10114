// What a grammar itself says of the text to come: keys, names and punctuation that it leaves no choice about.
#include "text/grammar/matcher.h"

namespace lucebox::text {

// The bytes that may come; without `with_space`, white space only if nothing else may.
ByteSet GrammarMatcher::bytes_ahead(State state, bool with_space) const {
    ByteSet set;
    for (const Place& place : states_[state].places) set |= grammar_->set(grammar_->nodes()[place.node]);
    if (with_space) return set;
    ByteSet words = set;
    for (const char space : {' ', '\n', '\t', '\r'}) words.reset(static_cast<std::uint8_t>(space));
    return words.any() ? words : set;
}

void GrammarMatcher::suggest(State state, std::vector<TokenId>& tokens) {
    const ByteSet first = bytes_ahead(state, false);
    if (gave_up() || first.count() > most_suggested) return;
    const auto nodes = trie_->nodes();
    for (std::size_t branch = 0; branch < first.size(); ++branch) {
        if (!first[branch]) continue;
        TokenId longest = -1;
        State reached = state;
        auto byte = static_cast<std::uint8_t>(branch);
        for (std::size_t node = 0, end = nodes.size();;) {
            while (node < end && nodes[node].byte != byte) node = nodes[node].subtree_end;
            if (node >= end) break;
            const std::int32_t behind = next(reached, byte);
            if (behind < 0) break;
            reached = static_cast<State>(behind);
            if (nodes[node].token >= 0) longest = nodes[node].token;
            const ByteSet ahead = bytes_ahead(reached, std::string_view(":,[{").find(static_cast<char>(byte)) != std::string_view::npos);
            if (states_[reached].accepting || ahead.count() != 1) break;
            byte = static_cast<std::uint8_t>(ahead._Find_first());
            end = nodes[node].subtree_end;
            ++node; // the first of its children
        }
        if (longest >= 0) tokens.push_back(longest);
    }
}

} // namespace lucebox::text
