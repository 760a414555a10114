// What a device says of rows of logits: the promise of Device::summarise, on the CPU and on the GPU.
#include "summary_cases.h"

#include "compute/cpu/cpu_device.h"
#include "cuda_support.h"

namespace lucebox::compute::testing {
namespace {

constexpr std::size_t widths[] = {1, 17, 300, 2048, 50001, 151936};

TEST(Summarise, TellsTheBestTheMassesAndAHeadOfTheCandidates) {
    const auto device = cpu::make_device({.threads = 2, .reference = false});
    check_summaries(*device, widths);
}

TEST(CudaSummarise, TellsTheBestTheMassesAndAHeadOfTheCandidates) {
    if (!gpu_is_here()) GTEST_SKIP() << "skipped: no GPU";
    const auto device = must_make({DeviceChoice::cuda, 0, false, 0});
    ASSERT_TRUE(device->prepare(256, 512));
    check_summaries(*device, widths);
    EXPECT_TRUE(device->failure());
}

} // namespace
} // namespace lucebox::compute::testing
