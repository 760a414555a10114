// What a request gets from the engine: its text, its reasons to end, and what is refused.
#include "engine_fixture.h"

#include "base/npy.h"
#include "compute/cpu/cpu_device.h"
#include "model/runner.h"

#include <gmock/gmock.h>

#include <cmath>

namespace lucebox::engine {
namespace {

using ::testing::HasSubstr;

TEST_F(EngineTest, GreedyTextIsTheReferences) {
    load();
    const auto expected = reference_tokens("tokens");
    Client client;
    submit(request(expected.size()), client);
    EXPECT_EQ(client.wait().reason, FinishReason::length);
    EXPECT_EQ(client.tokens(), expected);
    EXPECT_EQ(client.wait().prompt_tokens, prompt.size());
    EXPECT_EQ(client.wait().generated_tokens, expected.size());
}

TEST_F(EngineTest, TheTextIsWholeUtf8AndTheTokensOwn) {
    load();
    Client client;
    submit(request(200, 1.5f, 9), client);
    client.wait();
    EXPECT_NO_THROW(nlohmann::json(client.text()).dump()) << "not UTF-8";
    text::Utf8Stream stream;
    std::string expected;
    for (const TokenId token : client.tokens()) expected += stream.push(engine->tokenizer().token_bytes(token));
    EXPECT_EQ(client.text(), expected + stream.finish());
}

TEST_F(EngineTest, ProgressEndsWithTheWholePrompt) {
    load();
    Client client;
    submit(request(1), client);
    client.wait();
    ASSERT_FALSE(client.progress().empty());
    std::size_t before = 0;
    for (const Progress& progress : client.progress()) {
        EXPECT_EQ(progress.total, prompt.size());
        EXPECT_GE(progress.processed, before);
        before = progress.processed;
    }
    EXPECT_EQ(before, prompt.size());
}

TEST_F(EngineTest, AStopStringAcrossTokensEndsTheText) {
    load();
    Client whole;
    submit(request(60, 1.0f, 3), whole);
    whole.wait();
    // Six bytes from the middle: tokens of this model are single bytes, so the string lies across several. Only plain
    // letters, which no replacement character touches.
    const std::string text = whole.text();
    std::string stop;
    for (std::size_t at = text.size() / 3; at + 3 < text.size() && stop.empty(); ++at) {
        const std::string piece = text.substr(at, 3);
        if (std::ranges::all_of(piece, [](unsigned char c) { return c < 0x80; })) stop = piece;
    }
    ASSERT_FALSE(stop.empty());
    Request stopped = request(60, 1.0f, 3);
    stopped.stop = {"never to be found in any text", stop};
    Client client;
    submit(std::move(stopped), client);
    EXPECT_EQ(client.wait().reason, FinishReason::stop);
    EXPECT_EQ(client.wait().stop_string, stop);
    EXPECT_EQ(client.text(), text.substr(0, text.find(stop)));
    EXPECT_LT(client.tokens().size(), whole.tokens().size());
}

TEST_F(EngineTest, AnEndTokenEndsTheTextUnlessIgnored) {
    load();
    const TokenId end = [&] {
        for (TokenId id = 0; id < engine->tokenizer().vocabulary_size(); ++id) {
            if (engine->tokenizer().is_end_of_generation(id)) return id;
        }
        return TokenId{-1};
    }();
    ASSERT_GE(end, 0);
    Request ending = request(8);
    ending.sampling.logit_bias = {{end, 100.0f}};
    ending.ignore_end = false;
    Client client, ignoring;
    submit(ending, client);
    EXPECT_EQ(client.wait().reason, FinishReason::stop);
    EXPECT_EQ(client.wait().stop_token, end);
    EXPECT_EQ(client.wait().generated_tokens, 0u);
    ending.ignore_end = true;
    submit(ending, ignoring);
    EXPECT_EQ(ignoring.wait().reason, FinishReason::length);
    EXPECT_EQ(ignoring.tokens(), std::vector<TokenId>(8, end));
}

TEST_F(EngineTest, LogProbabilitiesAreThoseOfTheModel) {
    load();
    Request asking = request(4);
    asking.logprobs = true;
    asking.top_logprobs = 5;
    Client client;
    submit(std::move(asking), client);
    client.wait();
    const auto file = gguf::ModelFile::open(model_path());
    ASSERT_TRUE(file);
    const auto device = compute::cpu::make_device({.threads = 1, .reference = true});
    const auto runner = model::Runner::load(*file, *device, {});
    ASSERT_TRUE(runner);
    std::vector<TokenId> text = prompt;
    ASSERT_EQ(client.samples().size(), 4u);
    for (const decode::Sample& sample : client.samples()) {
        const auto sequence = *(*runner)->open();
        std::vector<model::Row> rows;
        for (std::size_t i = 0; i < text.size(); ++i) {
            rows.push_back({sequence, text[i], static_cast<std::int32_t>(i) - 1, i + 1 == text.size()});
        }
        ASSERT_TRUE((*runner)->step(rows, model::Commit::all));
        const auto logits = (*runner)->logits(0);
        double sum = 0;
        for (const float logit : logits) sum += std::exp(double{logit});
        ASSERT_EQ(sample.top.size(), 5u);
        for (std::size_t i = 0; i < sample.top.size(); ++i) {
            const auto token = static_cast<std::size_t>(sample.top[i].token);
            EXPECT_NEAR(sample.top[i].logprob, double{logits[token]} - std::log(sum), 1e-3);
            if (i > 0) {
                EXPECT_LE(sample.top[i].logprob, sample.top[i - 1].logprob);
            }
        }
        EXPECT_EQ(sample.token, sample.top[0].token); // greedy
        EXPECT_EQ(sample.logprob, sample.top[0].logprob);
        (*runner)->close(sequence);
        text.push_back(sample.token);
    }
}

TEST_F(EngineTest, AFullContextEndsTheText) {
    Options options;
    options.context = prompt.size() + 5;
    load(options);
    Client client;
    submit(request(SIZE_MAX), client);
    EXPECT_EQ(client.wait().reason, FinishReason::length);
    EXPECT_EQ(client.tokens().size(), 5u);
}

TEST_F(EngineTest, NoTokensMayBeAskedFor) {
    load();
    Client client;
    submit(request(0), client);
    EXPECT_EQ(client.wait().reason, FinishReason::length);
    EXPECT_TRUE(client.tokens().empty());
    EXPECT_TRUE(client.text().empty());
}

TEST_F(EngineTest, RefusesWhatCannotRun) {
    load();
    const auto refused = [&](Request request) {
        const auto id = engine->submit(std::move(request), [](Event&&) { ADD_FAILURE() << "an event of a refused request"; });
        EXPECT_FALSE(id);
        if (id) return std::string();
        EXPECT_EQ(id.error().kind, ErrorKind::usage);
        return id.error().message;
    };
    Request empty = request(1), foreign = request(1), negative = request(1), hot = request(1), longer = request(1);
    empty.prompt.clear();
    foreign.prompt.push_back(1 << 20);
    negative.prompt.push_back(-1);
    hot.sampling.temperature = -3;
    longer.prompt.assign(600, 5);
    EXPECT_THAT(refused(empty), HasSubstr("empty"));
    EXPECT_THAT(refused(foreign), HasSubstr("1048576"));
    EXPECT_THAT(refused(negative), HasSubstr("-1"));
    EXPECT_THAT(refused(hot), HasSubstr("temperature"));
    EXPECT_THAT(refused(longer), ::testing::AllOf(HasSubstr("600"), HasSubstr("512")));
    Client client; // and none of that harms the next one
    submit(request(2), client);
    EXPECT_EQ(client.wait().generated_tokens, 2u);
}

TEST(EngineLoad, RefusesAContextBeyondTraining) {
    Options options;
    options.model = model_path();
    options.context = 1 << 20;
    const auto engine = Engine::load(options);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().kind, ErrorKind::usage);
    EXPECT_THAT(engine.error().message, HasSubstr("4096"));
}

TEST(EngineLoad, SaysWhatTheModelIs) {
    Options options;
    options.model = model_path();
    double last = 0;
    const auto engine = Engine::load(options, [&](double share) {
        EXPECT_GE(share, last);
        last = share;
    });
    ASSERT_TRUE(engine);
    EXPECT_GT(last, 0.9);
    EXPECT_LE(last, 1);
    const ModelInfo& info = (*engine)->model();
    EXPECT_EQ(info.name, "tiny llama A");
    EXPECT_EQ(info.architecture, "llama");
    EXPECT_EQ(info.quantisation, "F32");
    EXPECT_EQ(info.layers, 2u);
    EXPECT_EQ(info.vocabulary, 320u);
    EXPECT_EQ(info.trained_context, 4096u);
    EXPECT_EQ(info.file_bytes, std::filesystem::file_size(options.model));
    EXPECT_GT((*engine)->memory().kv, 0u);
}

} // namespace
} // namespace lucebox::engine
