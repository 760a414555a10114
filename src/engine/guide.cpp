#include "engine/guide.h"

namespace lucebox::engine {

Guide::Guide(const Request& request, const text::Tokenizer& tokenizer, text::TokenTrie::Pointer trie)
    : tokenizer_(&tokenizer), reasoning_(request.reasoning), inside_(reasoning_.has_value()) {
    if (request.grammar) matcher_ = std::make_unique<text::GrammarMatcher>(request.grammar, std::move(trie), request.grammar_sharers);
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

// Adds to the end of the reasoning's text; what stands behind the closing mark, once that is there.
std::optional<std::string> Guide::closed_by(std::string_view bytes, std::string& tail) const {
    const std::string& mark = reasoning_->close;
    tail += bytes;
    if (const std::size_t at = tail.find(mark); at != std::string::npos) return tail.substr(at + mark.size());
    if (tail.size() >= mark.size()) tail.erase(0, tail.size() - mark.size() + 1);
    return std::nullopt;
}

std::optional<Error> Guide::refusal(TokenId token) {
    if (!matcher_ || inside_ || matcher_->allows(token)) return std::nullopt;
    if (!matcher_->gave_up()) return Error{ErrorKind::unsupported, "No token of this model continues what the form of the answer asks for."};
    return Error{ErrorKind::unsupported, "The form of the answer is too costly to follow.", "Use fewer alternatives that begin alike, and fewer counts within counts."};
}

bool Guide::advance(TokenId token) {
    if (!inside_) return !matcher_ || matcher_->accept(token);
    ++reasoning_tokens_;
    if (!forced_.empty()) { // such a close ends with its last token, whatever it says
        forced_.pop_front();
        inside_ = !forced_.empty();
        return true;
    }
    if (const auto behind = closed_by(tokenizer_->token_bytes(token, true), tail_)) { // the model's own
        inside_ = false;
        close_ = ReasoningClose::natural;
        return !matcher_ || matcher_->accept_bytes(*behind);
    }
    if (reasoning_->budget && reasoning_tokens_ >= *reasoning_->budget) begin_close(ReasoningClose::hard);
    return true;
}

decode::Form::Place Guide::here() {
    branches_.assign(1, {inside_, tail_, 0, matcher_->state()});
    return 0;
}

decode::Form::Place Guide::after(Place place, TokenId token) {
    if (tokenizer_->is_end_of_generation(token)) return nowhere;
    Branch branch = branches_[static_cast<std::size_t>(place)];
    std::optional<text::GrammarMatcher::State> state = branch.state;
    if (!branch.inside) {
        state = matcher_->after(branch.state, token);
    } else if (!forced_.empty()) {
        if (forced_[branch.forced] != token) return nowhere;
        branch.inside = ++branch.forced < forced_.size();
    } else if (const auto behind = closed_by(tokenizer_->token_bytes(token, true), branch.tail)) {
        branch.inside = false;
        state = matcher_->after_bytes(branch.state, *behind);
    }
    if (!state || (!branch.inside && matcher_->must_end(*state))) return nowhere;
    branch.state = *state;
    branches_.push_back(std::move(branch));
    return static_cast<Place>(branches_.size()) - 1;
}

void Guide::suggest(Place place, std::vector<TokenId>& tokens) {
    const Branch& branch = branches_[static_cast<std::size_t>(place)];
    if (!branch.inside) matcher_->suggest(branch.state, tokens);
    else if (!forced_.empty()) tokens.push_back(forced_[branch.forced]);
}

} // namespace lucebox::engine
