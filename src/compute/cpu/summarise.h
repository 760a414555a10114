// What Device::summarise says of one row of logits.
#pragma once

#include "compute/row_choice.h"

namespace lucebox::compute::cpu {

struct SummaryScratch {
    std::vector<float> row;
    std::vector<RowCandidate> candidates;

    void take(std::size_t width) {
        if (row.size() >= width) return;
        row.resize(width);
        candidates.reserve(candidates_room(RowSummary::room));
    }
};

void summarise_row(std::span<const float> logits, const RowQuery& query, std::span<const std::uint64_t> mask, std::byte* summary,
                   RowCandidate* more, SummaryScratch& scratch);

} // namespace lucebox::compute::cpu
