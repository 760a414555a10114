// f32 rows to blocks.
#include "gguf/blocks.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <fmt/format.h>

namespace lucebox::gguf {
namespace {

using Block = std::uint8_t*;

void store_u16(Block at, std::uint16_t value) {
    std::memcpy(at, &value, sizeof value);
}

void quantise_f32(const float* x, Block block) {
    std::memcpy(block, x, sizeof *x);
}
void quantise_f16(const float* x, Block block) {
    store_u16(block, f32_to_f16(*x));
}
void quantise_bf16(const float* x, Block block) {
    store_u16(block, f32_to_bf16(*x));
}

using Quantise = void (*)(const float*, Block);

Quantise quantiser(TensorType type) {
    switch (type) {
    case TensorType::f32: return quantise_f32;
    case TensorType::f16: return quantise_f16;
    case TensorType::bf16: return quantise_bf16;
    default: return nullptr;
    }
}

} // namespace

Status quantise_row(TensorType type, std::span<const float> values, std::span<std::byte> out) {
    const BlockFormat& format = block_format(type);
    const Quantise quantise = quantiser(type);
    if (quantise == nullptr) {
        return Error{ErrorKind::unsupported, fmt::format("nothing here quantises to {}", format.name)};
    }
    assert(values.size() % format.elements == 0 && out.size() == values.size() / format.elements * format.bytes);
    auto* block = reinterpret_cast<Block>(out.data());
    for (std::size_t i = 0; i < values.size(); i += format.elements) {
        quantise(values.data() + i, block);
        block += format.bytes;
    }
    return Ok{};
}

} // namespace lucebox::gguf
