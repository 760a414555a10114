// What holding an answer to a schema costs: building the vocabulary's tree, compiling a schema, and the mask of each token.
// The promise is 50 us a token. bench_mask [MODEL.gguf]; without one, the default model's vocabulary from the cache.
#include "base/cpu_time.h"
#include "default_model.h"
#include "gguf/model_file.h"
#include "text/grammar/matcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <vector>

namespace lucebox::text {
namespace {

struct Clock {
    static std::chrono::nanoseconds now() { return thread_cpu_time(); }
};
double microseconds(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::micro>(time).count(); }

struct Example {
    const char* name;
    const char* schema;
};
// Of the kinds that guides to structured output show: extraction, steps of reasoning, nested and recursive ones, and tools.
constexpr Example examples[] = {
    {"event", R"({"type":"object","properties":{"name":{"type":"string"},"date":{"type":"string"},"participants":{"type":"array","items":{"type":"string"}}},
        "required":["name","date","participants"],"additionalProperties":false})"},
    {"steps", R"({"type":"object","properties":{"steps":{"type":"array","items":{"type":"object","properties":{"explanation":{"type":"string"},"output":{"type":"string"}},
        "required":["explanation","output"],"additionalProperties":false}},"final_answer":{"type":"string"}},"required":["steps","final_answer"],"additionalProperties":false})"},
    {"recursive UI", R"({"$defs":{"part":{"type":"object","properties":{"type":{"enum":["div","button","header","section","field","form"]},"label":{"type":"string"},
        "children":{"type":"array","items":{"$ref":"#/$defs/part"}},"attributes":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"value":{"type":"string"}},
        "required":["name","value"],"additionalProperties":false}}},"required":["type","label","children","attributes"],"additionalProperties":false}},"$ref":"#/$defs/part"})"},
    {"moderation", R"({"type":"object","properties":{"is_violating":{"type":"boolean"},"category":{"anyOf":[{"enum":["violence","sexual","self_harm"]},{"type":"null"}]},
        "explanation":{"anyOf":[{"type":"string"},{"type":"null"}]}},"required":["is_violating","category","explanation"],"additionalProperties":false})"},
    {"numbers", R"({"type":"object","properties":{"age":{"type":"integer","minimum":0,"maximum":130},"share":{"type":"number"},"code":{"type":"string","pattern":"^[A-Z]{2}-[0-9]{4}$"},
        "when":{"type":"string","format":"date-time"}},"required":["age","share","code","when"],"additionalProperties":false})"},
    {"short texts", R"({"type":"object","properties":{"title":{"type":"string","maxLength":40},"note":{"type":"string","minLength":5,"maxLength":120},"tags":{"type":"array","items":{"type":"string","maxLength":12},"maxItems":5}},"required":["title","note","tags"],"additionalProperties":false})"},
    {"patterns", R"({"type":"object","properties":{"email":{"type":"string","pattern":"^[a-z0-9._]+@[a-z0-9]+\\.[a-z]{2,6}$"},"phone":{"type":"string","pattern":"^\\+?[0-9 ()-]{7,20}$"},"slug":{"type":"string","pattern":"^[a-z]+(-[a-z]+){0,8}$"},"free":{"type":"string","pattern":"cat|dog"}},"required":["email","phone","slug","free"],"additionalProperties":false})"},
    {"one of 30 tools", "closed"}, // made below: thirty branches that begin alike
    {"30 open tools", "open"},     // of which any may have any other argument
    {"any JSON object", ""},
};

Json thirty_tools(bool open) {
    Json branches = Json::array();
    for (int i = 0; i < 30; ++i) {
        const Json arguments{{"type", "object"}, {"properties", {{"path", {{"type", "string"}}}, {"count", {{"type", "integer"}}}, {"mode", {{"enum", {"read", "write"}}}}}}, {"required", {"path"}}, {"additionalProperties", open}};
        branches.push_back({{"type", "object"}, {"properties", {{"name", {{"const", fmt::format("tool_number_{}", i)}}}, {"arguments", arguments}}},
                            {"required", {"name", "arguments"}}, {"additionalProperties", false}});
    }
    return {{"anyOf", branches}};
}

