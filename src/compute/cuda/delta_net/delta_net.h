// Gated DeltaNet on the GPU (Yang et al., "Gated Delta Networks", 2024). docs/kernels/delta-net.md tells how it works.
//
// Steps of 1..64 rows a sequence: one kernel (two on cards without clusters) that folds the accepted rows of an earlier
// step into the state, walks the rows of this one from it, and norms and gates the result. The state is read and written
// once. Longer paths: the chunked form, in chunks that begin at absolute multiples of 64.
//
// In device memory, a head's state M [key i, value j] lies in 4 x 4 tiles: element (i, j) is float
// ((j / 4) * (dim / 4) + i / 4) * 16 + (j % 4) * 4 + i % 4, so that a warp loads four columns in whole lines.
// A scratch row holds raw inputs: channels of qkv, then alpha, then beta; replay computes the rest again, same bits.
#pragma once

#include "compute/cuda/step_state.h"
#include "compute/device.h"

#include <cstddef>

using cudaStream_t = struct CUstream_st*;

namespace lucebox::compute::cuda {

// dim a multiple of 16, at most 128; conv_width at most 4.
bool delta_net_supports(std::size_t dim, std::size_t conv_width);

// Device memory that delta_net() needs for steps of up to `rows` rows of up to `sequences` sequences.
std::size_t delta_net_workspace_bytes(std::size_t rows, std::size_t sequences, std::size_t key_heads, std::size_t value_heads, std::size_t dim);

struct DeltaNetLaunch {
    const StepState* step = nullptr; // in device memory, as are its arrays:
    const StepSequence* sequence = nullptr;
    const StepRow* row = nullptr;
    std::size_t sequences = 1;       // largest number of sequences of the captured shape
    std::size_t rows = 1;            // of the captured shape; more than 64 only for one path with commit_now
    std::byte* operand = nullptr;    // where the result goes in operand form (matmul/operand.cuh), or none
    std::size_t operand_rows = 0;    // that the operand is laid out for
    bool write_out = true;           // whether args.out is wanted, too (it is always written to)
    bool without_cluster = false;    // for the checks: the two kernels of older cards
    std::byte* workspace = nullptr;
    cudaStream_t stream = nullptr;
};

// args.qkv, z, alpha, beta stay as they are. Queues and returns.
void delta_net(const DeltaNetArgs& args, const DeltaNetLaunch& launch);

} // namespace lucebox::compute::cuda
