// Every architecture against what an independent implementation computes, with both sets of kernels.
#include "oracle.h"

#include <fmt/format.h>

#include <map>

namespace lucebox::model::testing {
namespace {

constexpr float logit_tolerance = 1e-3f; // see tests/data/oracle/README.md
constexpr float hidden_tolerance = 2e-3f;
constexpr float f16_hidden_tolerance = 1e-2f;
constexpr float f16_margin = 0.1f; // a choice this close may fall the other way with f16 operands

struct Case {
    const char* folder;
    float f16_rms; // of the logits' change when weights are rounded to f16; what f16 operands may cost three times
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder; }
constexpr Case cases[] = {{"llama", 0.0039f},  {"qwen2", 0.0014f},  {"qwen3", 0.0012f},     {"qwen3-tied", 0.0032f},
                          {"gemma3", 0.0065f}, {"qwen35", 0.0046f}, {"qwen35-r3", 0.0021f}, {"qwen35-mtp", 0.0075f}};

using Parameter = std::tuple<Case, On>;

std::string case_name(const ::testing::TestParamInfo<Parameter>& info) {
    std::string name = fmt::format("{}_{}", std::get<0>(info.param).folder, name_of(std::get<1>(info.param)));
    std::ranges::replace(name, '-', '_');
    return name;
}

class Oracle : public ::testing::TestWithParam<Parameter> {
protected:
    void SetUp() override {
        LUCEBOX_NEEDS_GPU_IF(on() == On::cuda);
        rig = std::make_unique<Rig>(file("model.gguf"), RunnerOptions{}, on());
    }

    On on() const { return std::get<1>(GetParam()); }
    const char* folder() const { return std::get<0>(GetParam()).folder; }

    // The GPU multiplies f16 operands: its errors are judged by their rms, everyone else's by the largest.
    void expect_logits_agree(const std::vector<std::vector<float>>& logits, std::span<const float> expected,
                             std::size_t rows_per_step) const {
        float worst = 0;
        double squares = 0;
        std::size_t count = 0;
        for (const auto& row : logits) {
            for (const float logit : row) {
                const float error = logit - expected[count++];
                worst = std::max(worst, std::abs(error));
                squares += double{error} * error;
            }
        }
        if (on() != On::cuda) {
            EXPECT_LT(worst, logit_tolerance) << rows_per_step << " rows a step";
            return;
        }
        const double rms = std::sqrt(squares / static_cast<double>(count));
        std::printf("%zu rows a step: rms error %.5f, largest %.5f\n", rows_per_step, rms, static_cast<double>(worst));
        EXPECT_LT(rms, 3 * std::get<0>(GetParam()).f16_rms) << rows_per_step << " rows a step";
    }

    std::unique_ptr<Rig> rig;
    std::vector<std::int32_t> tokens = must(read_npy_tokens(oracle_path(folder()) / "tokens.npy"));

    std::filesystem::path file(const std::string& name) const { return oracle_path(folder()) / name; }
};

TEST_P(Oracle, LogitsOfEveryPositionAgree) {
    const std::vector<float> expected = floats(file("logits.npy"));
    const std::size_t vocabulary = rig->runner->vocabulary();
    ASSERT_EQ(expected.size(), tokens.size() * vocabulary);
    for (const std::size_t rows_per_step : {std::size_t{1}, std::size_t{7}, std::size_t{256}}) {
        const SequenceId sequence = rig->open();
        const auto logits = rig->feed(sequence, tokens, rows_per_step);
        expect_logits_agree(logits, expected, rows_per_step);
        rig->runner->close(sequence);
    }
}

TEST_P(Oracle, HiddenStatesAgree) {
    std::map<std::size_t, std::vector<float>> seen;
    rig->runner->set_tap([&](std::size_t layer, Tensor x) {
        seen[layer].resize(tokens.size() * x.width);
        rig->device->download(std::as_writable_bytes(std::span(seen[layer])), reinterpret_cast<const std::byte*>(x.data));
    });
    rig->feed(rig->open(), tokens, 256);
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
        EXPECT_LT(worst, (on() == On::cuda ? f16_hidden_tolerance : hidden_tolerance) * largest) << "layer " << layer;
        ++compared;
    }
    EXPECT_GE(compared, 2u);
}

TEST_P(Oracle, GreedyTextAgrees) {
    const auto greedy = nlohmann::json::parse(std::ifstream(file("greedy.json")));
    const auto prompt = greedy["prompt"].get<std::vector<TokenId>>(), expected = greedy["tokens"].get<std::vector<TokenId>>();
    const SequenceId sequence = rig->open();
    auto logits = rig->feed(sequence, prompt, 256);
    std::vector<TokenId> generated;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        generated.push_back(static_cast<TokenId>(best(logits.back())));
        ASSERT_EQ(rig->runner->best(rig->runner->outputs() - 1), generated.back());
        if (on() == On::cuda && generated.back() != expected[i]) {
            EXPECT_LT(greedy["margins"][i].get<float>(), f16_margin) << "token " << i;
            return; // from here on the texts differ
        }
        logits = rig->feed(sequence, {&generated.back(), 1}, 1);
    }
    EXPECT_EQ(generated, expected);
}

class RecurrentOracle : public Oracle {};

TEST_P(RecurrentOracle, StateAgrees) {
    rig->feed(rig->open(), tokens, 256);
    const auto array = read_npy(file("state_L0_recurrent.npy"));
    ASSERT_TRUE(array);
    const std::size_t heads = array->shape[0], size = array->shape[1] * array->shape[2];
    const auto key_heads = rig->file.get_unsigned("qwen35.ssm.group_count");
    ASSERT_TRUE(key_heads && *key_heads);
    const std::vector<float> expected = floats(file("state_L0_recurrent.npy"));
    const float* state = rig->runner->cache().recurrent(0).state;
    for (std::size_t head = 0; head < heads; ++head) {
        // Our head h is the checkpoint's head (h mod key_heads) * ratio + h / key_heads.
        const std::size_t theirs = head % **key_heads * (heads / **key_heads) + head / **key_heads;
        for (std::size_t i = 0; i < size; ++i) {
            ASSERT_NEAR(state[head * size + i], expected[theirs * size + i], 1e-4f) << "head " << head << " at " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, Oracle,
                         ::testing::Combine(::testing::ValuesIn(cases), ::testing::Values(On::reference, On::cpu, On::cuda)),
                         case_name);

INSTANTIATE_TEST_SUITE_P(All, RecurrentOracle,
                         ::testing::Combine(::testing::Values(cases[5]), ::testing::Values(On::reference, On::cpu)), case_name);

} // namespace
} // namespace lucebox::model::testing
