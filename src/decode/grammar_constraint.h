// A grammar as the sampler's constraint.
#pragma once

#include "decode/sampler.h"
#include "text/grammar/matcher.h"

namespace lucebox::decode {

// Valid until the matcher moves on; `state` is the place in the text that the logits belong to.
class GrammarConstraint final : public Constraint {
public:
    GrammarConstraint(text::GrammarMatcher& matcher, text::GrammarMatcher::State state) : matcher_(matcher), state_(state) {}
    explicit GrammarConstraint(text::GrammarMatcher& matcher) : GrammarConstraint(matcher, matcher.state()) {}

    bool allows(TokenId token) override { return matcher_.after(state_, token).has_value(); }
    std::span<const std::uint64_t> mask() override { return matcher_.mask(state_); }

private:
    text::GrammarMatcher& matcher_;
    text::GrammarMatcher::State state_;
};

} // namespace lucebox::decode
