// Tokenizer::from_metadata: what it takes from the keys of a file, and what it refuses, by name.
#include "gguf/writer.h"
#include "tokenizer_references.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>

namespace lucebox::text {
namespace {

using Strings = std::vector<std::string>;
using Kinds = std::vector<std::int32_t>;

// The metadata of a small model; tests change one thing each.
struct Metadata {
    std::optional<std::string> model = "gpt2", pre = "qwen2", architecture = "qwen2";
    std::optional<Strings> tokens = Strings{"a", "b", "ab", "<|im_end|>", "<think>", "<|endoftext|>"};
    std::optional<Kinds> kinds = Kinds{1, 1, 1, 3, 4, 3};
    std::optional<std::vector<float>> scores = std::nullopt;
    std::optional<Strings> merges = Strings{"a b"};
    std::function<void(gguf::ModelWriter&)> more = [](gguf::ModelWriter&) {};
};

Metadata sentence_metadata() {
    Metadata m;
    m.model = "llama";
    m.pre = "default";
    m.architecture = "gemma3";
    m.tokens = Strings{"<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "b", "ab", "\u2581a", "\n", "<end_of_turn>"};
    m.kinds = Kinds{2, 3, 3, 6, 1, 1, 1, 1, 1, 4, 4};
    m.scores = std::vector<float>{0, 0, 0, 0, -5, -6, -7, -1, -2, 0, 0};
    m.merges = std::nullopt;
    m.more = [](auto& w) { w.set("tokenizer.ggml.unknown_token_id", std::uint32_t{0}); };
    return m;
}

Result<std::unique_ptr<Tokenizer>> build(const Metadata& m) {
    gguf::ModelWriter writer;
    if (m.architecture) writer.set("general.architecture", std::string_view(*m.architecture));
    if (m.model) writer.set("tokenizer.ggml.model", std::string_view(*m.model));
    if (m.pre) writer.set("tokenizer.ggml.pre", std::string_view(*m.pre));
    if (m.tokens) writer.set("tokenizer.ggml.tokens", std::span<const std::string>(*m.tokens));
    if (m.kinds) writer.set("tokenizer.ggml.token_type", std::span<const std::int32_t>(*m.kinds));
    if (m.scores) writer.set("tokenizer.ggml.scores", std::span<const float>(*m.scores));
    if (m.merges) writer.set("tokenizer.ggml.merges", std::span<const std::string>(*m.merges));
    m.more(writer);
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    const auto path = std::filesystem::path(testing::TempDir()) / (std::string("metadata_") + test->name() + ".gguf");
    LUCEBOX_CHECK(writer.begin(path));
    LUCEBOX_CHECK(writer.finish());
    auto file = gguf::ModelFile::open(path);
    std::filesystem::remove(path);
    if (!file) return file.error();
    return Tokenizer::from_metadata(*file);
}

// Refused, and the sentence has `words` in it.
void expect_refused(const Metadata& m, const std::string& words, ErrorKind kind = ErrorKind::invalid_data) {
    const auto tokenizer = build(m);
    ASSERT_FALSE(tokenizer) << "taken, instead of: " << words;
    EXPECT_EQ(tokenizer.error().kind, kind);
    EXPECT_NE(tokenizer.error().message.find(words), std::string::npos) << tokenizer.error().message;
}

std::vector<TokenId> end_of_generation(const Metadata& m) {
    const auto tokenizer = build(m);
    if (!tokenizer) {
        ADD_FAILURE() << tokenizer.error().message;
        return {};
    }
    const auto ids = (*tokenizer)->end_of_generation();
    return {ids.begin(), ids.end()};
}

TEST(TokenizerMetadata, TakesTheSmallModels) {
    const auto bpe = build({});
    ASSERT_TRUE(bpe) << bpe.error().message;
    EXPECT_EQ((*bpe)->encode("abba"), (std::vector<TokenId>{2, 1, 0}));
    EXPECT_EQ((*bpe)->bos(), -1);
    EXPECT_EQ((*bpe)->eos(), -1);
    const auto spm = build(sentence_metadata());
    ASSERT_TRUE(spm) << spm.error().message;
    // "ab" has a better score than " a"; the Z has no byte token, so it is unknown.
    EXPECT_EQ((*spm)->encode("ab\naAZ"), (std::vector<TokenId>{4, 7, 9, 5, 3, 0}));
    Metadata control = sentence_metadata();
    (*control.kinds)[0] = 3; // text must not become a control token, so the Z is lost
    EXPECT_EQ((*build(control))->encode("ab\naAZ"), (std::vector<TokenId>{4, 7, 9, 5, 3}));
}

TEST(TokenizerMetadata, RefusesAnUnknownKindOfTokenizer) {
    expect_refused({.model = "bert"}, "tokenizer.ggml.model is \"bert\"", ErrorKind::unsupported);
    expect_refused({.model = std::nullopt}, "tokenizer.ggml.model is missing");
    expect_refused({.pre = "nonesuch"}, "tokenizer.ggml.pre is \"nonesuch\"", ErrorKind::unsupported);
    expect_refused({.pre = std::nullopt, .architecture = "falcon"}, "tokenizer.ggml.pre is \"default\"",
                   ErrorKind::unsupported);
    expect_refused({.model = std::nullopt, .more = [](auto& w) { w.set("tokenizer.ggml.model", std::uint32_t{1}); }},
                   "tokenizer.ggml.model");
}

TEST(TokenizerMetadata, ErrorsQuoteTheFileWithoutItsControlCharacters) {
    const auto t = build({.merges = Strings{"a \x1B[2J\n\xFF" + std::string(1000, 'x')}});
    ASSERT_FALSE(t);
    EXPECT_TRUE(std::ranges::all_of(t.error().message, [](char c) { return c >= ' ' && c <= '~'; }));
    EXPECT_LT(t.error().message.size(), 200u);
    EXPECT_NE(t.error().message.find("?[2J??xxx"), std::string::npos) << t.error().message;
}

TEST(TokenizerMetadata, ChoosesThePretokenizerOfQwenFilesThatNameNone) {
    Metadata m{.pre = std::nullopt,
               .tokens = Strings{"a", "\u00CC", "\u0123", "a\u00CC", "a\u00CC\u0123", "\u00CC\u0123"},
               .kinds = std::nullopt,
               .merges = Strings{"a \u00CC", "a\u00CC \u0123", "\u00CC \u0123"}};
    const std::string accented = "a\u0301"; // in bytes 61 CC 81: the mark belongs to the word in Qwen3.5 only
    m.architecture = "qwen35moe";
    EXPECT_EQ((*build(m))->encode(accented), (std::vector<TokenId>{4}));
    m.architecture = "qwen3";
    EXPECT_EQ((*build(m))->encode(accented), (std::vector<TokenId>{0, 5}));
}

TEST(TokenizerMetadata, RefusesTokenListsThatDoNotFit) {
    expect_refused({.tokens = std::nullopt}, "tokenizer.ggml.tokens is missing");
    expect_refused({.tokens = Strings{}, .kinds = std::nullopt}, "tokenizer.ggml.tokens");
    expect_refused({.kinds = Kinds{1, 1}}, "tokenizer.ggml.token_type has 2 entries for 6 tokens");
    expect_refused({.kinds = Kinds{1, 1, 1, 3, 4, 7}}, "tokenizer.ggml.token_type: token 5 has the unknown type 7");
    expect_refused({.kinds = Kinds{1, 1, 1, 3, 4, 0}}, "unknown type 0");
    expect_refused({.kinds = Kinds{6, 1, 1, 3, 4, 3}}, "token 0 is of type byte");
    expect_refused({.tokens = Strings{"a", "b", "ab", std::string(5000, 'x')}, .kinds = Kinds{1, 1, 1, 4}},
                   "token 3 has 5000 bytes");
}

TEST(TokenizerMetadata, RefusesMergesThatDoNotFit) {
    expect_refused({.merges = std::nullopt}, "tokenizer.ggml.merges is missing");
    expect_refused({.merges = Strings{"ab"}}, "tokenizer.ggml.merges: entry 0 is not two tokens");
    expect_refused({.merges = Strings{"a b", "a "}}, "entry 1 is not two tokens");
    expect_refused({.merges = Strings{""}}, "entry 0 is not two tokens");
    expect_refused({.merges = Strings{"a b", "a c"}}, "entry 1 needs \"c\"");
    expect_refused({.merges = Strings{"b a"}}, "entry 0 needs \"ba\"");
}

TEST(TokenizerMetadata, RefusesScoresThatDoNotFit) {
    Metadata m = sentence_metadata();
    m.scores = std::nullopt;
    expect_refused(m, "tokenizer.ggml.scores is missing");
    m.scores = std::vector<float>(5);
    expect_refused(m, "tokenizer.ggml.scores has 5 entries for 11 tokens");
    m.scores = std::vector<float>(11);
    (*m.scores)[4] = std::numeric_limits<float>::quiet_NaN();
    expect_refused(m, "tokenizer.ggml.scores: the score of token 4 is not finite");
}

TEST(TokenizerMetadata, RefusesSpecialIdsOutOfRangeButTakesMinusOneAsNone) {
    for (const std::string key : {"bos", "eos", "eot", "eom", "unknown"}) {
        const std::string full = "tokenizer.ggml." + key + "_token_id";
        expect_refused({.more = [&](auto& w) { w.set(full, std::uint32_t{6}); }},
                       full + " is 6, but there are 6 tokens");
        expect_refused({.more = [&](auto& w) { w.set(full, std::int32_t{-2}); }}, full);
        expect_refused({.more = [&](auto& w) { w.set(full, "3"); }}, full);
        EXPECT_TRUE(build({.more = [&](auto& w) { w.set(full, std::int32_t{-1}); }}));
        EXPECT_TRUE(build({.more = [&](auto& w) { w.set(full, std::uint32_t{0xFFFFFFFF}); }}));
    }
    expect_refused({.more = [](auto& w) { w.set("tokenizer.ggml.add_bos_token", true); }}, "add_bos_token is true");
    expect_refused({.more = [](auto& w) { w.set("tokenizer.ggml.add_eos_token", true); }}, "add_eos_token is true");
    expect_refused({.more = [](auto& w) { w.set("tokenizer.ggml.add_bos_token", "yes"); }},
                   "tokenizer.ggml.add_bos_token");
}

TEST(TokenizerMetadata, AppendsTheEndWhereTheFileAsksForIt) {
    const auto t = build({.more = [](auto& w) {
        w.set("tokenizer.ggml.eos_token_id", std::uint32_t{3});
        w.set("tokenizer.ggml.add_eos_token", true);
    }});
    ASSERT_TRUE(t);
    EXPECT_EQ((*t)->encode("a", {.add_special = true}), (std::vector<TokenId>{0, 3}));
    EXPECT_EQ((*t)->encode("a"), (std::vector<TokenId>{0}));
}

TEST(TokenizerMetadata, EndOfGenerationIsWhatKeysAndNamesSay) {
    EXPECT_EQ(end_of_generation({}), (std::vector<TokenId>{3, 5})); // by name alone
    EXPECT_EQ(end_of_generation({.more =
                                     [](auto& w) {
                                         w.set("tokenizer.ggml.eos_token_id", std::uint32_t{5});
                                         w.set("tokenizer.ggml.eot_token_id", std::uint32_t{4});
                                         w.set("tokenizer.ggml.eom_token_id", std::uint32_t{2});
                                     }}),
              (std::vector<TokenId>{2, 3, 4, 5}));
    EXPECT_EQ(end_of_generation(sentence_metadata()), (std::vector<TokenId>{2, 10}));
    Metadata html = sentence_metadata();
    (*html.kinds)[2] = 4; // </s> as an HTML tag
    EXPECT_EQ(end_of_generation(html), (std::vector<TokenId>{10}));
    Metadata laguna{.pre = "laguna", .architecture = "laguna"};
    (*laguna.tokens)[4] = "</assistant>";
    EXPECT_EQ(end_of_generation(laguna), (std::vector<TokenId>{3, 4, 5}));
    laguna.architecture = "qwen2";
    EXPECT_EQ(end_of_generation(laguna), (std::vector<TokenId>{3, 5}));
}

TEST(TokenizerMetadata, AnEndTokenIsAControlTokenWhateverTheFileSays) {
    for (const std::int32_t kind : {1, 3, 4}) {
        const auto t = build({.kinds = Kinds{1, 1, 1, kind, 4, 3}});
        ASSERT_TRUE(t);
        EXPECT_EQ((*t)->kind(3), TokenKind::control);
        const auto ids = (*t)->encode("<|im_end|>"); // a user's text does not end the turn
        EXPECT_EQ(std::count(ids.begin(), ids.end(), 3), 0);
    }
}

TEST(TokenizerMetadata, AMergeNeverMakesAControlToken) {
    const auto t = build({.kinds = Kinds{1, 1, 3, 3, 4, 3}});
    ASSERT_TRUE(t);
    EXPECT_EQ((*t)->encode("ab"), (std::vector<TokenId>{0, 1}));
    Metadata m = sentence_metadata();
    (*m.kinds)[7] = 3;
    EXPECT_EQ((*build(m))->encode("ab"), (std::vector<TokenId>{8, 6}));
}

// "bc" goes first in each, and then no merge leads to the token for the whole.
TEST(TokenizerMetadata, ATokenThatTheMergesNeverReachIsNotUsedUnlessLlama3) {
    Metadata m{.tokens = Strings{"a", "b", "c", "bc", "ab", "abc"},
               .kinds = std::nullopt,
               .merges = Strings{"b c", "a b", "ab c"}};
    EXPECT_EQ((*build(m))->encode("abc"), (std::vector<TokenId>{0, 3}));
    m.pre = "llama-bpe";
    EXPECT_EQ((*build(m))->encode("abc"), (std::vector<TokenId>{5}));
    EXPECT_EQ((*build(m))->encode("abcb"), (std::vector<TokenId>{0, 3, 1}));

    Metadata spm = sentence_metadata();
    spm.tokens = Strings{"a", "b", "c", "d", "ab", "bc", "cd", "abcd"};
    spm.kinds = std::nullopt;
    spm.scores = std::vector<float>{-9, -9, -9, -9, -3, -1, -2, 0};
    spm.more = [](auto& w) { w.set("tokenizer.ggml.add_space_prefix", false); };
    EXPECT_EQ((*build(spm))->encode("abcd"), (std::vector<TokenId>{0, 5, 3}));
}

TEST(TokenizerMetadata, TakesDuplicateAndEmptyTokensAsFilesHaveThem) {
    const auto t = build({.tokens = Strings{"a", "b", "ab", "ab", "", "a"}, .kinds = Kinds{1, 1, 1, 1, 3, 1}});
    ASSERT_TRUE(t);
    EXPECT_EQ((*t)->encode("aba", {.parse_special = true}), (std::vector<TokenId>{2, 0}));
    EXPECT_EQ((*t)->token_bytes(3), "ab");
    EXPECT_EQ((*t)->find(""), -1);
}

} // namespace
} // namespace lucebox::text
