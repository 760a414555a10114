#include "gguf/blocks.h"

#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <vector>

namespace lucebox::gguf {
namespace {

constexpr TensorType block_types[] = {TensorType::q8_0, TensorType::q4_0, TensorType::q4_1, TensorType::q5_0,
                                      TensorType::q5_1, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k};

std::vector<float> round_trip(TensorType type, const std::vector<float>& values) {
    const BlockFormat& format = block_format(type);
    std::vector<std::byte> blocks(values.size() / format.elements * format.bytes, std::byte{0xA5});
    const auto status = quantise_row(type, values, blocks);
    if (!status) ADD_FAILURE() << status.error().message;
    std::vector<float> out(values.size());
    dequantise_row(type, blocks, out);
    return out;
}

double relative_rms(const std::vector<float>& values, const std::vector<float>& approximate) {
    double error = 0;
    double size = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        error += std::pow(static_cast<double>(values[i]) - static_cast<double>(approximate[i]), 2);
        size += std::pow(static_cast<double>(values[i]), 2);
    }
    return std::sqrt(error / size);
}

std::vector<float> normal_values(std::size_t count, float spread) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> values(count);
    for (float& value : values)
        value = normal(random);
    return values;
}

// With n levels across the range of 32 normal values (about 4.1 standard deviations, 4.8 when symmetric about zero),
// the uniform rounding error is range / n / sqrt(12). The bounds are at or below that: only a search of the scales
// meets them where there are few bits.
TEST(Quantise, NormalWeightsKeepTheErrorOfASearchedScale) {
    const std::pair<TensorType, double> bounds[] = {
        {TensorType::q8_0, 0.0055}, {TensorType::q6_k, 0.0177}, {TensorType::q5_k, 0.0355}, {TensorType::q5_1, 0.0345},
        {TensorType::q5_0, 0.0410}, {TensorType::q4_k, 0.0715}, {TensorType::q4_1, 0.0715}, {TensorType::q4_0, 0.0830},
    };
    for (const float spread : {0.02f, 1.0f, 300.0f}) {
        const std::vector<float> values = normal_values(256 * 256, spread);
        for (const auto& [type, bound] : bounds) {
            EXPECT_LT(relative_rms(values, round_trip(type, values)), bound)
                << block_format(type).name << " " << spread;
        }
    }
}

TEST(Quantise, Q8ErrsByNoMoreThanHalfAStep) {
    const std::vector<float> values = normal_values(32 * 512, 1);
    const std::vector<float> back = round_trip(TensorType::q8_0, values);
    for (std::size_t block = 0; block < values.size(); block += 32) {
        float largest = 0;
        for (std::size_t i = block; i < block + 32; ++i)
            largest = std::max(largest, std::fabs(values[i]));
        const float half_step =
            largest / 127 / 2 * 1.001f + largest * 0x1p-11f; // the scale itself is rounded to a half
        for (std::size_t i = block; i < block + 32; ++i)
            ASSERT_NEAR(values[i], back[i], half_step);
    }
}

TEST(Quantise, ValuesOnTheGridComeBackUnchanged) {
    std::vector<float> symmetric(256);
    std::vector<float> shifted(256);
    for (std::size_t i = 0; i < 256; ++i) {
        symmetric[i] = 0.25f * static_cast<float>(static_cast<int>(i * 7 % 16) - 8); // all of -8..7 in each 32
        shifted[i] = 0.5f * static_cast<float>(i * 5 % 16) - 1.5f;
    }
    EXPECT_EQ(round_trip(TensorType::q4_0, symmetric), symmetric);
    EXPECT_EQ(round_trip(TensorType::q4_1, shifted), shifted);
    EXPECT_EQ(round_trip(TensorType::f32, shifted), shifted);
    EXPECT_EQ(round_trip(TensorType::f16, shifted), shifted);
    EXPECT_EQ(round_trip(TensorType::bf16, shifted), shifted);
}

TEST(Quantise, GroupsOfVeryDifferentSizeKeepTheirOwnScale) {
    for (const TensorType type : {TensorType::q4_k, TensorType::q5_k, TensorType::q6_k}) {
        std::vector<float> values = normal_values(256, 1);
        for (std::size_t i = 128; i < 256; ++i)
            values[i] *= 0.1f;
        const std::vector<float> back = round_trip(type, values);
        const std::vector<float> small(values.begin() + 128, values.end());
        EXPECT_LT(relative_rms(small, {back.begin() + 128, back.end()}), 0.13) << block_format(type).name;
    }
}

TEST(Quantise, RowsThatAreAwkwardStayFiniteAndClose) {
    for (const TensorType type : block_types) {
        SCOPED_TRACE(block_format(type).name);
        const std::vector<float> zeros(256, 0.0f);
        EXPECT_EQ(round_trip(type, zeros), zeros);
        for (const float constant : {1.0f, -1.0f, 0.007f, -60000.0f, 65504.0f}) {
            for (const float value : round_trip(type, std::vector<float>(256, constant))) {
                ASSERT_NEAR(value, constant, std::fabs(constant) * 0.04f);
            }
        }
        std::vector<float> spike(256, 0.0f);
        spike[37] = -3.0f;
        EXPECT_LT(relative_rms(spike, round_trip(type, spike)), 0.01);
        for (const float value : round_trip(type, std::vector<float>(256, 1e-30f)))
            ASSERT_NEAR(value, 0, 1e-6);
        const float denormal = std::numeric_limits<float>::denorm_min();
        for (const float value : round_trip(type, std::vector<float>(256, denormal)))
            ASSERT_NEAR(value, 0, 1e-6);
    }
}

TEST(Quantise, ValuesWithoutAPlaceInTheTypeAreRefused) {
    for (const float bad : {NAN, INFINITY, -INFINITY, 65505.0f, -1e30f}) {
        std::vector<float> values(256, 1.0f);
        values[200] = bad;
        std::vector<std::byte> out(1024);
        for (const TensorType type : block_types) {
            const BlockFormat& format = block_format(type);
            const auto status = quantise_row(type, values, std::span(out).first(256 / format.elements * format.bytes));
            ASSERT_FALSE(status);
            EXPECT_EQ(status.error().kind, ErrorKind::invalid_data);
            EXPECT_NE(status.error().message.find("value 200"), std::string::npos) << status.error().message;
        }
        EXPECT_TRUE(quantise_row(TensorType::f32, values, out));
        EXPECT_TRUE(quantise_row(TensorType::bf16, values, std::span(out).first(512)));
    }
}

TEST(Quantise, OtherTypesAreUnsupported) {
    const std::vector<float> values(256);
    std::vector<std::byte> out(84);
    const auto status = quantise_row(TensorType::q2_k, values, out);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::unsupported);
    EXPECT_FALSE(quantisable(TensorType::iq4_xs));
    EXPECT_TRUE(quantisable(TensorType::q4_k));
}

} // namespace
} // namespace lucebox::gguf
