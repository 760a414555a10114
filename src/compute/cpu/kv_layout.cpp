#include "compute/cpu/kv_layout.h"

#include "gguf/blocks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace lucebox::compute::cpu {
namespace {

constexpr float largest_f16 = 65504;
constexpr std::size_t at_once = 256; // values that are converted on the stack; a multiple of kv_block

// Every `stride` bytes one element of `size`.
void scatter(std::byte* to, std::size_t stride, const void* from, std::size_t size, std::size_t count) {
    const auto* at = static_cast<const std::byte*>(from);
    for (std::size_t i = 0; i < count; ++i) std::memcpy(to + i * stride, at + i * size, size);
}

} // namespace

std::uint16_t quantise_kv_block(const float* x, std::size_t n, std::int8_t* codes) {
    float largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i])); // not what is not a number
    const float scale = std::min(largest / 127, largest_f16);
    // To the nearest integer, even ones of two: adding 1.5 * 2^23 leaves it in the low bits. What is no number becomes -127.
    for (std::size_t i = 0; i < n; ++i) {
        const float bounded = std::min(std::max(-127.0f, x[i] / scale), 127.0f);
        codes[i] = static_cast<std::int8_t>(std::bit_cast<std::int32_t>(bounded + 0x1.8p23f) - 0x4B400000);
    }
    if (scale == 0) std::fill_n(codes, n, std::int8_t{0});
    return gguf::f32_to_f16(scale);
}

void KvLayout::write_key(std::byte* keys, std::size_t lane, const float* from, const RowKernels& kernels) const {
    const std::size_t dim = cache_.head_dim;
    if (cache_.type == DType::f32) return scatter(keys + 4 * lane, 4 * key_group, from, 4, dim);
    if (cache_.type == DType::f16) {
        std::uint16_t half[at_once];
        for (std::size_t d = 0; d < dim; d += at_once) {
            const std::size_t count = std::min(dim - d, at_once);
            kernels.to_f16(from + d, count, half);
            scatter(keys + 2 * (d * key_group + lane), 2 * key_group, half, 2, count);
        }
        return;
    }
    std::byte* const scales = keys + key_group * dim;
    for (std::size_t d = 0; d < dim; d += kv_block) {
        std::int8_t codes[kv_block];
        const std::size_t count = std::min(dim - d, kv_block);
        const std::uint16_t scale = quantise_kv_block(from + d, count, codes);
        scatter(keys + d * key_group + lane, key_group, codes, 1, count);
        std::memcpy(scales + 2 * (d / kv_block * key_group + lane), &scale, 2);
    }
}

void KvLayout::write_value(std::byte* value, const float* from, const RowKernels& kernels) const {
    const std::size_t dim = cache_.head_dim;
    if (cache_.type == DType::f32) {
        std::memcpy(value, from, dim * sizeof(float));
    } else if (cache_.type == DType::f16) {
        kernels.to_f16(from, dim, reinterpret_cast<std::uint16_t*>(value));
    } else {
        for (std::size_t d = 0; d < dim; d += kv_block) {
            const std::uint16_t scale = quantise_kv_block(from + d, std::min(dim - d, kv_block), reinterpret_cast<std::int8_t*>(value + d));
            std::memcpy(value + padded_dim(dim) + 2 * (d / kv_block), &scale, 2);
        }
    }
}

void KvLayout::copy_key(std::byte* to, std::size_t to_lane, const std::byte* from, std::size_t from_lane) const {
    const std::size_t dim = cache_.head_dim, size = cache_.type == DType::f32 ? 4 : cache_.type == DType::f16 ? 2 : 1;
    const auto copy = [&](std::size_t offset, std::size_t element, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            std::memcpy(to + offset + (i * key_group + to_lane) * element, from + offset + (i * key_group + from_lane) * element, element);
        }
    };
    copy(0, size, dim);
    if (cache_.type == DType::q8_0) copy(key_group * dim, 2, kv_blocks(dim));
}

} // namespace lucebox::compute::cpu
