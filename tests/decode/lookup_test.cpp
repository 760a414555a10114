// Lookup finds the longest earlier agreement, follows a text that is being copied, and survives a changed word.
#include "decode/lookup.h"

#include <gtest/gtest.h>

#include <random>

namespace lucebox::decode {
namespace {

std::vector<LookupIndex::Match> find(LookupIndex& index, std::size_t most) {
    std::vector<LookupIndex::Match> matches;
    index.find(most, matches);
    return matches;
}

TEST(Lookup, NothingIsFoundInATextWithoutRepetition) {
    LookupIndex index;
    EXPECT_TRUE(find(index, 3).empty());
    for (TokenId token = 0; token < 50; ++token) index.add(token);
    EXPECT_TRUE(find(index, 3).empty());
}

TEST(Lookup, TheLongestAgreementComesFirst) {
    LookupIndex index;
    index.add(std::vector<TokenId>{9, 1, 2, 3, 40, 8, 2, 3, 50, 7, 7, 9, 1, 2, 3});
    const auto matches = find(index, 3);
    ASSERT_EQ(matches.size(), 2u);
    EXPECT_EQ(index.text()[matches[0].next], 40);
    EXPECT_EQ(matches[0].length, 4u);
    EXPECT_EQ(index.text()[matches[1].next], 50);
    EXPECT_EQ(matches[1].length, 2u);
}

TEST(Lookup, ContinuationsBeginDifferently) {
    LookupIndex index;
    for (int i = 0; i < 10; ++i) index.add(std::vector<TokenId>{1, 2, 3, 4});
    index.add(std::vector<TokenId>{1, 2});
    const auto matches = find(index, 3);
    ASSERT_EQ(matches.size(), 1u);
    EXPECT_EQ(index.text()[matches[0].next], 3);
    EXPECT_EQ(matches[0].length, LookupIndex::longest_match);
}

// Rewriting a text with one word replaced: how many tokens would be right at once?
TEST(Lookup, ACopyIsFollowedOverAReplacedWord) {
    std::mt19937 random(3);
    std::vector<TokenId> source;
    for (int i = 0; i < 600; ++i) source.push_back(i % 23 == 5 ? 999 : static_cast<TokenId>(random() % 400));
    LookupIndex index;
    index.add(source);
    index.add(5000); // "rewrite:"
    std::size_t right = 0, asked = 0;
    for (std::size_t i = 0; i < source.size(); ++i) {
        const TokenId token = source[i] == 999 ? 777 : source[i];
        if (i >= 10) {
            ++asked;
            for (const auto& match : find(index, 3)) {
                if (index.text()[match.next] == token) {
                    ++right;
                    break;
                }
            }
        }
        index.add(token);
    }
    EXPECT_GT(right, asked * 95 / 100);
}

TEST(Lookup, ClearForgetsEverything) {
    LookupIndex index;
    index.add(std::vector<TokenId>{1, 2, 3, 1, 2});
    EXPECT_FALSE(find(index, 1).empty());
    index.clear();
    index.add(std::vector<TokenId>{1, 2});
    EXPECT_TRUE(find(index, 1).empty());
}

} // namespace
} // namespace lucebox::decode
