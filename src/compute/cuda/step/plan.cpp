#include "compute/cuda/step/plan.h"

#include <algorithm>
#include <cmath>

namespace lucebox::compute::cuda {
namespace {

// What a step of a group costs: the bytes of its tiles, and what a step takes whatever its tiles are, which weighs like
// one more.
double step_cost(const StepProduct& product, int group) {
    const int tiles = std::min(group_tiles, product.tiles - group * group_tiles);
    return static_cast<double>(unit_bytes(product.form)) * (tiles + 1) / (group_tiles + 1);
}

double cost_of(const StepProduct& product) {
    double cost = 0;
    for (int group = 0; group < product.groups(); ++group)
        cost += step_cost(product, group) * product.units;
    return cost;
}

// The step at which so much of a product's cost is behind one.
std::uint32_t step_at(const StepProduct& product, double cost) {
    const double full = step_cost(product, 0);
    const int last = product.groups() - 1;
    const double before_last = full * product.units * last;
    const int steps = product.groups() * product.units;
    double step = cost / full;
    if (cost > before_last) step = last * product.units + (cost - before_last) / step_cost(product, last);
    return static_cast<std::uint32_t>(std::clamp(static_cast<int>(std::floor(step + 0.5)), 0, steps));
}

} // namespace

std::vector<StepDeal> deal_steps(std::span<const StepProduct> products, int blocks) {
    double total = 0, before = 0;
    for (const StepProduct& product : products)
        total += cost_of(product);
    std::vector<StepDeal> deals;
    for (const StepProduct& product : products) {
        StepDeal deal;
        deal.shares.resize(static_cast<std::size_t>(blocks));
        deal.groups.resize(static_cast<std::size_t>(product.groups()), GroupParts{0, 0});
        const auto units = static_cast<std::uint32_t>(product.units);
        const std::uint32_t steps = static_cast<std::uint32_t>(product.groups()) * units;
        std::uint32_t at = 0;
        for (int block = 0; block < blocks; ++block) {
            const std::uint32_t end =
                block + 1 == blocks ? steps : std::max(at, step_at(product, total * (block + 1) / blocks - before));
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
        deals.push_back(std::move(deal));
        before += cost_of(product);
    }
    return deals;
}

} // namespace lucebox::compute::cuda
