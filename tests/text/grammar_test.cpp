// Grammars: what they match, and which tokens they let through.
#include "cpu_time.h"
#include "text/grammar/matcher.h"

#include "gguf/model_file.h"

#include <gtest/gtest.h>

#include <random>

namespace lucebox::text {
namespace {

// A vocabulary of published size and shape.
struct Vocabulary {
    std::unique_ptr<Tokenizer> tokenizer;
    TokenTrie::Pointer trie;
};
const Vocabulary& vocabulary() {
    static const Vocabulary shared = [] {
        auto file = gguf::ModelFile::open("tests/data/tokenizers/qwen35.gguf");
        EXPECT_TRUE(file);
        Vocabulary made{std::move(*Tokenizer::from_metadata(*file)), nullptr};
        made.trie = TokenTrie::build(*made.tokenizer);
        return made;
    }();
    return shared;
}

Grammar::Pointer of_schema(std::string_view schema) {
    auto grammar = Grammar::from_json_schema(Json::parse(schema));
    EXPECT_TRUE(grammar) << schema << ": " << grammar.error().message;
    return grammar ? *grammar : nullptr;
}
Grammar::Pointer of_gbnf(std::string_view source) {
    auto grammar = Grammar::from_gbnf(source);
    EXPECT_TRUE(grammar) << source << ": " << grammar.error().message;
    return grammar ? *grammar : nullptr;
}

bool matches(const Grammar::Pointer& grammar, std::string_view text) {
    GrammarMatcher matcher(grammar, vocabulary().trie);
    return matcher.accept_bytes(text) && matcher.may_end();
}
std::string refusal(std::string_view schema) {
    const auto grammar = Grammar::from_json_schema(Json::parse(schema));
    return grammar ? "" : grammar.error().message;
}

struct Case {
    std::string schema;
    std::vector<std::string> right, wrong;
};

TEST(JsonSchema, MatchesWhatIsValidAndNothingElse) {
    const std::vector<Case> cases{
        {R"({"type":"string"})", {R"("")", R"("a\"\\\/\u00e9é")", R"("\ud83d\ude00")"}, {"5", R"("a)", R"("\x")", R"("\ud83d")", "\"a\nb\""}},
        {R"({"type":"integer"})", {"0", "-12", "7"}, {"01", "1.5", "-", "\"1\""}},
        {R"({"type":"number"})", {"0", "-1.5", "2e10", "1.25E-3"}, {"1.", ".5", "1e", "01"}},
        {R"({"type":["boolean","null"]})", {"true", "false", "null"}, {"True", "0"}},
        {R"({"enum":["a",1,null,{"k":[1,2]}]})", {"\"a\"", "1", "null", "{\"k\":[1,2]}", "{ \"k\": [1, 2] }"}, {"\"b\"", "2", "{\"k\":[2]}"}},
        {R"({"const":"x y"})", {"\"x y\""}, {"\"x\""}},
        {R"({"type":"string","enum":["a",1]})", {"\"a\""}, {"1"}},
        {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false})",
         {R"({"a":1})", R"({"a":1,"b":"x"})", R"({"b":"x","a":1})", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}"},
         {"{}", R"({"b":"x"})", R"({"a":1,"a":2})", R"({"a":1,"c":2})", R"({"a":1,})", R"({"a":"1"})"}},
        {R"({"type":"object","properties":{"aa":{"type":"integer"}}})", {"{}", R"({"aa":1,"ab":[{}],"a":null,"aaa":2})", R"({"x":1,"x":2})"}, {R"({"aa":"s"})", R"({"\u0061a":"s"})"}},
        {R"({"type":"object","additionalProperties":{"type":"integer"}})", {R"({"x":1,"y":2})", "{}"}, {R"({"x":"1"})"}},
        {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})", {"[1,2]", "[ 1, 2, 3 ]"}, {"[1]", "[1,2,3,4]", "[]"}},
        {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})", {"[]", "[1]", "[1,\"a\"]"}, {"[\"a\"]", "[1,\"a\",2]"}},
        {R"({"anyOf":[{"type":"string"},{"type":"null"}]})", {"\"x\"", "null"}, {"1"}},
        {R"({"oneOf":[{"type":"string"},{"type":"integer"}]})", {"\"x\"", "1"}, {"null"}},
        {R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/node"})",
         {R"({"v":1,"next":{"v":2,"next":null}})"}, {R"({"v":1,"next":{"v":2}})", R"({"v":1})"}},
        {R"({"type":"object","properties":{"c":{"$ref":"#"}},"additionalProperties":false})", {R"({"c":{"c":{}}})"}, {R"({"c":1})"}},
        {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"]}]})",
         {R"({"a":1,"b":2})"}, {R"({"a":1})"}},
        {R"({"type":"string","minLength":2,"maxLength":3})", {"\"ab\"", "\"äöü\"", R"("\n\n")"}, {"\"a\"", "\"abcd\""}},
        {R"({"type":"string","pattern":"^[a-c]+\\d{2,3}$"})", {"\"abc12\"", "\"a123\""}, {"\"12\"", "\"a1\"", "\"xa12\"", "\"a12 \""}},
        {R"({"type":"string","pattern":"b|^x\\\"$"})", {"\"abc\"", R"("x\"")"}, {"\"ac\"", "\"x\""}},
        {R"({"type":"string","format":"date"})", {"\"2026-11-27\""}, {"\"2026-13-01\"", "\"today\""}},
        {R"({"type":"integer","minimum":-5,"maximum":120})", {"-5", "0", "-1", "9", "10", "99", "100", "120"}, {"-6", "121", "1000", "007"}},
        {R"({"type":"integer","exclusiveMinimum":9})", {"10", "12345"}, {"9", "0", "-10"}},
        {R"({"type":"number","minimum":0.5,"exclusiveMaximum":1.25})", {"0.5", "1", "1.2499", "0.75", "1.0"}, {"0.49", "1.25", "1.3", "-1", "2"}},
        {R"({"type":"number","exclusiveMinimum":-2.5,"maximum":-0.1})", {"-2.49", "-1", "-0.1", "-0.10"}, {"-2.5", "-0.09", "0", "-3", "1"}},
        {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "777"}, {"1", "8", "07"}},
        {R"({})", {"1", "{\"a\":[]}", "null"}, {"x", ""}},
        {R"({"type":"object","properties":{"é\"":{"type":"null"}},"required":["é\""]})", {"{\"é\\\"\":null}"}, {"{}"}},
    };
    for (const Case& one : cases) {
        const auto grammar = of_schema(one.schema);
        if (!grammar) continue;
        for (const auto& text : one.right) EXPECT_TRUE(matches(grammar, text)) << one.schema << "\n  refuses " << text;
        for (const auto& text : one.wrong) EXPECT_FALSE(matches(grammar, text)) << one.schema << "\n  takes " << text;
    }
}

