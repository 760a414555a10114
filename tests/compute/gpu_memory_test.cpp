// What a GPU's steps take, against numbers worked out by hand from a 27B model's shapes.
#include "compute/gpu_memory.h"
#include "compute/cuda/attention/partition.h"

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

TEST(GpuMemory, AttentionGrowsWithPartitionsUntilStepsAreTakenInPasses) {
    const auto at = [](std::size_t context) { return gpu_step_bytes(shapes_of_27b(1024, context)); };
    constexpr std::uint64_t sum = 24 * (256 + 2) * 4; // of a row and a partition: 24 heads of 256, and two numbers
    // 64 rows: partitions of 128 tokens from 4,096 on, of 256 from 8,192 on.
    EXPECT_EQ(at(8192) - at(4096), 32 * 64 * sum);
    EXPECT_EQ(at(16384) - at(8192), 32 * 64 * sum);
    // 12,800 rows and partitions at once, whatever the context; 16 rows of 2,176 partitions are more.
    EXPECT_EQ(at(65536) - at(16384), (12800 - 128 * 64) * sum);
    EXPECT_EQ(at(131072), at(65536));
    EXPECT_EQ(at(1 << 20) - at(131072), (2176 * 16 - 12800) * sum);
}

TEST(GpuMemory, PartitionsFollowEachOtherAndEndAtKeyTiles) {
    int tokens = 0;
    for (int partition = 0, position = 0; position < 200'000; ++partition) {
        EXPECT_EQ(cuda::partition_begin(partition), position);
        const int end = cuda::partition_begin(partition + 1);
        EXPECT_EQ(cuda::partition_of(position), partition);
        EXPECT_EQ(cuda::partition_of(end - 1), partition);
        EXPECT_EQ((end - position) % 64, 0);
        EXPECT_GE(end - position, tokens); // never shorter than the one before
        tokens = end - position;
        position = end;
    }
}

TEST(GpuMemory, APassFitsWhatIsHeldForIt) {
    for (const std::size_t context : {1, 512, 8192, 20'000, 32'768, 65'536, 131'072, 1 << 20}) {
        const std::size_t rows = cuda::pass_rows_of_context(context);
        EXPECT_EQ(64 % rows, 0u) << context;
        for (const std::size_t longest : {std::size_t{1} << 20, std::size_t{1} << 17, context}) { // that was prepared for
            if (longest < context) continue;
            EXPECT_LE(rows * cuda::partitions_of_context(context), cuda::pass_partitions(1024, longest)) << context;
        }
    }
    EXPECT_EQ(cuda::pass_rows_of_context(32'768), 64u);
    EXPECT_EQ(cuda::pass_rows_of_context(131'072 + 64), 32u);
    EXPECT_EQ(cuda::pass_rows_of_context(1 << 20), 16u);
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
