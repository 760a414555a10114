// Float conversions and the dequantisers. Offsets and formulas are those of the GGUF block layouts; each function
// below is one row of that table.
#include "gguf/blocks.h"

#include "gguf/byte_reader.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <fmt/format.h>

namespace lucebox::gguf {
namespace {

using Block = const std::uint8_t*;

// Values of the 16 codes of IQ4_NL and IQ4_XS.
constexpr std::int8_t nonlinear_4bit[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the value of each E2M1 code, which makes them integers.
constexpr std::int8_t doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

int lo(std::uint8_t byte) {
    return byte & 15;
}
int hi(std::uint8_t byte) {
    return byte >> 4;
}
int bit(std::uint32_t word, unsigned index) {
    return static_cast<int>((word >> index) & 1u);
}

std::uint16_t load_u16(Block at) {
    return static_cast<std::uint16_t>(at[0] | at[1] << 8);
}
std::uint32_t load_u32(Block at) {
    return load_u16(at) | static_cast<std::uint32_t>(load_u16(at + 2)) << 16;
}
float load_f16(Block at) {
    return f16_to_f32(load_u16(at));
}

void dequantise_f32(Block block, float* y) {
    *y = std::bit_cast<float>(load_u32(block));
}
void dequantise_f16(Block block, float* y) {
    *y = load_f16(block);
}
void dequantise_bf16(Block block, float* y) {
    *y = bf16_to_f32(load_u16(block));
}

void dequantise_q4_0(Block block, float* y) {
    const float d = load_f16(block);
    const Block q = block + 2;
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(lo(q[j]) - 8);
        y[j + 16] = d * static_cast<float>(hi(q[j]) - 8);
    }
}

void dequantise_q4_1(Block block, float* y) {
    const float d = load_f16(block);
    const float m = load_f16(block + 2);
    const Block q = block + 4;
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(lo(q[j])) + m;
        y[j + 16] = d * static_cast<float>(hi(q[j])) + m;
    }
}

void dequantise_q5_0(Block block, float* y) {
    const float d = load_f16(block);
    const std::uint32_t fifth = load_u32(block + 2);
    const Block q = block + 6;
    for (unsigned j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>((lo(q[j]) | bit(fifth, j) << 4) - 16);
        y[j + 16] = d * static_cast<float>((hi(q[j]) | bit(fifth, j + 16) << 4) - 16);
    }
}

void dequantise_q5_1(Block block, float* y) {
    const float d = load_f16(block);
    const float m = load_f16(block + 2);
    const std::uint32_t fifth = load_u32(block + 4);
    const Block q = block + 8;
    for (unsigned j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(lo(q[j]) | bit(fifth, j) << 4) + m;
        y[j + 16] = d * static_cast<float>(hi(q[j]) | bit(fifth, j + 16) << 4) + m;
    }
}

void dequantise_q8_0(Block block, float* y) {
    const float d = load_f16(block);
    for (int j = 0; j < 32; ++j)
        y[j] = d * static_cast<float>(static_cast<std::int8_t>(block[2 + j]));
}

void dequantise_q2_k(Block block, float* y) {
    const Block scales = block;
    const Block qs = block + 16;
    const float d = load_f16(block + 80);
    const float dmin = load_f16(block + 82);
    for (int i = 0; i < 256; ++i) {
        const int half = i / 128;
        const int rest = i % 128;
        const int q = (qs[32 * half + rest % 32] >> (2 * (rest / 32))) & 3;
        const std::uint8_t scale = scales[i / 16];
        y[i] = d * static_cast<float>(lo(scale)) * static_cast<float>(q) - dmin * static_cast<float>(hi(scale));
    }
}

int q3_k_scale(Block packed, int j) {
    const int low = j < 8 ? lo(packed[j]) : hi(packed[j - 8]);
    const int high = (packed[8 + j % 4] >> (2 * (j / 4))) & 3;
    return (low | high << 4) - 32;
}

void dequantise_q3_k(Block block, float* y) {
    const Block high_bit = block;
    const Block qs = block + 32;
    const Block scales = block + 96;
    const float d = load_f16(block + 108);
    for (int i = 0; i < 256; ++i) {
        const int half = i / 128;
        const int rest = i % 128;
        const int low = (qs[32 * half + rest % 32] >> (2 * (rest / 32))) & 3;
        const int q = low - (bit(high_bit[i % 32], static_cast<unsigned>(i / 32)) ? 0 : 4);
        y[i] = d * static_cast<float>(q3_k_scale(scales, i / 16)) * static_cast<float>(q);
    }
}

struct ScaleMin {
    int scale;
    int min;
};

// The 6-bit pairs that Q4_K and Q5_K share: 12 bytes for 8 groups.
ScaleMin k_scale_min(Block packed, int group) {
    if (group < 4) return {packed[group] & 63, packed[group + 4] & 63};
    return {lo(packed[group + 4]) | (packed[group - 4] >> 6) << 4, hi(packed[group + 4]) | (packed[group] >> 6) << 4};
}

// fifth: 32 bytes holding bit `group` of each value's fifth bit (Q5_K), or null (Q4_K).
void dequantise_k_with_min(Block block, Block fifth, Block qs, float* y) {
    const float d = load_f16(block);
    const float dmin = load_f16(block + 2);
    for (int group = 0; group < 8; ++group) {
        const ScaleMin pair = k_scale_min(block + 4, group);
        const float scale = d * static_cast<float>(pair.scale);
        const float min = dmin * static_cast<float>(pair.min);
        for (int j = 0; j < 32; ++j) {
            const std::uint8_t byte = qs[32 * (group / 2) + j];
            int q = group % 2 == 0 ? lo(byte) : hi(byte);
            if (fifth != nullptr) q += 16 * bit(fifth[j], static_cast<unsigned>(group));
            y[32 * group + j] = scale * static_cast<float>(q) - min;
        }
    }
}

void dequantise_q4_k(Block block, float* y) {
    dequantise_k_with_min(block, nullptr, block + 16, y);
}
void dequantise_q5_k(Block block, float* y) {
    dequantise_k_with_min(block, block + 16, block + 48, y);
}

void dequantise_q6_k(Block block, float* y) {
    const Block low_bits = block;
    const Block high_bits = block + 128;
    const Block scales = block + 192;
    const float d = load_f16(block + 208);
    for (int i = 0; i < 256; ++i) {
        const int half = i / 128;
        const int quarter = i % 128 / 32;
        const int l = i % 32;
        const std::uint8_t byte = low_bits[64 * half + l + 32 * (quarter & 1)];
        const int low = quarter < 2 ? lo(byte) : hi(byte);
        const int high = (high_bits[32 * half + l] >> (2 * quarter)) & 3;
        const auto scale = static_cast<std::int8_t>(scales[i / 16]);
        y[i] = d * static_cast<float>(scale) * static_cast<float>((low | high << 4) - 32);
    }
}

// f32 scale, 256 int8, then 16 sums that only dot products use.
void dequantise_q8_k(Block block, float* y) {
    const float d = std::bit_cast<float>(load_u32(block));
    for (int i = 0; i < 256; ++i)
        y[i] = d * static_cast<float>(static_cast<std::int8_t>(block[4 + i]));
}

void dequantise_iq4_nl(Block block, float* y) {
    const float d = load_f16(block);
    const Block q = block + 2;
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(nonlinear_4bit[lo(q[j])]);
        y[j + 16] = d * static_cast<float>(nonlinear_4bit[hi(q[j])]);
    }
}

