// Attention on the GPU: against the CPU's plain kernels over head sizes, windows, gates and trees, and against itself bit
// for bit, however rows come together.
#include "cuda_support.h"

#ifndef LUCEBOX_TESTED_GPU // the emulator's program has its own
#define LUCEBOX_TESTED_GPU() (gpu_is_here() ? must_make({DeviceChoice::cuda, 0, false, 0}) : nullptr)
#define LUCEBOX_LONG_TEXT 40'000 // where 64 rows take two passes
#endif

namespace lucebox::compute::testing {
namespace {

struct Shape {
    std::size_t heads, kv_heads, dim, rotated, window;
    bool gated, norms, adjacent;
    DType type = DType::f16;
};
void PrintTo(const Shape& shape, std::ostream* out) {
    *out << shape.heads << " / " << shape.kv_heads << " heads of " << shape.dim << ", " << dtype_name(shape.type);
}

constexpr std::size_t slots = 2, most_rows = 256;

// One device with a cache and the activations of a step.
class Side {
public:
    Side(std::unique_ptr<Device> device, const Shape& shape, std::size_t capacity, const Rope& rope, std::span<const float> q_norm,
         std::span<const float> k_norm)
        : device_(std::move(device)), shape_(shape), rope_(rope), q_norm_(vector_of(*device_, q_norm)),
          k_norm_(vector_of(*device_, k_norm)), q_(*device_, most_rows, query_width()), k_(*device_, most_rows, kv_width()),
          v_(*device_, most_rows, kv_width()), out_(*device_, most_rows, shape.heads * shape.dim) {
        view_.type = shape.type;
        view_.slots = slots;
        view_.capacity = capacity;
        view_.kv_heads = shape.kv_heads;
        view_.head_dim = shape.dim;
        const KvBytes bytes = device_->kv_bytes(view_);
        cache_k_ = std::make_unique<Held>(*device_, bytes.k / 4 + 1, 1);
        cache_v_ = std::make_unique<Held>(*device_, bytes.v / 4 + 1, 1);
        view_.k = cache_k_->data();
        view_.v = cache_v_->data();
        const Status status = device_->prepare(most_rows, capacity);
        if (!status) throw std::runtime_error(status.error().message);
    }

    std::size_t query_width() const { return shape_.heads * shape_.dim * (shape_.gated ? 2 : 1); }
    std::size_t kv_width() const { return shape_.kv_heads * shape_.dim; }
    const KvView& view() const { return view_; }
    Device& device() { return *device_; }

    std::vector<float> run(const StepPlan& plan, std::span<const float> q, std::span<const float> k, std::span<const float> v) {
        q_.set(q);
        const AttentionArgs args = args_of(plan, k, v);
        device_->begin_step(plan);
        device_->attention(args);
        device_->end_step();
        const auto out = out_.get(plan.size());
        EXPECT_TRUE(device_->failure()) << (device_->failure() ? "" : device_->failure().error().message);
        return out;
    }

    // Keys and values alone.
    void store(const StepPlan& plan, std::span<const float> k, std::span<const float> v) {
        const AttentionArgs args = args_of(plan, k, v);
        device_->begin_step(plan);
        device_->store_kv(args);
        device_->end_step();
    }

private:
    AttentionArgs args_of(const StepPlan& plan, std::span<const float> k, std::span<const float> v) {
        const std::size_t rows = device_->padded_rows(plan.size());
        k_.set(k);
        v_.set(v);
        const auto with_rows = [&](Tensor tensor) { return Tensor{tensor.data, rows, tensor.width}; };
        AttentionArgs args;
        args.q = with_rows(q_.tensor());
        args.k = with_rows(k_.tensor());
        args.v = with_rows(v_.tensor());
        args.out = with_rows(out_.tensor());
        args.heads = shape_.heads;
        args.q_norm = shape_.norms ? &q_norm_ : nullptr;
        args.k_norm = shape_.norms ? &k_norm_ : nullptr;
        args.epsilon = 1e-6f;
        args.rope = &rope_;
        args.scale = 1 / std::sqrt(static_cast<float>(shape_.dim));
        args.window = shape_.window;
        args.gated = shape_.gated;
        args.cache = view_;
        return args;
    }

