// One function for each block layout of the GGUF type table.
#include "compute/cpu/packed_unpack.h"

#include "gguf/blocks.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace lucebox::compute::cpu {
namespace {

using gguf::TensorType;
using Bytes = const std::uint8_t*;

constexpr int iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

constexpr CodeTable plus_128(const int (&values)[16]) {
    CodeTable table{};
    for (std::size_t i = 0; i < 16; ++i) table[i] = static_cast<std::uint8_t>(values[i] + 128);
    return table;
}
constexpr CodeTable iq4_table = plus_128(iq4_values);
constexpr CodeTable e2m1_table = plus_128(doubled_e2m1);

std::uint8_t u8(int value) { return static_cast<std::uint8_t>(value); }
std::int8_t i8(int value) { return static_cast<std::int8_t>(value); }

std::uint16_t load_u16(Bytes at) {
    std::uint16_t value;
    std::memcpy(&value, at, 2);
    return value;
}

std::uint32_t load_u32(Bytes at) {
    std::uint32_t value;
    std::memcpy(&value, at, 4);
    return value;
}

std::uint16_t negated_f16(std::uint16_t bits) { return static_cast<std::uint16_t>(bits ^ 0x8000u); }

// The legacy types: 16 bytes whose low nibbles are inputs 0..15 and high nibbles 16..31.
void split_nibbles(Bytes packed, std::uint8_t* codes) {
    for (int j = 0; j < 16; ++j) {
        codes[j] = u8(packed[j] & 15);
        codes[j + 16] = u8(packed[j] >> 4);
    }
}

// Bit j of a byte as 16 in byte j.
constexpr std::array<std::array<std::uint8_t, 8>, 256> fifth_bits = [] {
    std::array<std::array<std::uint8_t, 8>, 256> table{};
    for (std::size_t byte = 0; byte < 256; ++byte)
        for (std::size_t j = 0; j < 8; ++j) table[byte][j] = (byte >> j) & 1 ? 16 : 0;
    return table;
}();

void add_fifth_bits(Bytes bits, std::uint8_t* codes) {
    for (int byte = 0; byte < 4; ++byte)
        for (std::size_t j = 0; j < 8; ++j) codes[8 * byte + static_cast<int>(j)] |= fifth_bits[bits[byte]][j];
}

void read_legacy_block(TensorType type, Bytes block, std::size_t b, UnitCodes& unit) {
    std::uint8_t* codes = unit.codes + 32 * b;
    unit.f16_scale[b] = load_u16(block);
    switch (type) {
    case TensorType::q4_1:
        unit.f16_min[b] = load_u16(block + 2);
        split_nibbles(block + 4, codes);
        break;
    case TensorType::q5_0:
        split_nibbles(block + 6, codes);
        add_fifth_bits(block + 2, codes);
        break;
    case TensorType::q5_1:
        unit.f16_min[b] = load_u16(block + 2);
        split_nibbles(block + 8, codes);
        add_fifth_bits(block + 4, codes);
        break;
    case TensorType::q8_0:
        for (int j = 0; j < 32; ++j) codes[j] = u8(block[2 + j] ^ 0x80);
        break;
    default: // Q4_0, IQ4_NL
        split_nibbles(block + 2, codes);
        break;
    }
}

// Scale and min pairs of 6 bits that Q4_K and Q5_K share: 12 bytes for 8 blocks.
void read_k_pairs(Bytes packed, UnitCodes& unit) {
    for (int b = 0; b < 4; ++b) {
        unit.scale[b] = i8(packed[b] & 63);
        unit.min[b] = i8(packed[b + 4] & 63);
        unit.scale[b + 4] = i8((packed[b + 8] & 15) | (packed[b] >> 6) << 4);
        unit.min[b + 4] = i8((packed[b + 8] >> 4) | (packed[b + 4] >> 6) << 4);
    }
}

// fifth: bit b of byte j is the fifth bit of input j of block b; null for Q4_K.
void read_q4_q5_k(Bytes block, Bytes fifth, Bytes nibbles, UnitCodes& unit) {
    unit.d = load_u16(block);
    unit.dmin = negated_f16(load_u16(block + 2));
    read_k_pairs(block + 4, unit);
    for (int b = 0; b < 8; ++b) {
        const Bytes packed = nibbles + 32 * (b / 2);
        std::uint8_t* codes = unit.codes + 32 * b;
        for (int j = 0; j < 32; ++j) codes[j] = u8((packed[j] >> (4 * (b % 2))) & 15);
        if (fifth == nullptr) continue;
        for (int j = 0; j < 32; ++j) codes[j] = u8(codes[j] | ((fifth[j] >> b) & 1) << 4);
    }
}

// 64 bytes, 4 codes in each: 32 bytes hold the four 32s of a half.
void read_2_bits(Bytes packed, std::uint8_t* codes) {
    for (int b = 0; b < 8; ++b)
        for (int j = 0; j < 32; ++j) codes[32 * b + j] = u8((packed[32 * (b / 4) + j] >> (2 * (b % 4))) & 3);
}

void read_q2_k(Bytes block, UnitCodes& unit) {
    const Bytes quants = block + 16;
    unit.d = load_u16(block + 80);
    unit.dmin = negated_f16(load_u16(block + 82));
    for (int s = 0; s < 16; ++s) {
        unit.scale[s] = i8(block[s] & 15);
        unit.min[s] = i8(block[s] >> 4);
    }
    read_2_bits(quants, unit.codes);
}

void read_q3_k(Bytes block, UnitCodes& unit) {
    const Bytes high = block;
    const Bytes quants = block + 32;
    const Bytes scales = block + 96;
    unit.d = load_u16(block + 108);
    for (int s = 0; s < 16; ++s) {
        const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
        unit.scale[s] = i8((low | ((scales[8 + s % 4] >> (2 * (s / 4))) & 3) << 4) - 32);
    }
    read_2_bits(quants, unit.codes);
    for (int b = 0; b < 8; ++b) {
        std::uint8_t* codes = unit.codes + 32 * b;
        for (int j = 0; j < 32; ++j) codes[j] = u8(codes[j] | ((high[j] >> b) & 1) << 2);
    }
}

void read_q6_k(Bytes block, UnitCodes& unit) {
    unit.d = load_u16(block + 208);
    std::memcpy(unit.scale, block + 192, 16);
    for (int b = 0; b < 8; ++b) {
        const int quarter = b % 4;
        const Bytes low = block + 64 * (b / 4) + 32 * (quarter % 2);
        const Bytes high = block + 128 + 32 * (b / 4);
        std::uint8_t* codes = unit.codes + 32 * b;
        for (int j = 0; j < 32; ++j)
            codes[j] = u8(((low[j] >> (4 * (quarter / 2))) & 15) | ((high[j] >> (2 * quarter)) & 3) << 4);
    }
}

void read_iq4_xs(Bytes block, UnitCodes& unit) {
    const int high = load_u16(block + 2);
    unit.d = load_u16(block);
    for (int b = 0; b < 8; ++b) {
        const int low = (block[4 + b / 2] >> (4 * (b % 2))) & 15;
        unit.scale[b] = i8((low | ((high >> (2 * b)) & 3) << 4) - 32);
        split_nibbles(block + 8 + 16 * b, unit.codes + 32 * b);
    }
}

void read_q8_k(Bytes block, UnitCodes& unit) {
    for (float& scale : unit.f32_scale) scale = std::bit_cast<float>(load_u32(block));
    for (int i = 0; i < 256; ++i) unit.codes[i] = u8(block[4 + i] ^ 0x80);
}

void read_mxfp4_block(Bytes block, std::size_t b, UnitCodes& unit) {
    unit.f32_scale[b] = std::ldexp(1.0f, block[0] - 128); // bias 127, and the table holds doubled values
    split_nibbles(block + 1, unit.codes + 32 * b);
}

// Half the value of an unsigned E4M3 byte, which f16 holds exactly. 0x7F is NaN in the format; here it is 0.
std::uint16_t half_e4m3_as_f16(std::uint8_t byte) {
    if (byte == 0x7F) return 0;
    const int exponent = (byte >> 3) & 15;
    const int mantissa = byte & 7;
    return gguf::f32_to_f16(exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -10)
                                          : std::ldexp(static_cast<float>(8 + mantissa), exponent - 11));
}

