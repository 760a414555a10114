// Weight matrices on the GPU and their product with the rows of a step.
//
// A matrix keeps the file's quantised bits in the order that tensor cores consume (repacked once, at load). Activations
// reach a product in "operand form": f16, laid out as the tensor cores read them (operand.cuh says how, and has the
// device functions with which the kernel before writes them). Every reduction runs in an order fixed by the matrix's
// shape: a row's bits do not depend on the number of rows, up to 64; above that is prefill, another arithmetic.
//
// All calls queue on the stream and return. Nothing allocates after prepare.
#pragma once

#include "base/result.h"
#include "compute/device.h"
#include "gguf/model_file.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

using cudaStream_t = struct CUstream_st*;

namespace lucebox::compute::cuda {

class CudaMatrix : public Matrix {
public:
    // Device bytes that a tensor of this type and shape takes once repacked.
    static std::size_t device_bytes(gguf::TensorType type, std::size_t inputs, std::size_t outputs);
    static bool supports(gguf::TensorType type);

    // `raw`: the tensor's bytes as in the file, in device memory; `packed`: device_bytes() of device memory, 256-byte
    // aligned, which the caller owns and keeps alive. Queues the repacking.
    static std::unique_ptr<CudaMatrix> repack(gguf::TensorType type, std::size_t inputs, std::size_t outputs,
                                              const std::byte* raw, std::byte* packed, cudaStream_t stream);

    // out[r, :] = scale * row token(r), f32, `rows` of them; row_tokens: device pointer with a stride in bytes.
    virtual void embed(const std::int32_t* tokens, std::size_t token_stride_bytes, std::size_t rows, float scale,
                       float* out, cudaStream_t stream) const = 0;
};

struct MatmulTarget {
    const CudaMatrix* matrix = nullptr;
    const float* bias = nullptr; // [outputs], or none
    float* out = nullptr;        // [rows, outputs] f32, row-major
    bool accumulate = false;     // out += W x
};

// Bytes of `rows` rows of `width` activations in operand form. The memory is 128-byte aligned, zeroed once, and then
// holds operands only. An operand of r rows is laid out for exactly r rows: its reader must be given the same number.
constexpr std::size_t operand_bytes(std::size_t rows, std::size_t width) {
    return rows * ((width + 127) / 128 * 128) * 2;
}
// f32 rows to operand form; for activations whose producer did not write it.
void to_operand(const float* x, std::size_t rows, std::size_t width, std::byte* operand, cudaStream_t stream);

// Workspace that matmul() and gated_matmul() need for steps of up to `rows` rows (split sums); device memory, 256-byte
// aligned, zeroed once by the caller. Launches that use one workspace must be in one stream.
std::size_t matmul_workspace_bytes(std::span<const CudaMatrix* const> matrices, std::size_t rows);

// Several matrices over one input. All targets have the same inputs.
void matmul(const std::byte* operand, std::size_t rows, std::span<const MatmulTarget> targets, std::byte* workspace,
            cudaStream_t stream);

// activation(gate x) * (up x), written in operand form [rows, gate.outputs()].
void gated_matmul(const std::byte* operand, std::size_t rows, const CudaMatrix& gate, const CudaMatrix& up,
                  Activation activation, std::byte* out_operand, std::byte* workspace, cudaStream_t stream);

} // namespace lucebox::compute::cuda
