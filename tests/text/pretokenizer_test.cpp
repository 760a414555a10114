// Expected pieces were computed by an independent regular-expression engine, not by this program.
#include "cpu_time.h"
#include "text/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace lucebox::text {
namespace {

using namespace std::string_literals;
using Pieces = std::vector<std::string>;

constexpr std::string_view kNames[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-r1-qwen", "qwen35", "laguna"};

Pieces pieces(std::string_view name, std::string_view text) {
    Pieces out;
    PieceScanner scanner(pretokenizer_rules(name).value(), text);
    for (std::string_view piece = scanner.next(); !piece.empty(); piece = scanner.next())
        out.emplace_back(piece);
    return out;
}

TEST(Pretokenizer, KnowsItsNamesAndNoOthers) {
    for (const auto name : kNames)
        EXPECT_TRUE(pretokenizer_rules(name)) << name;
    EXPECT_FALSE(pretokenizer_rules("qwen3"));
    EXPECT_FALSE(pretokenizer_rules("default"));
    EXPECT_FALSE(pretokenizer_rules(""));
}

TEST(Pretokenizer, QwenSplitsAsItsExpressionDoes) {
    for (const auto name : {"qwen2", "deepseek-r1-qwen", "qwen35"}) {
        SCOPED_TRACE(name);
        EXPECT_EQ(pieces(name, "Hello  world"), (Pieces{"Hello", " ", " world"}));
        EXPECT_EQ(pieces(name, "I'M don't we'LL"), (Pieces{"I", "'M", " don", "'t", " we", "'LL"}));
        EXPECT_EQ(pieces(name, "x=12345;"), (Pieces{"x", "=", "1", "2", "3", "4", "5", ";"}));
        EXPECT_EQ(pieces(name, "a\n\n  b"), (Pieces{"a", "\n\n", " ", " b"}));
        EXPECT_EQ(pieces(name, "  \n  \n x"), (Pieces{"  \n  \n", " x"}));
        EXPECT_EQ(pieces(name, "tab\t\tend "), (Pieces{"tab", "\t", "\tend", " "}));
        EXPECT_EQ(pieces(name, "foo(bar)\r\n\r\nbaz"), (Pieces{"foo", "(bar", ")\r\n\r\n", "baz"}));
        EXPECT_EQ(pieces(name, "  'tis"), (Pieces{" ", " '", "tis"}));
        EXPECT_EQ(pieces(name, "100km/h"), (Pieces{"1", "0", "0", "km", "/h"}));
        EXPECT_EQ(pieces(name, "$x_y"), (Pieces{"$x", "_y"}));
        EXPECT_EQ(pieces(name, "end.\n\n\n  "), (Pieces{"end", ".\n\n\n", "  "}));
        EXPECT_EQ(pieces(name, " \u00A0x"), (Pieces{" ", "\u00A0x"}));
        EXPECT_EQ(pieces(name, "\uFB01\u00B2\u00BD"), (Pieces{"\uFB01", "\u00B2", "\u00BD"}));
    }
}

TEST(Pretokenizer, CombiningMarksBelongToTheWordOnlyInQwen35) {
    EXPECT_EQ(pieces("qwen2", "cafe\u0301 e\u0301"), (Pieces{"cafe", "\u0301", " e", "\u0301"}));
    EXPECT_EQ(pieces("qwen35", "cafe\u0301 e\u0301"), (Pieces{"cafe\u0301", " e\u0301"}));
    EXPECT_EQ(pieces("qwen2", "नमस्ते"), (Pieces{"नमस", "्त", "े"}));
    EXPECT_EQ(pieces("qwen35", "नमस्ते"), (Pieces{"नमस्ते"}));
}

TEST(Pretokenizer, LagunaStartsAPieceAtEachRunOfNewlines) {
    EXPECT_EQ(pieces("laguna", "x;\n"), (Pieces{"x", ";", "\n"}));
    EXPECT_EQ(pieces("laguna", "x;\n\n    y"), (Pieces{"x", ";", "\n\n", "   ", " y"}));
    EXPECT_EQ(pieces("laguna", "foo  \nbar"), (Pieces{"foo", "  ", "\n", "bar"}));
    EXPECT_EQ(pieces("laguna", "a\r\nb"), (Pieces{"a", "\r\n", "b"}));
    EXPECT_EQ(pieces("laguna", "\n  \n"), (Pieces{"\n", "  ", "\n"}));
    EXPECT_EQ(pieces("laguna", "\t\tif (a) {\n\t\t\treturn;\n"),
              (Pieces{"\t", "\tif", " (", "a", ")", " {", "\n", "\t\t", "\treturn", ";", "\n"}));
    EXPECT_EQ(pieces("laguna", "don't"), (Pieces{"don", "'t"}));
}

TEST(Pretokenizer, EveryByteLandsInExactlyOnePiece) {
    std::mt19937 random(11);
    const std::string pool =
        " \t\r\n''aAsStTllrRe019.,;$_\xC2\xA0\xE2\x80\x83\xCC\x81\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x99\x82\xFF\xC5\xBF";
    for (int round = 0; round < 20000; ++round) {
        std::string text;
        for (auto n = random() % 24; n > 0; --n)
            text += random() % 16 ? pool[random() % pool.size()] : static_cast<char>(random() % 256);
        for (const auto name : kNames) {
            std::string joined;
            for (const std::string& piece : pieces(name, text))
                joined += piece;
            ASSERT_EQ(joined, text) << name;
        }
    }
}

TEST(Pretokenizer, LongRunsTakeLinearTime) {
    for (const std::string& unit :
         {"a"s, " "s, "\n"s, "1"s, "!"s, " a"s, "\n\r"s, " \n"s, "'"s, "\xCC\x81"s, "\xFF"s, "  1"s}) {
        std::string text;
        while (text.size() < 2'000'000 / sanitizers_shorten)
            text += unit;
        for (const auto name : kNames) {
            const auto start = cpu_seconds();
            std::size_t bytes = 0;
            PieceScanner scanner(pretokenizer_rules(name).value(), text);
            for (auto piece = scanner.next(); !piece.empty(); piece = scanner.next())
                bytes += piece.size();
            EXPECT_EQ(bytes, text.size());
            // A quadratic scanner would need minutes; the sanitizers' builds need some slack.
            EXPECT_LT(cpu_seconds() - start, 3.0) << name << " of " << unit;
        }
    }
}

} // namespace
} // namespace lucebox::text
