// Packed matrices against dequantise-and-multiply in f64, for every type, instruction set and shape that matters.
#include "compute/cpu/kernels_quantised.h"
#include "compute/cpu/packed_matrix.h"
#include "compute/cpu/packed_unpack.h"
#include "gguf/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace lucebox::compute::cpu {
namespace {

using gguf::TensorType;

std::vector<Isa> isas() {
    std::vector<Isa> all = {Isa::portable};
    if (best_isa() >= Isa::avx2) all.push_back(Isa::avx2);
    if (best_isa() >= Isa::avx512) all.push_back(Isa::avx512);
    return all;
}

constexpr TensorType quantised_types[] = {
    TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,   TensorType::q8_0,
    TensorType::q2_k, TensorType::q3_k, TensorType::q4_k, TensorType::q5_k,   TensorType::q6_k,
    TensorType::q8_k, TensorType::mxfp4, TensorType::nvfp4, TensorType::iq4_nl, TensorType::iq4_xs,
};
constexpr TensorType float_types[] = {TensorType::f32, TensorType::f16, TensorType::bf16};

// Where f16 numbers lie within a block, so that random bytes can be given sane scales.
std::vector<std::size_t> f16_fields(TensorType type) {
    switch (type) {
    case TensorType::q4_1:
    case TensorType::q5_1:
    case TensorType::q4_k:
    case TensorType::q5_k: return {0, 2};
    case TensorType::q2_k: return {80, 82};
    case TensorType::q3_k: return {108};
    case TensorType::q6_k: return {208};
    case TensorType::q8_k:
    case TensorType::mxfp4:
    case TensorType::nvfp4:
    case TensorType::f32:
    case TensorType::bf16: return {};
    default: return {0};
    }
}

// A matrix of random bytes: every code and every sub-scale occurs.
struct RandomMatrix {
    std::vector<std::byte> bytes;
    gguf::Tensor tensor;

    RandomMatrix(TensorType type, std::size_t inputs, std::size_t outputs, unsigned seed = 1) {
        std::mt19937 random(seed);
        const gguf::BlockFormat& format = gguf::block_format(type);
        bytes.resize(inputs / format.elements * format.bytes * outputs);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        std::normal_distribution<float> normal;
        for (std::size_t at = 0; at < bytes.size(); at += format.bytes) fix_scales(type, at, normal(random), random);
        tensor = {"weight", type, {inputs, outputs, 1, 1}, bytes};
    }

    std::vector<float> dequantised() const {
        std::vector<float> values(tensor.elements());
        gguf::dequantise_row(tensor.type, tensor.data, values);
        return values;
    }

private:
    void fix_scales(TensorType type, std::size_t at, float value, std::mt19937& random) {
        for (const std::size_t field : f16_fields(type)) {
            const std::uint16_t bits = gguf::f32_to_f16(value * 0.05f + static_cast<float>(field) * 1e-3f);
            std::memcpy(&bytes[at + field], &bits, 2);
        }
        const std::uint16_t bf16 = gguf::f32_to_bf16(value);
        if (type == TensorType::f32) std::memcpy(&bytes[at], &value, 4);
        if (type == TensorType::bf16) std::memcpy(&bytes[at], &bf16, 2);
        if (type == TensorType::q8_k) std::memcpy(&bytes[at], &value, 4);
        if (type == TensorType::mxfp4) bytes[at] = static_cast<std::byte>(120 + random() % 8);
        if (type == TensorType::nvfp4)
            for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<std::byte>(random() % 0x7F);
    }
};

std::vector<float> random_rows(std::size_t rows, std::size_t inputs, unsigned seed = 2) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(rows * inputs);
    for (float& value : values) value = normal(random) * (random() % 97 == 0 ? 20.0f : 1.0f);
    return values;
}

// Activation rows in the form a matrix takes.
struct Rows {
    std::size_t stride = 0;
    std::vector<ActivationBlock> quantised;
    std::vector<float> plain;
    bool takes_quantised = false;
    std::size_t inputs = 0;

    Rows(const PackedMatrix& matrix, const std::vector<float>& values, Isa isa)
        : plain(values), takes_quantised(matrix.takes_quantised()), inputs(matrix.inputs()) {
        const std::size_t rows = values.size() / inputs;
        stride = takes_quantised ? quantised_row_bytes(inputs) : inputs * sizeof(float);
        if (!takes_quantised) return;
        quantised.resize(rows * stride / sizeof(ActivationBlock));
        for (std::size_t r = 0; r < rows; ++r)
            quantise_row(std::span(plain).subspan(r * inputs, inputs),
                         reinterpret_cast<std::byte*>(quantised.data()) + r * stride, isa);
    }

