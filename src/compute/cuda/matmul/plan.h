// Decides how one launch is dealt out: which tiles form groups, and where one worker's share of the weights ends and
// the next one's begins. Host code without CUDA; a share depends on the matrices and the number of workers, never on
// the rows.
#pragma once

#include "compute/cuda/matmul/job.h"

#include <span>

namespace lucebox::compute::cuda {

struct PlannedTarget {
    Form form{};
    std::int32_t units = 0; // along the inputs
    JobTarget target;
};

// Fills target, run, groups and bound of `job`. targets: at most max_targets, of the same inputs; with job.gated
// exactly two of one form and size, gate and up. lanes: warpgroups of a worker.
void plan_groups(Job& job, std::span<const PlannedTarget> targets, int workers, int lanes);

} // namespace lucebox::compute::cuda
