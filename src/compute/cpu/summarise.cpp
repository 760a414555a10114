#include "compute/cpu/summarise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lucebox::compute::cpu {
namespace {

RowCandidate best_of(std::span<const float> logits) {
    const float best = largest(logits);
    if (best == -std::numeric_limits<float>::infinity()) return {best, 0};
    return {best, static_cast<std::int32_t>(std::ranges::find(logits, best) - logits.begin())};
}

// As many of the best as have `share` of the total; more than there is room for, if they are too many.
void candidates_of_share(std::span<const float> logits, const RowQuery& query, float best, double total, SummaryScratch& scratch) {
    const double wanted = static_cast<double>(query.share) * total;
    for (std::size_t count = 256;; count = std::min(8 * count, RowSummary::room)) {
        best_candidates(logits, count, best + query.floor, scratch.candidates);
        double mass = 0;
        for (std::size_t i = 0; i < scratch.candidates.size() && mass < wanted; ++i) {
            mass += exp_negative((scratch.candidates[i].logit - best) / query.temperature);
        }
        if (mass >= wanted || scratch.candidates.size() < count) return;
        if (count == RowSummary::room) { // there are more
            scratch.candidates.resize(RowSummary::room + 1);
            return;
        }
    }
}

} // namespace

void summarise_row(std::span<const float> logits, const RowQuery& query, std::span<const std::uint64_t> mask, std::byte* summary,
                   RowCandidate* more, SummaryScratch& scratch) {
    if (query.masked != 0) {
        const std::span<float> row(scratch.row.data(), logits.size());
        std::ranges::copy(logits, row.begin());
        forbid(row, mask);
        logits = row;
    }
    auto& out = *reinterpret_cast<RowSummary*>(summary);
    const RowCandidate best = best_of(logits);
    out.best = best.logit;
    out.best_token = best.token;
    out.found = 0;
    if (query.temperature == 0 || !std::isfinite(best.logit)) return;
    double* const masses = reinterpret_cast<double*>(summary + sizeof(RowSummary));
    if (query.count > 0) {
        best_candidates(logits, std::min<std::size_t>(query.count, RowSummary::room), best.logit + query.floor, scratch.candidates);
    } else {
        double total = 0;
        for (std::size_t block = 0; block < RowSummary::masses(logits.size()); ++block) {
            const std::size_t begin = block * RowSummary::mass_block, count = std::min(RowSummary::mass_block, logits.size() - begin);
            masses[block] = block_mass(logits.subspan(begin, count), best.logit, query.temperature, best.logit + query.floor);
            total += masses[block];
        }
        if (query.share <= 0) return;
        candidates_of_share(logits, query, best.logit, total, scratch);
    }
    const std::size_t found = scratch.candidates.size(), near = std::min(found, RowSummary::near);
    out.found = static_cast<std::uint32_t>(found);
    std::copy_n(scratch.candidates.begin(), near, out.candidate);
    std::copy_n(scratch.candidates.begin() + static_cast<std::ptrdiff_t>(near), std::min(found, RowSummary::room) - near, more);
}

} // namespace lucebox::compute::cpu
