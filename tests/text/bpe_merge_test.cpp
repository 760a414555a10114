// The merging loop against the definition of BPE, which rescans everything for each merge.
#include "cpu_time.h"
#include "text/bpe_merge.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace lucebox::text {
namespace {

using Ranks = std::map<std::pair<TokenId, TokenId>, Merge>;

std::vector<Symbol> by_definition(std::vector<Symbol> symbols, const Ranks& ranks) {
    for (;;) {
        std::size_t best = symbols.size();
        Merge merge;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            const auto found = ranks.find({symbols[i].id, symbols[i + 1].id});
            if (found == ranks.end() || found->second.rank >= merge.rank) continue; // of equals the leftmost stays
            best = i;
            merge = found->second;
        }
        if (best == symbols.size()) return symbols;
        symbols[best].bytes += symbols[best + 1].bytes;
        symbols[best].id = merge.id;
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

TEST(BpeMerge, EqualsTheDefinitionForShortAndLongPieces) {
    std::mt19937 random(17);
    MergeWorkspace work; // reused, as encoders do
    for (int round = 0; round < 3000; ++round) {
        const int letters = 1 + static_cast<int>(random() % 4);
        Ranks ranks;
        PairTable table(400);
        const auto ties = 1 + random() % 60; // many equal ranks, as scores may be
        for (TokenId id = letters; id < letters + 150; ++id) {
            const auto left = static_cast<TokenId>(random() % static_cast<unsigned>(id));
            const auto right = static_cast<TokenId>(random() % static_cast<unsigned>(id));
            const Merge merge{static_cast<std::uint32_t>(random() % ties), id};
            ranks.emplace(std::pair{left, right}, merge); // the first of equal pairs stays, in both
            table.insert(left, right, merge);
        }
        std::vector<Symbol> symbols;
        const auto length = static_cast<std::uint32_t>(random() % (round % 3 == 0 ? 400 : 56));
        for (std::uint32_t i = 0; i < length; ++i)
            symbols.push_back({i, 1, static_cast<TokenId>(random() % static_cast<unsigned>(letters))});
        const auto expected = by_definition(symbols, ranks);

        work.symbols = symbols;
        work.merge([&](const Symbol& a, const Symbol& b) { return table.find(a.id, b.id); });
        ASSERT_EQ(work.symbols.size(), expected.size()) << "round " << round;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            ASSERT_EQ(work.symbols[i].id, expected[i].id);
            ASSERT_EQ(work.symbols[i].begin, expected[i].begin);
            ASSERT_EQ(work.symbols[i].bytes, expected[i].bytes);
        }
    }
}

TEST(BpeMerge, ALongPieceTakesLittleMoreThanLinearTime) {
    // A single token eats one letter after the other: a million merges, each of which would move all that follows.
    constexpr std::uint32_t kLetters = 1'000'000;
    PairTable table(kLetters);
    MergeWorkspace work;
    work.symbols.push_back({0, 1, 1});
    for (std::uint32_t i = 1; i < kLetters; ++i) {
        work.symbols.push_back({i, 1, 0});
        table.insert(static_cast<TokenId>(i), 0, {i, static_cast<TokenId>(i + 1)});
    }
    const auto start = cpu_seconds();
    work.merge([&](const Symbol& a, const Symbol& b) { return table.find(a.id, b.id); });
    EXPECT_LT(cpu_seconds() - start, 10.0); // 0.2 s in a release build
    ASSERT_EQ(work.symbols.size(), 1u);
    EXPECT_EQ(work.symbols[0].bytes, kLetters);
}

TEST(TextTable, FindsEveryKeyOfAnyLengthAndNoOther) {
    std::mt19937 random(23);
    std::vector<std::string> keys;
    std::map<std::string, TokenId> expected;
    for (TokenId id = 0; id < 20000; ++id) {
        std::string key(random() % 40, 'a');
        for (char& c : key)
            c = static_cast<char>("ab\0\xFF"[random() % 4]);
        expected.emplace(key, id); // the first of equals stays
        keys.push_back(key);
    }
    const auto key_of = [&](TokenId id) -> std::string_view { return keys[static_cast<std::size_t>(id)]; };
    TextTable table(keys.size());
    for (TokenId id = 0; id < 20000; ++id)
        table.insert(id, key_of);
    for (const std::string& key : keys) {
        ASSERT_EQ(table.find(key, key_of), expected.at(key));
        const std::string other = key + "a";
        const auto known = expected.find(other);
        ASSERT_EQ(table.find(other, key_of), known == expected.end() ? -1 : known->second);
    }
}

} // namespace
} // namespace lucebox::text
