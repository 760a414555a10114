#include "gguf/blocks.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

namespace lucebox::gguf {
namespace {

std::vector<float> dequantise(TensorType type, std::span<const std::uint8_t> block) {
    std::vector<float> out(block.size() / block_format(type).bytes * block_format(type).elements);
    dequantise_row(type, std::as_bytes(block), out);
    return out;
}

// What the reference C code gives for a block of bytes (37 i + 11) mod 256 with these half-precision scales written
// over it; the figures were compared with that code for every type, without error.
struct Golden {
    TensorType type;
    std::vector<std::pair<std::size_t, std::uint16_t>> halves; // offset, bits
    std::array<double, 6> first;
    std::array<double, 2> last;
    double sum;
    double weighted_sum; // of (i + 1) y[i]
};

constexpr std::uint16_t d = 0x2E00;    // 0.09375
constexpr std::uint16_t m = 0xB800;    // -0.5
constexpr std::uint16_t dmin = 0x3000; // 0.125

const Golden goldens[] = {
    {TensorType::q4_0,
     {{0, d}},
     {-0.28125, 0.1875, 0.65625, -0.375, 0.09375, 0.5625},
     {-0.28125, 0},
     -1.96875,
     -48.5625},
    {TensorType::q4_1,
     {{0, d}, {2, m}},
     {0.90625, -0.125, 0.34375, 0.8125, -0.21875, 0.25},
     {0.4375, 0.625},
     6.96875,
     109.40625},
    {TensorType::q5_0,
     {{0, d}},
     {0.84375, -0.1875, 0.28125, -0.75, 1.21875, -1.3125},
     {1.3125, 0.09375},
     1.40625,
     10.5},
    {TensorType::q5_1,
     {{0, d}, {2, m}},
     {1.28125, 1.75, 2.21875, 1.1875, 1.65625, 0.625},
     {-0.21875, -0.03125},
     31.34375,
     476.71875},
    {TensorType::q8_0,
     {{0, d}},
     {7.96875, 11.4375, -9.09375, -5.625, -2.15625, 1.3125},
     {-7.96875, -4.5},
     -16.5,
     -757.5},
    {TensorType::iq4_nl,
     {{0, d}},
     {-3.28125, 2.34375, 10.59375, -4.59375, 1.21875, 8.34375},
     {-3.28125, 0.09375},
     -24.09375,
     -648.65625},
    {TensorType::mxfp4, {}, {0, 1.5, -0.5, -3, 1, -0.25}, {0.75, 1.5}, 6.25, 159.5},
    {TensorType::q2_k,
     {{80, d}, {82, dmin}},
     {3.09375, 0, 1.03125, 2.0625, 3.09375, 0},
     {0.1875, 0.1875},
     61.78125,
     4717.8125},
    {TensorType::q3_k,
     {{108, d}},
     {7.59375, -10.125, 2.53125, -5.0625, 7.59375, -10.125},
     {-2.625, 3.9375},
     89.8125,
     16607.34375},
    {TensorType::q4_k,
     {{0, d}, {2, dmin}},
     {25.59375, -6.375, 8.15625, 22.6875, 37.21875, 5.25},
     {0.6875, 1.8125},
     4443.75,
     635623.75},
    {TensorType::q5_k,
     {{0, d}, {2, dmin}},
     {72.09375, -6.375, 54.65625, 22.6875, 83.71875, 5.25},
     {6.3125, 7.4375},
     10235.25,
     1428243.25},
    {TensorType::q6_k,
     {{208, d}},
     {-134.15625, 159, 54.65625, -49.6875, -154.03125, 139.125},
     {-3.75, -5.625},
     432.375,
     73539.375},
    {TensorType::iq4_xs,
     {{0, d}},
     {6.09375, -0.09375, -6.46875, 7.78125, 0.9375, -4.96875},
     {33, -1.5},
     -1031.71875,
     -196043.8125},
};

TEST(Blocks, EveryDequantiserGivesTheReferenceValues) {
    for (const Golden& golden : goldens) {
        SCOPED_TRACE(block_format(golden.type).name);
        std::vector<std::uint8_t> block(block_format(golden.type).bytes);
        for (std::size_t i = 0; i < block.size(); ++i)
            block[i] = static_cast<std::uint8_t>(37 * i + 11);
        if (golden.type == TensorType::mxfp4) block[0] = 126;
        for (const auto& [offset, bits] : golden.halves) {
            block[offset] = static_cast<std::uint8_t>(bits & 255);
            block[offset + 1] = static_cast<std::uint8_t>(bits >> 8);
        }
        // Twice the block: the second one must start where the first ends.
        std::vector<std::uint8_t> two = block;
        two.insert(two.end(), block.begin(), block.end());
        const std::vector<float> y = dequantise(golden.type, two);
        const std::size_t n = y.size() / 2;
        for (std::size_t i = 0; i < n; ++i)
            EXPECT_EQ(y[i], y[n + i]);
        for (std::size_t i = 0; i < 6; ++i)
            EXPECT_EQ(y[i], golden.first[i]) << i;
        EXPECT_EQ(y[n - 2], golden.last[0]);
        EXPECT_EQ(y[n - 1], golden.last[1]);
        double sum = 0;
        double weighted_sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
            sum += static_cast<double>(y[i]);
            weighted_sum += static_cast<double>(i + 1) * static_cast<double>(y[i]);
        }
        EXPECT_EQ(sum, golden.sum);
        EXPECT_EQ(weighted_sum, golden.weighted_sum);
    }
}

TEST(Blocks, Nvfp4ScalesEachSixteenValuesByItsOwnFloat8) {
    std::vector<std::uint8_t> block(36, 0);
    block[0] = 0x38; // 1
    block[1] = 0x41; // 2.25
    block[2] = 0x03; // subnormal: 3/512
    block[3] = 0x7F; // NaN in the format, read as 0
    for (std::size_t i = 4; i < 36; ++i)
        block[i] = 0xF3; // low code 3 = 1.5, high code 15 = -6
    const std::vector<float> y = dequantise(TensorType::nvfp4, block);
    const float scale[4] = {1.0f, 2.25f, 3.0f / 512, 0.0f};
    for (std::size_t part = 0; part < 4; ++part) {
        EXPECT_EQ(y[16 * part], 1.5f * scale[part]);
        EXPECT_EQ(y[16 * part + 7], 1.5f * scale[part]);
        EXPECT_EQ(y[16 * part + 8], -6.0f * scale[part]);
        EXPECT_EQ(y[16 * part + 15], -6.0f * scale[part]);
    }
}

TEST(Blocks, Mxfp4ReachesTheSmallestAndLargestExponents) {
    std::vector<std::uint8_t> block(17, 0x22); // code 2 = 1
    for (const int exponent : {0, 1, 127, 254}) {
        block[0] = static_cast<std::uint8_t>(exponent);
        EXPECT_EQ(dequantise(TensorType::mxfp4, block)[0], std::ldexp(1.0f, exponent - 127));
    }
}

TEST(Blocks, Q8KHasAFloatScale) {
    std::vector<std::uint8_t> block(292, 0xEE);
    const float scale = 0.3f;
    std::memcpy(block.data(), &scale, 4);
    block[4] = 0x80;
    block[259] = 0x7F;
    const std::vector<float> y = dequantise(TensorType::q8_k, block);
    EXPECT_EQ(y[0], scale * -128.0f);
    EXPECT_EQ(y[255], scale * 127.0f);
}

double half_value(std::uint32_t bits) { // IEEE 754 binary16, finite
    const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
    const int exponent = static_cast<int>((bits >> 10) & 31u);
    const double mantissa = bits & 1023u;
    return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(HalfFloats, EveryHalfWidensToItsValueAndComesBack) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float value = f16_to_f32(half);
        if (((bits >> 10) & 31u) == 31) {
            EXPECT_EQ(std::isnan(value), (bits & 1023u) != 0);
            EXPECT_EQ(std::isinf(value), (bits & 1023u) == 0);
            EXPECT_EQ(std::isnan(f16_to_f32(f32_to_f16(value))), std::isnan(value));
            continue;
        }
        ASSERT_EQ(value, half_value(bits));
        ASSERT_EQ(f32_to_f16(value), half); // also -0
    }
}

