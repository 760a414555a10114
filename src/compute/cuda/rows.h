// The small kernels over rows: norms, the choice of rows whose logits are wanted, the best tokens of a row, what a sampler asks of it.
//
// A row's sums run in an order fixed by its width. All queue on the stream and return.
#pragma once

#include "compute/cuda/step_state.h"
#include "compute/device.h"

#include <cuda_runtime_api.h>

namespace lucebox::compute::cuda {

struct NormCall {
    const StepState* state = nullptr;
    Tensor x;                     // [rows, width]
    const float* weight = nullptr;
    float epsilon = 0;
    float* out = nullptr;         // [rows, width] f32, or none
    std::byte* operand = nullptr; // the same in operand form, or none
    bool add = false;             // out += instead of out =
};
void rms_norm(const NormCall& call, cudaStream_t stream);

void gather_outputs(const StepState* state, Tensor x, Tensor out, cudaStream_t stream);

void store_columns(Tensor x, Tensor out, std::size_t first_column, cudaStream_t stream);

std::size_t top_k_workspace_bytes(std::size_t rows, std::size_t width);
void top_k(Tensor logits, std::size_t count, std::byte* workspace, std::int32_t* ids, float* logprobs, cudaStream_t stream);

std::size_t best_tokens_workspace_bytes(std::size_t rows);
void best_tokens(Tensor logits, std::byte* workspace, std::int32_t* ids, cudaStream_t stream);

struct SummaryCall { // see Device::summarise
    Tensor logits;
    const RowQuery* queries = nullptr;
    std::size_t count = 0;
    const std::uint64_t* masks = nullptr;
    std::byte* summaries = nullptr;
    RowCandidate* more = nullptr;
};
std::size_t summary_workspace_bytes(std::size_t queries);
void summarise(const SummaryCall& call, std::byte* workspace, cudaStream_t stream);

} // namespace lucebox::compute::cuda
