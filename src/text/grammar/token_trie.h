// A vocabulary ordered by its tokens' bytes, so that an automaton can be run over all tokens at once.
//
// Built once for a model; immutable but for what insides() keeps, any thread. Control tokens are left out: text can't hold them.
#pragma once

#include "text/grammar/inside_cache.h"
#include "text/tokenizer.h"

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace lucebox::text {

class TokenTrie {
public:
    using Pointer = std::shared_ptr<const TokenTrie>;
    static Pointer build(const Tokenizer& tokenizer);

    struct Node {
        std::uint32_t subtree_end = 0; // nodes behind this one up to here begin with its bytes
        TokenId token = -1;            // that ends here; -1: none
        std::uint16_t depth = 0;       // bytes, this one included
        std::uint8_t byte = 0;
    };
    std::span<const Node> nodes() const { return nodes_; } // in depth-first order
    TokenId twin(TokenId token) const { return twins_[static_cast<std::size_t>(token)]; } // another with the same bytes; -1
    std::string_view bytes(TokenId token) const;           // empty for those that are left out
    std::span<const TokenId> end_of_generation() const { return ends_; }
    bool is_end(TokenId token) const;
    std::size_t vocabulary_size() const { return twins_.size(); }
    std::size_t most_bytes() const { return most_bytes_; }
    InsideCache& insides() const { return insides_; }

private:
    std::vector<Node> nodes_;
    std::vector<TokenId> twins_, ends_;
    std::vector<std::uint32_t> offsets_;
    std::string text_;
    std::size_t most_bytes_ = 0;
    mutable InsideCache insides_;
};

} // namespace lucebox::text