TEST(HalfFloats, NarrowingRoundsToTheNearestAndTiesToEven) {
    for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) { // up to the largest finite half, with its successor
        const auto middle = static_cast<float>((half_value(bits) + half_value(bits + 1)) / 2); // exact
        const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
        ASSERT_EQ(f32_to_f16(middle), even);
        ASSERT_EQ(f32_to_f16(-middle), even | 0x8000u);
        ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), bits);
        ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), bits + 1);
    }
}

TEST(HalfFloats, ValuesTooLargeBecomeInfinity) {
    EXPECT_EQ(f32_to_f16(65519.996f), 0x7BFF);
    EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
    EXPECT_EQ(f32_to_f16(-1e30f), 0xFC00);
    EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7C00);
    EXPECT_EQ(f32_to_f16(1e-30f), 0);
}

TEST(BrainFloats, EveryOneComesBackAndNarrowingTiesToEven) {
    for (std::uint32_t bits = 0; bits < 0x7F80; ++bits) {
        const auto low = bf16_to_f32(static_cast<std::uint16_t>(bits));
        ASSERT_EQ(f32_to_bf16(low), bits);
        ASSERT_EQ(f32_to_bf16(-low), bits | 0x8000u);
        const float middle = std::bit_cast<float>(bits << 16 | 0x8000u);
        ASSERT_EQ(f32_to_bf16(middle), bits % 2 == 0 ? bits : bits + 1);
        ASSERT_EQ(f32_to_bf16(std::nextafter(middle, 0.0f)), bits);
        ASSERT_EQ(f32_to_bf16(std::nextafter(middle, std::numeric_limits<float>::infinity())), bits + 1);
    }
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001u)))));
}

TEST(TensorTypes, IdsAndNamesLeadBackToTheType) {
    std::size_t known = 0;
    for (std::uint32_t id = 0; id < 100; ++id) {
        const auto type = tensor_type_from_id(id);
        if (!type) continue;
        ++known;
        EXPECT_EQ(static_cast<std::uint32_t>(*type), id);
        EXPECT_EQ(tensor_type_from_name(block_format(*type).name), type);
    }
    EXPECT_EQ(known, 34u);
    EXPECT_EQ(tensor_type_from_name("q4_k"), TensorType::q4_k);
    EXPECT_FALSE(tensor_type_from_name("Q4_K_M"));
    for (const std::uint32_t removed : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u})
        EXPECT_FALSE(tensor_type_from_id(removed));
}

} // namespace
} // namespace lucebox::gguf
