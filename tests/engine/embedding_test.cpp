// Embeddings: the pooled final hidden states, against what an independent implementation left behind the last layer.
#include "engine_fixture.h"

#include "base/npy.h"
#include "gguf/blocks.h"
#include "gguf/model_file.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

namespace lucebox::engine {
namespace {

using ::testing::HasSubstr;
using Vector = std::vector<float>;

struct Case {
    const char* folder;
    std::size_t last_layer;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.folder; }
constexpr Case cases[] = {{"llama", 1}, {"qwen2", 1}, {"qwen3", 1}, {"qwen3-tied", 1}, {"gemma3", 6}, {"qwen35", 7}, {"qwen35-r3", 3}};

// The oracle's output of the last layer, [tokens][width].
std::vector<Vector> last_states(const Case& one) {
    const auto array = read_npy(model_path(one.folder).parent_path() / ("hidden_L" + std::to_string(one.last_layer) + ".npy"));
    if (!array || array->dtype != "<f2") throw std::runtime_error("no hidden states");
    std::vector<Vector> rows(array->shape[0], Vector(array->shape[1]));
    for (std::size_t i = 0; i < array->elements(); ++i) {
        std::uint16_t half = 0;
        std::memcpy(&half, array->data.data() + 2 * i, 2);
        rows[i / array->shape[1]][i % array->shape[1]] = gguf::f16_to_f32(half);
    }
    return rows;
}

Vector output_norm(const Case& one) {
    const auto file = gguf::ModelFile::open(model_path(one.folder));
    for (const auto& tensor : file->tensors()) {
        if (tensor.name != "output_norm.weight") continue;
        Vector scale(tensor.elements());
        gguf::dequantise_row(tensor.type, tensor.data, scale);
        return scale;
    }
    throw std::runtime_error("no output_norm.weight");
}

Vector normed(const Vector& x, const Vector& scale) {
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) + 1e-6);
    Vector result;
    for (std::size_t i = 0; i < x.size(); ++i) result.push_back(static_cast<float>(x[i] * factor * scale[i]));
    return result;
}

double length(const Vector& x) {
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    return std::sqrt(squares);
}

class Embedding : public EngineTest, public ::testing::WithParamInterface<Case> {
protected:
    Vector embed(std::span<const TokenId> tokens, Pooling pooling) {
        Request request;
        request.prompt.assign(tokens.begin(), tokens.end());
        request.pooling = pooling;
        Client client;
        submit(std::move(request), client);
        const Finished& end = client.wait();
        EXPECT_EQ(end.reason, FinishReason::stop) << (end.error ? end.error->message : "");
        EXPECT_EQ(end.prompt_tokens, tokens.size());
        EXPECT_EQ(end.generated_tokens, 0u);
        EXPECT_TRUE(client.tokens().empty());
        return end.embedding;
    }
};

TEST_P(Embedding, IsThePooledStateThatTheOracleHas) {
    const auto tokens = read_npy_tokens(model_path(GetParam().folder).parent_path() / "tokens.npy");
    ASSERT_TRUE(tokens);
    Options options;
    options.model = model_path(GetParam().folder);
    load(options);
    const auto states = last_states(GetParam());
    const Vector scale = output_norm(GetParam());
    ASSERT_EQ(states.size(), tokens->size());
    Vector mean(scale.size());
    for (const Vector& state : states) {
        const Vector row = normed(state, scale);
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += row[i];
    }
    for (const auto& [pooling, expected] : {std::pair{Pooling::mean, mean}, {Pooling::last, normed(states.back(), scale)}}) {
        const Vector embedding = embed(*tokens, pooling);
        ASSERT_EQ(embedding.size(), expected.size());
        EXPECT_NEAR(length(embedding), 1, 1e-5);
        const double scale_to_one = 1 / length(expected);
        for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(embedding[i], expected[i] * scale_to_one, 2e-3) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(All, Embedding, ::testing::ValuesIn(cases), [](const auto& parameter) {
    std::string name = parameter.param.folder;
    std::ranges::replace(name, '-', '_');
    return name;
});

using LlamaEmbedding = Embedding;

TEST_P(LlamaEmbedding, IsTheSameBitForBitBesideOthersAndBehindReuse) {
    load();
    Vector alone[2], beside[2];
    for (const Pooling pooling : {Pooling::mean, Pooling::last}) alone[static_cast<int>(pooling)] = embed(prompt, pooling);
    Client text, mean, last;
    submit(request(20), text); // its prompt is the same: there would be something to take over
    for (auto* client : {&mean, &last}) {
        Request request;
        request.prompt = prompt;
        request.pooling = client == &mean ? Pooling::mean : Pooling::last;
        submit(std::move(request), *client);
    }
    beside[0] = mean.wait().embedding;
    beside[1] = last.wait().embedding;
    text.wait();
    EXPECT_EQ(alone[0], beside[0]);
    EXPECT_EQ(alone[1], beside[1]);
    EXPECT_EQ(embed(prompt, Pooling::mean), alone[0]); // behind a generation that rests with these tokens
    EXPECT_NE(alone[0], alone[1]);
    Client again;
    submit(request(20), again);
    EXPECT_EQ(again.wait().cached_tokens, prompt.size() - 1) << "embeddings took a conversation's place";
    EXPECT_EQ(again.tokens(), text.tokens());
}

TEST_P(LlamaEmbedding, FillsTheContextAndNoMore) {
    Options options;
    options.context = 300; // more than one step
    load(options);
    const std::vector<TokenId> whole(300, prompt[1]);
    EXPECT_EQ(embed(whole, Pooling::mean).size(), engine->model().width);
    Request request;
    request.prompt.assign(301, prompt[1]);
    request.pooling = Pooling::mean;
    Client client;
    const auto refused = engine->submit(request, client.listener());
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("301"));
    EXPECT_THAT(refused.error().message, HasSubstr("300"));
}

INSTANTIATE_TEST_SUITE_P(Llama, LlamaEmbedding, ::testing::Values(cases[0]));

} // namespace
} // namespace lucebox::engine
