// What a hostile schema, pattern or grammar may cost one request: a tenth of a second of CPU time, all in all. What an honest
// one needs fits in easily. bench/grammar.cpp measures the same with the default model's vocabulary.
#include "cpu_time.h"
#include "hostile_grammars.h"

#include "gguf/model_file.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lucebox::text {
namespace {

const Tokenizer& tokenizer() {
    static const auto shared = [] {
        auto file = gguf::ModelFile::open("tests/data/tokenizers/qwen35.gguf");
        EXPECT_TRUE(file);
        return std::move(*Tokenizer::from_metadata(*file));
    }();
    return *shared;
}
// What is kept for a vocabulary would make the second run cheaper.
TokenTrie::Pointer fresh_trie() { return TokenTrie::build(tokenizer()); }

TEST(GrammarBudget, BombsCostARequestATenthOfASecondAtMost) {
    std::size_t refused = 0, given_up = 0;
    for (const HostileGrammar& hostile : hostile_grammars()) {
        constexpr double most = 100 * sanitizers_slow_down;
        std::string end;
        std::vector<double> costs; // one, if that is good; else of several the middle
        while (costs.empty() || (costs[0] > most && costs.size() < 5)) {
            const HostileCost cost = cost_of(hostile, fresh_trie(), 200);
            costs.push_back(cost.compile + cost.masks);
            end = cost.end;
        }
        std::ranges::sort(costs);
        EXPECT_LT(costs[costs.size() / 2], most) << hostile.name << ": " << end;
        if (end.find("too large") != std::string::npos) {
            EXPECT_NE(end.find("Use fewer"), std::string::npos) << end;
        }
        refused += end.find(' ') != std::string::npos && !end.starts_with("the text") && end != "given up" ? 1 : 0;
        given_up += end == "given up" ? 1 : 0;
    }
    EXPECT_GT(refused, 10u);
    EXPECT_GT(given_up, 3u);
}

TEST(GrammarBudget, WhatIsGivenUpForbidsEverything) {
    const auto grammar = Grammar::from_gbnf("root ::= . root \"b\" | . root \"c\" | . root \"d\" | \"\"");
    ASSERT_TRUE(grammar);
    const auto trie = fresh_trie();
    GrammarMatcher matcher(*grammar, trie);
    while (!matcher.gave_up()) {
        (void)matcher.mask();
        if (!matcher.accept_bytes("x")) break;
    }
    ASSERT_TRUE(matcher.gave_up());
    EXPECT_TRUE(std::ranges::all_of(matcher.mask(), [](std::uint64_t word) { return word == 0; }));
    for (TokenId token = 0; token < 300; ++token) EXPECT_FALSE(matcher.allows(token));
}

TEST(GrammarBudget, ALargeHonestSchemaFitsInTimesOver) {
    Json properties = Json::object();
    for (int i = 0; i < 100; ++i)
        properties[fmt::format("field_{}", i)] = {{"type", "object"}, {"description", "What it says"}, {"properties", {{"value", {{"type", "number"}, {"minimum", -1e15}, {"maximum", 1e15}}}, {"unit", {{"enum", {"m", "s", "kg"}}}}, {"note", {{"type", "string"}, {"maxLength", 10 + i}}}, {"code", {{"type", "string"}, {"pattern", fmt::format("^[A-Z]{{2,{}}}-[0-9]+$", 3 + i)}}}}},
                                                  {"required", {"value", "unit"}}, {"additionalProperties", false}};
    GrammarBudget third;
    third.time = third.time / 3 * static_cast<int>(sanitizers_slow_down);
    third.expressions /= 3;
    const auto grammar = Grammar::from_json_schema({{"type", "object"}, {"properties", properties}, {"additionalProperties", false}}, third);
    ASSERT_TRUE(grammar) << grammar.error().message;
    std::string text;
    for (int i = 0; i < 100; ++i)
        text += fmt::format("{}\"field_{}\": {{\"value\": -17.25, \"unit\": \"kg\", \"note\": \"about {}\", \"code\": \"AB-12\"}}", i == 0 ? "{" : ", ", i, i);
    GrammarMatcher matcher(*grammar, fresh_trie(), 3);
    for (const TokenId token : tokenizer().encode(text)) {
        ASSERT_NE(matcher.mask()[static_cast<std::size_t>(token) / 64] >> (token % 64) & 1, 0u);
        ASSERT_TRUE(matcher.accept(token));
    }
    EXPECT_FALSE(matcher.gave_up());
    EXPECT_TRUE(matcher.accept_bytes("}"));
    EXPECT_TRUE(matcher.may_end());
}

} // namespace
} // namespace lucebox::text
