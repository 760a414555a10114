// What the container's start decides, on machines and builds that are not here.
#include "app/entry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace lucebox::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Entry, WordsAreTheServerAShellOrAProgram) {
    const auto plan = [](std::vector<const char*> words) { return plan_entry(words); };
    EXPECT_TRUE(plan({}).serve);
    EXPECT_THAT(plan({}).words, ElementsAre("serve"));
    EXPECT_THAT(plan({"--port", "9"}).words, ElementsAre("serve", "--port", "9"));
    EXPECT_TRUE(plan({"serve", "--port", "9"}).serve);
    EXPECT_FALSE(plan({"shell"}).serve);
    EXPECT_THAT(plan({"shell", "-c", "id"}).words, ElementsAre("/bin/sh", "-c", "id"));
    EXPECT_THAT(plan({"lucebox", "models"}).words, ElementsAre("lucebox", "models"));
    EXPECT_FALSE(plan({"nvidia-smi", "serve"}).serve);
}

TEST(Entry, AGpuBuildWithoutAGpuSaysWhyAndWhatToDoInThreeLines) {
    const Status refused = check_gpu_given({.gpu_build = true, .gpu_visible = false, .device = ""});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::unavailable); // which is the exit code 78 of a container
    const std::string text = refused.error().message + "\n" + refused.error().hint;
    EXPECT_EQ(std::ranges::count(text, '\n'), 2);
    EXPECT_THAT(text, HasSubstr("--gpus all"));
    EXPECT_THAT(text, HasSubstr("LUCEBOX_DEVICE=cpu"));
    for (const char* device : {"auto", "cuda"}) EXPECT_FALSE(check_gpu_given({.gpu_build = true, .gpu_visible = false, .device = device})) << device;
}

TEST(Entry, WhoAskedForTheCpuOrHasAGpuOrABuildWithoutIsServed) {
    EXPECT_TRUE(check_gpu_given({.gpu_build = true, .gpu_visible = false, .device = "cpu"}));
    EXPECT_TRUE(check_gpu_given({.gpu_build = true, .gpu_visible = true, .device = ""}));
    EXPECT_TRUE(check_gpu_given({.gpu_build = false, .gpu_visible = false, .device = ""}));
}

} // namespace
} // namespace lucebox::app
