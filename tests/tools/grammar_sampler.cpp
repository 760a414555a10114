// Writes random texts that JSON schemas allow, chosen through token masks, for a checker that knows nothing of this code.
//
//     grammar_sampler <tokenizer.gguf> <texts per schema> < schemas > texts
// One schema a line; for each, one line: {"refused": "why"} or {"texts": ["..", ..]}. A text that reaches its length limit
// is left out, so a line may hold fewer.
#include "gguf/model_file.h"
#include "text/grammar/matcher.h"

#include <cstdio>
#include <iostream>
#include <random>
#include <string>

namespace {

using namespace lucebox;
using text::Json;
using text::TokenId;

constexpr std::size_t most_tokens = 400;

bool random_text(const text::Grammar::Pointer& grammar, const text::TokenTrie::Pointer& trie, std::mt19937& random, std::string& out) {
    text::GrammarMatcher matcher(grammar, trie);
    for (std::size_t step = 0; step < most_tokens; ++step) {
        if (matcher.may_end() && (matcher.must_end() || random() % 3 == 0)) return true;
        const auto mask = matcher.mask();
        std::vector<TokenId> allowed, short_ones;
        for (std::size_t word = 0; word < mask.size(); ++word) {
            for (std::uint64_t bits = mask[word]; bits != 0; bits &= bits - 1) {
                const auto id = static_cast<TokenId>(word * 64 + static_cast<std::size_t>(__builtin_ctzll(bits)));
                if (trie->is_end(id)) continue;
                allowed.push_back(id);
                if (trie->bytes(id).find_first_of("\"}],") != std::string_view::npos) short_ones.push_back(id); // lead to an end
            }
        }
        if (allowed.empty()) return matcher.may_end();
        const auto& choices = !short_ones.empty() && random() % 2 == 0 ? short_ones : allowed;
        const TokenId id = choices[random() % choices.size()];
        out += trie->bytes(id);
        if (!matcher.accept(id)) return false;
    }
    return false;
}

} // namespace

int main(int count, char** arguments) {
    if (count != 3) return 2;
    auto file = gguf::ModelFile::open(arguments[1]);
    if (!file) return 1;
    const auto tokenizer = text::Tokenizer::from_metadata(*file);
    if (!tokenizer) return 1;
    const auto trie = text::TokenTrie::build(**tokenizer);
    const int texts = std::stoi(arguments[2]);
    std::mt19937 random(1);
    for (std::string line; std::getline(std::cin, line);) {
        Json result = Json::object();
        const auto grammar = text::Grammar::from_json_schema(Json::parse(line));
        if (!grammar) {
            result["refused"] = grammar.error().message;
        } else {
            result["texts"] = Json::array();
            for (int i = 0; i < texts; ++i) {
                std::string out;
                if (random_text(*grammar, trie, random, out)) result["texts"].push_back(out);
            }
        }
        std::puts(result.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
    }
}
