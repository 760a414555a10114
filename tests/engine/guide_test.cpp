// Reasoning budgets and grammars over one answer, token by token.
#include "engine/guide.h"

#include "gguf/model_file.h"

#include <gtest/gtest.h>

namespace lucebox::engine {
namespace {

struct Words {
    std::unique_ptr<text::Tokenizer> tokenizer;
    text::TokenTrie::Pointer trie;
};
const Words& words() {
    static const Words shared = [] {
        auto file = gguf::ModelFile::open("tests/data/tokenizers/qwen35.gguf");
        Words made{std::move(*text::Tokenizer::from_metadata(*file)), nullptr};
        made.trie = text::TokenTrie::build(*made.tokenizer);
        return made;
    }();
    return shared;
}

class Answer {
public:
    explicit Answer(Request request) : guide_(request, *words().tokenizer, words().trie) {}

    // What is chosen when the model would say `text`, a token at a time; stops where the guide forbids one.
    std::string say(std::string_view text) {
        std::string said;
        for (const TokenId id : words().tokenizer->encode(text)) {
            TokenId chosen = guide_.forced().value_or(id);
            if (auto* constraint = guide_.constraint(); constraint && !constraint->allows(chosen)) return said + "|";
            if (!guide_.advance(chosen)) return said + "!";
            said += words().tokenizer->token_bytes(chosen, true);
        }
        return said;
    }
    Guide& guide() { return guide_; }

private:
    Guide guide_;
};

Request thinking(std::optional<std::size_t> budget) {
    Request request;
    request.reasoning = Reasoning{"</think>", budget, words().tokenizer->encode("\n</think>\n\n", {.parse_special = true}), 0};
    return request;
}

TEST(ReasoningBudget, EndsByItselfIfTheModelEndsIt) {
    Answer answer(thinking(100));
    EXPECT_EQ(answer.say("a b</think> c d"), "a b</think> c d");
    EXPECT_EQ(answer.guide().close(), ReasoningClose::natural);
    EXPECT_LT(answer.guide().reasoning_tokens(), 7u);
}

TEST(ReasoningBudget, ClosesAtTheTokenWhereItIsSpent) {
    const std::string thought = "one two three four five six seven eight nine ten eleven twelve thirteen";
    const auto ids = words().tokenizer->encode(thought);
    for (const std::size_t budget : {0u, 1u, 5u}) {
        Answer answer(thinking(budget));
        const std::string said = answer.say(thought);
        const std::string kept = words().tokenizer->decode(std::span(ids).first(budget));
        EXPECT_TRUE(said.starts_with(kept + "\n</think>\n\n")) << budget << ": " << said;
        EXPECT_EQ(answer.guide().close(), ReasoningClose::hard);
        const auto closing = words().tokenizer->encode("\n</think>\n\n", {.parse_special = true}).size();
        EXPECT_EQ(answer.guide().reasoning_tokens(), budget + closing);
    }
}

TEST(ReasoningBudget, WithoutOneIsNeverClosed) {
    Answer answer(thinking(std::nullopt));
    EXPECT_EQ(answer.say("one two three four five six"), "one two three four five six");
    EXPECT_EQ(answer.guide().close(), ReasoningClose::none);
}

TEST(ReasoningBudget, SoftCloseIsCountedAsSoft) {
    Request request = thinking(100);
    request.reasoning->soft_ratio = 0.5f;
    Answer answer(request);
    ASSERT_TRUE(answer.guide().soft_close());
    answer.say("one");
    answer.guide().close_softly();
    answer.say("two three four five six seven");
    EXPECT_EQ(answer.guide().close(), ReasoningClose::soft);
    EXPECT_FALSE(answer.guide().soft_close());
}

TEST(AnswerGrammar, HoldsFromTheFirstToken) {
    Request request;
    request.grammar = *text::Grammar::from_gbnf("root ::= \"yes\" | \"no\"");
    Answer answer(request);
    EXPECT_EQ(answer.say("maybe"), "|");
    EXPECT_EQ(answer.say("yes"), "yes");
    EXPECT_TRUE(answer.guide().must_end());
}

TEST(AnswerGrammar, BeginsBehindTheReasoning) {
    Request request = thinking(100);
    request.grammar = *text::Grammar::from_gbnf("root ::= \"\\n\"* [0-9]+");
    Answer answer(request);
    EXPECT_EQ(answer.say("free {text}</think>\n\n12"), "free {text}</think>\n\n12");
    EXPECT_EQ(answer.say("x"), "|");
    EXPECT_FALSE(answer.guide().must_end());
}

TEST(AnswerGrammar, AnAnswerThatHasYetToComeKeepsTheModelFromEnding) {
    Request request = thinking(100);
    request.grammar = *text::Grammar::from_gbnf("root ::= [0-9]+");
    Answer answer(request);
    answer.say("hm");
    EXPECT_TRUE(answer.guide().refuses_end());
    EXPECT_TRUE(answer.guide().forced());
    EXPECT_EQ(Answer(thinking(100)).guide().refuses_end(), false); // free text may
}

// Where guesses of a text's tokens lead: how much of it is allowed.
std::string guessed(Guide& guide, std::string_view text) {
    std::string allowed;
    auto place = guide.here();
    for (const TokenId id : words().tokenizer->encode(text, {.parse_special = true})) {
        place = guide.after(place, id);
        if (place == Guide::nowhere) break;
        allowed += words().tokenizer->token_bytes(id, true);
    }
    return allowed;
}

TEST(GuessesUnderAForm, AreFreeInTheReasoningAndHeldToTheGrammarBehindIt) {
    Request request = thinking(100);
    request.grammar = *text::Grammar::from_gbnf("root ::= \"\\n\"* [0-9]{3}");
    Guide guide(request, *words().tokenizer, words().trie);
    ASSERT_TRUE(guide.form());
    EXPECT_EQ(guessed(guide, "a {free} text"), "a {free} text");
    EXPECT_EQ(guessed(guide, "so</think>\n\n12x"), "so</think>\n\n12");
    EXPECT_EQ(guessed(guide, "so</think>\n\n123"), "so</think>\n\n12"); // the last one ends the text
    EXPECT_EQ(guessed(guide, "so<|im_end|>"), "so");
    EXPECT_EQ(guessed(guide, "again"), "again"); // nothing has moved
    std::vector<TokenId> suggested;
    guide.suggest(guide.here(), suggested);
    EXPECT_TRUE(suggested.empty());
    guide.close_softly();
    guide.suggest(guide.here(), suggested);
    EXPECT_EQ(suggested, std::vector<TokenId>{*guide.forced()});
    EXPECT_EQ(guessed(guide, "so"), ""); // the close is certain
    EXPECT_EQ(guessed(guide, "\n</think>\n\n12x"), "\n</think>\n\n12");
    EXPECT_FALSE(Guide(thinking(100), *words().tokenizer, nullptr).form());
}

} // namespace
} // namespace lucebox::engine
