// Random tiny models in shapes that no published model has (odd head counts, widths that are no multiple of anything,
// scaled rotations, windows of three tokens), against logits computed in double by tools/tiny_models_forward.py.
#include "oracle.h"

#include <fmt/format.h>

namespace lucebox::model::testing {
namespace {

struct TinyCase {
    std::string folder;
    bool reference;
};
void PrintTo(const TinyCase& one, std::ostream* out) { *out << one.folder; }

std::vector<TinyCase> tiny_cases() {
    std::vector<TinyCase> cases;
    for (const auto& entry : std::filesystem::directory_iterator("tests/data/tiny")) {
        if (!entry.is_directory()) continue;
        for (const bool reference : {false, true}) cases.push_back({entry.path().filename().string(), reference});
    }
    std::ranges::sort(cases, {}, [](const TinyCase& one) { return std::pair(one.folder, one.reference); });
    return cases;
}

class TinyModel : public ::testing::TestWithParam<TinyCase> {};

TEST_P(TinyModel, LogitsOfEveryPositionAgree) {
    const auto folder = std::filesystem::path("tests/data/tiny") / GetParam().folder;
    Rig rig(folder / "model.gguf", {}, {.threads = 2, .reference = GetParam().reference});
    const auto tokens = must(read_npy_tokens(folder / "tokens.npy"));
    const std::vector<float> expected = floats(folder / "logits.npy");
    ASSERT_EQ(expected.size(), tokens.size() * rig.runner->vocabulary());
    double squares = 0;
    for (const float value : expected) squares += double{value} * value;
    const double spread = std::sqrt(squares / static_cast<double>(expected.size()));
    // F32: the largest error, as for the reference models. Others: the rms, because keys and values are F16 and, for
    // quantised weights and the fast kernels, activations have 8 bits.
    const auto is_float = [](const gguf::Tensor& tensor) {
        return tensor.type == gguf::TensorType::f32 || tensor.type == gguf::TensorType::f16 || tensor.type == gguf::TensorType::bf16;
    };
    const bool exact = rig.file.find("token_embd.weight")->type == gguf::TensorType::f32;
    const bool rounds = !std::ranges::all_of(rig.file.tensors(), is_float) && !GetParam().reference;
    const double limit = exact ? 1e-3 * std::max(1.0, spread / 4) : rounds ? 0.05 * spread : 5e-3 * spread;
    std::vector<std::vector<float>> first;
    for (const std::size_t rows : {std::size_t{1}, std::size_t{5}, std::size_t{64}, std::size_t{256}}) {
        const SequenceId sequence = rig.open();
        const auto logits = rig.feed(sequence, tokens, rows);
        rig.runner->close(sequence);
        double worst = 0, sum = 0;
        for (std::size_t i = 0; i < expected.size(); ++i) {
            const double error = std::abs(logits[i / rig.runner->vocabulary()][i % rig.runner->vocabulary()] - expected[i]);
            worst = std::max(worst, error);
            sum += error * error;
        }
        EXPECT_LT(exact ? worst : std::sqrt(sum / static_cast<double>(expected.size())), limit)
            << rows << " rows a step; the logits spread by " << spread;
        if (first.empty()) first = logits;
        if (rows <= 64) {
            EXPECT_EQ(logits, first) << rows << " rows a step";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, TinyModel, ::testing::ValuesIn(tiny_cases()), [](const auto& instance) {
    std::string name = fmt::format("{}_{}", instance.param.folder, instance.param.reference ? "reference" : "fast");
    std::ranges::replace(name, '-', '_');
    return name;
});

} // namespace
} // namespace lucebox::model::testing
