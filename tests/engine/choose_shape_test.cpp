// What a server gets where nobody said: the wish, the model's limit, and what fits; what was asked for is never changed.
#include "engine/choose_shape.h"

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

class ChooseShape : public ::testing::Test {
protected:
    gguf::ModelFile file = std::move(*gguf::ModelFile::open("tests/data/oracle/llama/model.gguf")); // trained for 4096 tokens
    MemoryPlanner planner = std::move(*MemoryPlanner::create(file, nullptr, {.context = 1, .sequences = 4, .rows = 64, .kv_type = {}}));
    const Wish wish = wish_for(3000, 0, "cards of 24 GB");

    std::uint64_t bytes(std::size_t context, std::size_t sequences) { return planner.plan(context, sequences)->total(); }
    Shape fitted(const Asked& asked, std::uint64_t available, std::uint64_t spare = 0) {
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
    for (const Asked& asked : {Asked{3000, 0}, Asked{3000, 1}}) {
        const auto refused = fitting_shape(planner, asked, wanted_shape(asked, wish, 4096), {bytes(3000, 1) - 1, 0});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::out_of_memory);
    }
    const auto hopeless = fitting_shape(planner, {}, wanted_shape({}, wish, 4096), {bytes(512, 1), 0});
    ASSERT_FALSE(hopeless);
    EXPECT_EQ(hopeless.error().kind, ErrorKind::out_of_memory);
}

TEST_F(ChooseShape, SomeMemoryStaysFreeUnlessItWasAskedFor) {
    const std::uint64_t all = bytes(3000, 4);
    EXPECT_EQ(fitted({}, all, 1).sequences, 2u);
    EXPECT_EQ(fitted({.context = 3000, .sequences = 4}, all, 1).sequences, 4u);
    EXPECT_EQ(fitted({}, 0, 1000).context, 3000u); // unknown memory
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
    ASSERT_EQ(choices.size(), 4u);
    EXPECT_EQ(choices[0].setting, "tier");
    EXPECT_EQ(choices[1].setting + choices[1].value + choices[1].why, "context700a test");
    EXPECT_EQ(choices[3].setting, "guesses");
}

} // namespace
} // namespace lucebox::engine
