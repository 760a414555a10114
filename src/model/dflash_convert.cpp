#include "model/dflash_convert.h"

#include "gguf/blocks.h"
#include "gguf/writer.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::model {
namespace {

bool is_float(gguf::TensorType type) {
    return type == gguf::TensorType::f32 || type == gguf::TensorType::f16 || type == gguf::TensorType::bf16;
}

gguf::TensorType type_for(const gguf::Tensor& tensor, gguf::TensorType wanted) {
    if (tensor.shape[1] == 1) return gguf::TensorType::f32;
    if (is_float(wanted)) return wanted;
    // The fusing matrix sees outliers of the target's residual stream: it keeps 8 bits.
    const bool whole = tensor.shape[0] % gguf::block_format(wanted).elements == 0;
    return whole && tensor.name != "dflash.fc.weight" ? wanted : gguf::TensorType::q8_0;
}

void write_metadata(const DflashConfig& c, gguf::ModelWriter& writer) {
    const auto u32 = [](std::size_t value) { return static_cast<std::uint32_t>(value); };
    const auto key = [&](std::string_view name) { return fmt::format("{}.{}", c.architecture, name); };
    writer.set("general.architecture", c.architecture);
    writer.set("general.name", c.name);
    writer.set(key("context_length"), u32(c.context));
    writer.set(key("embedding_length"), u32(c.width));
    writer.set(key("block_count"), u32(c.layers));
    writer.set(key("feed_forward_length"), u32(c.inner));
    writer.set(key("attention.head_count"), u32(c.heads));
    writer.set(key("attention.head_count_kv"), u32(c.kv_heads));
    writer.set(key("attention.key_length"), u32(c.head_dim));
    writer.set(key("attention.value_length"), u32(c.head_dim));
    writer.set(key("attention.layer_norm_rms_epsilon"), static_cast<float>(c.epsilon));
    writer.set(key("rope.freq_base"), static_cast<float>(c.rope_base));
    writer.set(key("vocab_size"), u32(c.vocabulary));
    writer.set(key("dflash.n_target_layers"), u32(c.target_layers.size()));
    writer.set(key("dflash.block_size"), u32(c.block));
    writer.set(key("dflash.mask_token_id"), static_cast<std::uint32_t>(c.mask_token));
    const std::vector<std::int32_t> ids(c.target_layers.begin(), c.target_layers.end());
    writer.set(key("dflash.target_layer_ids"), std::span<const std::int32_t>(ids));
    if (c.context_layer_norm) writer.set(key("dflash.context_kv_layer_norm"), true);
    if (std::ranges::find(c.sliding, true) == c.sliding.end()) return;
    writer.set(key("attention.sliding_window"), u32(c.window));
    const std::unique_ptr<bool[]> pattern(new bool[c.sliding.size()]);
    std::ranges::copy(c.sliding, pattern.get());
    writer.set(key("attention.sliding_window_pattern"), std::span<const bool>(pattern.get(), c.sliding.size()));
}

} // namespace

Status convert_dflash(const DflashFile& source, const std::filesystem::path& target, gguf::TensorType type) {
    if (!gguf::quantisable(type)) {
        return Error{ErrorKind::unsupported, fmt::format("nothing here quantises to {}", gguf::block_format(type).name)};
    }
    gguf::ModelWriter writer;
    write_metadata(source.config(), writer);
    for (const gguf::Tensor& tensor : source.tensors()) {
        LUCEBOX_CHECK(gguf::check_dequantisable(tensor));
        LUCEBOX_CHECK(writer.add_tensor(tensor.name, type_for(tensor, type), tensor.shape));
    }
    LUCEBOX_CHECK(writer.begin(target));
    std::vector<float> values;
    std::vector<std::byte> blocks;
    for (const gguf::Tensor& tensor : source.tensors()) {
        const gguf::BlockFormat& format = gguf::block_format(type_for(tensor, type));
        const auto width = static_cast<std::size_t>(tensor.shape[0]);
        const auto bytes = static_cast<std::size_t>(tensor.row_bytes());
        values.resize(width);
        blocks.resize(width / format.elements * format.bytes);
        for (std::size_t row = 0; row < tensor.rows(); ++row) {
            gguf::dequantise_row(tensor.type, tensor.data.subspan(row * bytes, bytes), values);
            if (auto status = gguf::quantise_row(type_for(tensor, type), values, blocks); !status) {
                return Error{status.error().kind, fmt::format("tensor {}, row {}: {}", tensor.name, row, status.error().message)};
            }
            LUCEBOX_CHECK(writer.write(blocks));
        }
    }
    return writer.finish();
}

} // namespace lucebox::model
