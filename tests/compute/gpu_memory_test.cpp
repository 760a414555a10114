// What a GPU's steps take, against numbers worked out by hand from a 27B model's shapes.
#include "compute/gpu_memory.h"

#include <gtest/gtest.h>

namespace lucebox::compute {
namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

StepShapes shapes_of_27b(std::size_t rows, std::size_t context) {
    StepShapes shapes;
    shapes.rows = rows;
    shapes.context = context;
    shapes.matrices = {{gguf::TensorType::q4_k, 5120, 17408}, {gguf::TensorType::q4_k, 17408, 5120}, {gguf::TensorType::q6_k, 5120, 248320}};
    shapes.attention = {{24, 256}};
    shapes.delta_nets = {{16, 48, 128}};
    return shapes;
}

TEST(GpuMemory, StepsArePaddedToFewSizes) {
    EXPECT_EQ(gpu_padded_rows(1), 1u);
    EXPECT_EQ(gpu_padded_rows(5), 8u);
    EXPECT_EQ(gpu_padded_rows(33), 48u);
    EXPECT_EQ(gpu_padded_rows(64), 64u);
    EXPECT_EQ(gpu_padded_rows(65), 128u);
    EXPECT_EQ(gpu_padded_rows(1024), 1024u);
}

TEST(GpuMemory, ActivationsCountByTheWidestInput) {
    StepShapes shapes = shapes_of_27b(1024, 1);
    const std::uint64_t before = gpu_step_bytes(shapes);
    shapes.matrices.push_back({gguf::TensorType::q4_k, 2 * 17408, 5120});
    EXPECT_EQ(gpu_step_bytes(shapes) - before, 4u * 1024 * 17408 * 2); // four operands of f16
}

TEST(GpuMemory, AMatrixOfStepsOfFewRowsNeedsRoomForThese) {
    StepShapes shapes = shapes_of_27b(2048, 1);
    const std::uint64_t before = gpu_step_bytes(shapes);
    shapes.matrices.push_back({gguf::TensorType::q4_k, 5 * 5120, 5120, 250}); // a draft's, which reads five layers
    EXPECT_EQ(gpu_step_bytes(shapes), before);
    shapes.matrices.back().inputs = 10 * 17408;
    EXPECT_EQ(gpu_step_bytes(shapes) - before, 4u * 2 * (256u * 10 * 17408 - 2048u * 17408)); // in padded steps
}

TEST(GpuMemory, AnUpProjectionThatIsPackedOtherwiseThanItsGateNeedsRoomForBoth) {
    StepShapes shapes = shapes_of_27b(1024, 1);
    const std::uint64_t before = gpu_step_bytes(shapes);
    shapes.matrices.push_back({gguf::TensorType::q4_k, 5120, 248320}); // embeddings that look like a head never meet it
    EXPECT_EQ(gpu_step_bytes(shapes), before);
    shapes.joined = 17408;
    EXPECT_EQ(gpu_step_bytes(shapes) - before, 2u * 1024 * 17408 * 4);
}

TEST(GpuMemory, AttentionGrowsWithTheLogarithmOfTheContext) {
    const auto at = [](std::size_t context) { return gpu_step_bytes(shapes_of_27b(1024, context)); };
    // 32 partitions more for every doubling, in each 64 rows of 24 heads of 256 sums and two numbers.
    constexpr std::uint64_t doubling = 32ull * 64 * 24 * (256 + 2) * 4;
    EXPECT_EQ(at(8192) - at(4096), doubling);
    EXPECT_EQ(at(131072) - at(65536), doubling);
}

TEST(GpuMemory, StatesOfTreesCountWhereThreeHeadsShareAKey) {
    StepShapes shapes = shapes_of_27b(1024, 4096);
    const std::uint64_t three = gpu_step_bytes(shapes);
    shapes.delta_nets = {{24, 48, 128}}; // two: only the chunks of prompts
    EXPECT_GT(three, gpu_step_bytes(shapes) + 100 * mib);
    const std::uint64_t chunks = gpu_step_bytes(shapes);
    shapes.delta_nets = {};
    EXPECT_NEAR(static_cast<double>(chunks - gpu_step_bytes(shapes)), 66.0 * mib, 1.0 * mib);
}

TEST(GpuMemory, SomeOfACardIsTheDrivers) {
    EXPECT_LT(gpu_usable_bytes(24ull << 30), 24ull << 30);
    EXPECT_GT(gpu_usable_bytes(24ull << 30), 23ull << 30);
    EXPECT_EQ(gpu_usable_bytes(100 * mib), 0u);
}

} // namespace
} // namespace lucebox::compute
