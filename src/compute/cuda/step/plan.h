// Deals a product's steps out to the blocks of the step kernel. Host code without CUDA.
#pragma once

#include "compute/cuda/step/record.h"

#include <span>
#include <vector>

namespace lucebox::compute::cuda {

// One matrix of those that are multiplied between two borders.
struct StepProduct {
    Form form{};
    int units = 0, tiles = 0;
    int skip = 0; // blocks, the first ones, that have no part of it: they are to walk heads meanwhile
    bool operator==(const StepProduct&) const = default;
    int groups() const { return (tiles + group_tiles - 1) / group_tiles; }
};

struct StepDeal {
    std::vector<Share> shares;      // [blocks]
    std::vector<GroupParts> groups; // [groups]
    Seats seats;
};

// Equal bytes for every block over all products that neighbour and skip the same; every step of each product in exactly one share.
std::vector<StepDeal> deal_steps(std::span<const StepProduct> products, int blocks);

} // namespace lucebox::compute::cuda
