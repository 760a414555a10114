// The operations that drafting adds to a device, against plain sorting and sums.
#include "compute/cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace lucebox::compute::cpu {
namespace {

class DraftOps : public ::testing::TestWithParam<bool> {
protected:
    std::unique_ptr<Device> device = make_device({.threads = 2, .reference = GetParam()});
    std::mt19937 random{7};

    std::vector<float> values(std::size_t count) {
        std::normal_distribution<float> normal(0, 4);
        std::vector<float> out(count);
        for (float& value : out) value = normal(random);
        return out;
    }
};

TEST_P(DraftOps, TopKIsTheHeadOfASortWithItsLogProbabilities) {
    for (const std::size_t width : {std::size_t{1}, std::size_t{17}, std::size_t{288}, std::size_t{49155}}) {
        const std::size_t rows = 3, count = std::min<std::size_t>(width, 8);
        std::vector<float> logits = values(rows * width);
        for (std::size_t i = 0; i < width; i += 5) logits[i] = std::round(logits[i]); // ties
        std::vector<std::int32_t> ids(rows * count);
        std::vector<float> logprobs(rows * count);
        device->top_k({logits.data(), rows, width}, count, ids.data(), logprobs.data());
        for (std::size_t row = 0; row < rows; ++row) {
            const float* x = logits.data() + row * width;
            std::vector<std::int32_t> order(width);
            std::iota(order.begin(), order.end(), 0);
            std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) { return x[a] > x[b]; });
            double total = 0;
            for (std::size_t i = 0; i < width; ++i) total += std::exp(double{x[i]});
            for (std::size_t i = 0; i < count; ++i) {
                EXPECT_EQ(ids[row * count + i], order[i]) << "row " << row << " rank " << i << " of " << width;
                EXPECT_NEAR(logprobs[row * count + i], x[order[i]] - std::log(total), 1e-4);
            }
        }
    }
}

TEST_P(DraftOps, TopKSurvivesValuesThatAreNoNumbers) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> logits{nan, 1, nan, 3, -std::numeric_limits<float>::infinity()};
    std::int32_t ids[3];
    float logprobs[3];
    device->top_k({logits.data(), 1, logits.size()}, 3, ids, logprobs);
    EXPECT_EQ(ids[0], 3);
    EXPECT_EQ(ids[1], 1);
    EXPECT_NEAR(logprobs[1], -2 - std::log1p(std::exp(-2.0)), 1e-4);
    EXPECT_EQ(logprobs[2], -std::numeric_limits<float>::infinity());
}

TEST_P(DraftOps, StoreColumnsLeavesTheOthersAlone) {
    std::vector<float> x = values(3 * 8), out(3 * 20, -1);
    device->store_columns({x.data(), 3, 8}, {out.data(), 3, 20}, 4);
    for (std::size_t row = 0; row < 3; ++row) {
        for (std::size_t column = 0; column < 20; ++column) {
            EXPECT_EQ(out[row * 20 + column], column >= 4 && column < 12 ? x[row * 8 + column - 4] : -1);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, DraftOps, ::testing::Bool(), [](const auto& instance) { return instance.param ? "reference" : "fast"; });

} // namespace
} // namespace lucebox::compute::cpu
