// Norms, the choice of rows and of the best token on the GPU, against the CPU; and memory as Device promises it.
#include "cuda_support.h"

#include <algorithm>
#include <array>
#include <limits>

namespace lucebox::compute::testing {
namespace {

class CudaRows : public ::testing::Test {
protected:
    void SetUp() override {
        if (!gpu_is_here()) GTEST_SKIP() << "skipped: no GPU";
        for (const auto& options : {DeviceOptions{DeviceChoice::cpu, 2, true, 0}, DeviceOptions{DeviceChoice::cuda, 0, false, 0}}) {
            devices.push_back(must_make(options));
            ASSERT_TRUE(devices.back()->prepare(256, 512));
        }
    }

    // What `operation` computes on the CPU and on the GPU.
    template <class Operation> std::array<std::vector<float>, 2> both(Operation operation) {
        std::array<std::vector<float>, 2> results;
        for (std::size_t i = 0; i < 2; ++i) results[i] = operation(*devices[i]);
        EXPECT_TRUE(devices[1]->failure());
        return results;
    }

    std::vector<std::unique_ptr<Device>> devices;
    std::mt19937 random{3};
};

TEST_F(CudaRows, NormsAgree) {
    for (const std::size_t width : {16, 576, 640, 1024, 5120, 5376}) {
        for (const std::size_t rows : {1, 5, 64, 200}) {
            const auto x = random_values(rows * width, random, 3), weight = random_values(width, random), old = random_values(rows * width, random);
            const StepPlan plan = plan_of(0, chain(rows), 0, true);
            for (const bool add : {false, true}) {
                const auto [expected, got] = both([&](Device& device) {
                    const std::size_t padded = device.padded_rows(rows);
                    Held in(device, padded, width), out(device, padded, width);
                    const Vector norm = vector_of(device, weight);
                    in.set(x);
                    out.set(old);
                    device.begin_step(plan);
                    if (add) device.add_rms_norm(in.tensor(), norm, 1e-6f, out.tensor());
                    else device.rms_norm(in.tensor(), norm, 1e-6f, out.tensor());
                    device.end_step();
                    return out.get(rows);
                });
                EXPECT_LT(difference(got, expected), 1e-5) << rows << " rows of " << width << (add ? ", added" : "");
            }
        }
    }
}

TEST_F(CudaRows, OutputsAreGathered) {
    const std::size_t rows = 30, width = 96;
    const auto x = random_values(rows * width, random);
    StepPlan plan = plan_of(0, chain(rows), 0, true);
    plan.outputs = {0, 7, 8, 29, 12};
    std::ranges::sort(plan.outputs);
    const auto [expected, got] = both([&](Device& device) {
        Held in(device, device.padded_rows(rows), width), out(device, device.padded_rows(plan.outputs.size()), width);
        in.set(x);
        device.begin_step(plan);
        device.gather_outputs(in.tensor(), out.tensor());
        device.end_step();
        return out.get(plan.outputs.size());
    });
    EXPECT_EQ(got, expected);
}

TEST_F(CudaRows, TheBestTokenIsTheLowestOfTheLargest) {
    const std::size_t rows = 16, width = 50001;
    auto logits = random_values(rows * width, random);
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const auto at = [&](std::size_t row, std::size_t column) -> float& { return logits[row * width + column]; };
    at(0, 49999) = at(0, 123) = at(0, 17000) = 99;
    at(1, 50000) = 99;
    at(2, 5) = nan;
    std::fill_n(logits.begin() + 3 * width, width, nan);
    std::fill_n(logits.begin() + 4 * width, width, -infinity);
    std::fill_n(logits.begin() + 5 * width, width, -1.0f);
    at(6, 77) = infinity;
    const StepPlan plan = plan_of(0, chain(rows), 0, true);
    const auto [expected, got] = both([&](Device& device) {
        Held in(device, rows, width), ids(device, rows, 1);
        in.set(logits);
        device.begin_step(plan);
        device.best_tokens(in.tensor(), reinterpret_cast<std::int32_t*>(ids.data()));
        device.end_step();
        return ids.get(rows); // bits of integers
    });
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), rows * 4), 0);
    std::int32_t first = 0;
    std::memcpy(&first, got.data(), 4);
    EXPECT_EQ(first, 123);
}

TEST_F(CudaRows, TheBestFewAgreeWithTheirLogProbabilities) {
    for (const std::size_t width : {5, 288, 50001, 262144}) {
        const std::size_t rows = 8, count = std::min<std::size_t>(width, 16);
        auto logits = random_values(rows * width, random, 4);
        for (std::size_t i = 0; i < rows * width; i += 3) logits[i] = std::round(logits[i]); // ties
        logits[1] = std::numeric_limits<float>::quiet_NaN();
        const StepPlan plan = plan_of(0, chain(rows), 0, true);
        std::array<std::vector<float>, 2> logprobs;
        const auto [expected, got] = both([&](Device& device) {
            Held in(device, rows, width), ids(device, rows, count), probabilities(device, rows, count);
            in.set(logits);
            device.begin_step(plan);
            device.top_k(in.tensor(), count, reinterpret_cast<std::int32_t*>(ids.data()), probabilities.tensor().data);
            device.end_step();
            logprobs[&device == devices[1].get()] = probabilities.get(rows);
            return ids.get(rows); // bits of integers
        });
        EXPECT_EQ(std::memcmp(got.data(), expected.data(), rows * count * 4), 0) << width;
        for (std::size_t i = 0; i < rows * count; ++i) {
            if (std::isfinite(logprobs[0][i])) EXPECT_NEAR(logprobs[1][i], logprobs[0][i], 1e-4) << width;
            else EXPECT_EQ(logprobs[1][i], logprobs[0][i]) << width;
        }
    }
}

TEST_F(CudaRows, ColumnsAreStoredBesideOthers) {
    const auto x = random_values(4 * 8, random), old = random_values(4 * 20, random);
    const StepPlan plan = plan_of(0, chain(4), 0, true);
    const auto [expected, got] = both([&](Device& device) {
        Held in(device, 4, 8), out(device, 4, 20);
        in.set(x);
        out.set(old);
        device.begin_step(plan);
        device.store_columns(in.tensor(), out.tensor(), 4);
        device.end_step();
        return out.get(4);
    });
    EXPECT_EQ(got, expected);
}

TEST_F(CudaRows, MemoryIsZeroedCopiedAndReadBack) {
    Device& gpu = *devices[1];
    Held a(gpu, 100, 1000), b(gpu, 100, 1000);
    EXPECT_EQ(a.get(100), std::vector<float>(100000));
    const auto values = random_values(100000, random);
    a.set(values);
    gpu.copy(b.data(), a.data(), 400000);
    EXPECT_EQ(b.get(100), values);
    gpu.zero(b.data() + 4, 8);
    auto expected = values;
    expected[1] = expected[2] = 0;
    EXPECT_EQ(b.get(100), expected);
}

TEST_F(CudaRows, MemoryThatIsNotThereIsAnErrorAndNothingMore) {
    Device& gpu = *devices[1];
    const auto buffer = gpu.allocate(std::size_t{1} << 45);
    ASSERT_FALSE(buffer);
    EXPECT_EQ(buffer.error().kind, ErrorKind::out_of_memory);
    EXPECT_TRUE(gpu.failure());
    Held still(gpu, 10, 10);
    EXPECT_EQ(still.get(10), std::vector<float>(100));
}

} // namespace
} // namespace lucebox::compute::testing
