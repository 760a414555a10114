// Running out of GPU memory: at whichever allocation it happens, loading ends with an error that says so, and nothing is lost.
#include "oracle.h"

namespace lucebox::model::testing {
namespace {

TEST(CudaMemory, EveryRefusedAllocationIsAnErrorAndTheNextLoadWorks) {
    LUCEBOX_NEEDS_GPU_IF(true);
    for (const char* folder : {"qwen35", "gemma3"}) {
        const auto file = Rig::must_open(oracle_path(folder) / "model.gguf");
        std::size_t refused = 0;
        for (std::size_t allocation = 1;; ++allocation) {
            auto device = compute::make_device({compute::DeviceChoice::cuda, 0, false, allocation});
            if (!device) {
                EXPECT_EQ(device.error().kind, ErrorKind::out_of_memory);
                ++refused;
                continue;
            }
            const auto runner = Runner::load(file, **device, {.context = 128, .sequences = 2, .rows = 64, .kv_type = {}});
            if (runner) break; // no allocation is left to refuse
            EXPECT_EQ(runner.error().kind, ErrorKind::out_of_memory) << runner.error().message;
            ++refused;
        }
        EXPECT_GT(refused, 30u) << folder;
    }
}

} // namespace
} // namespace lucebox::model::testing