    const std::byte* data() const {
        return takes_quantised ? reinterpret_cast<const std::byte*>(quantised.data())
                               : reinterpret_cast<const std::byte*>(plain.data());
    }

    // What the matrix sees as activation i of a row.
    double value(std::size_t row, std::size_t i) const {
        if (!takes_quantised) return static_cast<double>(plain[row * inputs + i]);
        const auto* blocks = reinterpret_cast<const ActivationBlock*>(data() + row * stride);
        return static_cast<double>(blocks[i / 32].scale) * blocks[i / 32].values[i % 32];
    }
};

std::vector<float> multiply(const PackedMatrix& matrix, const Rows& x, std::size_t rows) {
    std::vector<float> out(rows * matrix.outputs(), -1.0f);
    matrix.multiply(x.data(), x.stride, rows, 0, matrix.outputs(), out.data(), matrix.outputs(), false);
    return out;
}

// Every output within `tolerance` of the f64 sum, relative to the sum of magnitudes.
void expect_close(const RandomMatrix& weights, const Rows& x, std::size_t rows, const std::vector<float>& out,
                  double tolerance) {
    const std::vector<float> w = weights.dequantised();
    const std::size_t inputs = weights.tensor.shape[0];
    const std::size_t outputs = weights.tensor.shape[1];
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t o = 0; o < outputs; ++o) {
            double sum = 0;
            double magnitude = 0;
            for (std::size_t i = 0; i < inputs; ++i) {
                const double product = static_cast<double>(w[o * inputs + i]) * x.value(r, i);
                sum += product;
                magnitude += std::fabs(product);
            }
            ASSERT_NEAR(static_cast<double>(out[r * outputs + o]), sum, tolerance * magnitude)
                << "row " << r << " output " << o;
        }
    }
}

std::string describe(TensorType type, Isa isa) {
    return std::string(gguf::block_format(type).name) + " on " + std::string(isa_name(isa));
}

std::size_t smallest_width(TensorType type) { return std::max<std::size_t>(32, gguf::block_format(type).elements); }

TEST(PackedMatrix, MultipliesEveryQuantisedType) {
    for (const Isa isa : isas()) {
        for (const TensorType type : quantised_types) {
            SCOPED_TRACE(describe(type, isa));
            for (const std::size_t blocks : {1, 2, 3, 9}) {
                const RandomMatrix weights(type, blocks * smallest_width(type), 37);
                const auto matrix = PackedMatrix::pack(weights.tensor, isa);
                ASSERT_TRUE(matrix->takes_quantised());
                const Rows x(*matrix, random_rows(8, matrix->inputs()), isa);
                expect_close(weights, x, 8, multiply(*matrix, x, 8), 1e-6);
            }
        }
    }
}

TEST(PackedMatrix, MultipliesEveryFloatTypeOfAnyWidth) {
    for (const Isa isa : isas()) {
        for (const TensorType type : float_types) {
            SCOPED_TRACE(describe(type, isa));
            for (const std::size_t inputs : {1, 5, 64, 643}) {
                const RandomMatrix weights(type, inputs, 37);
                const auto matrix = PackedMatrix::pack(weights.tensor, isa);
                ASSERT_FALSE(matrix->takes_quantised());
                const Rows x(*matrix, random_rows(8, inputs), isa);
                expect_close(weights, x, 8, multiply(*matrix, x, 8), 1e-6);
            }
        }
    }
}

TEST(PackedMatrix, LosesNothingOfTheWeights) {
    std::vector<TensorType> types(std::begin(quantised_types), std::end(quantised_types));
    types.insert(types.end(), std::begin(float_types), std::end(float_types));
    for (const TensorType type : types) {
        SCOPED_TRACE(gguf::block_format(type).name);
        const RandomMatrix weights(type, 3 * smallest_width(type), 21);
        const auto matrix = PackedMatrix::pack(weights.tensor);
        const std::vector<float> expected = weights.dequantised();
        std::vector<float> row(matrix->inputs());
        for (std::size_t o = 0; o < matrix->outputs(); ++o) {
            matrix->dequantise_output(o, row);
            for (std::size_t i = 0; i < row.size(); ++i)
                ASSERT_EQ(row[i], expected[o * row.size() + i]) << "output " << o << " input " << i;
        }
    }
}

