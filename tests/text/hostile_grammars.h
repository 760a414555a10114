// Schemas, patterns and grammars that try to cost as much as they can, for the test and the benchmark of their budgets.
#pragma once

#include "base/cpu_time.h"
#include "text/grammar/matcher.h"

#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

namespace lucebox::text {

struct HostileGrammar {
    std::string name;
    std::function<Result<Grammar::Pointer>()> make;
    std::string beginning = ""; // of a text that gets to the costly part
};

inline std::vector<HostileGrammar> hostile_grammars() {
    std::vector<HostileGrammar> all;
    const auto schema = [&](std::string name, Json json, std::string beginning = "") {
        all.push_back({std::move(name), [json = std::move(json)] { return Grammar::from_json_schema(json); }, std::move(beginning)});
    };
    const auto pattern = [&](std::string name, std::string text, std::string beginning = "\"") {
        schema("pattern: " + name, {{"type", "string"}, {"pattern", std::move(text)}}, std::move(beginning));
    };
    const auto gbnf = [&](std::string name, std::string text, std::string beginning = "") {
        all.push_back({"gbnf: " + name, [text = std::move(text)] { return Grammar::from_gbnf(text); }, std::move(beginning)});
    };
    const auto many = [](int count, auto one) {
        std::string text;
        for (int i = 0; i < count; ++i) text += one(i);
        return text;
    };
    const auto times = [&](int count, const char* text) { return many(count, [&](int) { return text; }); };
    // Objects remember the order of their keys, and [] would look for each among all.
    const auto object_of = [](int count, auto key, auto value) {
        Json object = Json::object();
        for (int i = 0; i < count; ++i) object.get_ref<Json::object_t&>().emplace_back(key(i), value(i));
        return object;
    };
    const auto array_of = [](int count, auto value) {
        Json array = Json::array();
        for (int i = 0; i < count; ++i) array.push_back(value(i));
        return array;
    };
    const auto name = [](int i) { return fmt::format("p{}", i); };
    const auto link = [](int i) { return Json{{"$ref", fmt::format("#/$defs/p{}", i)}}; };
    const Json null{{"type", "null"}};

    const Json properties = object_of(4000, name, [](int i) { return Json{{"type", "string"}, {"maxLength", i}}; });
    schema("4,000 properties", {{"type", "object"}, {"properties", properties}});
    schema("all of them required", {{"type", "object"}, {"properties", properties}, {"required", array_of(4000, name)}});
    schema("100,000 required names", {{"type", "object"}, {"required", array_of(100'000, name)}});
    schema("100,000 values", {{"enum", array_of(100'000, [](int i) { return fmt::format("value number {}", i); })}});
    schema("5,000 values", {{"enum", array_of(5000, [](int i) { return fmt::format("v{}", i * 7919); })}});
    schema("doubling references", {{"$defs", object_of(60, name, [&](int i) { return i == 59 ? null : Json{{"anyOf", {link(i + 1), link(i + 1)}}}; })}, {"$ref", "#/$defs/p0"}});
    schema("4,000 recursive branches", {{"$defs", object_of(4000, name, [&](int i) { return Json{{"type", "object"}, {"properties", {{"n", link((7 * i + 1) % 4000)}}}}; })},
                                        {"anyOf", array_of(4000, link)}});
    schema("oneOf of 3,000 constants", {{"oneOf", array_of(3000, [](int i) { return Json{{"const", i}}; })}});
    schema("oneOf of 1,000 objects", {{"oneOf", array_of(1000, [](int i) { return Json{{"type", "object"}, {"properties", {{"k", {{"const", i}}}}}, {"required", {"k"}}}; })}});
    schema("allOf of 1,000 objects", {{"allOf", array_of(1000, [&](int i) { return Json{{"type", "object"}, {"properties", object_of(30, [&](int k) { return name(30 * i + k); }, [&](int) { return null; })}}; })}});
    schema("100 divisors", {{"type", "object"}, {"properties", object_of(100, name, [](int i) { return Json{{"type", "integer"}, {"multipleOf", 512 - i}}; })}});
    schema("50,000 items", {{"type", "array"}, {"prefixItems", array_of(50'000, [&](int) { return null; })}});
    schema("3,000 long numbers", {{"type", "array"}, {"prefixItems", array_of(3000, [](int i) { return Json{{"type", "number"}, {"minimum", 0.1234567891 * i}, {"maximum", 1e300}}; })}});
    schema("a long constant", {{"const", std::string(200'000, 'k')}});
    schema("a large constant", {{"const", array_of(60'000, [](int i) { return i; })}});
    schema("120 counted texts", {{"type", "object"}, {"properties", object_of(120, name, [](int i) { return Json{{"type", "string"}, {"minLength", i}, {"maxLength", 2 * i + 1}}; })}}, "{\"p7\": \"");
    Json branches = null;
    for (int i = 0; i < 16; ++i) branches = {{"anyOf", {branches, branches}}};
    schema("nested branches", branches);

    pattern("counts of counts", "((((a{1,9999}){1,9999}){1,9999}){1,9999}){1,9999}");
    pattern("counts of classes", "^(([a-z]{1,100}){1,100}){1,100}$");
    pattern("counts of words", "^((\\w{1,100} ?){1,100}){1,100}$");
    pattern("counts that may be empty", "(a*)*{5,9}b");
    pattern("a search", "a.{1000}b", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    pattern("lists of one letter", "^" + times(2000, "a*") + "$");
    pattern("lists of anything", "^" + times(300, ".*x") + "$");
    pattern("branches of lists", "^(" + many(300, [](int i) { return fmt::format("{}[^{}]*{}", i ? "|" : "", static_cast<char>('a' + i % 26), i); }) + ")$");
    pattern("brackets", std::string(50'000, '('));
    pattern("stars", "a" + std::string(10'000, '*'));
    pattern("a large class", "[" + times(1400, "a-z\\w\\W\\s\\S") + "]");

    gbnf("a chain of rules", "root ::= r0\n" + many(12'000, [](int i) { return fmt::format("r{}::=\"a\"r{}\n", i, i + 1); }) + "r12000::=\"a\"\n");
    gbnf("a chain backwards", many(12'000, [](int i) { return fmt::format("r{}::=r{}\n", 12'000 - i, 12'001 - i); }) + "r12001::=\"a\"\nroot::=r1\n");
    gbnf("doubling rules", "root ::= a0\n" + many(60, [](int i) { return fmt::format("a{} ::= a{} a{} | a{}\n", i, i + 1, i + 1, i + 1); }) + "a60 ::= \"x\"\n");
    gbnf("branches of lists", "root ::= " + many(1000, [](int i) { return fmt::format("{}[^{}]* \"{}\"", i ? " | " : "", static_cast<char>('a' + i % 26), i); }));
    gbnf("stacks", "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"a\" root \"d\" | [^a] root \"e\" | [^b] root \"f\" | \"\"");
    gbnf("stacks of anything", "root ::= . root \"b\" | . root \"c\" | . root \"d\" | \"\"");
    gbnf("counts of counts", "root ::= (([a-z]{1,1000}){1,1000}){1,1000}");
    gbnf("counts of two kinds", "root ::= ((.{1,1000} | [a-z]{2,999}){1,1000} \"x\"?){1,1000}");
    gbnf("wide classes", "root ::= " + times(4000, "[^a-zé-íñ-š] "));
    gbnf("a class of ranges", "root ::= [" + times(9000, "\\u0100-\\uFFF0") + "]");
    gbnf("stars", "root ::= \"a\"" + std::string(100'000, '*'));
    gbnf("options", "root ::= " + times(9000, "[a-z]? "));
    gbnf("lists", "root ::= " + times(9000, "[a-z]* "));
    return all;
}

// CPU milliseconds of this thread until the grammar is refused or given up, or `tokens` of a text have their masks.
struct HostileCost {
    double compile = 0, masks = 0;
    int tokens = 0;
    std::string end; // why it ended
};
inline HostileCost cost_of(const HostileGrammar& hostile, const TokenTrie::Pointer& trie, int tokens) {
    const auto since = [](std::chrono::nanoseconds begin) { return std::chrono::duration<double, std::milli>(thread_cpu_time() - begin).count(); };
    HostileCost cost;
    auto begin = thread_cpu_time();
    const auto grammar = hostile.make();
    cost.compile = since(begin);
    if (!grammar) {
        cost.end = grammar.error().message + " " + grammar.error().hint;
        return cost;
    }
    begin = thread_cpu_time();
    GrammarMatcher matcher(*grammar, trie);
    matcher.accept_bytes(hostile.beginning);
    std::uint32_t random = 1;
    for (; cost.tokens < tokens; ++cost.tokens) {
        const auto mask = matcher.mask();
        if (matcher.gave_up()) break;
        std::size_t word = (random = random * 1664525u + 1013904223u) % mask.size();
        for (std::size_t i = 0; i < mask.size() && mask[word] == 0; ++i) word = (word + 1) % mask.size();
        const auto token = static_cast<TokenId>(word * 64 + static_cast<std::size_t>(__builtin_ctzll(mask[word] | std::uint64_t{1} << 63)));
        if (trie->is_end(token) || !matcher.accept(token)) break;
    }
    cost.masks = since(begin);
    cost.end = matcher.gave_up() ? "given up" : cost.tokens < tokens ? "the text is complete" : "cheap";
    return cost;
}

} // namespace lucebox::text
