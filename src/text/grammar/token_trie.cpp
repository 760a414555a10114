#include "text/grammar/token_trie.h"

#include <algorithm>
#include <numeric>

namespace lucebox::text {

TokenTrie::Pointer TokenTrie::build(const Tokenizer& tokenizer) {
    auto trie = std::make_shared<TokenTrie>();
    const auto size = static_cast<std::size_t>(tokenizer.vocabulary_size());
    trie->twins_.assign(size, -1);
    trie->ends_.assign(tokenizer.end_of_generation().begin(), tokenizer.end_of_generation().end());
    for (std::size_t id = 0; id < size; ++id) {
        trie->offsets_.push_back(static_cast<std::uint32_t>(trie->text_.size()));
        if (!trie->is_end(static_cast<TokenId>(id))) trie->text_ += tokenizer.token_bytes(static_cast<TokenId>(id));
    }
    trie->offsets_.push_back(static_cast<std::uint32_t>(trie->text_.size()));

    std::vector<TokenId> order(size);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return trie->bytes(a) < trie->bytes(b); });
    std::vector<std::uint32_t> path; // nodes of the token before, by depth
    std::string_view before;
    TokenId token_before = -1;
    for (const TokenId id : order) {
        const std::string_view bytes = trie->bytes(id);
        if (bytes.empty() || bytes.size() > 65'000) continue;
        if (bytes == before) {
            trie->twins_[static_cast<std::size_t>(token_before)] = id;
            token_before = id;
            continue;
        }
        const auto common = static_cast<std::size_t>(std::mismatch(bytes.begin(), bytes.end(), before.begin(), before.end()).first - bytes.begin());
        const auto end = static_cast<std::uint32_t>(trie->nodes_.size());
        for (; path.size() > common; path.pop_back()) trie->nodes_[path.back()].subtree_end = end;
        for (std::size_t i = common; i < bytes.size(); ++i) {
            path.push_back(static_cast<std::uint32_t>(trie->nodes_.size()));
            trie->nodes_.push_back({0, -1, static_cast<std::uint16_t>(i + 1), static_cast<std::uint8_t>(bytes[i])});
        }
        trie->nodes_.back().token = id;
        trie->most_bytes_ = std::max(trie->most_bytes_, bytes.size());
        before = bytes;
        token_before = id;
    }
    for (const std::uint32_t node : path) trie->nodes_[node].subtree_end = static_cast<std::uint32_t>(trie->nodes_.size());
    return trie;
}

std::string_view TokenTrie::bytes(TokenId token) const {
    const auto id = static_cast<std::size_t>(token);
    return std::string_view(text_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
}

bool TokenTrie::is_end(TokenId token) const { return std::binary_search(ends_.begin(), ends_.end(), token); }

} // namespace lucebox::text
