// A step as the device records it: a list of operations, which becomes kernels when the step ends.
//
// Seeing the whole list before anything runs has two uses. Activations that only products read are written in operand form
// alone, by whoever computes them. And a list that was seen before, on the same memory, is replayed as one CUDA graph.
#pragma once

#include "compute/cuda/matmul/matmul.h"
#include "compute/cuda/rows.h"
#include "compute/device.h"

#include <array>
#include <cstdint>
#include <variant>
#include <vector>

namespace lucebox::compute::cuda {

inline constexpr std::size_t most_targets = 8; // matrices over one input

struct EmbedOperation {
    const CudaMatrix* table;
    float scale;
    Tensor out;
};
struct NormOperation {
    Tensor x;
    const float* weight;
    float epsilon;
    Tensor out;
    bool add;
};
struct ProjectOperation {
    Tensor x;
    std::array<MatmulTarget, most_targets> targets;
    std::size_t count;
    std::size_t heads = 0; // of a DeltaNet layer whose inputs these are: how many walk while the last target, their gate, is multiplied
};
struct GatedOperation {
    Tensor x;
    const CudaMatrix *gate, *up;
    Activation activation;
    Tensor out;
};
struct AttentionOperation {
    AttentionArgs args;
};
struct StoreOperation { // keys and values of rows that ask nothing
    AttentionArgs args;
};
struct DeltaNetOperation {
    DeltaNetArgs args;
};
struct GatherOperation {
    Tensor x, out;
};
struct ColumnsOperation {
    Tensor x, out;
    std::size_t first_column;
};
struct TopOperation {
    Tensor logits;
    std::size_t count;
    std::int32_t* ids;
    float* logprobs;
};
struct BestOperation {
    Tensor logits;
    std::int32_t* ids;
};
struct SummaryOperation {
    SummaryCall call;
};
using Operation = std::variant<EmbedOperation, NormOperation, ProjectOperation, GatedOperation, AttentionOperation,
                               StoreOperation, DeltaNetOperation, GatherOperation, ColumnsOperation, TopOperation, BestOperation,
                               SummaryOperation>;
using Program = std::vector<Operation>;

// `inputs` are a DeltaNet layer's. What heads read first comes first, and their gate last.
void put_before_heads(ProjectOperation& inputs, const DeltaNetArgs& layer);

// The same for programs of the same operations on the same memory, in the same shapes.
std::uint64_t fingerprint(const Program& program);

// Whether anything behind operation `index` may read `data` as f32: an operation, or (if none writes it again) somebody
// behind the step.
bool read_later(const Program& program, std::size_t index, const float* data);
// Whether a product from operation `end` on multiplies what operation `index` writes to `data`.
bool multiplied_behind(const Program& program, std::size_t index, std::size_t end, const float* data);

} // namespace lucebox::compute::cuda
