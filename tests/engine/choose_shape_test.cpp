// What a server gets where nobody said: the wish, the model's limit, and what fits; what was asked for is never changed.
#include "engine/choose_shape.h"

#include "compute/cpu/cpu_device.h"
#include "engine/engine.h"
#include "engine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

Wish wish_for(std::size_t context, std::size_t sequences, std::string why) {
    Wish wish;
    wish.context = context;
    wish.sequences = sequences;
    wish.why = std::move(why);
    return wish;
}

// Keys and values are asked for in f16, so that only the others give way.
class ChooseShape : public ::testing::Test {
protected:
    gguf::ModelFile file = std::move(*gguf::ModelFile::open("tests/data/oracle/llama/model.gguf")); // trained for 4096 tokens
    MemoryPlanner planner = std::move(*MemoryPlanner::create(file, nullptr, {.context = 1, .sequences = 4, .rows = 64, .kv_type = compute::DType::f16}));
    const Wish wish = wish_for(3000, 0, "cards of 24 GB");

    std::uint64_t bytes(std::size_t context, std::size_t sequences) { return planner.plan(context, sequences)->total(); }
    Shape fitted(Asked asked, std::uint64_t available, std::uint64_t spare = 0) {
        asked.kv_type = compute::DType::f16;
        auto shape = fitting_shape(planner, asked, wanted_shape(asked, wish, planner.trained_context()), {available, spare});
        if (!shape) throw std::runtime_error(shape.error().message);
        return *shape;
    }
};

