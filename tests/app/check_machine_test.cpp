// lucebox check without a file: machines that are ready, and those that are not, with the way out.
#include "app/serving/check_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox::app {
namespace {

using ::testing::HasSubstr;

MachineFacts with_card(std::string name, std::string capability, std::uint64_t mib, std::string driver) {
    MachineFacts facts{.gpu_build = true, .gpu_problem = {}, .seen = {}, .cpu = "CPU, 8 threads", .ram_bytes = std::uint64_t{64} << 30, .free_disk_bytes = std::uint64_t{1} << 40, .models_folder = "/models", .models = 1};
    hub::Gpu gpu;
    gpu.vendor = "nvidia";
    gpu.name = std::move(name);
    gpu.capability = std::move(capability);
    gpu.vram_mib = mib;
    facts.seen = {{gpu}, std::move(driver)};
    return facts;
}

MachineRow row_of(const MachineFacts& facts, std::string_view name) {
    for (MachineRow& row : check_machine(facts)) {
        if (row.name == name) return row;
    }
    return {"absent", Verdict::ok, "", ""};
}

TEST(CheckMachine, AHealthyOneIsReady) {
    const auto rows = check_machine(with_card("NVIDIA GeForce RTX 3090", "8.6", 24564, "580.65.06"));
    for (const MachineRow& row : rows) EXPECT_EQ(row.verdict, Verdict::ok) << row.name << ": " << row.text;
    EXPECT_EQ(row_of(with_card("NVIDIA GeForce RTX 3090", "8.6", 24564, "580.65.06"), "gpu").text, "NVIDIA GeForce RTX 3090 × 1, sm_86, 24 GB");
}

TEST(CheckMachine, WithoutAGpuAGpuBuildIsNotReadyUnlessTheCpuWasChosen) {
    MachineFacts facts = with_card("", "", 0, "");
    facts.seen = {};
    facts.gpu_problem = "no NVIDIA driver was found";
    const MachineRow row = row_of(facts, "gpu");
    EXPECT_EQ(row.verdict, Verdict::fail);
    EXPECT_THAT(row.hint, HasSubstr("--gpus all"));
    EXPECT_THAT(row.hint, HasSubstr("LUCEBOX_DEVICE=cpu"));
    facts.gpu_wanted = false;
    EXPECT_EQ(row_of(facts, "gpu").verdict, Verdict::ok);
    facts.gpu_wanted = true, facts.gpu_build = false;
    EXPECT_EQ(row_of(facts, "gpu").verdict, Verdict::ok);
}

TEST(CheckMachine, DriversAndCardsOfOtherTimes) {
    EXPECT_EQ(row_of(with_card("A", "8.6", 24564, "515.43.04"), "driver").verdict, Verdict::fail);
    EXPECT_EQ(row_of(with_card("A", "8.6", 24564, "535.10"), "driver").verdict, Verdict::warn);
    EXPECT_EQ(row_of(with_card("NVIDIA GeForce RTX 5090", "12.0", 32607, "565.57"), "driver").verdict, Verdict::fail);
    EXPECT_EQ(row_of(with_card("A", "8.6", 24564, ""), "driver").verdict, Verdict::warn);
    const MachineRow old = row_of(with_card("Tesla V100", "7.0", 16384, "580.1"), "gpu");
    EXPECT_EQ(old.verdict, Verdict::fail);
    EXPECT_THAT(old.text, HasSubstr("older than the oldest card supported (sm_75)"));
    MachineFacts broken = with_card("A", "8.6", 24564, "580.1");
    broken.gpu_problem = "out of memory";
    EXPECT_EQ(row_of(broken, "gpu").verdict, Verdict::fail);
}

TEST(CheckMachine, MemoryByTheLabelOfTheCard) {
    EXPECT_EQ(row_of(with_card("A", "8.6", 24564, "580.1"), "vram").name, "absent");
    EXPECT_THAT(row_of(with_card("A", "8.6", 16376, "580.1"), "vram").text, HasSubstr("16 GB: a 27B model does not fit"));
    EXPECT_THAT(row_of(with_card("A", "8.6", 12009, "580.1"), "vram").text, HasSubstr("12 GB"));
    EXPECT_THAT(row_of(with_card("A", "8.6", 8188, "580.1"), "vram").text, HasSubstr("only small models"));
}

TEST(CheckMachine, LittleMemoryLittleDiskAndNoModelAreSaid) {
    MachineFacts facts = with_card("A", "8.6", 24564, "580.1");
    facts.ram_bytes = std::uint64_t{8} << 30, facts.models = 0, facts.free_disk_bytes = 5'000'000'000;
    EXPECT_EQ(row_of(facts, "ram").verdict, Verdict::warn);
    EXPECT_EQ(row_of(facts, "disk").verdict, Verdict::warn);
    EXPECT_THAT(row_of(facts, "models").hint, HasSubstr("lucebox models download"));
}

} // namespace
} // namespace lucebox::app
