// The same model with F32 weights: no device rounds activations for those.
#pragma once

#include "gguf/blocks.h"
#include "gguf/writer.h"

#include <filesystem>
#include <vector>

namespace lucebox::model::testing {

inline Status write_expanded(const gguf::ModelFile& source, const std::filesystem::path& target) {
    gguf::ModelWriter writer;
    for (const std::string_view key : source.keys()) writer.set_encoded(key, source.encoded_metadata(key));
    for (const gguf::Tensor& tensor : source.tensors()) {
        LUCEBOX_CHECK(writer.add_tensor(tensor.name, gguf::TensorType::f32, tensor.shape));
    }
    LUCEBOX_CHECK(writer.begin(target));
    std::vector<float> row;
    for (const gguf::Tensor& tensor : source.tensors()) {
        row.resize(static_cast<std::size_t>(tensor.shape[0]));
        const auto bytes = static_cast<std::size_t>(tensor.row_bytes());
        for (std::size_t i = 0; i < tensor.rows(); ++i) {
            gguf::dequantise_row(tensor.type, tensor.data.subspan(i * bytes, bytes), row);
            LUCEBOX_CHECK(writer.write(std::as_bytes(std::span(row))));
        }
    }
    return writer.finish();
}

} // namespace lucebox::model::testing
