// The kernels that multiply packed weights: one function for each layout and instruction set.
//
// All of them take the same operations for a row and an output: integer dot products, which are exact, then f32 fused
// multiply-adds in the order of the inputs. So the bits depend on nothing but the row and the weights, whatever the
// rows beside it, the range of outputs or the instruction set. (F32, F16 and BF16: each instruction set has its own.)
// They write only out[r * out_stride + o] for r < rows and first <= o < end.
#pragma once

#include "compute/cpu/packed_format.h"
#include "compute/cpu/packed_matrix.h"

#include <cstddef>
#include <span>

namespace lucebox::compute::cpu {

struct MultiplyJob {
    const std::byte* weights = nullptr; // group 0
    std::size_t group_bytes = 0;
    std::size_t inputs = 0;
    const CodeTable* table = nullptr;   // with Codes::table
    const std::byte* x = nullptr;       // rows of ActivationBlock, or of f32
    std::size_t x_stride = 0;           // bytes
    std::size_t rows = 0;
    std::size_t first = 0, end = 0;     // outputs; first is a multiple of 16
    float* out = nullptr;
    std::size_t out_stride = 0;         // floats
    bool accumulate = false;
};

using MultiplyKernel = void (*)(const MultiplyJob&);

MultiplyKernel quantised_kernel(const Format& format, Isa isa); // any format of namespace formats

#if defined(__x86_64__)
bool has_avx_vnni();
// AVX2 with (vnni) or without the 256-bit form of vpdpbusd; quantised_kernel() takes it where the machine has it.
MultiplyKernel quantised_kernel_avx2(const Format& format, bool vnni);
#endif

// The weight formats that multiply f32 activations. A group is `inputs` times 16 values.
enum class FloatFormat { f32, f16, bf16 };
MultiplyKernel float_kernel(FloatFormat format, Isa isa);

// The portable kernel reads the format when it runs.
void multiply_portable(const Format& format, const MultiplyJob& job);

// Activations to int8. All instruction sets give the same bits.
void quantise_row_portable(std::span<const float> x, ActivationBlock* out);
void quantise_row_avx2(std::span<const float> x, ActivationBlock* out);
void quantise_row_avx512(std::span<const float> x, ActivationBlock* out);

// The codes of one block: codes[i][o] of 32 inputs and 16 outputs. For everything that needn't be fast.
struct BlockCodes {
    std::uint8_t codes[block_inputs][group_outputs];
};
void read_codes(Codes kind, const std::byte* packed, BlockCodes& out);
// Scale (or min) of output o in sub-block s of a unit.
float unit_scale(const Format& format, const std::byte* unit, std::size_t blocks, std::size_t s, std::size_t o);
float unit_min(const Format& format, const std::byte* unit, std::size_t blocks, std::size_t s, std::size_t o);

} // namespace lucebox::compute::cpu