TEST_F(ChooseShape, TheWishIsTakenWhereNobodyAskedAndTheModelAllows) {
    const Shape open = wanted_shape({}, wish, 4096);
    EXPECT_EQ(open.context, 3000u);
    EXPECT_EQ(open.choices[0].why, "cards of 24 GB");
    const Shape asked = wanted_shape({.context = 100, .sequences = 2}, wish, 4096);
    EXPECT_EQ(asked.context, 100u);
    EXPECT_EQ(asked.sequences, 2u);
    EXPECT_EQ(asked.choices[0].why, "asked for");
    EXPECT_EQ(asked.choices[1].why, "asked for");
    const Shape trained = wanted_shape({}, wish, 2048);
    EXPECT_EQ(trained.context, 2048u);
    EXPECT_THAT(trained.choices[0].why, AllOf(HasSubstr("trained for"), HasSubstr("3000")));
    EXPECT_EQ(wanted_shape({}, {}, 100'000).context, default_context);
    EXPECT_EQ(wanted_shape({}, {}, 100'000).sequences, default_sequences);
}

TEST_F(ChooseShape, SequencesGiveWayBeforeContextDoes) {
    EXPECT_EQ(fitted({}, bytes(3000, 4)).sequences, 4u);
    const Shape fewer = fitted({}, bytes(3000, 4) - 1);
    EXPECT_EQ(fewer.sequences, 2u);
    EXPECT_EQ(fewer.context, 3000u);
    EXPECT_THAT(fewer.choices[1].why, AllOf(StartsWith("4 of 3000 tokens would take"), HasSubstr("can be used")));
    const Shape shorter = fitted({}, bytes(3000, 1) - 1);
    EXPECT_EQ(shorter.sequences, 1u);
    EXPECT_EQ(shorter.context, 3000u / 256 * 256);
    EXPECT_THAT(shorter.choices[0].why, StartsWith("the most that fits"));
}

TEST_F(ChooseShape, WhatWasAskedForIsKeptOrRefused) {
    EXPECT_EQ(fitted({.context = 0, .sequences = 4}, bytes(2000, 4)).sequences, 4u); // only the context shrinks
    EXPECT_EQ(fitted({.context = 0, .sequences = 4}, bytes(2000, 4)).context, 2000u / 256 * 256);
    EXPECT_EQ(fitted({.context = 3000, .sequences = 0}, bytes(3000, 1)).context, 3000u);
    for (const Asked& asked : {Asked{3000, 0, compute::DType::f16}, Asked{3000, 1, compute::DType::f16}}) {
        const auto refused = fitting_shape(planner, asked, wanted_shape(asked, wish, 4096), {bytes(3000, 1) - 1, 0});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::out_of_memory);
    }
    const auto hopeless = fitting_shape(planner, {0, 0, compute::DType::f16}, wanted_shape({}, wish, 4096), {bytes(512, 1), 0});
    ASSERT_FALSE(hopeless);
    EXPECT_EQ(hopeless.error().kind, ErrorKind::out_of_memory);
}

TEST_F(ChooseShape, SomeMemoryStaysFreeUnlessItWasAskedFor) {
    const std::uint64_t all = bytes(3000, 4);
    EXPECT_EQ(fitted({}, all, 1).sequences, 2u);
    EXPECT_EQ(fitted({.context = 3000, .sequences = 4}, all, 1).sequences, 4u);
    EXPECT_EQ(fitted({}, 0, 1000).context, 3000u); // unknown memory
}

// On a device that keeps keys and values in q8_0.
class ChooseKvType : public ::testing::Test {
protected:
    gguf::ModelFile file = std::move(*gguf::ModelFile::open("tests/data/oracle/llama/model.gguf"));
    std::unique_ptr<compute::Device> device = compute::cpu::make_device({.threads = 1, .reference = true});
    const Wish wish = wish_for(3000, 0, "cards of 24 GB");

    MemoryPlanner planner(std::optional<compute::DType> type) {
        return std::move(*MemoryPlanner::create(file, device.get(), {.context = 1, .sequences = 4, .rows = 64, .kv_type = type}));
    }
    static std::uint64_t bytes(const MemoryPlanner& planner, std::size_t context, std::size_t sequences, compute::DType type) {
        return planner.plan(context, sequences, type)->total();
    }
};

TEST_F(ChooseKvType, KeysAreRoundedOnlyWhereTheContextWouldNotFitWithout) {
    const auto own = planner(compute::DType::f16); // as an open choice finds it with a model of quantised weights
    const auto f16 = compute::DType::f16, q8_0 = compute::DType::q8_0;
    const auto fitted = [&](const Asked& asked, std::uint64_t available, std::uint64_t spare = 0) {
        return *fitting_shape(own, asked, wanted_shape(asked, wish, 4096), {available, spare});
    };
    const Shape plain = fitted({}, bytes(own, 3000, 1, f16));
    EXPECT_EQ(plain.kv_type, f16);
    EXPECT_EQ(plain.sequences, 1u); // sequences give way first
    EXPECT_EQ(plain.choices[2].value, "f16");
    const Shape rounded = fitted({}, bytes(own, 3000, 1, f16) - 1);
    EXPECT_EQ(rounded.kv_type, q8_0);
    EXPECT_EQ(rounded.context, 3000u);
    EXPECT_EQ(rounded.choices[2].setting, "keys and values");
    EXPECT_EQ(rounded.choices[2].value, "q8_0");
    EXPECT_THAT(rounded.choices[2].why, AllOf(StartsWith("with f16, 1 of 3000 tokens would take"), HasSubstr("can be used")));
    const Shape shorter = fitted({}, bytes(own, 3000, 1, q8_0) - 1);
    EXPECT_EQ(shorter.kv_type, q8_0);
    EXPECT_EQ(shorter.context, 3000u / 256 * 256);
    EXPECT_EQ(fitted({}, bytes(own, 3000, 1, f16), 1).kv_type, q8_0);                                  // what stays free counts
    EXPECT_EQ(fitted({.context = 3000, .sequences = 4}, bytes(own, 3000, 4, f16) - 1).kv_type, q8_0); // rather than refuse
    EXPECT_EQ(fitted({.context = 3000, .sequences = 4}, bytes(own, 3000, 4, f16), 1).kv_type, f16);
    EXPECT_EQ(fitted({}, 0).kv_type, f16); // unknown memory
}

TEST_F(ChooseKvType, ATypeThatWasAskedForIsKept) {
    const auto f16 = planner(compute::DType::f16);
    const Asked asked{.context = 0, .sequences = 0, .kv_type = compute::DType::f16};
    const Shape shape = *fitting_shape(f16, asked, wanted_shape(asked, wish, 4096), {bytes(f16, 2000, 1, compute::DType::f16), 0});
    EXPECT_EQ(shape.kv_type, compute::DType::f16);
    EXPECT_EQ(shape.context, 2000u / 256 * 256);
    EXPECT_EQ(shape.choices[2].why, "asked for");
    const Asked all{.context = 3000, .sequences = 1, .kv_type = compute::DType::f16};
    const auto refused = fitting_shape(f16, all, wanted_shape(all, wish, 4096), {bytes(f16, 3000, 1, compute::DType::f16) - 1, 0});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().hint, HasSubstr("q8_0"));
}

TEST_F(ChooseKvType, TheEngineKeepsWhatItWasAskedFor) {
    Options options;
    options.model = "tests/data/oracle/llama/model.gguf";
    options.context = 256;
    options.sequences = 1;
    options.device = {compute::DeviceChoice::cpu, 1, false, 0};
    const auto plain = Engine::load(options);
    options.kv_type = compute::DType::q8_0;
    const auto rounded = Engine::load(options);
    ASSERT_TRUE(plain && rounded);
    EXPECT_EQ((*rounded)->model().kv_type, "q8_0");
    EXPECT_NE((*plain)->model().kv_type, "q8_0");
    EXPECT_LT((*rounded)->memory().kv, (*plain)->memory().kv);
    EXPECT_THAT((*rounded)->memory_table(), HasSubstr("q8_0"));
}

TEST_F(ChooseShape, TheEngineTakesTheWishAndTellsWhatItChose) {
    Options options;
    options.model = "tests/data/oracle/llama/model.gguf";
    options.context = options.sequences = 0;
    options.speculation = *decode::parse_speculation("auto");
    options.wish = [](std::string_view device, const compute::DeviceMemory& memory) {
        EXPECT_TRUE(device.starts_with("CPU"));
        EXPECT_GT(memory.total, 0u);
        Wish small = wish_for(700, 2, "a test");
        small.tree_budget = 16;
        small.choices = {{"tier", "small", "so"}};
        return small;
    };
    const auto engine = Engine::load(options);
    ASSERT_TRUE(engine) << engine.error().message;
    EXPECT_EQ((*engine)->model().context, 700u);
    EXPECT_EQ((*engine)->options().sequences, 2u);
    EXPECT_EQ((*engine)->options().speculation.budget, 16u);
    const auto& choices = (*engine)->model().choices;
    ASSERT_EQ(choices.size(), 5u);
    EXPECT_EQ(choices[0].setting, "tier");
    EXPECT_EQ(choices[1].setting + choices[1].value + choices[1].why, "context700a test");
    EXPECT_EQ(choices[3].setting, "keys and values");
    EXPECT_EQ(choices[4].setting, "guesses");
}

} // namespace
} // namespace lucebox::engine
