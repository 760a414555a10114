// A packed matrix as the products' host code sees it.
#pragma once

#include "compute/cuda/matmul/form.h"
#include "compute/cuda/matmul/matmul.h"

namespace lucebox::compute::cuda {

class PackedCudaMatrix final : public CudaMatrix {
public:
    PackedCudaMatrix(Form form, std::size_t inputs, std::size_t outputs, const std::byte* packed, std::size_t bytes)
        : form_(form), packed_(packed) {
        inputs_ = inputs;
        outputs_ = outputs;
        bytes_ = bytes;
    }
    Form form() const { return form_; }
    int units() const { // along the inputs
        return static_cast<int>((inputs_ + static_cast<std::size_t>(unit_inputs(form_)) - 1) /
                                static_cast<std::size_t>(unit_inputs(form_)));
    }
    int tiles() const { return static_cast<int>((outputs_ + tile_outputs - 1) / tile_outputs); }
    const std::byte* units_at() const { return packed_ + matrix_header_bytes; }
    const MatrixHeader* header() const { return reinterpret_cast<const MatrixHeader*>(packed_); } // in device memory

    void embed(const std::int32_t* tokens, std::size_t token_stride_bytes, std::size_t rows, float scale, float* out,
               cudaStream_t stream) const override;

private:
    Form form_;
    const std::byte* packed_;
};

} // namespace lucebox::compute::cuda
