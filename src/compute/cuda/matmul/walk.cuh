// A worker's way through its share of a job (job.h): segment after segment, and which tiles a warpgroup has in each.
#pragma once

#include "compute/cuda/matmul/job.h"

namespace lucebox::compute::cuda {

// Units [first, last) of a group, which rows, and whose share it is.
struct Segment {
    int run, group, first, last, column, worker;
};

// Where a walk stands; another can go on from there.
struct WalkPoint {
    std::uint32_t at;
    std::int32_t worker;
};

// The way of thread block cluster (or block) `seat` of `seats`. With split sums a seat does the shares of several
// workers if there are fewer seats than workers: every seats-th, the last first. A worker waits only for ones that follow
// it, and those are done by then, or by other seats at the same time: no seat waits for what another one has put off.
class Walk {
public:
    __device__ static WalkPoint begin(const Job& job, std::uint32_t seat, std::uint32_t seats) {
        if (job.columns > 0) return {seat, 0};
        const auto worker = static_cast<std::int32_t>(static_cast<std::uint32_t>(job.workers) - seats + seat);
        return {job.bound[worker], worker};
    }
    __device__ Walk(const Job& job, std::uint32_t seat, std::uint32_t seats, WalkPoint from)
        : job_(job), at_(from), first_(static_cast<std::int32_t>(seat)), seats_(seats) {}
    __device__ WalkPoint at() const { return at_; }

    __device__ __forceinline__ bool next(Segment& segment) {
        segment.run = 0;
        if (job_.columns > 0) {
            if (at_.at >= static_cast<std::uint32_t>(job_.groups * job_.columns)) return false;
            segment.column = static_cast<int>(at_.at) % job_.columns;
            segment.group = static_cast<int>(at_.at) / job_.columns;
            while (segment.group >= job_.run[segment.run].groups)
                segment.group -= job_.run[segment.run++].groups;
            segment.first = 0;
            segment.last = job_.run[segment.run].units;
            segment.worker = 0;
            at_.at += seats_;
            return true;
        }
        while (at_.at >= job_.bound[at_.worker + 1]) {
            if (at_.worker == first_) return false;
            at_.worker -= static_cast<std::int32_t>(seats_);
            at_.at = job_.bound[at_.worker];
        }
        while (segment.run + 1 < job_.runs && at_.at >= job_.run[segment.run + 1].first_unit)
            ++segment.run;
        const JobRun& run = job_.run[segment.run];
        const int within = static_cast<int>(at_.at - run.first_unit);
        segment.group = within / run.units;
        segment.first = within % run.units;
        segment.last = min(run.units, segment.first + static_cast<int>(job_.bound[at_.worker + 1] - at_.at));
        segment.column = 0;
        segment.worker = at_.worker;
        at_.at += static_cast<std::uint32_t>(segment.last - segment.first);
        return true;
    }

private:
    const Job& job_;
    WalkPoint at_;
    std::int32_t first_;
    std::uint32_t seats_;
};

// A warpgroup's tile in a group.
struct Tile {
    int target;
    int tile; // of the target
};
// lane: of the worker's warpgroups, 0 .. lanes - 1; slot 0 or 1. False: the group ends before it.
__device__ __forceinline__ bool find_tile(const Job& job, const JobRun& run, int group, int lane, int lanes, int slot,
                                          Tile& found) {
    if (job.gated) {
        found = {slot, group * lanes + lane};
        return found.tile < run.tiles;
    }
    int index = (group * 2 + slot) * lanes + lane;
    if (index >= run.tiles) return false;
    found.target = run.first_target;
    while (index >= job.target[found.target].tiles)
        index -= job.target[found.target++].tiles;
    found.tile = index;
    return true;
}

} // namespace lucebox::compute::cuda
