// A weight matrix in the order that CPU vector units multiply, and its product with activation rows.
//
// Quantised weights keep their bits (4 to 8 a weight), interleaved over 16 outputs; activations are quantised to int8 in
// blocks of 32 inputs with one f32 scale each, per row. F32, F16 and BF16 weights multiply f32 activations.
// Row independence: the result of a row is the same bits for any number of rows, any range of outputs and any thread.
// Immutable after pack(); any thread.
#pragma once

#include "base/thread_pool.h"
#include "gguf/model_file.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace lucebox::compute::cpu {

enum class Isa { portable, avx2, avx512 }; // avx512: with VNNI

Isa best_isa(); // of this machine, at run time
std::string_view isa_name(Isa isa);

class PackedMatrix {
public:
    // Any dequantisable type; `tensor` {inputs, outputs}. Types without a packed form of their own are converted to the
    // nearest wider one that loses nothing (or to Q8 blocks where the file's type is exotic).
    // Packs on all threads of `pool`, if there is one.
    static std::unique_ptr<PackedMatrix> pack(const gguf::Tensor& tensor, Isa isa = best_isa(), ThreadPool* pool = nullptr);
    virtual ~PackedMatrix() = default;

    std::size_t inputs() const { return inputs_; }
    std::size_t outputs() const { return outputs_; }
    std::size_t bytes() const { return bytes_; } // read by one multiplication

    // Whether multiply() wants activations as quantise_row() leaves them; else it wants plain f32.
    bool takes_quantised() const { return takes_quantised_; }

    static constexpr std::size_t output_group = 16; // ranges of outputs begin at multiples of this

    // out[r * out_stride + o] (+)= W x_r for outputs begin..end. Rows are `x_stride` bytes apart, in the form above.
    virtual void multiply(const std::byte* x, std::size_t x_stride, std::size_t rows, std::size_t begin, std::size_t end,
                          float* out, std::size_t out_stride, bool accumulate) const = 0;

    // The weights of one output as f32, bit for bit what the file's dequantiser gives. For embedding tables. out [inputs]
    virtual void dequantise_output(std::size_t output, std::span<float> out) const = 0;

protected:
    std::size_t inputs_ = 0, outputs_ = 0, bytes_ = 0;
    bool takes_quantised_ = false;
};

// Bytes of a quantised activation row; the form is the same for every matrix. Rows lie at multiples of 64 bytes.
std::size_t quantised_row_bytes(std::size_t inputs);
void quantise_row(std::span<const float> x, std::byte* out, Isa isa = best_isa());

} // namespace lucebox::compute::cpu
