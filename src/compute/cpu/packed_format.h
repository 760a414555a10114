// The layout of packed weights and of quantised activation rows: what the packer writes and every kernel reads.
//
// A group is 16 outputs. Its bytes are units of up to 8 blocks; a block is 32 inputs of all 16 outputs. A unit holds its
// scales first (each padded header is a multiple of 64 bytes), then the codes of its blocks:
//   header   super:  f16 d[16], f16 dmin[16] if there are mins, i8 scale[sub-blocks][16], i8 min[sub-blocks][16]
//            f16:    f16 scale[sub-blocks][16], f16 min[sub-blocks][16]
//            f32:    f32 scale[sub-blocks][16]
//   codes    "vector" v of a block is 64 bytes: byte 4 * o + j is the code of output o, input 4 * v + j. Then
//            u4:     4 lines; line k holds vector 2k in its low nibbles and 2k + 1 in its high ones
//            u5:     the lines of u4, then one line whose bit v is the fifth bit of vector v
//            u6:     the lines of u4, then two lines: bits 2 (v % 4) and the next of line v / 4 belong to vector v
//            u8:     8 lines
// A weight is scale * (value - offset) + min, where value is the code, or table[code] for Codes::table.
// With `super`, scale is d * i8 and min is dmin * i8; both products are exact in f32. Plain data; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lucebox::compute::cpu {

enum class Codes : std::uint8_t { u4, table, u5, u6, u8 };
enum class Scales : std::uint8_t { f16, f32, super };

struct Format {
    Codes codes = Codes::u8;
    Scales scales = Scales::f16;
    bool mins = false;      // stored like the scales
    int sub_block = 32;     // inputs that share a scale: 32 or 16
    int offset = 0;         // the code of weight 0
    bool operator==(const Format&) const = default;
};

namespace formats {
inline constexpr Format q4_0{Codes::u4, Scales::f16, false, 32, 8};
inline constexpr Format q4_1{Codes::u4, Scales::f16, true, 32, 0};
inline constexpr Format q5_0{Codes::u5, Scales::f16, false, 32, 16};
inline constexpr Format q5_1{Codes::u5, Scales::f16, true, 32, 0};
inline constexpr Format q8_0{Codes::u8, Scales::f16, false, 32, 128};
inline constexpr Format q2_k{Codes::u4, Scales::super, true, 16, 0};
inline constexpr Format q3_k{Codes::u4, Scales::super, false, 16, 4};
inline constexpr Format q4_k{Codes::u4, Scales::super, true, 32, 0};
inline constexpr Format q5_k{Codes::u5, Scales::super, true, 32, 0};
inline constexpr Format q6_k{Codes::u6, Scales::super, false, 16, 32};
inline constexpr Format q8_k{Codes::u8, Scales::f32, false, 32, 128};
inline constexpr Format iq4_nl{Codes::table, Scales::f16, false, 32, 128};
inline constexpr Format iq4_xs{Codes::table, Scales::super, false, 32, 128};
inline constexpr Format mxfp4{Codes::table, Scales::f32, false, 32, 128};
inline constexpr Format nvfp4{Codes::table, Scales::f16, false, 16, 128};
} // namespace formats

constexpr std::size_t group_outputs = 16;
constexpr std::size_t block_inputs = 32;
constexpr std::size_t unit_blocks = 8; // 256 inputs: a super-block of the K types

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// Offsets within a unit of `blocks` blocks.
struct UnitLayout {
    std::size_t scales = 0, mins = 0, codes = 0, bytes = 0;
};

constexpr std::size_t scale_bytes(Scales scales) { // of one sub-block of a group
    return group_outputs * (scales == Scales::f16 ? 2 : scales == Scales::f32 ? 4 : 1);
}

constexpr std::size_t code_bytes(Codes codes) { // of one block of a group
    switch (codes) {
    case Codes::u4:
    case Codes::table: return 256;
    case Codes::u5: return 320;
    case Codes::u6: return 384;
    case Codes::u8: return 512;
    }
    return 0;
}

constexpr UnitLayout unit_layout(const Format& format, std::size_t blocks) {
    const std::size_t sub_blocks = blocks * (format.sub_block == 16 ? 2 : 1);
    const std::size_t all_scales = sub_blocks * scale_bytes(format.scales);
    UnitLayout layout;
    if (format.scales == Scales::super) layout.scales = group_outputs * (format.mins ? 4 : 2);
    layout.mins = layout.scales + all_scales;
    layout.codes = round_up(layout.mins + (format.mins ? all_scales : 0), 64);
    layout.bytes = layout.codes + blocks * code_bytes(format.codes);
    return layout;
}

constexpr std::size_t group_bytes(const Format& format, std::size_t inputs) {
    const std::size_t blocks = inputs / block_inputs;
    const std::size_t rest = blocks % unit_blocks;
    return blocks / unit_blocks * unit_layout(format, unit_blocks).bytes +
           (rest == 0 ? 0 : unit_layout(format, rest).bytes);
}

// 32 inputs of an activation row, one cache line. A kernel starts its integer dot product from the entry that takes out
// the format's offset, so that the offset costs nothing.
struct alignas(64) ActivationBlock {
    float scale;               // activation = scale * values[i]
    float scaled_sum;          // scale * sum of values
    std::int32_t minus_8;      // -8 * sum
    std::int32_t minus_16;     // -16 * sum
    std::int32_t minus_128;    // -128 * sum
    std::int32_t minus_32[2];  // -32 * the sum of the first and of the last 16 values
    std::int32_t unused;
    std::int8_t values[32];

    // Everything but the values; the sums of their first and last 16.
    void set_sums(float block_scale, std::int32_t first, std::int32_t second) {
        const std::int32_t sum = first + second;
        scale = block_scale;
        scaled_sum = block_scale * static_cast<float>(sum);
        minus_8 = -8 * sum;
        minus_16 = -16 * sum;
        minus_128 = -128 * sum;
        minus_32[0] = -32 * first;
        minus_32[1] = -32 * second;
        unused = 0;
    }
};
static_assert(sizeof(ActivationBlock) == 64);

// A block whose largest magnitude is below this becomes zeros: the inverse of its scale would overflow.
inline constexpr float smallest_activation = 0x1p-100f;

// Value + 128 of the codes of Codes::table.
using CodeTable = std::array<std::uint8_t, 16>;

} // namespace lucebox::compute::cpu
