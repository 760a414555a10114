// DeltaNet on the GPU against the CPU's oracle, and its own promises bit for bit.
#ifdef LUCEBOX_CUDA

#include "cuda_delta_net.h"

#include <gtest/gtest.h>

#include <utility>

namespace lucebox::compute::cuda::testing {
namespace {

// The oracle: the CPU device's plain kernels.
class Oracle {
public:
    Oracle(const Shape& shape, const Weights& weights, std::size_t slots)
        : shape_(shape), weights_(weights), device_(cpu::make_device({.threads = 0, .reference = true})),
          state_(slots * shape.value_heads * shape.dim * shape.dim), conv_(slots * (shape.conv_width - 1) * shape.channels()),
          scratch_(slots * 64 * RecurrentView::scratch_width(shape.channels(), shape.value_heads)) {
        EXPECT_TRUE(device_->prepare(512, 512));
    }

    std::vector<float> run(const std::vector<Rows>& sequences, Inputs inputs) {
        const StepPlan plan = make_plan(sequences);
        std::vector<float> out(inputs.rows * shape_.value_width());
        const Vector conv = vector(weights_.conv), a = vector(weights_.a), dt_bias = vector(weights_.dt_bias), norm = vector(weights_.norm);
        DeltaNetArgs args;
        args.qkv = {inputs.qkv.data(), inputs.rows, shape_.channels()};
        args.z = {inputs.z.data(), inputs.rows, shape_.value_width()};
        args.alpha = {inputs.alpha.data(), inputs.rows, shape_.value_heads};
        args.beta = {inputs.beta.data(), inputs.rows, shape_.value_heads};
        args.out = {out.data(), inputs.rows, shape_.value_width()};
        args.conv = &conv;
        args.a = &a;
        args.dt_bias = &dt_bias;
        args.norm = &norm;
        args.epsilon = 1e-6f;
        args.key_heads = shape_.key_heads;
        args.value_heads = shape_.value_heads;
        args.dim = shape_.dim;
        args.conv_width = shape_.conv_width;
        args.cache = {state_.data(), conv_.data(), scratch_.data()};
        device_->begin_step(plan);
        device_->delta_net(args);
        device_->end_step();
        return out;
    }
    const std::vector<float>& state() const { return state_; }
    const std::vector<float>& conv() const { return conv_; }

private:
    Vector vector(const std::vector<float>& values) {
        Vector out;
        out.size = values.size();
        out.buffer = std::move(*device_->allocate(values.size() * sizeof(float)));
        std::memcpy(out.buffer->data(), values.data(), values.size() * sizeof(float));
        return out;
    }

    Shape shape_;
    Weights weights_;
    std::unique_ptr<Device> device_;
    std::vector<float> state_, conv_, scratch_;
};

// Largest difference, as a share of the largest value.
double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, largest = 1e-30;
    EXPECT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(std::abs(a[i] - b[i]) <= difference)) difference = std::abs(a[i] - b[i]); // NaN counts
        largest = std::max<double>(largest, std::abs(b[i]));
    }
    return difference / largest;
}

std::vector<std::int32_t> random_tree(std::size_t rows, std::mt19937& random) {
    std::vector<std::int32_t> parent;
    for (std::size_t i = 0; i < rows; ++i) {
        const bool deep = i > 0 && random() % 3 != 0;
        parent.push_back(deep ? static_cast<int>(i) - 1 : static_cast<int>(random() % (i + 1)) - 1);
    }
    return parent;
}

std::vector<std::int32_t> path(std::size_t rows) {
    std::vector<std::int32_t> parent;
    for (std::size_t i = 0; i < rows; ++i) parent.push_back(static_cast<int>(i) - 1);
    return parent;
}

std::vector<std::int32_t> path_to(const std::vector<std::int32_t>& parent, std::int32_t row) {
    std::vector<std::int32_t> rows;
    for (; row >= 0; row = parent[static_cast<std::size_t>(row)]) rows.push_back(row);
    std::ranges::reverse(rows);
    return rows;
}

class CudaDeltaNet : public ::testing::TestWithParam<std::tuple<Shape, bool>> {
protected:
    void SetUp() override {
        if (!has_gpu()) GTEST_SKIP() << "skipped: no GPU";
    }
    // What only reaches the output is rounded to f16 on the way, by 2^-11 each time: q, k, the product of both with the decay,
    // and what was written; or q and the state. No sum of four such errors is more than this share of its terms.
    static constexpr double output_rounding = 4.0 / 2048;
    Shape shape = std::get<0>(GetParam());
    bool without_cluster = std::get<1>(GetParam());
    std::mt19937 random{20261127};
};

