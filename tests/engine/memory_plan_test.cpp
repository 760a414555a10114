// The plan of a model's memory against what loading it really takes, and the longest context that fits.
#include "engine/memory_plan.h"

#include "compute/cpu/cpu_device.h"
#include "compute/gpu_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox::engine {
namespace {

gguf::ModelFile open_model(const std::string& folder) {
    auto file = gguf::ModelFile::open("tests/data/oracle/" + folder + "/model.gguf");
    if (!file) throw std::runtime_error(file.error().message);
    return std::move(*file);
}

MemoryPlanner planner(const gguf::ModelFile& file, const compute::Device* like, const model::RunnerOptions& options) {
    auto made = MemoryPlanner::create(file, like, options);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
}

class MemoryPlanTest : public ::testing::TestWithParam<const char*> {};

TEST_P(MemoryPlanTest, SaysWhatLoadingTakes) {
    const auto file = open_model(GetParam());
    const auto device = compute::cpu::make_device({.threads = 1, .reference = true});
    const model::RunnerOptions options{.context = 320, .sequences = 3, .rows = 96, .kv_type = {}};
    const auto plan = planner(file, device.get(), options).plan(options.context);
    const auto runner = model::Runner::load(file, *device, options);
    ASSERT_TRUE(plan);
    ASSERT_TRUE(runner);
    EXPECT_EQ(plan->weights, (*runner)->model().weight_bytes());
    EXPECT_EQ(plan->kv, (*runner)->cache().kv_bytes());
    EXPECT_EQ(plan->recurrent, (*runner)->cache().recurrent_bytes());
    EXPECT_EQ(plan->scratch, (*runner)->scratch_bytes());
    EXPECT_GT(plan->kv, 0u);
    EXPECT_EQ(plan->total(), plan->weights + plan->kv + plan->recurrent + plan->scratch);
}

TEST_P(MemoryPlanTest, CountsRoundedKeysAndValuesAsTheyAreAllocated) {
    const auto file = open_model(GetParam());
    const auto device = compute::cpu::make_device({.threads = 1, .reference = true});
    model::RunnerOptions options{.context = 320, .sequences = 3, .rows = 96, .kv_type = compute::DType::f16};
    const auto planned = planner(file, device.get(), options);
    const auto plain = planned.plan(options.context), rounded = planned.plan(options.context, 0, compute::DType::q8_0);
    options.kv_type = compute::DType::q8_0;
    const auto runner = model::Runner::load(file, *device, options);
    ASSERT_TRUE(plain && rounded && runner);
    EXPECT_EQ(rounded->kv, (*runner)->cache().kv_bytes());
    EXPECT_EQ(rounded->kv_type, compute::DType::q8_0);
    EXPECT_EQ(plain->kv_type, compute::DType::f16);
    EXPECT_LT(rounded->kv, plain->kv);
    EXPECT_EQ(rounded->total() - rounded->kv, plain->total() - plain->kv); // nothing else changes
}

TEST_P(MemoryPlanTest, TheLargestContextFitsAndTheNextDoesNot) {
    const auto file = open_model(GetParam());
    const auto planned = planner(file, nullptr, {.context = 1, .sequences = 2, .rows = 64, .kv_type = {}});
    const std::uint64_t budget = planned.plan(5000)->total();
    const auto largest = planned.largest_context(100000, budget);
    ASSERT_TRUE(largest);
    EXPECT_EQ(*largest, 5000u / 256 * 256);
    EXPECT_LE(planned.plan(*largest)->total(), budget);
    EXPECT_GT(planned.plan(*largest + 256)->total(), budget);
    EXPECT_EQ(*planned.largest_context(4000, budget), 4000u); // all that was wanted
    EXPECT_EQ(*planned.largest_context(4000, planned.plan(0)->total()), 0u);
}

TEST_P(MemoryPlanTest, ARefusalNamesWhatWouldFit) {
    const auto file = open_model(GetParam());
    const auto planned = planner(file, nullptr, {.context = 1, .sequences = 2, .rows = 64, .kv_type = {}});
    const auto plan = planned.plan(8192);
    EXPECT_TRUE(planned.check(*plan, plan->total()));
    const Status refused = planned.check(*plan, planned.plan(3000)->total());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::out_of_memory);
    EXPECT_THAT(refused.error().message, ::testing::HasSubstr("8192"));
    EXPECT_THAT(refused.error().hint, ::testing::HasSubstr("--context 2816"));
    const Status hopeless = planned.check(*plan, 1000);
    ASSERT_FALSE(hopeless);
    EXPECT_THAT(hopeless.error().hint, ::testing::HasSubstr("--sequences"));
}

