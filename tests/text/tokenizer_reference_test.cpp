// Our ids against those of Hugging Face tokenizers and sentencepiece, for vocabularies in the tree and, where they are
// on this machine, published ones.
#include "text/pretokenizer.h"
#include "tokenizer_references.h"

#include <cstdlib>

namespace lucebox::text {
namespace {

void expect_reference_ids(const Tokenizer& tokenizer, const std::string& name) {
    const auto& texts = reference_texts();
    for (const bool trusted : {false, true}) {
        const auto expected = reference_ids(name, trusted);
        ASSERT_EQ(expected.size(), texts.size());
        for (std::size_t i = 0; i < texts.size(); ++i)
            EXPECT_EQ(tokenizer.encode(texts[i], {.parse_special = trusted}), expected[i])
                << name << (trusted ? " trusted" : "") << ", text " << i << ": " << texts[i];
    }
}

class PretokenizerReference : public testing::TestWithParam<const char*> {};

TEST_P(PretokenizerReference, CutsAsThePublishedExpressionDoes) {
    const auto lines = reference_lines(std::string("pieces-") + GetParam() + ".txt");
    const auto& texts = reference_texts();
    ASSERT_EQ(lines.size(), texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
        std::vector<TokenId> lengths;
        PieceScanner scanner(pretokenizer_rules(GetParam()).value(), texts[i]);
        for (auto piece = scanner.next(); !piece.empty(); piece = scanner.next())
            lengths.push_back(static_cast<TokenId>(piece.size()));
        EXPECT_EQ(lengths, numbers(lines[i])) << "text " << i << ": " << texts[i];
    }
}

constexpr const char* kByteLevel[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "laguna"};

INSTANTIATE_TEST_SUITE_P(AllNames, PretokenizerReference, testing::ValuesIn(kByteLevel));

class SmallVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(SmallVocabulary, GivesTheReferenceIds) {
    const auto tokenizer = open_tokenizer(reference_path(std::string(GetParam()) + ".gguf"));
    ASSERT_TRUE(tokenizer);
    expect_reference_ids(*tokenizer, GetParam());
}

INSTANTIATE_TEST_SUITE_P(ByteLevel, SmallVocabulary, testing::ValuesIn(kByteLevel));
INSTANTIATE_TEST_SUITE_P(Sentence, SmallVocabulary, testing::Values("spm", "spm-space", "gemma4"));

// A published model on this machine whose file name begins with `prefix`.
std::filesystem::path find_model(const std::string& prefix) {
    std::vector<std::filesystem::path> folders;
    if (const char* models = std::getenv("LUCEBOX_MODELS")) {
        std::istringstream list(models);
        for (std::string folder; std::getline(list, folder, ':');)
            folders.emplace_back(folder);
    }
    if (const char* home = std::getenv("HOME"))
        folders.push_back(std::filesystem::path(home) / ".cache/lucebox/models");
    for (const auto& folder : folders) {
        std::error_code error;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder, error)) {
            const std::string name = entry.path().filename().string();
            if (name.starts_with(prefix) && name.ends_with(".gguf")) return entry.path();
        }
    }
    return {};
}

class PublishedModel : public testing::TestWithParam<const char*> {};

TEST_P(PublishedModel, GivesTheReferenceIds) {
    const auto path = find_model(GetParam());
    if (path.empty()) GTEST_SKIP() << "skipped: no model " << GetParam() << "*.gguf in LUCEBOX_MODELS";
    const auto tokenizer = open_tokenizer(path);
    ASSERT_TRUE(tokenizer);
    expect_reference_ids(*tokenizer, GetParam());
}

INSTANTIATE_TEST_SUITE_P(OnThisMachine, PublishedModel, testing::Values("SmolLM2-135M", "gemma-3-270m"));

// Ids that other programs printed for the published model.
TEST(PublishedModelFacts, GemmaPromptHasTheKnownIds) {
    const auto path = find_model("gemma-3-270m");
    if (path.empty()) GTEST_SKIP() << "skipped: no model gemma-3-270m*.gguf in LUCEBOX_MODELS";
    const auto tokenizer = open_tokenizer(path);
    ASSERT_TRUE(tokenizer);
    const std::string prompt = "<bos><start_of_turn>user\nTest<end_of_turn>\n<start_of_turn>model\n";
    EXPECT_EQ(tokenizer->encode(prompt, {.parse_special = true}),
              (std::vector<TokenId>{2, 105, 2364, 107, 3694, 106, 107, 105, 4368, 107}));
    EXPECT_TRUE(tokenizer->is_end_of_generation(1));
    EXPECT_TRUE(tokenizer->is_end_of_generation(106));
    EXPECT_FALSE(tokenizer->is_end_of_generation(tokenizer->find("</s>"))); // an HTML tag to this model
    EXPECT_TRUE(tokenizer->adds_bos());
}

} // namespace
} // namespace lucebox::text