TEST(PackedMatrix, KeepsTheSizeOfTheFileForTheCommonTypes) {
    for (const TensorType type : {TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,
                                  TensorType::q8_0, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k,
                                  TensorType::iq4_nl, TensorType::f16}) {
        const RandomMatrix weights(type, 1024, 64);
        EXPECT_LE(static_cast<double>(PackedMatrix::pack(weights.tensor)->bytes()),
                  1.03 * static_cast<double>(weights.bytes.size()))
            << gguf::block_format(type).name;
    }
}

TEST(PackedMatrix, GivesARowTheSameBitsBesideAnyOthers) {
    std::vector<TensorType> types(std::begin(quantised_types), std::end(quantised_types));
    types.insert(types.end(), std::begin(float_types), std::end(float_types));
    for (const Isa isa : isas()) {
        for (const TensorType type : types) {
            SCOPED_TRACE(describe(type, isa));
            const RandomMatrix weights(type, 2 * smallest_width(type), 40);
            const auto matrix = PackedMatrix::pack(weights.tensor, isa);
            const Rows x(*matrix, random_rows(200, matrix->inputs()), isa);
            const std::vector<float> all = multiply(*matrix, x, 200);
            for (const std::size_t rows : {1, 2, 3, 4, 5, 6, 7, 16, 64}) {
                std::vector<float> out(rows * 40);
                matrix->multiply(x.data() + 3 * x.stride, x.stride, rows, 0, 40, out.data(), 40, false);
                ASSERT_EQ(0, std::memcmp(out.data(), &all[3 * 40], out.size() * sizeof(float))) << rows << " rows";
            }
        }
    }
}

TEST(PackedMatrix, GivesAnOutputTheSameBitsInAnyRange) {
    for (const Isa isa : isas()) {
        for (const TensorType type : {TensorType::q4_1, TensorType::q8_0, TensorType::q6_k, TensorType::f32}) {
            SCOPED_TRACE(describe(type, isa));
            const RandomMatrix weights(type, 512, 150);
            const auto matrix = PackedMatrix::pack(weights.tensor, isa);
            for (const std::size_t rows : {1, 7}) {
                const Rows x(*matrix, random_rows(rows, 512), isa);
                const std::vector<float> all = multiply(*matrix, x, rows);
                for (std::size_t begin = 0; begin < 150; begin += 16) {
                    for (const std::size_t length : {1, 16, 31, 48, 150}) {
                        const std::size_t end = std::min<std::size_t>(150, begin + length);
                        std::vector<float> out(rows * 150, 7.0f);
                        matrix->multiply(x.data(), x.stride, rows, begin, end, out.data(), 150, false);
                        for (std::size_t i = 0; i < out.size(); ++i) {
                            const bool written = i % 150 >= begin && i % 150 < end;
                            ASSERT_EQ(out[i], written ? all[i] : 7.0f) << begin << ".." << end << " at " << i;
                        }
                    }
                }
            }
        }
    }
}

TEST(PackedMatrix, GivesQuantisedWeightsTheSameBitsOnEveryInstructionSet) {
    for (const TensorType type : quantised_types) {
        const RandomMatrix weights(type, 3 * smallest_width(type), 40);
        const auto portable = PackedMatrix::pack(weights.tensor, Isa::portable);
        const Rows x(*portable, random_rows(7, portable->inputs()), Isa::portable);
        const std::vector<float> expected = multiply(*portable, x, 7);
        for (const Isa isa : isas()) {
            SCOPED_TRACE(describe(type, isa));
            const std::vector<float> out = multiply(*PackedMatrix::pack(weights.tensor, isa), x, 7);
            for (std::size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], expected[i]) << "at " << i;
        }
    }
}

#if defined(__x86_64__)
// A machine has one of the two; here both are run where it has the newer one.
TEST(PackedMatrix, GivesTheSameBitsOnAvx2WithAndWithoutVnni) {
    if (best_isa() < Isa::avx2 || !has_avx_vnni()) GTEST_SKIP() << "no AVX-VNNI here";
    for (const TensorType type : quantised_types) {
        SCOPED_TRACE(gguf::block_format(type).name);
        const Format format = *packed_format(type);
        const std::size_t inputs = 2 * smallest_width(type);
        std::vector<std::byte> weights(group_bytes(format, inputs));
        std::mt19937 random(3);
        for (std::byte& byte : weights) byte = static_cast<std::byte>(random() & 0x3F); // no f16 NaNs
        std::vector<ActivationBlock> x(inputs / 32 * 7);
        for (std::size_t r = 0; r < 7; ++r)
            quantise_row(random_rows(1, inputs, static_cast<unsigned>(r)),
                         reinterpret_cast<std::byte*>(x.data() + r * inputs / 32));
        std::vector<float> out[2];
        for (const bool vnni : {false, true}) {
            out[vnni].resize(7 * 16);
            quantised_kernel_avx2(format, vnni)({weights.data(), weights.size(), inputs, code_table(type),
                                                 reinterpret_cast<const std::byte*>(x.data()), inputs * 2, 7, 0, 16,
                                                 out[vnni].data(), 16, false});
        }
        ASSERT_EQ(out[0], out[1]);
    }
}
#endif