    std::unique_ptr<Device> device_;
    Shape shape_;
    const Rope& rope_;
    Vector q_norm_, k_norm_;
    Held q_, k_, v_, out_;
    std::unique_ptr<Held> cache_k_, cache_v_;
    KvView view_;
};

class CudaAttention : public ::testing::TestWithParam<Shape> {
protected:
    void SetUp() override {
        auto tested = LUCEBOX_TESTED_GPU();
        if (!tested) GTEST_SKIP() << "skipped: no GPU";
        rope.dimensions = shape.rotated;
        rope.adjacent_pairs = shape.adjacent;
        for (std::size_t i = 0; i < shape.rotated / 2; ++i) {
            rope.frequency.push_back(std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(shape.rotated)));
        }
        const auto q_norm = random_values(shape.dim, random), k_norm = random_values(shape.dim, random);
        cpu = std::make_unique<Side>(must_make({DeviceChoice::cpu, 2, true, 0}), shape, capacity(), rope, q_norm, k_norm);
        gpu = std::make_unique<Side>(std::move(tested), shape, capacity(), rope, q_norm, k_norm);
    }

    virtual std::size_t capacity() const { return 1400; }

    struct Rows {
        std::vector<float> q, k, v;
    };
    Rows random_rows(std::size_t count) {
        return {random_values(count * gpu->query_width(), random, 2), random_values(count * gpu->kv_width(), random, 2),
                random_values(count * gpu->kv_width(), random)};
    }

    // Runs a step on both and compares.
    void expect_agree(const StepPlan& plan, const Rows& rows, const char* what) {
        const auto expected = cpu->run(plan, rows.q, rows.k, rows.v), got = gpu->run(plan, rows.q, rows.k, rows.v);
        EXPECT_LT(difference(got, expected), tolerance) << what << ", " << plan.size() << " rows behind "
                                                        << plan.sequences[0].committed;
    }

    // Part of some rows, as they would come alone.
    Rows slice(const Rows& rows, std::span<const std::int32_t> which) const {
        Rows part;
        const auto take = [&](const std::vector<float>& from, std::vector<float>& to, std::size_t width) {
            for (const std::int32_t row : which) {
                const auto at = from.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(row) * width);
                to.insert(to.end(), at, at + static_cast<std::ptrdiff_t>(width));
            }
        };
        take(rows.q, part.q, gpu->query_width());
        take(rows.k, part.k, gpu->kv_width());
        take(rows.v, part.v, gpu->kv_width());
        return part;
    }

    // A step behind `length` tokens of slot 0, and some of its rows' paths one by one behind the same text in slot 1.
    void expect_bits_of_plain_decoding(std::int32_t length, std::span<const std::int32_t> parents, std::size_t every) {
        const Rows rows = random_rows(parents.size());
        const auto together = gpu->run(plan_of(length, parents, 0), rows.q, rows.k, rows.v);
        for (std::size_t row = random() % every; row < parents.size(); row += 1 + random() % every) {
            std::vector<std::int32_t> path;
            for (auto at = static_cast<std::int32_t>(row); at >= 0; at = parents[static_cast<std::size_t>(at)]) path.insert(path.begin(), at);
            std::vector<float> alone;
            for (std::size_t i = 0; i < path.size(); ++i) {
                const Rows one = slice(rows, std::span(path).subspan(i, 1));
                alone = gpu->run(plan_of(length + static_cast<std::int32_t>(i), chain(1), 1, true), one.q, one.k, one.v);
            }
            const std::size_t width = shape.heads * shape.dim;
            ASSERT_EQ(std::memcmp(alone.data(), together.data() + row * width, width * sizeof(float)), 0)
                << parents.size() << " rows behind " << length << ", row " << row << " behind row " << parents[row];
        }
    }

    // Queries, keys and weights are f16: 2^-11 each, scores of up to 30. Of q8_0, a value that rounds the other way, because it
    // was normed or rotated in another order, moves by a 127th of its block's largest.
    double tolerance = GetParam().type == DType::q8_0 ? 1e-2 : 4e-3;
    Shape shape = GetParam();
    Rope rope;
    std::mt19937 random{7};
    std::unique_ptr<Side> cpu, gpu;
};

TEST_P(CudaAttention, AgreesWithThePlainKernels) {
    std::int32_t length = 0;
    for (const std::size_t rows : {1, 3, 250, 64, 17, 256, 1}) { // prefill and small steps behind each other
        expect_agree(plan_of(length, chain(rows), 0, true), random_rows(rows), "path");
        length += static_cast<std::int32_t>(rows);
        if (rows > 64) continue;
        for (const std::size_t size : {std::size_t{2}, std::size_t{13}, std::size_t{64}}) {
            expect_agree(plan_of(length, random_tree(size, random)), random_rows(size), "tree");
        }
    }
}