TEST_P(CudaDeltaNet, AgreesWithTheOracleOverManySteps) {
    const Weights weights(shape, random);
    Layer layer(shape, weights, 2, 512);
    layer.without_cluster = without_cluster;
    Oracle oracle(shape, weights, 2);
    std::vector<Rows> sequences(2);
    sequences[1].slot = 1;
    for (int round = 0; round < 12; ++round) {
        std::size_t rows = 0;
        for (Rows& sequence : sequences) {
            const std::size_t count = round % 4 == 3 ? 1 : 1 + random() % 64;
            sequence.commit_now = round % 4 == 3 || random() % 4 == 0;
            sequence.parent = sequence.commit_now || random() % 3 == 0 ? path(count) : random_tree(count, random);
            rows += count;
        }
        const Inputs inputs(shape, rows, random);
        const auto expected = oracle.run(sequences, inputs), got = layer.run(sequences, inputs, round % 3);
        ASSERT_LT(distance(got, expected), 1e-4) << "round " << round;
        ASSERT_LT(distance(layer.state(), oracle.state()), 2e-5) << "round " << round;
        ASSERT_EQ(layer.conv(), oracle.conv()) << "round " << round;
        for (Rows& sequence : sequences) {
            sequence.pending.clear();
            const std::size_t count = sequence.parent.size();
            if (!sequence.commit_now) sequence.pending = path_to(sequence.parent, static_cast<int>(random() % (count + 1)) - 1);
            sequence.committed += static_cast<int>(sequence.commit_now ? count : sequence.pending.size());
        }
    }
}

TEST_P(CudaDeltaNet, ARowOfATreeHasTheBitsOfPlainDecoding) {
    const Weights weights(shape, random);
    for (const std::size_t size : {std::size_t{2}, std::size_t{17}, std::size_t{64}}) {
        Layer layer(shape, weights, 3, 512);
        layer.without_cluster = without_cluster;
        const Inputs before(shape, 5, random), rows(shape, size + 7, random);
        const std::vector<std::int32_t> tree = random_tree(size, random);
        layer.run({{0, path(5), true, {}, 0}}, before);
        // Beside another sequence of 7 rows, in front of it and behind it.
        std::vector<std::int32_t> order(size + 7);
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>((i + size) % (size + 7)); // others first
        const auto got = layer.run({{1, path(7), true, {}, 0}, {0, tree, false, {}, 5}}, Inputs(shape, rows, order));
        const std::size_t width = shape.value_width();
        for (std::size_t i = 0; i < size; i += 1 + random() % 5) {
            Layer plain(shape, weights, 1, 512);
            plain.without_cluster = without_cluster;
            plain.run({{0, path(5), true, {}, 0}}, before);
            std::vector<float> last;
            std::int32_t committed = 5;
            for (const std::int32_t row : path_to(tree, static_cast<int>(i))) {
                last = plain.run({{0, path(1), true, {}, committed++}}, Inputs(shape, rows, {row}));
            }
            const std::vector<float> ours(got.begin() + static_cast<std::ptrdiff_t>((7 + i) * width),
                                          got.begin() + static_cast<std::ptrdiff_t>((8 + i) * width));
            ASSERT_EQ(ours, last) << "row " << i << " of " << size;
        }
    }
}

TEST_P(CudaDeltaNet, AnAcceptedPathLeavesTheBitsOfPlainDecoding) {
    const Weights weights(shape, random);
    Layer guessed(shape, weights, 1, 512), plain(shape, weights, 1, 512);
    guessed.without_cluster = plain.without_cluster = without_cluster;
    std::vector<std::int32_t> pending;
    std::int32_t committed = 0;
    for (int round = 0; round < 10; ++round) {
        const std::size_t size = 1 + random() % 64;
        const Inputs inputs(shape, size, random);
        const std::vector<std::int32_t> tree = random_tree(size, random);
        guessed.run({{0, tree, false, pending, committed}}, inputs);
        pending = path_to(tree, static_cast<int>(random() % (size + 1)) - 1);
        for (const std::int32_t row : pending) {
            plain.run({{0, path(1), true, {}, committed++}}, Inputs(shape, inputs, {row}));
        }
        if (round % 3 != 2) continue;
        const Inputs one(shape, 1, random); // folds what is pending into the state
        const auto a = guessed.run({{0, path(1), true, pending, committed}}, one), b = plain.run({{0, path(1), true, {}, committed}}, one);
        ++committed;
        pending.clear();
        ASSERT_EQ(a, b) << "round " << round;
        ASSERT_EQ(guessed.state(), plain.state()) << "round " << round;
        ASSERT_EQ(guessed.conv(), plain.conv()) << "round " << round;
    }
}

