// What one launch multiplies, and which part of it each worker does. Plain data, passed to kernels by value.
//
// A worker is a cluster of `blocks` thread blocks; a block has two warpgroups, each of which multiplies two tiles of 64
// outputs at a time. So a worker takes a *group* of 4 * blocks tiles and walks along its inputs, unit by unit, and its
// blocks share the activations. Targets of one form make a *run*; a group holds tiles of one run. With a gate, a
// warpgroup's two tiles are a gate's and the up projection's for the same outputs, so that it can join them in
// registers.
//
// Up to 64 rows: the units of all groups, one after the other, are dealt out in equal shares of bytes (`bound`), so a
// group's sum may have parts from several workers. The worker with the first part adds the others to it in order
// (finish.cuh). Bounds depend on the matrices and the card, never on the rows; if fewer clusters run than there are
// workers, each does several workers' shares (walk.cuh). More rows, on cards without wgmma (else: wide_job.h): columns of 64
// rows; a worker takes every workers-th pair of a group and a column, with all of its inputs.
#pragma once

#include "compute/cuda/matmul/form.h"
#include "compute/device.h"

namespace lucebox::compute::cuda {

inline constexpr int max_targets = 8;
inline constexpr int max_workers = 384; // two for each SM of the largest card
inline constexpr int warpgroup_threads = 128;

struct JobTarget {
    const std::byte* units = nullptr; // form.h
    const MatrixHeader* header = nullptr;
    const float* bias = nullptr;
    float* out = nullptr;
    std::int32_t outputs = 0;
    std::int32_t tiles = 0;
    std::int32_t accumulate = 0;
};

struct JobRun {
    Form form{};
    std::int32_t first_target = 0;
    std::int32_t tiles = 0; // of all its targets; with a gate, pairs of tiles
    std::int32_t groups = 0;
    std::int32_t units = 0;       // along the inputs
    std::uint32_t first_unit = 0; // of its first group, counted over all runs
};

struct Job {
    JobTarget target[max_targets];
    JobRun run[max_targets];
    std::int32_t runs = 0;
    const std::byte* operand = nullptr;
    std::uint32_t rows = 0;
    std::int32_t gated = 0;
    Activation activation{};
    std::byte* out_operand = nullptr;
    std::byte* workspace = nullptr;
    std::int32_t columns = 0; // of 64 rows, with more than 64 rows; else 0
    std::int32_t groups = 0;  // of all runs
    std::int32_t workers = 0; // that the units are dealt out to
    std::int32_t activation_stages = 0, weight_slots = 0, slot_bytes = 0; // shared memory (stream.cuh)
    std::uint32_t bound[max_workers + 1] = {};
};

} // namespace lucebox::compute::cuda