TEST_P(MemoryPlanTest, OfACardThatIsNotHereCountsWhatItsStepsTake) {
    const auto file = open_model(GetParam());
    const auto planned = planner(file, nullptr, {.context = 1, .sequences = 2, .rows = 64, .kv_type = {}});
    const auto number = [&](const char* key) {
        return static_cast<std::size_t>(**file.get_unsigned(**file.get_string("general.architecture") + "." + key));
    };
    const std::size_t heads = number("attention.head_count");
    compute::StepShapes shapes;
    shapes.rows = 64;
    shapes.attention = {{heads, number("attention.key_length")}};
    const auto at = [&](std::size_t context) {
        shapes.context = context + compute::max_tree_rows;
        return compute::gpu_step_bytes(shapes);
    };
    // What grows with the context is attention's; the rest is the same at both.
    EXPECT_GT(at(40000), at(256));
    EXPECT_EQ(planned.plan(40000)->scratch - planned.plan(256)->scratch, at(40000) - at(256));
    EXPECT_GT(planned.plan(256)->scratch, at(256)); // and has operands
}

INSTANTIATE_TEST_SUITE_P(Models, MemoryPlanTest, ::testing::Values("llama", "gemma3", "qwen35"));

TEST(MemoryPlanOfADraft, SaysWhatLoadingItTakes) {
    const auto file = open_model("dflash-qwen35");
    const auto draft_file = model::DflashFile::open("tests/data/oracle/dflash-qwen35/draft.gguf");
    ASSERT_TRUE(draft_file);
    const auto device = compute::cpu::make_device({.threads = 1, .reference = true});
    const model::RunnerOptions options{.context = 320, .sequences = 3, .rows = 96, .kv_type = {}};
    const auto planned = MemoryPlanner::create(file, device.get(), options, &*draft_file);
    ASSERT_TRUE(planned);
    const auto plan = planned->plan(options.context);
    const auto runner = model::Runner::load(file, *device, options);
    ASSERT_TRUE(plan && runner);
    const auto draft = model::DraftRunner::load(*draft_file, *device, **runner);
    ASSERT_TRUE(draft);
    EXPECT_EQ(planned->plan(options.context, 0, compute::DType::q8_0)->draft, plan->draft); // a draft's own are not rounded
    EXPECT_EQ(plan->draft, (*draft)->draft().weight_bytes() + (*draft)->cache().kv_bytes() + (*draft)->scratch_bytes());
    EXPECT_EQ(plan->scratch, (*runner)->scratch_bytes()); // with the features that it keeps for the draft
    EXPECT_GT(plan->draft, 0u);
}

TEST(MemoryTable, ShowsPartsSumAndBudget) {
    MemoryPlan plan;
    plan.weights = 3ull << 30;
    plan.kv = 1ull << 30;
    plan.context = 4096;
    plan.sequences = 1;
    EXPECT_EQ(plan.table(6ull << 30), "memory in GiB, 1 sequence of 4096 tokens\n"
                                      "  weights              3.00\n"
                                      "  keys and values      1.00  f16\n"
                                      "  total                4.00 of 6.00\n");
}

TEST(UsableCardBytes, LeavesRoomForTheDriver) {
    EXPECT_LT(usable_card_bytes(24), 24ull << 30);
    EXPECT_GT(usable_card_bytes(24), 22ull << 30);
    EXPECT_EQ(usable_card_bytes(0), 0u);
}

} // namespace
} // namespace lucebox::engine
