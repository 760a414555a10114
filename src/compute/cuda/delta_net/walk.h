// The order in which a step's tree is walked, so that one running state and five saved ones are enough.
//
// Depth first, and of the children of a row the one with the largest subtree last: a saved state is then needed only
// while a subtree of less than half the size is walked, and its slot is free again before the largest is entered. With
// 64 rows below the committed end (65 nodes): 32, 15, 7 and 3 rows under at most five saved states.
#pragma once

#include "compute/cuda/step_state.h"

#include <array>
#include <cassert>
#include <cstdint>
#include <span>

namespace lucebox::compute::cuda {

inline constexpr int max_saved_states = 5;

// The smallest tree whose walk saves so many states at once: twice the smallest that saves one less, each below a row.
constexpr int rows_that_save(int states) { return states <= 1 ? 2 : 2 * (1 + rows_that_save(states - 1)); }
static_assert(rows_that_save(max_saved_states) <= 64 && rows_that_save(max_saved_states + 1) > 64);

// parent[i] < i is the local row that row i follows, -1 the committed end; at most 64 rows. Fills walk[] and base_save.
inline void plan_walk(std::span<const std::int32_t> parent, StepSequence& sequence) {
    const int rows = static_cast<int>(parent.size());
    assert(rows <= 64);
    std::array<int, 65> size{}, children{}, heaviest{}; // of node i + 1; node 0 is the committed end
    heaviest.fill(-1);
    for (int i = rows; i > 0; --i) {
        const auto node = static_cast<std::size_t>(i), up = static_cast<std::size_t>(parent[node - 1] + 1);
        ++size[node];
        size[up] += size[node];
        ++children[up];
        if (heaviest[up] < 0 || size[node] >= size[static_cast<std::size_t>(heaviest[up])]) heaviest[up] = i;
    }
    struct Frame {
        int node, next, visited; // next child to look at, children walked so far
        std::uint8_t slot;
    };
    std::array<Frame, 65> stack{};
    std::uint32_t taken = 0;
    const auto enter = [&](int node) {
        Frame frame{node, node + 1, 0, no_slot};
        if (children[static_cast<std::size_t>(node)] > 1) {
            frame.slot = 0;
            while (taken >> frame.slot & 1) ++frame.slot;
            assert(frame.slot < max_saved_states);
            taken |= 1u << frame.slot;
        }
        return frame;
    };
    int depth = 0, stop = 0;
    stack[0] = enter(0);
    sequence.base_save = stack[0].slot;
    while (depth >= 0) {
        Frame& frame = stack[static_cast<std::size_t>(depth)];
        const auto at = static_cast<std::size_t>(frame.node);
        if (frame.visited == children[at]) {
            --depth;
            continue;
        }
        int child = heaviest[at];
        if (frame.visited + 1 < children[at]) {
            do child = frame.next++;
            while (parent[static_cast<std::size_t>(child - 1)] + 1 != frame.node || child == heaviest[at]);
        }
        const std::uint8_t load = frame.visited > 0 ? frame.slot : no_slot;
        if (++frame.visited == children[at] && frame.slot != no_slot) taken &= ~(1u << frame.slot);
        const Frame entered = enter(child);
        sequence.walk[stop++] = {static_cast<std::uint8_t>(child - 1), load, entered.slot,
                                 children[static_cast<std::size_t>(child)] == 0 ? std::uint8_t{1} : std::uint8_t{0}};
        stack[static_cast<std::size_t>(++depth)] = entered;
    }
}

} // namespace lucebox::compute::cuda