void dequantise_iq4_xs(Block block, float* y) {
    const float d = load_f16(block);
    const std::uint16_t scales_high = load_u16(block + 2);
    const Block scales_low = block + 4;
    for (int group = 0; group < 8; ++group) {
        const int low = (scales_low[group / 2] >> (4 * (group % 2))) & 15;
        const int high = (scales_high >> (2 * group)) & 3;
        const float scale = d * static_cast<float>((low | high << 4) - 32);
        const Block q = block + 8 + 16 * group;
        for (int j = 0; j < 16; ++j) {
            y[32 * group + j] = scale * static_cast<float>(nonlinear_4bit[lo(q[j])]);
            y[32 * group + 16 + j] = scale * static_cast<float>(nonlinear_4bit[hi(q[j])]);
        }
    }
}

// The exponent's bias is 127; 128 here because the table holds doubled values.
void dequantise_mxfp4(Block block, float* y) {
    const float scale = std::ldexp(1.0f, block[0] - 128);
    const Block q = block + 1;
    for (int j = 0; j < 16; ++j) {
        y[j] = scale * static_cast<float>(doubled_e2m1[lo(q[j])]);
        y[j + 16] = scale * static_cast<float>(doubled_e2m1[hi(q[j])]);
    }
}

// Half the value of an unsigned E4M3 byte, to go with the doubled table. 0x7F is NaN in the format; here it is 0.
float half_ue4m3(std::uint8_t byte) {
    if (byte == 0 || byte == 0x7F) return 0.0f;
    const int exponent = (byte >> 3) & 15;
    const int mantissa = byte & 7;
    if (exponent == 0) return std::ldexp(static_cast<float>(mantissa), -10);
    return std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

void dequantise_nvfp4(Block block, float* y) {
    for (int part = 0; part < 4; ++part) {
        const float scale = half_ue4m3(block[part]);
        const Block q = block + 4 + 8 * part;
        for (int j = 0; j < 8; ++j) {
            y[16 * part + j] = scale * static_cast<float>(doubled_e2m1[lo(q[j])]);
            y[16 * part + 8 + j] = scale * static_cast<float>(doubled_e2m1[hi(q[j])]);
        }
    }
}

using Dequantise = void (*)(Block, float*);

Dequantise dequantiser(TensorType type) {
    switch (type) {
    case TensorType::f32: return dequantise_f32;
    case TensorType::f16: return dequantise_f16;
    case TensorType::bf16: return dequantise_bf16;
    case TensorType::q4_0: return dequantise_q4_0;
    case TensorType::q4_1: return dequantise_q4_1;
    case TensorType::q5_0: return dequantise_q5_0;
    case TensorType::q5_1: return dequantise_q5_1;
    case TensorType::q8_0: return dequantise_q8_0;
    case TensorType::q2_k: return dequantise_q2_k;
    case TensorType::q3_k: return dequantise_q3_k;
    case TensorType::q4_k: return dequantise_q4_k;
    case TensorType::q5_k: return dequantise_q5_k;
    case TensorType::q6_k: return dequantise_q6_k;
    case TensorType::q8_k: return dequantise_q8_k;
    case TensorType::iq4_nl: return dequantise_iq4_nl;
    case TensorType::iq4_xs: return dequantise_iq4_xs;
    case TensorType::mxfp4: return dequantise_mxfp4;
    case TensorType::nvfp4: return dequantise_nvfp4;
    default: return nullptr;
    }
}

} // namespace

