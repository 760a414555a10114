// An oracle's draft as `lucebox draft convert` would leave a large one: in blocks of 256 weights, for which its rows are too short.
#pragma once

#include "gguf/blocks.h"
#include "gguf/writer.h"
#include "model/dflash_convert.h"

#include <fmt/format.h>

#include <filesystem>
#include <unistd.h>
#include <vector>

namespace lucebox::model::testing {

// The same function of wider layers: twice the heads and 256 of the inner values, of which all that is new is zero.
inline Status write_widened(const DflashFile& source, const std::filesystem::path& target) {
    const DflashConfig& config = source.config();
    const std::uint64_t inner = 256, query = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
    LUCEBOX_TRY(const auto file, gguf::ModelFile::open(source.path()));
    gguf::ModelWriter writer;
    for (const std::string_view key : file.keys()) writer.set_encoded(key, file.encoded_metadata(key));
    const auto set = [&](const char* key, std::uint64_t value) {
        writer.set(fmt::format("{}.{}", config.architecture, key), static_cast<std::uint32_t>(value));
    };
    set("feed_forward_length", inner);
    set("attention.head_count", 2 * config.heads);
    set("attention.head_count_kv", 2 * config.kv_heads);
    const auto shape = [&](const gguf::Tensor& tensor) {
        gguf::Shape wider = tensor.shape;
        const auto is = [&](const char* role) { return tensor.name.ends_with(role); };
        if (is("attn_q.weight")) wider[1] = 2 * query;
        if (is("attn_k.weight") || is("attn_v.weight")) wider[1] = 2 * kv;
        if (is("attn_output.weight")) wider[0] = 2 * query;
        if (is("ffn_gate.weight") || is("ffn_up.weight")) wider[1] = inner;
        if (is("ffn_down.weight")) wider[0] = inner;
        return wider;
    };
    for (const gguf::Tensor& tensor : source.tensors()) LUCEBOX_CHECK(writer.add_tensor(tensor.name, gguf::TensorType::f32, shape(tensor)));
    LUCEBOX_CHECK(writer.begin(target));
    for (const gguf::Tensor& tensor : source.tensors()) {
        const gguf::Shape wider = shape(tensor);
        const auto bytes = static_cast<std::size_t>(tensor.row_bytes());
        for (std::size_t row = 0; row < wider[1]; ++row) {
            std::vector<float> values(static_cast<std::size_t>(wider[0]));
            if (row < tensor.rows()) {
                gguf::dequantise_row(tensor.type, tensor.data.subspan(row * bytes, bytes), std::span(values).first(static_cast<std::size_t>(tensor.shape[0])));
            }
            LUCEBOX_CHECK(writer.write(std::as_bytes(std::span(values))));
        }
    }
    return writer.finish();
}

// Its rows of 256 have that type, the others what convert_dflash() makes of them. No file is left behind.
inline Result<DflashFile> converted_draft(const std::filesystem::path& draft, gguf::TensorType type) {
    const auto path = std::filesystem::temp_directory_path() / fmt::format("lucebox_converted_draft_{}.gguf", ::getpid());
    const auto written = [&]() -> Result<DflashFile> {
        LUCEBOX_TRY(const auto source, DflashFile::open(draft));
        LUCEBOX_CHECK(write_widened(source, path));
        LUCEBOX_TRY(const auto wide, DflashFile::open(path));
        LUCEBOX_CHECK(convert_dflash(wide, path, type)); // replaces what it reads only at the end
        return DflashFile::open(path);
    };
    auto converted = written();
    std::filesystem::remove(path);
    return converted;
}

} // namespace lucebox::model::testing
