// The tree builder: the paper's algorithm on an example worked by hand, and what must hold for every tree.
#include "decode/draft_tree.h"

#include "decode/acceptance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

namespace lucebox::decode {
namespace {

using ::testing::ElementsAre;
using Depths = std::vector<std::vector<Candidate>>;

std::vector<std::span<const Candidate>> views(const Depths& lists) { return {lists.begin(), lists.end()}; }

DraftTree grown(const Depths& depths, const Depths& chains, std::size_t budget, bool chain_seed) {
    DraftTree tree(7);
    tree.grow(views(depths), views(chains), budget, chain_seed);
    return tree;
}

std::vector<std::int32_t> parents(const DraftTree& tree) {
    std::vector<std::int32_t> out;
    for (const DraftNode& node : tree.nodes()) out.push_back(node.parent);
    return out;
}
std::vector<TokenId> tokens(const DraftTree& tree) {
    std::vector<TokenId> out;
    for (const DraftNode& node : tree.nodes()) out.push_back(node.token);
    return out;
}

const Depths example{{{10, -0.1f}, {11, -2.4f}}, {{20, -0.5f}, {21, -1.0f}}, {{30, -0.2f}, {31, -1.7f}}};

TEST(DraftTreeTest, TheWorkedExample) {
    const DraftTree tree = grown(example, {}, 5, true);
    EXPECT_THAT(parents(tree), ElementsAre(-1, 0, 1, 2, 1, 4));
    EXPECT_THAT(tokens(tree), ElementsAre(7, 10, 20, 30, 21, 30));
    EXPECT_NEAR(tree.nodes()[4].score, -1.1, 1e-6);
    EXPECT_NEAR(tree.nodes()[5].score, -1.3, 1e-6);
    EXPECT_EQ(tree.nodes()[5].depth, 3);
}

TEST(DraftTreeTest, ASmallBudgetWithAChainSeedIsTheChain) {
    for (std::size_t budget = 0; budget <= 3; ++budget) {
        const DraftTree tree = grown(example, {}, budget, true);
        ASSERT_EQ(tree.drafted(), budget);
        for (std::size_t i = 1; i <= budget; ++i) EXPECT_EQ(tree.nodes()[i].parent, static_cast<std::int32_t>(i) - 1);
    }
}

TEST(DraftTreeTest, TiesGoByDepthParentAndRank) {
    const Depths flat{{{1, -1}, {2, -1}}, {{3, 0}, {4, 0}}};
    EXPECT_THAT(tokens(grown(flat, {}, 6, false)), ElementsAre(7, 1, 2, 3, 4, 3, 4));
    EXPECT_THAT(parents(grown(flat, {}, 6, false)), ElementsAre(-1, 0, 0, 1, 1, 2, 2));
}

// All paths with their scores, by brute force.
void enumerate(const Depths& depths, std::size_t depth, float score, std::vector<float>& scores) {
    if (depth == depths.size()) return;
    for (const Candidate& candidate : depths[depth]) {
        scores.push_back(score + candidate.logprob);
        enumerate(depths, depth + 1, score + candidate.logprob, scores);
    }
}

TEST(DraftTreeTest, RandomTreesAreClosedSortedDistinctAndTheBestThereAre) {
    std::mt19937 random(5);
    std::uniform_real_distribution<float> drop(0.05f, 1.5f);
    for (int round = 0; round < 200; ++round) {
        Depths depths(1 + random() % 5);
        for (auto& candidates : depths) {
            float logprob = 0;
            const std::size_t width = 1 + random() % 4;
            for (std::size_t i = 0; i < width; ++i) candidates.push_back({static_cast<TokenId>(100 * i), logprob -= drop(random)});
        }
        std::vector<float> scores;
        enumerate(depths, 0, 0, scores);
        std::ranges::sort(scores, std::greater{});
        const std::size_t budget = 1 + random() % 63;
        const DraftTree seeded = grown(depths, {}, budget, true), best = grown(depths, {}, budget, false);
        for (const DraftTree* tree : {&seeded, &best}) {
            EXPECT_EQ(tree->drafted(), std::min(budget, scores.size()));
            std::set<std::pair<std::int32_t, TokenId>> seen;
            for (std::size_t i = 1; i < tree->nodes().size(); ++i) {
                const DraftNode& node = tree->nodes()[i];
                ASSERT_LT(node.parent, static_cast<std::int32_t>(i));
                ASSERT_EQ(node.depth, tree->nodes()[static_cast<std::size_t>(node.parent)].depth + 1);
                ASSERT_TRUE(seen.insert({node.parent, node.token}).second) << "a sibling twice";
            }
        }
        for (std::size_t i = 1; i < best.nodes().size(); ++i) ASSERT_NEAR(best.nodes()[i].score, scores[i - 1], 1e-5);
        const std::size_t chain = std::min(budget, depths.size());
        for (std::size_t i = chain + 2; i < seeded.nodes().size(); ++i) {
            ASSERT_LE(seeded.nodes()[i].score, seeded.nodes()[i - 1].score + 1e-6f);
        }
    }
}

TEST(DraftTreeTest, ALargerBudgetOnlyAddsNodes) {
    Depths depths(6);
    for (std::size_t d = 0; d < depths.size(); ++d) {
        for (int i = 0; i < 4; ++i) depths[d].push_back({i, -0.3f - static_cast<float>(i * (d + 1)) * 0.2f});
    }
    for (const bool seed : {true, false}) {
        for (std::size_t budget = 7; budget < 63; ++budget) {
            const DraftTree small = grown(depths, {}, budget, seed), large = grown(depths, {}, budget + 1, seed);
            for (std::size_t i = 0; i < small.nodes().size(); ++i) {
                EXPECT_EQ(small.nodes()[i].token, large.nodes()[i].token);
                EXPECT_EQ(small.nodes()[i].parent, large.nodes()[i].parent);
            }
        }
    }
}

TEST(DraftTreeTest, AContinuationSharesNodesWithTheDraftAndGoesOnBehindIt) {
    const Depths chain{{{10, -0.05f, 2}, {21, -0.05f, 2}, {40, -0.05f, 2}, {41, -0.05f, 2}, {42, -0.05f, 2}}};
    const DraftTree tree = grown(example, chain, 8, false);
    const std::int32_t a = tree.child(0, 10);
    const std::int32_t b = tree.child(a, 21), c = tree.child(b, 40), d = tree.child(c, 41);
    ASSERT_GT(a, 0);
    ASSERT_GT(b, 0);
    ASSERT_GT(c, 0);
    ASSERT_GT(d, 0);
    EXPECT_GT(tree.child(d, 42), 0);
    EXPECT_GT(tree.child(a, 20), 0); // the draft's own below the shared node
    EXPECT_EQ(tree.nodes()[static_cast<std::size_t>(a)].origin, 2); // the better score came first
    EXPECT_EQ(tree.child(0, 10), a);
}

// Forbids a third of all branches, by a hash of what leads there.
class Hashed final : public Form {
public:
    explicit Hashed(std::uint32_t seed) : seed_(seed) {}
    Place here() override {
        hashes_.assign(1, seed_);
        return 0;
    }
    Place after(Place place, TokenId token) override {
        const std::uint32_t hash = (hashes_[static_cast<std::size_t>(place)] ^ static_cast<std::uint32_t>(token)) * 2654435761u;
        if (hash >> 16 & 1 && hash >> 20 & 1) return nowhere;
        hashes_.push_back(hash);
        return static_cast<Place>(hashes_.size()) - 1;
    }

private:
    std::uint32_t seed_;
    std::vector<std::uint32_t> hashes_;
};

// All allowed paths, what is forbidden beside one shared out among its siblings.
void enumerate(const Depths& depths, std::size_t depth, float score, Form& form, Form::Place place, std::vector<float>& scores) {
    if (depth == depths.size()) return;
    float left = 1;
    for (const Candidate& candidate : depths[depth])
        if (form.after(place, candidate.token) == Form::nowhere) left -= std::exp(candidate.logprob);
    for (const Candidate& candidate : depths[depth]) {
        const Form::Place next = form.after(place, candidate.token);
        if (next == Form::nowhere) continue;
        const float here = score + std::min(candidate.logprob - std::log(std::max(left, 1e-3f)), 0.0f);
        scores.push_back(here);
        enumerate(depths, depth + 1, here, form, next, scores);
    }
}

TEST(DraftTreeTest, UnderAFormTreesAreTheBestOfWhatIsAllowed) {
    std::mt19937 random(9);
    std::size_t left_out = 0;
    for (std::uint32_t round = 0; round < 200; ++round) {
        Depths depths(1 + random() % 5);
        for (auto& candidates : depths) {
            float left = 1; // a distribution, as a draft's
            const std::size_t width = 1 + random() % 4;
            for (std::size_t i = 0; i < width; ++i) {
                const float probability = left * (0.4f + 0.1f * static_cast<float>(random() % 4));
                candidates.push_back({static_cast<TokenId>(100 * i + 1), std::log(probability)});
                left -= probability;
            }
            std::ranges::sort(candidates, std::greater{}, &Candidate::logprob);
        }
        Hashed form(round);
        std::vector<float> scores, free;
        enumerate(depths, 0, 0, form, form.here(), scores);
        enumerate(depths, 0, 0, free);
        left_out += free.size() - scores.size();
        std::ranges::sort(scores, std::greater{});
        const std::size_t budget = 1 + random() % 63;
        for (const bool chain_seed : {false, true}) {
            DraftTree tree(7);
            tree.grow(views(depths), {}, budget, chain_seed, &form);
            ASSERT_EQ(tree.drafted(), std::min(budget, scores.size()));
            std::vector<Form::Place> places{form.here()};
            for (std::size_t i = 1; i < tree.nodes().size(); ++i) {
                places.push_back(form.after(places[static_cast<std::size_t>(tree.nodes()[i].parent)], tree.nodes()[i].token));
                ASSERT_NE(places.back(), Form::nowhere) << "round " << round << ", node " << i;
                if (!chain_seed) {
                    ASSERT_NEAR(tree.nodes()[i].score, scores[i - 1], 1e-4);
                }
            }
        }
    }
    EXPECT_GT(left_out, 1000u);
}

// Leaves one token at every place, the one before it plus one, but for what a draft may always guess.
class Counting final : public Form {
public:
    Place here() override { return 0; }
    Place after(Place place, TokenId token) override { return token == place + 1 || token == 900 ? place + 1 : nowhere; }
    void suggest(Place place, std::vector<TokenId>& tokens) override { tokens.push_back(place + 1); }
};

TEST(DraftTreeTest, WhatTheFormSuggestsIsGuessedWhereTheDraftHasNothingThatIsAllowed) {
    Counting form;
    const Depths depths{{{500, std::log(0.9f)}, {900, std::log(0.05f)}}, {{2, std::log(0.6f)}}, {{500, std::log(0.9f)}}};
    for (const bool chain_seed : {false, true}) {
        DraftTree tree(7);
        tree.grow(views(depths), {}, 5, chain_seed, &form);
        // 1 is the form's, 2 the draft's own guess, which the form suggests as well, 3 and on the form's, beyond the draft's depths.
        std::int32_t node = 0;
        for (const TokenId token : {1, 2, 3}) {
            node = tree.child(node, token);
            ASSERT_GE(node, 0) << token;
            EXPECT_EQ(tree.nodes()[static_cast<std::size_t>(node)].origin == from_form, token != 2);
        }
        EXPECT_EQ(tree.drafted(), 5u);
        for (std::size_t i = 1; i < tree.nodes().size(); ++i) {
            const DraftNode& child = tree.nodes()[i];
            EXPECT_LE(child.score, tree.nodes()[static_cast<std::size_t>(child.parent)].score);
            EXPECT_TRUE(chain_seed || i == 1 || child.score <= tree.nodes()[i - 1].score);
        }
    }
    // Without a draft and without anything to look up, the form alone.
    DraftTree tree(7);
    tree.grow({}, {}, 4, false, &form);
    EXPECT_EQ(tree.drafted(), 4u);
}

TEST(DraftTreeTest, TruncationKeepsTheFirst) {
    DraftTree tree = grown(example, {}, 5, false);
    const auto before = tokens(tree);
    tree.truncate(2);
    EXPECT_THAT(tokens(tree), ElementsAre(before[0], before[1], before[2]));
    tree.truncate(9);
    EXPECT_EQ(tree.drafted(), 2u);
}

} // namespace
} // namespace lucebox::decode
