// From the file's block order to the products' (form.h), on the device; and rows of a packed matrix back as f32.
#include "compute/cuda/matmul/matrix.h"
#include "compute/cuda/matmul/repack.cuh"

namespace lucebox::compute::cuda {

using namespace packing;

std::size_t CudaMatrix::device_bytes(gguf::TensorType type, std::size_t inputs, std::size_t outputs) {
    Form form{};
    if (!packable(type, &form)) return 0;
    const auto unit = static_cast<std::size_t>(unit_inputs(form));
    const std::size_t units = (inputs + unit - 1) / unit, tiles = (outputs + tile_outputs - 1) / tile_outputs;
    return matrix_header_bytes + units * tiles * static_cast<std::size_t>(unit_bytes(form));
}

bool CudaMatrix::supports(gguf::TensorType type) {
    Form form{};
    return packable(type, &form);
}

std::unique_ptr<CudaMatrix> CudaMatrix::repack(gguf::TensorType type, std::size_t inputs, std::size_t outputs,
                                               const std::byte* raw, std::byte* packed, cudaStream_t stream) {
    Form form{};
    if (!packable(type, &form)) return nullptr;
    auto matrix =
        std::make_unique<PackedCudaMatrix>(form, inputs, outputs, packed, device_bytes(type, inputs, outputs));
    const gguf::BlockFormat& format = gguf::block_format(type);
    const Shape shape{static_cast<int>(inputs), static_cast<int>(outputs), matrix->units(), matrix->tiles(),
                      inputs / format.elements * format.bytes};
    const Floats floats = type == gguf::TensorType::f32    ? Floats::f32
                          : type == gguf::TensorType::bf16 ? Floats::bf16
                                                           : Floats::f16;
    auto* header = reinterpret_cast<MatrixHeader*>(packed);
    const auto* bytes = reinterpret_cast<Bytes>(raw);
    cudaMemsetAsync(packed, 0, matrix_header_bytes, stream);
    const auto units =
        static_cast<unsigned>(static_cast<std::size_t>(matrix->units()) * static_cast<std::size_t>(matrix->tiles()));
    with_form(form, [&]<Form f>() {
        const bool keep = type == gguf::TensorType::f16;
        if (!keep) find_bound<f><<<264, 256, 0, stream>>>(bytes, shape, floats, header);
        choose_scale<<<1, 1, 0, stream>>>(header, scale_target(f), scale_largest(f), keep);
        pack<f><<<units, 128, 0, stream>>>(bytes, shape, floats, packed);
    });
    return matrix;
}

void PackedCudaMatrix::embed(const std::int32_t* tokens, std::size_t token_stride_bytes, std::size_t rows, float scale,
                             float* out, cudaStream_t stream) const {
    const dim3 grid(static_cast<unsigned>((inputs_ + 255) / 256), static_cast<unsigned>(rows));
    with_form(form_, [&]<Form f>() {
        unpack_rows<f><<<grid, 256, 0, stream>>>(packed_, units(), tiles(), static_cast<int>(inputs_),
                                                 static_cast<int>(outputs_), reinterpret_cast<const std::byte*>(tokens),
                                                 token_stride_bytes, scale, out);
    });
}

} // namespace lucebox::compute::cuda
