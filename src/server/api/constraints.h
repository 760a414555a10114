// From what a request asks of its answer to what the engine enforces: grammars and the length of reasoning.
#pragma once

#include "server/api/model_card.h"
#include "server/api/prompt.h"
#include "text/grammar/grammar.h"

namespace lucebox::server {

// Of a form alone, and of a chat request, where calls of tools may be demanded or come beside the form. Null: free text.
Answer<text::Grammar::Pointer> grammar_of(const AnswerForm& form);
Answer<text::Grammar::Pointer> grammar_of(const ChatRequest& request);

// The budget of section "Thinking" of docs/api.md. `room`: tokens that the answer may have at most.
struct ThinkingPlan {
    std::optional<std::size_t> budget; // of reasoning tokens
    std::size_t most_tokens = 0;       // of the whole answer
};
ThinkingPlan plan_thinking(const Thinking& thinking, const Budgets& budgets, std::size_t room, std::size_t closing_tokens);

} // namespace lucebox::server