void read_nvfp4_block(Bytes block, std::size_t b, UnitCodes& unit) {
    for (std::size_t s = 0; s < 4; ++s) {
        unit.f16_scale[4 * b + s] = half_e4m3_as_f16(block[s]);
        const Bytes packed = block + 4 + 8 * s;
        std::uint8_t* codes = unit.codes + 64 * b + 16 * s;
        for (int j = 0; j < 8; ++j) {
            codes[j] = u8(packed[j] & 15);
            codes[j + 8] = u8(packed[j] >> 4);
        }
    }
}

} // namespace

std::optional<Format> packed_format(TensorType type) {
    switch (type) {
    case TensorType::q4_0: return formats::q4_0;
    case TensorType::q4_1: return formats::q4_1;
    case TensorType::q5_0: return formats::q5_0;
    case TensorType::q5_1: return formats::q5_1;
    case TensorType::q8_0: return formats::q8_0;
    case TensorType::q2_k: return formats::q2_k;
    case TensorType::q3_k: return formats::q3_k;
    case TensorType::q4_k: return formats::q4_k;
    case TensorType::q5_k: return formats::q5_k;
    case TensorType::q6_k: return formats::q6_k;
    case TensorType::q8_k: return formats::q8_k;
    case TensorType::iq4_nl: return formats::iq4_nl;
    case TensorType::iq4_xs: return formats::iq4_xs;
    case TensorType::mxfp4: return formats::mxfp4;
    case TensorType::nvfp4: return formats::nvfp4;
    default: return std::nullopt;
    }
}

const CodeTable* code_table(TensorType type) {
    switch (type) {
    case TensorType::iq4_nl:
    case TensorType::iq4_xs: return &iq4_table;
    case TensorType::mxfp4:
    case TensorType::nvfp4: return &e2m1_table;
    default: return nullptr;
    }
}

void read_unit(TensorType type, const std::byte* blocks, std::size_t inputs, UnitCodes& unit) {
    const auto* bytes = reinterpret_cast<Bytes>(blocks);
    switch (type) {
    case TensorType::q2_k: return read_q2_k(bytes, unit);
    case TensorType::q3_k: return read_q3_k(bytes, unit);
    case TensorType::q4_k: return read_q4_q5_k(bytes, nullptr, bytes + 16, unit);
    case TensorType::q5_k: return read_q4_q5_k(bytes, bytes + 16, bytes + 48, unit);
    case TensorType::q6_k: return read_q6_k(bytes, unit);
    case TensorType::q8_k: return read_q8_k(bytes, unit);
    case TensorType::iq4_xs: return read_iq4_xs(bytes, unit);
    default: break;
    }
    const gguf::BlockFormat& format = gguf::block_format(type);
    for (std::size_t b = 0; b < inputs / format.elements; ++b, bytes += format.bytes) {
        if (type == TensorType::mxfp4) read_mxfp4_block(bytes, b, unit);
        else if (type == TensorType::nvfp4) read_nvfp4_block(bytes, b, unit);
        else read_legacy_block(type, bytes, b, unit);
    }
}

} // namespace lucebox::compute::cpu
