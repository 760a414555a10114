// The row kernels of every instruction set against the plain ones, which compute in f64.
#include "compute/cpu/kv_layout.h"
#include "compute/cpu/row_kernels.h"
#include "gguf/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

namespace lucebox::compute::cpu {
namespace {

std::vector<Isa> isas() {
    std::vector<Isa> all = {Isa::portable};
    if (best_isa() >= Isa::avx2) all.push_back(Isa::avx2);
    if (best_isa() >= Isa::avx512) all.push_back(Isa::avx512);
    return all;
}

std::vector<float> random_values(std::size_t count, unsigned seed, float deviation = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, deviation);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
}

// Keys and values of `tokens` tokens as a cache has them, and queries that see different ranges of them.
class Heads {
public:
    Heads(DType type, std::size_t head_dim, std::size_t tokens) : type_(type), dim_(head_dim), tokens_(tokens) {
        const std::size_t blocks = (tokens + key_block - 1) / key_block;
        keys_.resize(blocks * key_block / key_group * key_group_bytes(type, dim_));
        values_.resize(blocks * key_block * value_bytes(type, dim_));
        const KvView view{keys_.data(), values_.data(), type, 1, tokens, 1, dim_};
        const KvLayout layout(view);
        const auto k = random_values(tokens * dim_, 1), v = random_values(tokens * dim_, 2);
        for (std::size_t token = 0; token < tokens; ++token) {
            layout.write_key(layout.keys(0, 0, token), token % key_group, k.data() + token * dim_, reference_kernels());
            layout.write_value(layout.value(0, 0, token), v.data() + token * dim_, reference_kernels());
        }
    }

    // The attention of each query (q: [count, head_dim]) to the tokens begin[i] .. end[i].
    std::vector<std::vector<float>> attend(const RowKernels& kernels, const std::vector<float>& q,
                                           const std::vector<std::size_t>& begin, const std::vector<std::size_t>& end) {
        std::vector<std::vector<float>> sums(begin.size(), std::vector<float>(padded_dim(dim_)));
        std::vector<QueryState> queries(begin.size());
        for (std::size_t i = 0; i < begin.size(); ++i) {
            queries[i] = {q.data() + i * dim_, sums[i].data(), -std::numeric_limits<float>::infinity(), 0, begin[i], end[i]};
        }
        for (std::size_t first = 0; first < tokens_; first += key_block) {
            KeyBlock block;
            block.first = first;
            for (std::size_t group = 0; group < key_block / key_group; ++group) {
                block.k[group] = keys_.data() + (first / key_group + group) * key_group_bytes(type_, dim_);
            }
            for (std::size_t key = 0; key < key_block; ++key) {
                block.v[key] = values_.data() + (first + key) * value_bytes(type_, dim_);
            }
            kernels.attend(queries.data(), queries.size(), block, type_, dim_, 0.2f);
        }
        for (std::size_t i = 0; i < begin.size(); ++i) {
            for (float& value : sums[i]) value /= queries[i].weight;
        }
        return sums;
    }

    std::span<const std::byte> keys() const { return keys_; }
    std::span<const std::byte> values() const { return values_; }

private:
    DType type_;
    std::size_t dim_, tokens_;
    std::vector<std::byte> keys_, values_;
};

TEST(RowKernels, AttendAsTheReferenceDoes) {
    const std::vector<std::size_t> begin = {0, 0, 70, 5, 0, 100, 63, 64}, end = {1, 150, 150, 64, 65, 101, 130, 128};
    for (const DType type : {DType::f16, DType::f32, DType::q8_0}) {
        for (const std::size_t dim : {std::size_t{64}, std::size_t{80}, std::size_t{256}, std::size_t{20}}) {
            Heads heads(type, dim, 150);
            const auto q = random_values(query_tile * dim, 3);
            const auto expected = heads.attend(reference_kernels(), q, begin, end);
            for (const Isa isa : isas()) {
                const auto got = heads.attend(row_kernels(isa), q, begin, end);
                for (std::size_t i = 0; i < begin.size(); ++i) {
                    for (std::size_t d = 0; d < dim; ++d) {
                        ASSERT_NEAR(got[i][d], expected[i][d], 2e-5) << isa_name(isa) << " head of " << dim << " query " << i;
                    }
                }
            }
        }
    }
}

TEST(RowKernels, GiveAQueryTheSameBitsBesideAnyOthers) {
    const std::vector<std::size_t> begin = {0, 0, 70, 5, 0, 100, 63, 64}, end = {1, 150, 150, 64, 65, 101, 130, 128};
    for (const DType type : {DType::f16, DType::f32, DType::q8_0}) {
        Heads heads(type, 80, 150);
        const auto q = random_values(query_tile * 80, 3);
        for (const Isa isa : isas()) {
            const auto together = heads.attend(row_kernels(isa), q, begin, end);
            for (std::size_t count = 1; count < query_tile; ++count) {
                for (std::size_t first = 0; first + count <= query_tile; first += count) {
                    const auto cut = [&](const auto& all, std::size_t unit) {
                        return std::vector(all.begin() + static_cast<std::ptrdiff_t>(first * unit),
                                           all.begin() + static_cast<std::ptrdiff_t>((first + count) * unit));
                    };
                    const auto apart = heads.attend(row_kernels(isa), cut(q, 80), cut(begin, 1), cut(end, 1));
                    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(apart[i], together[first + i]) << isa_name(isa);
                }
            }
        }
    }
}

// Prompts widen a block of keys once for many tiles of queries; decoding reads it as it is. Both must see the same numbers.
TEST(RowKernels, WidenToExactlyWhatTheReferenceReads) {
    for (const DType type : {DType::f16, DType::q8_0}) {
        for (const std::size_t dim : {std::size_t{64}, std::size_t{80}, std::size_t{20}}) {
            Heads heads(type, dim, key_group);
            std::vector<float> expected(key_group * dim), got(key_group * dim);
            reference_kernels().widen_keys(heads.keys().data(), type, dim, expected.data());
            for (const Isa isa : isas()) {
                row_kernels(isa).widen_keys(heads.keys().data(), type, dim, got.data());
                EXPECT_EQ(got, expected) << isa_name(isa) << " keys, head of " << dim;
            }
            std::vector<float> value(padded_dim(dim)), wanted(padded_dim(dim));
            reference_kernels().widen_value(heads.values().data(), type, dim, wanted.data());
            for (const Isa isa : isas()) {
                row_kernels(isa).widen_value(heads.values().data(), type, dim, value.data());
                EXPECT_EQ(value, wanted) << isa_name(isa) << " value, head of " << dim;
            }
        }
    }
}

TEST(KvLayout, QuantisesABlockToTheNearestOf255Steps) {
    const auto x = random_values(kv_block, 11, 3);
    std::int8_t codes[kv_block];
    const float scale = gguf::f16_to_f32(quantise_kv_block(x.data(), kv_block, codes));
    float largest = 0;
    for (const float value : x) largest = std::max(largest, std::fabs(value));
    EXPECT_NEAR(scale, largest / 127, largest / 127 / 2048);
    int most = 0;
    for (std::size_t i = 0; i < kv_block; ++i) {
        // Half a step, and what rounding the scale to f16 adds over 127 of them.
        EXPECT_LE(std::fabs(static_cast<float>(codes[i]) * scale - x[i]), scale * (0.5f + 127.0f / 2048));
        most = std::max(most, std::abs(codes[i]));
    }
    EXPECT_EQ(most, 127);
}

TEST(KvLayout, QuantisesZerosInfinitiesAndWhatIsNoNumberWithoutHarm) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    std::int8_t codes[4];
    const float zeros[4] = {};
    EXPECT_EQ(quantise_kv_block(zeros, 4, codes), 0);
    EXPECT_EQ(codes[0], 0);
    for (const float bad : {nan, infinity, -infinity, 1e30f}) {
        const float x[4] = {bad, 1, -2, 0};
        EXPECT_TRUE(std::isfinite(gguf::f16_to_f32(quantise_kv_block(x, 4, codes)))) << bad;
        for (const std::int8_t code : codes) EXPECT_GE(code, -127) << bad;
    }
}

