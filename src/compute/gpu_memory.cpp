#include "compute/gpu_memory.h"

#include "compute/cuda/attention/partition.h"
#include "compute/cuda/matmul/matmul.h"
#include "compute/cuda/operands.h"

#include <algorithm>

namespace lucebox::compute {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;
// Split sums: 32 KB for each of two per block, two blocks an SM (17 MB on 132 SMs); tables, sums and saved states of the step
// kernel (68 MB for a 27B); best tokens and top-k; the step's own description.
constexpr std::uint64_t fixed_bytes = 128 * mib;
// Code is loaded at first use, graphs are kept for each shape of step, and a slab's end may stay empty.
constexpr std::uint64_t driver_bytes = 384 * mib;

// No activation is larger than some matrix's input.
std::uint64_t operand_bytes(const StepShapes& shapes) {
    std::uint64_t most = 1;
    for (const MatrixShape& matrix : shapes.matrices) {
        const std::uint64_t rows = matrix.rows == 0 ? shapes.rows : std::min(shapes.rows, gpu_padded_rows(matrix.rows));
        most = std::max<std::uint64_t>(most, cuda::operand_bytes(rows, matrix.inputs));
    }
    return cuda::Operands::slots * gpu_aligned(most);
}

// Where a gate and an up projection that are packed differently meet, in f32.
std::uint64_t join_bytes(const StepShapes& shapes) {
    return 2 * shapes.rows * shapes.joined * sizeof(float);
}

// Queries as f16; for every row and partition of a pass, a sum and two numbers for every head.
std::uint64_t attention_bytes(const StepShapes& shapes) {
    std::uint64_t queries = 0, sums = 0, maxima = 0;
    const std::uint64_t shared = cuda::pass_partitions(shapes.rows, shapes.context) * sizeof(float);
    for (const AttentionShape& attention : shapes.attention) {
        queries = std::max<std::uint64_t>(queries, shapes.rows * attention.heads * attention.head_dim * 2);
        sums = std::max<std::uint64_t>(sums, shared * attention.heads * attention.head_dim);
        maxima = std::max<std::uint64_t>(maxima, shared * attention.heads * 2);
    }
    return queries + sums + maxima;
}

// Eleven chunks of a prompt at once, eight tiles of 16 KB each; or states of a tree's inner rows: where three value heads
// share a key head, two of five lie outside shared memory, for every 30 rows.
std::uint64_t delta_net_bytes(const StepShapes& shapes) {
    std::uint64_t most = 0;
    for (const DeltaNetShape& delta : shapes.delta_nets) {
        const std::uint64_t chunks = delta.dim == 128 && shapes.rows > 64 ? delta.value_heads * 11 * (8 * 16384 + 256) : 0;
        const bool far = delta.dim == 128 && delta.value_heads == 3 * delta.key_heads;
        const std::uint64_t saved = far ? 2 * (shapes.rows / 30 + 1) * delta.value_heads * 128 * 128 * sizeof(float) : 0;
        most = std::max({most, chunks, saved});
    }
    return most;
}

// A few graphs serve all steps; above the last of these, multiples of it.
constexpr std::size_t row_steps[] = {1, 2, 4, 8, 16, 24, 32, 48, 64};

} // namespace

std::size_t gpu_padded_rows(std::size_t rows) {
    for (const std::size_t step : row_steps) {
        if (rows <= step) return step;
    }
    return (rows + max_tree_rows - 1) / max_tree_rows * max_tree_rows;
}

std::uint64_t gpu_step_bytes(const StepShapes& shapes) {
    if (shapes.rows == 0 || shapes.context == 0) return fixed_bytes;
    return fixed_bytes + operand_bytes(shapes) + join_bytes(shapes) + attention_bytes(shapes) + delta_net_bytes(shapes);
}

std::uint64_t gpu_usable_bytes(std::uint64_t free) { return free > driver_bytes ? free - driver_bytes : 0; }

} // namespace lucebox::compute
