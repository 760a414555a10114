// What holds an answer to a form while it is generated: the length of its reasoning, and the grammar of what follows.
//
// Used by the engine's thread only, apart from construction.
#pragma once

#include "decode/form.h"
#include "decode/grammar_constraint.h"
#include "engine/engine.h"

#include <deque>
#include <memory>
#include <optional>

namespace lucebox::engine {

class Guide final : public decode::Form {
public:
    // `trie` may be null if the request has no grammar. The tokenizer must outlive the guide.
    Guide(const Request& request, const text::Tokenizer& tokenizer, text::TokenTrie::Pointer trie);

    // The token that must come now, whatever the model says; none: the model chooses.
    std::optional<TokenId> forced() const { return forced_.empty() ? std::nullopt : std::optional(forced_.front()); }
    // For the sampler; null: anything may come.
    decode::Constraint* constraint();
    // For guesses; null: none is forbidden.
    decode::Form* form() { return matcher_ ? this : nullptr; }
    Place here() override;
    Place after(Place place, TokenId token) override;
    void suggest(Place place, std::vector<TokenId>& tokens) override;
    // The token that begins the end of the reasoning, if the model may be nudged there; see Reasoning::soft_ratio.
    std::optional<TokenId> soft_close() const;
    void close_softly() { begin_close(ReasoningClose::soft); }

    // An end of generation was chosen. True: it does not count, because the answer has yet to come.
    bool refuses_end();
    // Why this token, the sampler's choice under constraint(), cannot come after all: then nothing can.
    std::optional<Error> refusal(TokenId token);
    // Moves behind a token of the answer; false: the grammar forbids what stands behind the reasoning's end.
    bool advance(TokenId token);
    bool must_end() const { return matcher_ && !inside_ && matcher_->must_end(); }

    std::size_t reasoning_tokens() const { return reasoning_tokens_; }
    ReasoningClose close() const { return close_; }

private:
    struct Branch { // where a guess leads
        bool inside = false;
        std::string tail;
        std::size_t forced = 0; // tokens of forced_ that it has taken
        text::GrammarMatcher::State state = 0;
    };

    void begin_close(ReasoningClose kind);
    std::optional<std::string> closed_by(std::string_view bytes, std::string& tail) const;

    const text::Tokenizer* tokenizer_;
    std::optional<Reasoning> reasoning_;
    std::unique_ptr<text::GrammarMatcher> matcher_;
    std::optional<decode::GrammarConstraint> constraint_;
    bool inside_ = false;         // the reasoning
    std::string tail_;            // of its text, as long as the closing mark may be split
    std::deque<TokenId> forced_;
    std::size_t reasoning_tokens_ = 0;
    ReasoningClose close_ = ReasoningClose::none;
    std::vector<Branch> branches_;
};

} // namespace lucebox::engine
