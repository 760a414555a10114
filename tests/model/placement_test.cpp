// A model split over devices gives the bits that it gives on one.
#include "oracle.h"

namespace lucebox::model::testing {
namespace {

class PlacementTest : public ::testing::TestWithParam<const char*> {
protected:
    static constexpr RunnerOptions options{.context = 256, .sequences = 2, .rows = 64, .kv_type = {}};
    std::filesystem::path path = oracle_path(GetParam()) / "model.gguf";
    gguf::ModelFile file = Rig::must_open(path);
    std::unique_ptr<compute::Device> first = compute::cpu::make_device({.threads = 1, .reference = false});
    std::unique_ptr<compute::Device> second = compute::cpu::make_device({.threads = 2, .reference = false});
    std::vector<TokenId> tokens = must(read_npy_tokens(oracle_path(GetParam()) / "tokens.npy"));

    std::unique_ptr<Runner> load(const Placement& placement) {
        auto runner = Runner::load(file, placement, options);
        EXPECT_TRUE(runner) << (runner ? "" : runner.error().message);
        return runner ? std::move(*runner) : nullptr;
    }

    // Prompt, a tree, its accepted path, plain steps: logits and best token of all rows.
    std::vector<float> talk(Runner& runner) {
        std::vector<float> all;
        const SequenceId sequence = *runner.open();
        const auto step = [&](const std::vector<Row>& rows, Commit commit) {
            const Status status = runner.step(rows, commit);
            EXPECT_TRUE(status) << (status ? "" : status.error().message);
            for (std::size_t i = 0; i < runner.outputs(); ++i) {
                const auto logits = runner.logits(i);
                all.insert(all.end(), logits.begin(), logits.end());
                all.push_back(static_cast<float>(runner.best(i)));
            }
        };
        std::vector<Row> prompt, tree;
        for (std::int32_t i = 0; i < 20; ++i) prompt.push_back({sequence, tokens[static_cast<std::size_t>(i)], i - 1, true});
        for (std::int32_t i = 0; i < 9; ++i) tree.push_back({sequence, 40 + i, i == 0 ? -1 : (i - 1) / 2, true});
        step(prompt, Commit::all);
        step(tree, Commit::later);
        EXPECT_TRUE(runner.commit(sequence, std::vector<std::int32_t>{0, 2, 6}));
        for (std::int32_t i = 0; i < 3; ++i) step({{sequence, 60 + i, -1, true}}, Commit::all);
        return all;
    }
};

TEST_P(PlacementTest, TwoDevicesGiveTheBitsOfOne) {
    const auto whole = load(*first);
    ASSERT_TRUE(whole);
    const std::vector<float> expected = talk(*whole);
    const std::size_t layers = whole->model().layer_count();
    for (const std::size_t at : {std::size_t{0}, std::size_t{1}, layers - 1, layers}) {
        const auto split = load(Placement({first.get(), second.get()}, {0, at}));
        ASSERT_TRUE(split);
        EXPECT_EQ(talk(*split), expected) << "second device from layer " << at;
    }
}

TEST_P(PlacementTest, MoreDevicesThanTwoGiveThemToo) {
    const auto third = compute::cpu::make_device({.threads = 1, .reference = false});
    const auto whole = load(*first);
    const auto split = load(Placement({first.get(), second.get(), third.get()}, {0, 1, 2}));
    ASSERT_TRUE(whole && split);
    EXPECT_EQ(talk(*split), talk(*whole));
}

TEST_P(PlacementTest, ADraftIsRefusedWhereTheModelIsSplit) {
    const auto split = load(Placement({first.get(), second.get()}, {0, 1}));
    ASSERT_TRUE(split);
    const Status refused = split->capture({0});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::unsupported);
}

INSTANTIATE_TEST_SUITE_P(All, PlacementTest, ::testing::Values("llama", "qwen3-tied", "gemma3", "qwen35"),
                         [](const auto& instance) {
                             std::string name = instance.param;
                             std::ranges::replace(name, '-', '_');
                             return name;
                         });

TEST(Placement, TensorsGoWhereTheirLayerIs) {
    const auto a = compute::cpu::make_device({.threads = 1, .reference = true}), b = compute::cpu::make_device({.threads = 1, .reference = true});
    const Placement placement({a.get(), b.get()}, {0, 3});
    EXPECT_EQ(placement.index_of_tensor("token_embd.weight"), 0u);
    EXPECT_EQ(placement.index_of_tensor("blk.2.attn_q.weight"), 0u);
    EXPECT_EQ(placement.index_of_tensor("blk.3.attn_q.weight"), 1u);
    EXPECT_EQ(placement.index_of_tensor("blk.30.attn_q.weight"), 1u);
    EXPECT_EQ(placement.index_of_tensor("output.weight"), 1u);
    EXPECT_EQ(placement.index_of_tensor("output_norm.weight"), 1u);
}

} // namespace
} // namespace lucebox::model::testing