TEST(JsonSchema, RefusesByNameWhatItCannotHold) {
    for (const auto& [schema, word] : std::vector<std::pair<std::string, std::string>>{
             {R"({"type":"array","uniqueItems":true})", "uniqueItems"}, {R"({"not":{"type":"null"}})", "not"},
             {R"({"type":"object","patternProperties":{"^a":{}}})", "patternProperties"}, {R"({"$ref":"https://x/y"})", "references within"},
             {R"({"$ref":"#/$defs/gone"})", "does not exist"}, {R"({"type":"string","pattern":"(?=a)b"})", "ahead"},
             {R"({"type":"string","pattern":"(a)\\1"})", "group"}, {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "oneOf"},
             {R"({"type":"object","minProperties":3})", "minProperties"}, {R"({"type":"thing"})", "JSON type"}, {"5", "object"},
             {R"({"enum":[]})", "Nothing can satisfy"}, {R"({"type":"object","required":["a"],"additionalProperties":false})", "Nothing can satisfy"},
             {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "Nothing can satisfy"}, {R"({"$ref":"#"})", "begins with itself"},
             {R"({"type":"integer","minimum":5,"maximum":4})", "Nothing can satisfy"}}) {
        EXPECT_NE(refusal(schema).find(word), std::string::npos) << schema << ": " << refusal(schema);
    }
}

TEST(Gbnf, ReadsItsSyntax) {
    const auto list = of_gbnf("# a list\nroot ::= item (\",\" ws item)* # more\nitem ::= [a-c]+ | \"\\x41\" |\n  \"é\"\nws ::= \" \"{0,2}\n");
    EXPECT_TRUE(matches(list, "abc,A, é,  b"));
    for (const char* text : {"", "d", "a,", "a,   b", "AA"}) EXPECT_FALSE(matches(list, text)) << text;
    const auto nested = of_gbnf("root ::= \"(\" root? \")\"");
    EXPECT_TRUE(matches(nested, "((()))"));
    EXPECT_FALSE(matches(nested, "(()"));
    EXPECT_TRUE(matches(of_gbnf("root ::= [^\"\\n]{2} ."), "éxz"));
    EXPECT_TRUE(matches(of_gbnf("root ::= (\"a\" | \"b\")? \"c\" | \"d\""), "bc"));
    for (const char* source : {"", "x ::= \"a\"", "root ::= y", "root ::= \"a", "root ::= (\"a\"", "root ::= root \"a\" | \"b\"", "root = \"a\"", "root ::= \"a\"{3,2}"})
        EXPECT_FALSE(Grammar::from_gbnf(source)) << source;
}

// Random texts of a grammar, chosen by its masks; each token's mask bit must be what following its bytes says.
std::string random_text(const Grammar::Pointer& grammar, std::mt19937& random, bool check) {
    GrammarMatcher matcher(grammar, vocabulary().trie);
    std::string text;
    for (int step = 0; step < 60 && !matcher.must_end(); ++step) {
        std::vector<TokenId> allowed;
        const auto mask = matcher.mask();
        const std::vector<std::uint64_t> bits(mask.begin(), mask.end());
        for (TokenId id = 0; id < vocabulary().tokenizer->vocabulary_size(); ++id) {
            const bool in = (bits[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
            if (in) allowed.push_back(id);
            if (check && (step % 7 == 0 || id % 31 == step)) {
                EXPECT_EQ(in, matcher.allows(id)) << text << " + " << vocabulary().tokenizer->token_bytes(id);
            }
        }
        EXPECT_FALSE(allowed.empty()) << text;
        if (allowed.empty()) return text;
        const TokenId id = allowed[random() % allowed.size()];
        if (vocabulary().tokenizer->is_end_of_generation(id)) break;
        EXPECT_TRUE(matcher.accept(id));
        text += vocabulary().tokenizer->token_bytes(id);
    }
    return text;
}

TEST(TokenMask, SaysForEveryTokenWhatItsBytesSay) {
    std::mt19937 random(3);
    for (const char* schema : {R"({"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer","maximum":120},"tags":{"type":"array","items":{"enum":["a","bb"]}}},"required":["name"]})",
                               R"({"type":"string","maxLength":6})", R"({"type":"string","pattern":"^[a-z]+@[a-z]+\\.(com|org)$"})", "{}",
                               R"({"type":"string","minLength":3,"maxLength":12})", R"({"type":"string","pattern":"^([a-z]{2,4} ?){1,3}$"})",
                               R"({"type":"string","pattern":"^(a|aa|b){2,5}c?$"})", R"({"type":"string","pattern":"^([^a]|ab){3,6}$"})",
                               R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":5})",
                               R"({"anyOf":[{"const":"one"},{"const":"on"},{"const":"two"},{"const":"three"},{"const":"twelve"},{"type":"string","maxLength":2},{"type":"integer"}]})"}) {
        const auto grammar = of_schema(schema);
        for (int i = 0; i < 6; ++i) random_text(grammar, random, true);
    }
    for (const char* source : {"root ::= ([a-c]{1,3} | \"ab\"){2,5} [x-z]{2}", "root ::= (\"a\" | \"ab\" | \"bc\"){1,4} \"d\"*", "root ::= ([a-z]{2,3} [0-9]{0,2}){2,30}",
                               "root ::= ([a-m]+ \" \"){1,2} | [^a]{3,9} | \"th\" item{2} | \"to\" item\nitem ::= [a-z]{1,4} \".\""}) {
        const auto grammar = of_gbnf(source);
        for (int i = 0; i < 6; ++i) random_text(grammar, random, true);
    }
}

// OpenAI's documented examples of structured outputs.
TEST(TokenMask, CostsLittleForTypicalSchemas) {
    const char* schemas[] = {
        R"({"type":"object","properties":{"steps":{"type":"array","items":{"type":"object","properties":{"explanation":{"type":"string"},"output":{"type":"string"}},"required":["explanation","output"],"additionalProperties":false}},"final_answer":{"type":"string"}},"required":["steps","final_answer"],"additionalProperties":false})",
        R"({"type":"object","properties":{"name":{"type":"string"},"date":{"type":"string"},"participants":{"type":"array","items":{"type":"string"}}},"required":["name","date","participants"],"additionalProperties":false})",
        R"({"type":"object","properties":{"title":{"type":"string"},"authors":{"type":"array","items":{"type":"string"}},"abstract":{"type":"string"},"keywords":{"type":"array","items":{"type":"string"}}},"required":["title","authors","abstract","keywords"],"additionalProperties":false})"};
    const std::string texts[] = {
        R"({"steps":[{"explanation":"Start with the equation 8x + 7 = -23.","output":"8x + 7 = -23"},{"explanation":"Subtract 7 from both sides to isolate the term with the variable.","output":"8x = -30"},{"explanation":"Divide both sides by 8.","output":"x = -3.75"}],"final_answer":"x = -3.75"})",
        R"({"name": "Science Fair", "date": "Friday", "participants": ["Alice", "Bob"]})",
        "{\n  \"title\": \"A \\\"study\\\" of things\",\n  \"authors\": [\"A. One\", \"B. Two\"],\n  \"abstract\": \"We study things. They are many, and they differ a lot.\",\n  \"keywords\": [\"things\", \"study\"]\n}"};
    std::size_t tokens = 0;
    double seconds = 0; // of CPU time: other tests run beside this one
    for (std::size_t i = 0; i < 3; ++i) {
        GrammarMatcher matcher(of_schema(schemas[i]), vocabulary().trie);
        for (const TokenId id : vocabulary().tokenizer->encode(texts[i])) {
            const auto begin = cpu_seconds();
            const auto mask = matcher.mask();
            ASSERT_TRUE(mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) << texts[i];
            ASSERT_TRUE(matcher.accept(id));
            seconds += cpu_seconds() - begin;
            ++tokens;
        }
        EXPECT_TRUE(matcher.may_end());
    }
    const double microseconds = 1e6 * seconds / static_cast<double>(tokens);
    RecordProperty("microseconds_per_token", std::to_string(microseconds));
    std::printf("mask and step: %.1f us a token over %zu tokens, vocabulary of %d\n", microseconds, tokens, vocabulary().tokenizer->vocabulary_size());
    EXPECT_LT(microseconds, 500 * sanitizers_slow_down); // 50 on an idle machine; generous, because tests share theirs
}

// The words of the tokens that a grammar suggests behind a text.
std::vector<std::string> suggested(const Grammar::Pointer& grammar, std::string_view text) {
    GrammarMatcher matcher(grammar, vocabulary().trie);
    EXPECT_TRUE(matcher.accept_bytes(text)) << text;
    std::vector<TokenId> tokens;
    matcher.suggest(matcher.state(), tokens);
    std::vector<std::string> words;
    for (const TokenId token : tokens) {
        EXPECT_TRUE(matcher.allows(token));
        words.emplace_back(vocabulary().trie->bytes(token));
    }
    return words;
}

// The longest token that a text begins with.
std::string longest_of(std::string_view text) {
    std::string longest;
    for (TokenId token = 0; static_cast<std::size_t>(token) < vocabulary().trie->vocabulary_size(); ++token) {
        const std::string_view bytes = vocabulary().trie->bytes(token);
        if (bytes.size() > longest.size() && text.starts_with(bytes)) longest = bytes;
    }
    return longest;
}

TEST(GrammarMatcher, SuggestsWhatIsLeftWhereLittleIs) {
    using Words = std::vector<std::string>;
    const auto object = of_schema(R"({"type":"object","properties":{"name":{"type":"string"},"participants":{"type":"array","items":{"type":"string"}}},"required":["name","participants"],"additionalProperties":false})");
    EXPECT_EQ(suggested(object, "{\""), (Words{longest_of("name\":"), longest_of("participants\":")}));
    EXPECT_EQ(suggested(object, "{\"name\": \"Bo\", \""), (Words{longest_of("participants\":")}));
    EXPECT_EQ(suggested(object, "{\"par"), (Words{longest_of("ticipants\":")}));
    EXPECT_EQ(suggested(object, "{\"name"), (Words{longest_of("\":")})); // not beyond the colon, where white space is usual
    EXPECT_EQ(suggested(object, "{\"name\": \"B"), Words{});             // anything may stand in a string
    EXPECT_EQ(suggested(object, ""), (Words{"{"}));
    const auto sentence = of_gbnf("root ::= \"the same words \" ([0-9] | \"or not\")");
    EXPECT_EQ(suggested(sentence, "the s"), (Words{longest_of("ame words ")}));
    EXPECT_EQ(suggested(sentence, "the same"), (Words{longest_of(" words ")}));
    EXPECT_EQ(suggested(sentence, "the same words "), Words{}); // eleven bytes are too many
}

TEST(GrammarMatcher, KeepsItsMemoryBounded) {
    // Each character of a counted string is a state of its own.
    GrammarMatcher matcher(of_schema(R"({"type":"array","items":{"type":"string","maxLength":50000}})"), vocabulary().trie);
    ASSERT_TRUE(matcher.accept_bytes("[\""));
    const TokenId a = vocabulary().tokenizer->find("a");
    ASSERT_GE(a, 0);
    std::size_t most = 0;
    for (int i = 0; i < 50'000; ++i) {
        ASSERT_TRUE(matcher.accept(a)) << i;
        most = std::max(most, matcher.states_kept());
    }
    EXPECT_LT(most, 10'000u);
    EXPECT_FALSE(matcher.allows(a));
    EXPECT_TRUE(matcher.accept_bytes("\"]"));
    EXPECT_TRUE(matcher.may_end());
}

} // namespace
} // namespace lucebox::text
