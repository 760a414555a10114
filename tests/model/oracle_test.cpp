// Every architecture against what an independent implementation computes, with both sets of kernels.
#include "oracle.h"

#include <fmt/format.h>

#include <map>

namespace lucebox::model::testing {
namespace {

constexpr float logit_tolerance = 1e-3f; // see tests/data/oracle/README.md
constexpr float hidden_tolerance = 2e-3f;

struct Case {
    const char* folder;
    bool reference;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
    std::string name = fmt::format("{}_{}", info.param.folder, info.param.reference ? "reference" : "fast");
    std::ranges::replace(name, '-', '_');
    return name;
}

class Oracle : public ::testing::TestWithParam<Case> {
protected:
    Rig rig{oracle_path(GetParam().folder) / "model.gguf", {}, {.threads = 2, .reference = GetParam().reference}};
    std::vector<std::int32_t> tokens = must(read_npy_tokens(oracle_path(GetParam().folder) / "tokens.npy"));

    std::filesystem::path file(const std::string& name) const { return oracle_path(GetParam().folder) / name; }
};

TEST_P(Oracle, LogitsOfEveryPositionAgree) {
    const std::vector<float> expected = floats(file("logits.npy"));
    const std::size_t vocabulary = rig.runner->vocabulary();
    ASSERT_EQ(expected.size(), tokens.size() * vocabulary);
    for (const std::size_t rows_per_step : {std::size_t{1}, std::size_t{7}, std::size_t{256}}) {
        const SequenceId sequence = rig.open();
        const auto logits = rig.feed(sequence, tokens, rows_per_step);
        float worst = 0;
        for (std::size_t i = 0; i < logits.size(); ++i) {
            for (std::size_t j = 0; j < vocabulary; ++j) {
                worst = std::max(worst, std::abs(logits[i][j] - expected[i * vocabulary + j]));
            }
        }
        EXPECT_LT(worst, logit_tolerance) << rows_per_step << " rows a step";
        rig.runner->close(sequence);
    }
}

TEST_P(Oracle, HiddenStatesAgree) {
    std::map<std::size_t, std::vector<float>> seen;
    rig.runner->set_tap([&](std::size_t layer, Tensor x) { seen[layer].assign(x.data, x.data + x.rows * x.width); });
    rig.feed(rig.open(), tokens, 256);
    std::size_t compared = 0;
    for (const auto& [layer, values] : seen) {
        const auto path = file(fmt::format("hidden_L{}.npy", layer));
        if (!std::filesystem::exists(path)) continue;
        const std::vector<float> expected = floats(path);
        ASSERT_EQ(values.size(), expected.size());
        float largest = 0, worst = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            largest = std::max(largest, std::abs(expected[i]));
            worst = std::max(worst, std::abs(values[i] - expected[i]));
        }
        EXPECT_LT(worst, hidden_tolerance * largest) << "layer " << layer;
        ++compared;
    }
    EXPECT_GE(compared, 2u);
}

TEST_P(Oracle, GreedyTextAgrees) {
    const auto greedy = nlohmann::json::parse(std::ifstream(file("greedy.json")));
    const auto prompt = greedy["prompt"].get<std::vector<TokenId>>(), expected = greedy["tokens"].get<std::vector<TokenId>>();
    const SequenceId sequence = rig.open();
    auto logits = rig.feed(sequence, prompt, 256);
    std::vector<TokenId> generated;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        generated.push_back(static_cast<TokenId>(best(logits.back())));
        logits = rig.feed(sequence, {&generated.back(), 1}, 1);
    }
    EXPECT_EQ(generated, expected);
}

class RecurrentOracle : public Oracle {};

TEST_P(RecurrentOracle, StateAgrees) {
    rig.feed(rig.open(), tokens, 256);
    const auto array = read_npy(file("state_L0_recurrent.npy"));
    ASSERT_TRUE(array);
    const std::size_t heads = array->shape[0], size = array->shape[1] * array->shape[2];
    const auto key_heads = rig.file.get_unsigned("qwen35.ssm.group_count");
    ASSERT_TRUE(key_heads && *key_heads);
    const std::vector<float> expected = floats(file("state_L0_recurrent.npy"));
    const float* state = rig.runner->cache().recurrent(0).state;
    for (std::size_t head = 0; head < heads; ++head) {
        // Our head h is the checkpoint's head (h mod key_heads) * ratio + h / key_heads.
        const std::size_t theirs = head % **key_heads * (heads / **key_heads) + head / **key_heads;
        for (std::size_t i = 0; i < size; ++i) {
            ASSERT_NEAR(state[head * size + i], expected[theirs * size + i], 1e-4f) << "head " << head << " at " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, Oracle,
                         ::testing::Values(Case{"llama", true}, Case{"llama", false}, Case{"qwen2", true}, Case{"qwen2", false},
                                           Case{"qwen3", true}, Case{"qwen3", false}, Case{"qwen3-tied", true},
                                           Case{"qwen3-tied", false}, Case{"gemma3", true}, Case{"gemma3", false},
                                           Case{"qwen35", true}, Case{"qwen35", false}, Case{"qwen35-r3", true},
                                           Case{"qwen35-r3", false}, Case{"qwen35-mtp", true}, Case{"qwen35-mtp", false}),
                         name_of);

INSTANTIATE_TEST_SUITE_P(All, RecurrentOracle, ::testing::Values(Case{"qwen35", true}, Case{"qwen35", false}), name_of);

} // namespace
} // namespace lucebox::model::testing
