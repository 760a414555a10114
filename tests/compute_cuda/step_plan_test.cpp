// How the step kernel's products are dealt out to blocks.
#include "compute/cuda/step/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace lucebox::compute::cuda {
namespace {

struct Case {
    std::vector<StepProduct> products;
    int blocks;
};

const std::vector<Case>& cases() {
    static const std::vector<Case> all{
        {{{Form::q8_0, 40, 1}, {Form::q8_0, 40, 1}, {Form::q5_k, 20, 160}}, 132}, // a DeltaNet layer of 27B, without its gate
        {{{Form::q4_k, 20, 272}, {Form::q4_k, 20, 272}}, 132}, // gate and up
        {{{Form::q6_k, 20, 3880}}, 132},                       // a head
        {{{Form::f32, 1, 1}}, 132},                            // fewer steps than blocks
        {{{Form::q4_1, 5, 9}, {Form::q4_1, 5, 3}, {Form::q4_1, 5, 3}}, 78},
        {{{Form::q8_0, 40, 1}, {Form::q8_0, 40, 1}, {Form::q5_k, 20, 160}, {Form::q4_k, 20, 96, 48}}, 132}, // with it
    };
    return all;
}

TEST(StepPlan, EveryStepBelongsToOneBlock) {
    for (const Case& c : cases()) {
        const std::vector<StepDeal> deals = deal_steps(c.products, c.blocks);
        ASSERT_EQ(deals.size(), c.products.size());
        for (std::size_t i = 0; i < deals.size(); ++i) {
            std::uint32_t at = 0;
            for (const Share& share : deals[i].shares) {
                EXPECT_EQ(share.first, at);
                at += share.steps;
            }
            EXPECT_EQ(at, static_cast<std::uint32_t>(c.products[i].groups() * c.products[i].units));
        }
    }
}

// What a block stores is what the readers of a group's parts look for: each part once, first parts in the base, others
// in slots that no other part has.
TEST(StepPlan, PartsAreWhereTheirReadersLook) {
    for (const Case& c : cases()) {
        const std::vector<StepDeal> deals = deal_steps(c.products, c.blocks);
        for (std::size_t i = 0; i < deals.size(); ++i) {
            const auto units = static_cast<std::uint32_t>(c.products[i].units);
            std::map<std::uint32_t, std::vector<int>> stored; // of each group: slots in the order of steps, -1: base
            std::set<int> slots;
            for (const Share& share : deals[i].shares) {
                std::uint16_t slot = share.slot;
                for (std::uint32_t at = share.first; at < share.first + share.steps; at = (at / units + 1) * units) {
                    stored[at / units].push_back(slot == base_slot ? -1 : slot);
                    if (slot != base_slot) {
                        EXPECT_TRUE(slots.insert(slot).second);
                        EXPECT_LT(slot, c.blocks);
                    }
                    slot = base_slot;
                }
            }
            for (std::uint32_t group = 0; group < deals[i].groups.size(); ++group) {
                const GroupParts parts = deals[i].groups[group];
                ASSERT_EQ(stored[group].size(), parts.count);
                EXPECT_EQ(stored[group][0], -1);
                for (int part = 1; part < parts.count; ++part) {
                    EXPECT_EQ(stored[group][static_cast<std::size_t>(part)], parts.first + part);
                }
            }
        }
    }
}

// Blocks that walk heads meanwhile have nothing of the product that skips them, and what they have of the others is as much as ever.
TEST(StepPlan, BlocksAreSkipped) {
    const Case &without = cases()[0], &with = cases().back();
    const std::vector<StepDeal> all = deal_steps(without.products, without.blocks), deals = deal_steps(with.products, with.blocks);
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t block = 0; block < all[i].shares.size(); ++block) EXPECT_EQ(deals[i].shares[block].steps, all[i].shares[block].steps);
    }
    const StepDeal& gate = deals.back();
    for (std::size_t block = 0; block < gate.shares.size(); ++block) EXPECT_EQ(gate.shares[block].steps > 0, block >= 48) << block;
    EXPECT_EQ(gate.seats.first, 48);
    EXPECT_EQ(gate.seats.count, 84);
}

// Who has steps of a product lies in its seats.
TEST(StepPlan, SeatsHoldAllWhoHaveSteps) {
    for (const Case& c : cases()) {
        for (const StepDeal& deal : deal_steps(c.products, c.blocks)) {
            for (int block = 0; block < c.blocks; ++block) {
                if (deal.shares[static_cast<std::size_t>(block)].steps == 0) continue;
                EXPECT_GE(block, deal.seats.first);
                EXPECT_LT(block, deal.seats.first + deal.seats.count);
            }
        }
    }
}

TEST(StepPlan, LargeProductsAreDealtEvenly) {
    for (std::size_t i = 0; i < 3; ++i) {
        const Case& c = cases()[i];
        const std::vector<StepDeal> deals = deal_steps(c.products, c.blocks);
        std::vector<double> bytes(static_cast<std::size_t>(c.blocks));
        double total = 0, largest = 0;
        for (std::size_t p = 0; p < deals.size(); ++p) {
            const double step = unit_bytes(c.products[p].form); // StepPlan's own price, whatever the tiles
            largest = std::max(largest, step);
            for (std::size_t b = 0; b < bytes.size(); ++b)
                bytes[b] += deals[p].shares[b].steps * step;
            total += step * c.products[p].groups() * c.products[p].units;
        }
        for (const double share : bytes)
            EXPECT_NEAR(share, total / c.blocks, 1.5 * largest);
    }
}

} // namespace
} // namespace lucebox::compute::cuda