// The machine's instructions are really used: a product is not rounded before it is added. This is what a build loses
// when it silently falls back to portable code, and with it most of its speed.
TEST(RowKernels, FuseProductsWhereTheInstructionSetDoes) {
    const float x = 1 + 0x1p-12f, square = x * x; // the exact square needs 25 bits
    for (const Isa isa : isas()) {
        std::vector<float> m = {-square, 0, 0, x, 0, 0, 0, 0, 0}; // [3, 3], first column used
        const std::vector<float> k = {1, x, 1}, zeros(3);
        row_kernels(isa).delta_rule(m.data(), zeros.data(), k.data(), zeros.data(), 1, 1, 3, nullptr);
        const float residue = -m[6]; // of M^T k
        EXPECT_EQ(residue, isa == Isa::portable ? 0 : std::fma(x, x, -square)) << isa_name(isa);
    }
}

TEST(RowKernels, Avx2AndAvx512GiveTheSameBits) {
    if (best_isa() < Isa::avx512) GTEST_SKIP() << "no AVX-512 here";
    const RowKernels &a = row_kernels(Isa::avx2), &b = row_kernels(Isa::avx512);
    const auto x = random_values(100, 4, 3), weight = random_values(100, 5);
    std::vector<float> first(100), second(100);
    a.rms_norm(x.data(), weight.data(), 1e-5f, 100, first.data());
    b.rms_norm(x.data(), weight.data(), 1e-5f, 100, second.data());
    EXPECT_EQ(first, second);
    for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
        first = second = x;
        a.gate(activation, weight.data(), 100, first.data());
        b.gate(activation, weight.data(), 100, second.data());
        EXPECT_EQ(first, second);
    }
    const auto q = random_values(3 * 64, 6);
    for (const DType type : {DType::f16, DType::q8_0}) {
        Heads heads(type, 64, 150);
        EXPECT_EQ(heads.attend(a, q, {0, 3, 90}, {150, 64, 100}), heads.attend(b, q, {0, 3, 90}, {150, 64, 100}));
    }
}

TEST(RowKernels, ReadEveryHalfPrecisionNumber) {
    // One key whose score is 0 and whose value is the number under test: the output is that number.
    for (const Isa isa : isas()) {
        for (std::uint32_t bits = 0; bits < 0x10000; bits += 7) {
            const float expected = gguf::f16_to_f32(static_cast<std::uint16_t>(bits));
            if (!std::isfinite(expected)) continue;
            std::vector<std::uint16_t> key(16 * key_group), value(16, static_cast<std::uint16_t>(bits));
            const std::vector<float> q(16);
            std::vector<float> sum(16);
            QueryState query{q.data(), sum.data(), -std::numeric_limits<float>::infinity(), 0, 0, 1};
            KeyBlock block{};
            block.k[0] = reinterpret_cast<const std::byte*>(key.data());
            block.v[0] = reinterpret_cast<const std::byte*>(value.data());
            row_kernels(isa).attend(&query, 1, block, DType::f16, 16, 1);
            ASSERT_EQ(sum[0], expected) << isa_name(isa) << " bits " << bits;
            ASSERT_EQ(sum[15], expected);
        }
    }
}

} // namespace
} // namespace lucebox::compute::cpu