float f16_to_f32(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = (bits >> 10) & 31u;
    const std::uint32_t mantissa = bits & 0x3FFu;
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
    if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
    const float subnormal = static_cast<float>(mantissa) * 0x1p-24f; // exact
    return sign != 0 ? -subnormal : subnormal;
}

std::uint16_t f32_to_f16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x1FFu));
    if (magnitude >= 0x477FF000u)
        return static_cast<std::uint16_t>(sign | 0x7C00u); // 65520 and above round to infinity
    if (magnitude < 0x38800000u) { // below 2^-14: adding 0.5 lets the FPU round at the subnormals' last bit, 2^-24
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u));
    }
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    return static_cast<std::uint16_t>(sign | ((magnitude - 0x38000000u + 0xFFFu + odd) >> 13));
}

float bf16_to_f32(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t f32_to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u); // stays a NaN
    return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

Status check_dequantisable(const Tensor& tensor) {
    const BlockFormat& format = block_format(tensor.type);
    if (format.dequantisable) return Ok{};
    return Error{ErrorKind::unsupported, fmt::format("tensor {} has type {}, which cannot be read as numbers", printable(tensor.name), format.name)};
}

void dequantise_row(TensorType type, std::span<const std::byte> blocks, std::span<float> out) {
    const BlockFormat& format = block_format(type);
    const Dequantise dequantise = dequantiser(type);
    assert(dequantise != nullptr && out.size() % format.elements == 0);
    assert(blocks.size() == out.size() / format.elements * format.bytes);
    if (dequantise == nullptr) return;
    const auto* block = reinterpret_cast<Block>(blocks.data());
    for (std::size_t i = 0; i < out.size(); i += format.elements) {
        dequantise(block, out.data() + i);
        block += format.bytes;
    }
}

} // namespace lucebox::gguf
