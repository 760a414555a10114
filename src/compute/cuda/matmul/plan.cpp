#include "compute/cuda/matmul/plan.h"

#include <algorithm>
#include <vector>

namespace lucebox::compute::cuda {
namespace {

// Groups of equal cost that follow each other in the units' order.
struct Stretch {
    std::uint32_t first_unit, units;
    std::uint64_t unit_cost;
};

// A worker's time for a group goes by its busiest block, and two tiles a block is where more tiles begin to cost time.
std::uint64_t group_cost(int tiles, int lanes, Form form) {
    const int blocks = std::max(1, lanes / 2);
    const int busiest = std::max(2, (tiles + blocks - 1) / blocks);
    return static_cast<std::uint64_t>(blocks * busiest) * static_cast<std::uint64_t>(unit_bytes(form));
}

} // namespace

void plan_groups(Job& job, std::span<const PlannedTarget> targets, int workers, int lanes) {
    std::vector<PlannedTarget> sorted(targets.begin(), targets.end());
    if (!job.gated)
        std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.form < b.form; });
    std::vector<Stretch> stretches;
    std::uint32_t unit = 0;
    std::uint64_t total = 0;
    auto add = [&](int groups, int tiles, const JobRun& run) {
        if (groups == 0) return;
        const Stretch s{unit, static_cast<std::uint32_t>(groups * run.units), group_cost(tiles, lanes, run.form)};
        stretches.push_back(s);
        unit += s.units;
        total += s.units * s.unit_cost;
    };
    job.runs = 0;
    job.groups = 0;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        job.target[i] = sorted[i].target;
        if (i > 0 && sorted[i].form == sorted[i - 1].form) {
            if (!job.gated) job.run[job.runs - 1].tiles += sorted[i].target.tiles;
            continue;
        }
        job.run[job.runs++] = {
            sorted[i].form, static_cast<std::int32_t>(i), sorted[i].target.tiles, 0, sorted[i].units, 0};
    }
    const int slots = job.gated ? 1 : 2; // counted in tiles, or in pairs with a gate
    for (int r = 0; r < job.runs; ++r) {
        JobRun& run = job.run[r];
        const int size = lanes * slots, rest = run.tiles % size;
        run.groups = (run.tiles + size - 1) / size;
        run.first_unit = unit;
        job.groups += run.groups;
        add(run.tiles / size, 2 * lanes, run);
        if (rest > 0) add(1, rest * 2 / slots, run);
    }
    // Small matrices are not cut finer than this: a group's finisher reads every part, one after the other. Nor finer
    // than their units.
    constexpr int most_parts = 16;
    const int sharing = std::min({workers, job.groups * most_parts, static_cast<int>(unit)});
    std::size_t at = 0;
    std::uint64_t before = 0; // cost of the stretches before `at`
    for (int w = 0; w <= sharing; ++w) {
        const std::uint64_t share = total * static_cast<std::uint64_t>(w) / static_cast<std::uint64_t>(sharing);
        while (at + 1 < stretches.size() && before + stretches[at].units * stretches[at].unit_cost <= share) {
            before += stretches[at].units * stretches[at].unit_cost;
            ++at;
        }
        const Stretch& s = stretches[at];
        job.bound[w] = s.first_unit + static_cast<std::uint32_t>(std::min<std::uint64_t>(
                                          s.units, (share - before + s.unit_cost / 2) / s.unit_cost));
    }
    job.bound[0] = 0;
    for (int w = sharing; w <= workers; ++w)
        job.bound[w] = unit;
}

} // namespace lucebox::compute::cuda
