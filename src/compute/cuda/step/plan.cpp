#include "compute/cuda/step/plan.h"

#include <algorithm>
#include <cmath>

namespace lucebox::compute::cuda {
namespace {

// What a step costs: the bytes of a group's tiles. One of fewer tiles takes as long, since each has a warpgroup of its own.
double step_cost(const StepProduct& product) {
    return static_cast<double>(unit_bytes(product.form));
}

int steps_of(const StepProduct& product) {
    return product.groups() * product.units;
}

double cost_of(const StepProduct& product) {
    return step_cost(product) * steps_of(product);
}

// The step at which so much of a product's cost is behind one.
std::uint32_t step_at(const StepProduct& product, double cost) {
    return static_cast<std::uint32_t>(std::clamp(static_cast<int>(std::floor(cost / step_cost(product) + 0.5)), 0, steps_of(product)));
}

// Of products that skip the same.
void deal(std::span<const StepProduct> products, int blocks, std::vector<StepDeal>& deals) {
    double total = 0, before = 0;
    for (const StepProduct& product : products)
        total += cost_of(product);
    for (const StepProduct& product : products) {
        StepDeal deal;
        deal.shares.resize(static_cast<std::size_t>(blocks), Share{0, 0, base_slot});
        deal.groups.resize(static_cast<std::size_t>(product.groups()), GroupParts{0, 0});
        const auto units = static_cast<std::uint32_t>(product.units), steps = static_cast<std::uint32_t>(steps_of(product));
        const int seats = blocks - product.skip;
        std::uint32_t at = 0;
        for (int seat = 0; seat < seats; ++seat) {
            const int block = product.skip + seat;
            const std::uint32_t end = seat + 1 == seats ? steps : std::max(at, step_at(product, total * (seat + 1) / seats - before));
            Share& share = deal.shares[static_cast<std::size_t>(block)];
            share = {at, static_cast<std::uint16_t>(end - at), base_slot};
            for (std::uint32_t group = at / units; at < end && group * units < end; ++group) {
                GroupParts& parts = deal.groups[group];
                if (parts.count == 0)
                    parts.first = static_cast<std::uint8_t>(block);
                else if (group == at / units)
                    share.slot = static_cast<std::uint16_t>(parts.first + parts.count);
                ++parts.count;
            }
            at = end;
        }
        const auto has_steps = [](const Share& share) { return share.steps > 0; };
        const auto first = std::ranges::find_if(deal.shares, has_steps);
        const auto last = std::ranges::find_if(deal.shares.rbegin(), deal.shares.rend(), has_steps);
        deal.seats = {static_cast<std::uint8_t>(first - deal.shares.begin()), static_cast<std::uint8_t>(last.base() - first)};
        deals.push_back(std::move(deal));
        before += cost_of(product);
    }
}

} // namespace

std::vector<StepDeal> deal_steps(std::span<const StepProduct> products, int blocks) {
    std::vector<StepDeal> deals;
    for (std::size_t first = 0, end = 0; first < products.size(); first = end) {
        while (end < products.size() && products[end].skip == products[first].skip)
            ++end;
        deal(products.subspan(first, end - first), blocks, deals);
    }
    return deals;
}

} // namespace lucebox::compute::cuda
