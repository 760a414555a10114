// Any bytes as a JSON schema, a GBNF or a pattern: refused with a reason or compiled, within the budgets; and of what was
// compiled, masks, single tokens and bytes say the same.
//
// Input: a byte that says what it is, the source, a NUL, and bytes that choose among what is allowed.
#include "text/grammar/matcher.h"
#include "text/utf8.h"

#include <cstdlib>

namespace {

using namespace lucebox;
using namespace lucebox::text;

void use(bool condition) {
    if (!condition) std::abort();
}

// Bytes, and words as a vocabulary has them: they end in the middle of things.
class Words final : public Tokenizer {
public:
    std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
    std::string token_bytes(TokenId id, bool) const override { return id < 256 ? std::string(1, static_cast<char>(id)) : std::string(words_[static_cast<std::size_t>(id - 256)]); }
    std::string decode(std::span<const TokenId> ids, bool special) const override {
        std::string text;
        for (const TokenId id : ids) text += token_bytes(id, special);
        return text;
    }
    TokenKind kind(TokenId id) const override { return id < 256 ? TokenKind::byte : id == end_[0] ? TokenKind::control : TokenKind::normal; }
    std::int32_t vocabulary_size() const override { return static_cast<std::int32_t>(256 + words_.size()); }
    TokenId find(std::string_view) const override { return -1; }
    TokenId bos() const override { return -1; }
    TokenId eos() const override { return end_[0]; }
    bool adds_bos() const override { return false; }
    std::span<const TokenId> end_of_generation() const override { return end_; }

private:
    static constexpr std::array<std::string_view, 16> words_{"<end>", "{\"", "\":", "\", \"", "\"}", "true", "fal", "se", "12", "3.", "null", "[]", "},{", "ab", "\\u00", "\xc3\xa9"};
    static constexpr std::array<TokenId, 1> end_{256};
};

Result<Grammar::Pointer> compiled(std::uint8_t kind, std::string_view source) {
    // Small, so that an input costs milliseconds here as well as in the server's larger ones.
    const GrammarBudget budget{.expressions = 4000, .nodes = 20'000, .repeat = 1u << 12};
    if (kind % 3 == 0) return Grammar::from_gbnf(source, budget);
    const Json json = Json::parse(source, nullptr, false);
    if (kind % 3 == 1) {
        if (json.is_discarded()) return Error{ErrorKind::invalid_data, "no JSON"};
        return Grammar::from_json_schema(json, budget);
    }
    Utf8Stream utf8; // a pattern comes out of JSON, where all text is UTF-8
    const std::string pattern = utf8.push(source) + utf8.finish();
    return Grammar::from_json_schema({{"type", "string"}, {"pattern", pattern}}, budget);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0 || size > 4096) return 0;
    static const Words words;
    static const TokenTrie::Pointer trie = TokenTrie::build(words);
    const std::string_view all(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::size_t end = std::min(all.find('\0'), all.size());
    const auto grammar = compiled(data[0], all.substr(0, end));
    if (!grammar) {
        use(!grammar.error().message.empty());
        return 0;
    }
    const std::string_view choices = all.substr(std::min(end + 1, all.size())).substr(0, 64);
    GrammarMatcher matcher(*grammar, trie), by_bytes(*grammar, trie);
    for (const char choice : choices) {
        const auto seen = matcher.mask();
        if (matcher.gave_up() || by_bytes.gave_up()) return 0; // it cost too much
        const std::vector<std::uint64_t> mask(seen.begin(), seen.end());
        std::vector<TokenId> allowed;
        for (TokenId id = 0; id < words.vocabulary_size(); ++id) {
            const bool in_mask = (mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
            if (id % 5 == choice % 5 || id >= 256) use(in_mask == matcher.allows(id) || matcher.gave_up()); // all of them would take long
            if (in_mask && id != words.eos()) allowed.push_back(id);
        }
        use(!allowed.empty() || matcher.may_end()); // never a place from which nothing leads on
        if (allowed.empty()) break;
        const TokenId id = allowed[static_cast<unsigned char>(choice) % allowed.size()];
        const bool accepted = matcher.accept(id);
        if (matcher.gave_up()) return 0;
        use(accepted && by_bytes.accept_bytes(words.token_bytes(id, true)));
        use(matcher.may_end() == by_bytes.may_end() && matcher.must_end() == by_bytes.must_end());
    }
    return 0;
}