// Words rather than single bytes, ends rather than endless lists: nearer to what a model writes than equal chances.
TokenId choose(std::span<const std::uint64_t> mask, const TokenTrie& trie, std::mt19937& random) {
    std::vector<TokenId> words, ends;
    for (std::size_t word = 0; word < mask.size(); ++word) {
        for (std::uint64_t bits = mask[word]; bits != 0; bits &= bits - 1) {
            const auto id = static_cast<TokenId>(word * 64 + static_cast<std::size_t>(__builtin_ctzll(bits)));
            if (trie.is_end(id)) continue;
            words.push_back(id);
            if (trie.bytes(id).find_first_of("\"}]") != std::string_view::npos) ends.push_back(id);
        }
    }
    const auto& from = !ends.empty() && random() % 8 == 0 ? ends : words;
    return from.empty() ? -1 : from[random() % from.size()];
}

int run(const std::filesystem::path& model) {
    auto file = gguf::ModelFile::open(model);
    const auto tokenizer = file ? Tokenizer::from_metadata(*file) : Result<std::unique_ptr<Tokenizer>>(file.error());
    if (!tokenizer) {
        fmt::print(stderr, "error: {}\n", tokenizer.error().message);
        return 1;
    }
    auto begin = Clock::now();
    const auto trie = TokenTrie::build(**tokenizer);
    fmt::print("{} tokens; their tree, once a model: {:.0f} ms\n\n", trie->vocabulary_size(), microseconds(Clock::now() - begin) / 1000);
    fmt::print("{:<18} {:>11} {:>8} {:>12} {:>12} {:>12} {:>12}\n", "schema", "compile us", "tokens", "mask mean us", "median us", "p99 us", "first us");
    bool kept = true;
    for (const Example& example : examples) {
        std::string source = example.schema;
        if (source == "closed" || source == "open") source = thirty_tools(source == "open").dump();
        begin = Clock::now();
        const auto grammar = source.empty() ? Grammar::any_json_object() : Grammar::from_json_schema(Json::parse(source));
        const double compile = microseconds(Clock::now() - begin);
        if (!grammar) {
            fmt::print(stderr, "error: {}: {}\n", example.name, grammar.error().message);
            return 1;
        }
        std::mt19937 random(1);
        std::vector<double> costs;
        double sum = 0, first = 0;
        for (int answer = 0; answer < 20; ++answer) {
            GrammarMatcher matcher(*grammar, trie); // one for each answer, as in the engine: nothing is known at its beginning
            for (int i = 0; i < 200; ++i) {
                begin = Clock::now();
                const auto mask = matcher.mask();
                const double mask_cost = microseconds(Clock::now() - begin);
                const TokenId token = choose(mask, *trie, random);
                if (token < 0) break;
                begin = Clock::now();
                matcher.accept(token);
                costs.push_back(mask_cost + microseconds(Clock::now() - begin));
                sum += costs.back();
                if (i == 0) first = std::max(first, costs.back());
                if (matcher.must_end()) break;
            }
        }
        std::ranges::sort(costs);
        const double mean = sum / static_cast<double>(costs.size());
        kept = kept && mean <= 50;
        fmt::print("{:<18} {:>11.0f} {:>8} {:>12.1f} {:>12.1f} {:>12.1f} {:>12.1f}\n", example.name, compile, costs.size(), mean, costs[costs.size() / 2], costs[costs.size() * 99 / 100], first);
    }
    fmt::print("\n{}: the mean is {} 50 us a token\n", kept ? "kept" : "NOT KEPT", kept ? "within" : "above");
    return kept ? 0 : 1;
}

} // namespace
} // namespace lucebox::text

int main(int count, char** words) { return lucebox::text::run(lucebox::model_of(count, words)); }
