// The walk that lets a kernel visit a tree with a handful of saved states: every row starts from its parent's state.
#include "compute/cuda/delta_net/walk.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace lucebox::compute::cuda {
namespace {

constexpr int base = -1, nothing = -2;

// Walks as the kernel does, with the name of the row behind which a state stands in place of the state.
void expect_good_walk(const std::vector<std::int32_t>& parent) {
    StepSequence sequence;
    plan_walk(parent, sequence);
    std::vector<int> slots(max_saved_states, nothing), visits(parent.size(), 0), children(parent.size(), 0);
    for (const std::int32_t p : parent) {
        if (p >= 0) ++children[static_cast<std::size_t>(p)];
    }
    int running = base;
    if (sequence.base_save != no_slot) slots.at(sequence.base_save) = base;
    for (std::size_t i = 0; i < parent.size(); ++i) {
        const WalkStop stop = sequence.walk[i];
        if (stop.load != no_slot) running = slots.at(stop.load);
        ASSERT_EQ(running, parent.at(stop.row)) << "stop " << i;
        ++visits[stop.row];
        ASSERT_EQ(stop.leaf == 1, children[stop.row] == 0);
        running = stop.leaf ? nothing : stop.row; // the kernel leaves a leaf's state half done
        if (stop.save == no_slot) continue;
        slots.at(stop.save) = running;
        ASSERT_GE(static_cast<int>(parent.size()), rows_that_save(stop.save + 1));
    }
    for (const int count : visits) ASSERT_EQ(count, 1);
}

TEST(CudaWalk, EveryRowStartsFromItsParentsState) {
    std::mt19937 random{7};
    for (int round = 0; round < 3000; ++round) {
        std::vector<std::int32_t> parent(1 + random() % 64);
        const auto wide = 1 + random() % 6;
        for (std::size_t i = 0; i < parent.size(); ++i) {
            const bool deep = i > 0 && random() % wide != 0;
            parent[i] = deep ? static_cast<int>(i) - 1 : static_cast<int>(random() % (i + 1)) - 1;
        }
        expect_good_walk(parent);
    }
}

TEST(CudaWalk, TreesThatNeedTheMostSavedStatesFit) {
    std::vector<std::int32_t> binary, star(64, -1), caterpillar;
    for (int i = 0; i < 64; ++i) {
        binary.push_back(i == 0 || i == 1 ? -1 : (i - 2) / 2);         // two roots
        caterpillar.push_back(i < 2 ? -1 : (i - 2) / 2 * 2);           // a leaf beside every row of a path
    }
    expect_good_walk(binary);
    expect_good_walk(star);
    expect_good_walk(caterpillar);
    expect_good_walk({-1});
}

} // namespace
} // namespace lucebox::compute::cuda
