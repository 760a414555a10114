#include "engine/guide.h"

namespace lucebox::engine {

Guide::Guide(const Request& request, text::TokenTrie::Pointer trie) : reasoning_(request.reasoning), inside_(reasoning_.has_value()) {
    if (request.grammar) matcher_ = std::make_unique<text::GrammarMatcher>(request.grammar, std::move(trie));
    if (inside_ && reasoning_->budget == 0) begin_close(ReasoningClose::hard);
}

void Guide::begin_close(ReasoningClose kind) {
    if (!inside_ || !forced_.empty() || close_ != ReasoningClose::none) return;
    forced_.assign(reasoning_->closing.begin(), reasoning_->closing.end());
    if (!forced_.empty()) close_ = kind;
}

decode::Constraint* Guide::constraint() {
    if (!matcher_ || inside_) return nullptr;
    constraint_.emplace(*matcher_);
    return &*constraint_;
}

std::optional<TokenId> Guide::soft_close() const {
    if (!inside_ || reasoning_->soft_ratio <= 0 || reasoning_->closing.empty() || close_ != ReasoningClose::none) return std::nullopt;
    return reasoning_->closing.front();
}

bool Guide::refuses_end() {
    if (!matcher_ || !inside_) return false;
    begin_close(ReasoningClose::hard);
    return !forced_.empty();
}

bool Guide::advance(TokenId token, std::string_view bytes) {
    if (!inside_) return !matcher_ || matcher_->accept(token);
    ++reasoning_tokens_;
    tail_ += bytes;
    const bool was_forced = !forced_.empty();
    if (was_forced) forced_.pop_front();
    // A close that was forced ends with its last token, whatever it says; the model's own, with its mark.
    const std::size_t at = was_forced ? std::string::npos : tail_.find(reasoning_->close);
    if (at != std::string::npos || (was_forced && forced_.empty())) {
        inside_ = false;
        if (close_ == ReasoningClose::none) close_ = ReasoningClose::natural;
        const std::string_view behind = at == std::string::npos ? std::string_view() : std::string_view(tail_).substr(at + reasoning_->close.size());
        return !matcher_ || matcher_->accept_bytes(behind);
    }
    const std::size_t keep = reasoning_->close.size() - 1;
    if (tail_.size() > keep) tail_.erase(0, tail_.size() - keep);
    if (reasoning_->budget && reasoning_tokens_ >= *reasoning_->budget) begin_close(ReasoningClose::hard);
    return true;
}

} // namespace lucebox::engine