TEST_P(CudaAttention, ARowOfAnyStepHasTheBitsOfPlainDecoding) {
    // Two slots with the same text: in one, steps of many rows; in the other, each row's path one by one.
    std::int32_t length = 0;
    for (const std::size_t grown : {50, 256, 200, 230}) {
        const Rows text = random_rows(grown);
        for (const std::int32_t slot : {0, 1}) gpu->run(plan_of(length, chain(grown), slot, true), text.q, text.k, text.v);
        length += static_cast<std::int32_t>(grown);
        for (const bool tree : {false, true}) {
            expect_bits_of_plain_decoding(length, tree ? random_tree(40, random) : chain(33), 4);
        }
    }
}

TEST_P(CudaAttention, MovedTokensAreWhereTheyShouldBe) {
    const Rows text = random_rows(80);
    const auto parents = random_tree(20, random);
    const Rows tree = random_rows(20);
    const std::vector<std::int32_t> kept{0, 3, 4, 9, 19};
    for (Side* side : {cpu.get(), gpu.get()}) {
        side->run(plan_of(0, chain(80), 1, true), text.q, text.k, text.v);
        side->run(plan_of(80, parents, 1), tree.q, tree.k, tree.v);
        side->device().move_tokens(side->view(), 1, 80, kept);
    }
    expect_agree(plan_of(85, chain(1), 1, true), random_rows(1), "behind moved tokens");
}

// Behind a text of partitions of every size.
class CudaLongAttention : public CudaAttention {
protected:
    std::size_t capacity() const override { return LUCEBOX_LONG_TEXT + 300; }
};

TEST_P(CudaLongAttention, AgreesAndHasTheBitsOfPlainDecoding) {
    std::int32_t length = 0;
    for (std::size_t rows = most_rows; length < LUCEBOX_LONG_TEXT; length += static_cast<std::int32_t>(rows)) {
        const Rows text = random_rows(rows);
        cpu->store(plan_of(length, chain(rows), 0, true), text.k, text.v);
        for (const std::int32_t slot : {0, 1}) gpu->store(plan_of(length, chain(rows), slot, true), text.k, text.v);
    }
    expect_agree(plan_of(length, chain(1)), random_rows(1), "path");
    expect_agree(plan_of(length, random_tree(5, random)), random_rows(5), "tree");
    for (const std::size_t rows : {3, 64}) {
        expect_bits_of_plain_decoding(length, chain(rows), 20);
        expect_bits_of_plain_decoding(length, random_tree(rows, random), 20);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaLongAttention,
                         ::testing::Values(Shape{6, 1, 256, 64, 0, true, true, false}, Shape{6, 1, 256, 64, 0, true, true, false, DType::q8_0},
                                           Shape{4, 2, 128, 128, 0, false, true, false, DType::q8_0},
                                           Shape{4, 2, 64, 64, 9000, false, true, false}));
INSTANTIATE_TEST_SUITE_P(Shapes, CudaAttention,
                         ::testing::Values(Shape{24, 4, 256, 64, 0, true, true, false}, Shape{9, 3, 64, 64, 0, false, false, true},
                                           Shape{4, 1, 256, 256, 16, false, true, false}, Shape{16, 8, 128, 128, 0, false, true, false},
                                           Shape{3, 3, 16, 8, 0, false, false, false}, Shape{8, 2, 80, 80, 100, true, false, true},
                                           Shape{40, 2, 32, 32, 0, false, false, false}));
INSTANTIATE_TEST_SUITE_P(RoundedKeys, CudaAttention,
                         ::testing::Values(Shape{24, 4, 256, 64, 0, true, true, false, DType::q8_0},
                                           Shape{9, 3, 64, 64, 0, false, false, true, DType::q8_0},
                                           Shape{4, 1, 256, 256, 16, false, true, false, DType::q8_0},
                                           Shape{16, 8, 128, 128, 0, false, true, false, DType::q8_0},
                                           Shape{3, 3, 16, 8, 0, false, false, false, DType::q8_0},
                                           Shape{8, 2, 80, 80, 100, true, false, true, DType::q8_0},
                                           Shape{8, 2, 208, 208, 0, false, false, false, DType::q8_0}));

} // namespace
} // namespace lucebox::compute::testing