TEST(PackedMatrix, SurvivesTheLargestCodesAndActivations) {
    // All codes at their largest: 16-bit sums would overflow if a kernel added too many products.
    for (const TensorType type : {TensorType::q4_0, TensorType::q5_0, TensorType::q8_0, TensorType::q6_k, TensorType::iq4_nl}) {
        const gguf::BlockFormat& file = gguf::block_format(type);
        for (const int byte : {0x00, 0x7F, 0x80, 0xFF}) {
            RandomMatrix weights(type, 256, 16);
            for (std::size_t i = 0; i < weights.bytes.size(); ++i) {
                const std::size_t field = i % file.bytes;
                const bool scale = type == TensorType::q6_k ? field >= 192 : field < 2;
                if (!scale) weights.bytes[i] = static_cast<std::byte>(byte);
            }
            for (const Isa isa : isas()) {
                SCOPED_TRACE(describe(type, isa));
                const auto matrix = PackedMatrix::pack(weights.tensor, isa);
                for (const float sign : {1.0f, -1.0f}) {
                    const Rows x(*matrix, std::vector<float>(256, sign), isa);
                    expect_close(weights, x, 1, multiply(*matrix, x, 1), 1e-6);
                }
            }
        }
    }
}

TEST(PackedMatrix, AddsToWhatIsThereWhenAsked) {
    for (const Isa isa : isas()) {
        for (const TensorType type : {TensorType::q4_0, TensorType::q4_k, TensorType::bf16}) {
            SCOPED_TRACE(describe(type, isa));
            const RandomMatrix weights(type, 256, 20);
            const auto matrix = PackedMatrix::pack(weights.tensor, isa);
            const Rows x(*matrix, random_rows(9, 256), isa);
            const std::vector<float> product = multiply(*matrix, x, 9);
            std::vector<float> out(product.size(), 3.5f);
            matrix->multiply(x.data(), x.stride, 9, 0, 20, out.data(), 20, true);
            for (std::size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], 3.5f + product[i]);
        }
    }
}

TEST(QuantisedRow, IsWithinHalfAStepOfTheActivations) {
    const std::vector<float> x = random_rows(1, 576);
    std::vector<ActivationBlock> blocks(quantised_row_bytes(x.size()) / sizeof(ActivationBlock));
    quantise_row(x, reinterpret_cast<std::byte*>(blocks.data()));
    for (std::size_t i = 0; i < x.size(); ++i) {
        const ActivationBlock& block = blocks[i / 32];
        EXPECT_NEAR(static_cast<float>(block.values[i % 32]) * block.scale, x[i], block.scale * 0.5001f);
    }
}

TEST(QuantisedRow, IsTheSameOnEveryInstructionSet) {
    for (const std::size_t inputs : {32, 576, 45}) {
        std::vector<float> x = random_rows(1, inputs);
        x[3] = 0.0f;
        x[5] = -0.0f;
        std::vector<ActivationBlock> expected(quantised_row_bytes(inputs) / sizeof(ActivationBlock));
        quantise_row(x, reinterpret_cast<std::byte*>(expected.data()), Isa::portable);
        for (const Isa isa : isas()) {
            std::vector<ActivationBlock> blocks(expected.size());
            quantise_row(x, reinterpret_cast<std::byte*>(blocks.data()), isa);
            EXPECT_EQ(0, std::memcmp(blocks.data(), expected.data(), (inputs + 31) / 32 * sizeof(ActivationBlock)))
                << isa_name(isa);
        }
    }
}

TEST(QuantisedRow, TakesZerosAndTinyValues) {
    for (const Isa isa : isas()) {
        for (const float value : {0.0f, 1e-40f, 1e-30f}) {
            const std::vector<float> x(32, value);
            ActivationBlock block;
            quantise_row(x, reinterpret_cast<std::byte*>(&block), isa);
            EXPECT_NEAR(static_cast<float>(block.values[0]) * block.scale, value, 1e-30f);
            EXPECT_FALSE(std::isnan(block.scaled_sum));
        }
    }
}

} // namespace
} // namespace lucebox::compute::cpu