TEST_P(CudaDeltaNet, PromptsAgreeWithTheOracle) {
    const Weights weights(shape, random);
    Layer layer(shape, weights, 2, 1024);
    layer.without_cluster = without_cluster;
    Oracle oracle(shape, weights, 2);
    // A prompt, another one behind it (from the middle of a chunk), then one behind accepted rows of a tree; beside a
    // sequence that decodes.
    std::vector<Rows> sequences(2);
    sequences[1].slot = 1;
    const std::size_t lengths[] = {200, 65, 1, 131};
    for (int round = 0; round < 4; ++round) {
        sequences[0].parent = round == 2 ? random_tree(40, random) : path(lengths[round]);
        sequences[0].commit_now = round != 2;
        sequences[1].parent = path(1);
        sequences[1].commit_now = true;
        const Inputs inputs(shape, sequences[0].parent.size() + 1, random);
        const auto expected = oracle.run(sequences, inputs), got = layer.run(sequences, inputs);
        ASSERT_LT(distance(got, expected), output_rounding) << "round " << round;
        ASSERT_LT(distance(layer.state(), oracle.state()), 5e-5) << "round " << round;
        ASSERT_EQ(layer.conv(), oracle.conv()) << "round " << round;
        sequences[0].pending.clear();
        if (round == 2) sequences[0].pending = path_to(sequences[0].parent, 39);
        sequences[0].committed += static_cast<int>(round == 2 ? sequences[0].pending.size() : sequences[0].parent.size());
        ++sequences[1].committed;
    }
}

TEST_P(CudaDeltaNet, PromptsGiveTheSameBitsHoweverTheyAreCut) {
    const Weights weights(shape, random);
    const std::size_t rows = 1000;
    const Inputs inputs(shape, rows, random);
    Layer whole(shape, weights, 1, 1024);
    whole.without_cluster = without_cluster;
    const auto expected = whole.run({{0, path(rows), true, {}, 0}}, inputs);
    for (const std::size_t piece : {std::size_t{128}, std::size_t{576}}) {
        Layer cut(shape, weights, 1, 1024);
        cut.without_cluster = without_cluster;
        std::vector<float> got;
        for (std::size_t begin = 0; begin < rows; begin += piece) {
            std::vector<std::int32_t> chosen;
            for (std::size_t i = begin; i < std::min(rows, begin + piece); ++i) chosen.push_back(static_cast<int>(i));
            const auto part = cut.run({{0, path(chosen.size()), true, {}, static_cast<int>(begin)}}, Inputs(shape, inputs, chosen));
            got.insert(got.end(), part.begin(), part.end());
        }
        ASSERT_EQ(got, expected) << piece;
        ASSERT_EQ(cut.state(), whole.state());
        ASSERT_EQ(cut.conv(), whole.conv());
    }
}

TEST_P(CudaDeltaNet, StrongDecayOverflowsNothing) {
    Weights weights(shape, random);
    for (float& x : weights.a) x = -40; // exp(G) is zero after a few rows, exp(-G) would be infinite
    Layer layer(shape, weights, 1, 1024);
    layer.without_cluster = without_cluster;
    Oracle oracle(shape, weights, 1);
    const Inputs inputs(shape, 150, random);
    const std::vector<Rows> rows{{0, path(150), true, {}, 0}};
    ASSERT_LT(distance(layer.run(rows, inputs), oracle.run(rows, inputs)), 1e-3);
    ASSERT_LT(distance(layer.state(), oracle.state()), 5e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CudaDeltaNet,
    ::testing::Combine(::testing::Values(Shape{2, 4, 16, 4}, Shape{2, 6, 16, 4}, Shape{2, 2, 32, 3}, Shape{1, 4, 64, 4}, Shape{2, 4, 48, 2},
                                         Shape{16, 48, 128, 4}, Shape{4, 8, 128, 4}, Shape{2, 10, 128, 4}, Shape{2, 2, 128, 4}),
                       ::testing::Bool()),
    [](const auto& instance) {
        const Shape& s = std::get<0>(instance.param);
        return "heads" + std::to_string(s.key_heads) + "_" + std::to_string(s.value_heads) + "_dim" + std::to_string(s.dim) + "_taps" +
               std::to_string(s.conv_width) + (std::get<1>(instance.param) ? "_two_kernels" : "");
    });

} // namespace
} // namespace lucebox::compute::cuda::testing

#endif
