// What an answer has to keep to, followed along branches of guesses before any of them is chosen.
//
// Guesses that it forbids would take rows of a step and could never become text.
#pragma once

#include <cstdint>
#include <vector>

namespace lucebox::decode {

using TokenId = std::int32_t;

class Form {
public:
    using Place = std::int32_t;
    static constexpr Place nowhere = -1;

    virtual ~Form() = default;
    // Behind the text so far. Places stay valid until here() is called again or the text grows.
    virtual Place here() = 0;
    // Behind `token`; nowhere, if it is forbidden at `place`, or if the text ends with it: a guess of it would save no step.
    virtual Place after(Place place, TokenId token) = 0;
    // Tokens that are likely behind `place` because the form leaves little else; appended.
    virtual void suggest(Place, std::vector<TokenId>&) {}
};

} // namespace lucebox::decode
