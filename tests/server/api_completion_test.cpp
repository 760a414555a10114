#include "api_fixture.h"

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class CompletionApi : public ApiTest {
protected:
    CompletionApi() {
        backend->script = [](FakeBackend::Submission& s) {
            s.say("é!"); // three byte tokens
            s.finish(3);
        };
    }
    RawResponse complete(std::string_view fields) { return post("/v1/completions", fmt::format("{{{}}}", fields)); }
};

TEST_F(CompletionApi, AnswersInOnePiece) {
    start();
    const auto response = complete(R"("prompt":"Once")");
    ASSERT_EQ(response.status, 200) << response.body;
    const Json body = json(response);
    EXPECT_THAT(body["id"].get<std::string>(), StartsWith("cmpl_"));
    EXPECT_EQ(body["object"], "text_completion");
    EXPECT_EQ(body["choices"], Json::parse(R"([{"text":"é!","index":0,"logprobs":null,"finish_reason":"stop"}])"));
    EXPECT_EQ(body["usage"]["total_tokens"], 7);
    EXPECT_EQ(backend->at(0).request.max_tokens, 16u);
}

TEST_F(CompletionApi, ReadsControlTokensInRawPrompts) {
    start();
    ASSERT_EQ(complete(R"("prompt":"<|im_start|>x")").status, 200);
    EXPECT_THAT(backend->at(0).request.prompt, ElementsAre(FakeTokenizer::kStart, 'x'));
    ASSERT_EQ(complete(R"("prompt":[7,8,261])").status, 200);
    EXPECT_THAT(backend->at(1).request.prompt, ElementsAre(7, 8, 261));
    const auto refused = complete(R"("prompt":[7,265])");
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(json(refused)["error"]["param"], "prompt");
}

TEST_F(CompletionApi, AnswersEveryPromptWithAllItsChoices) {
    start();
    const Json body = json(complete(R"("prompt":["a","bc"],"n":2,"echo":true)"));
    ASSERT_EQ(body["choices"].size(), 4u);
    const char* const texts[] = {"aé!", "aé!", "bcé!", "bcé!"};
    for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(body["choices"][i]["index"], i);
        EXPECT_EQ(body["choices"][i]["text"], texts[i]);
    }
    EXPECT_EQ(body["usage"]["prompt_tokens"], 3); // each prompt once
    EXPECT_EQ(body["usage"]["completion_tokens"], 12);
}

TEST_F(CompletionApi, EchoesThePromptFirstInAStream) {
    start();
    const auto list = events(complete(R"("prompt":[72,105],"echo":true,"stream":true)").body);
    ASSERT_EQ(list.size(), 4u);
    EXPECT_EQ(list[0]["choices"][0]["text"], "Hi");
    EXPECT_EQ(list[1]["choices"][0]["text"], "é!");
    EXPECT_EQ(list[1]["object"], "text_completion");
    EXPECT_TRUE(list[1]["choices"][0]["finish_reason"].is_null());
    EXPECT_EQ(list[2]["choices"][0]["text"], "");
    EXPECT_EQ(list[2]["choices"][0]["finish_reason"], "stop");
    EXPECT_EQ(list[3], "[DONE]");
}

TEST_F(CompletionApi, ReportsLogprobsInTheOldShape) {
    backend->script = [](FakeBackend::Submission& s) {
        decode::Sample first{'h', -0.5f, {}};
        first.top = {{'h', -0.5f}, {'j', -1.5f}};
        s.on_event(engine::Generated{first, "h"});
        s.token(FakeTokenizer::kAb, "ab", -0.25f);
        s.token('!', "!", -2);
        s.finish(3);
    };
    start();
    EXPECT_EQ(json(complete(R"("prompt":"x","logprobs":2)"))["choices"][0]["logprobs"], Json::parse(R"({
        "tokens":["h","ab","!"],"token_logprobs":[-0.5,-0.25,-2.0],
        "top_logprobs":[{"h":-0.5,"j":-1.5},{},{}],"text_offset":[0,1,3]})"));
    const auto list = events(complete(R"("prompt":"x","logprobs":2,"stream":true)").body);
    EXPECT_EQ(list.at(1)["choices"][0]["logprobs"]["text_offset"], Json::parse("[1]"));
    EXPECT_EQ(list.at(2)["choices"][0]["logprobs"]["text_offset"], Json::parse("[3]"));
}

TEST_F(CompletionApi, FillsInBeforeASuffixWithTheModelsTokens) {
    backend->words.with_fill_in = true;
    start();
    const auto tokens = [&](std::string_view fields) {
        const auto response = complete(fields);
        EXPECT_EQ(response.status, 200) << response.body;
        return backend->at(backend->submitted() - 1).request.prompt;
    };
    using Words = FakeTokenizer;
    EXPECT_THAT(tokens(R"("prompt":"x","suffix":"y")"), ElementsAre(Words::kPrefix, 'x', Words::kSuffix, 'y', Words::kMiddle));
    EXPECT_THAT(tokens(R"("prompt":[7,8],"suffix":"y")"), ElementsAre(Words::kPrefix, 7, 8, Words::kSuffix, 'y', Words::kMiddle));
    EXPECT_THAT(tokens(R"("prompt":"x","suffix":"")"), ElementsAre('x'));
    EXPECT_THAT(tokens(R"("prompt":"","suffix":"y")"), ElementsAre(Words::kPrefix, Words::kSuffix, 'y', Words::kMiddle));
    // A file that holds a control token's name holds just that.
    EXPECT_THAT(tokens(R"("prompt":"x","suffix":"<s>")"), ElementsAre(Words::kPrefix, 'x', Words::kSuffix, '<', 's', '>', Words::kMiddle));
    EXPECT_EQ(json(complete(R"("prompt":"x","suffix":"y","echo":true)"))["choices"][0]["text"], "xé!");
}

TEST_F(CompletionApi, RefusesByName) {
    start();
    for (const auto& [fields, param] :
         std::vector<std::pair<std::string, std::string>>{{R"("prompt":"x","suffix":"y")", "suffix"},
                                                          {R"("prompt":{})", "prompt"},
                                                          {R"("max_tokens":1)", "prompt"},
                                                          {R"("prompt":"x","n":0)", "n"},
                                                          {R"("prompt":"","n":1)", "prompt"}}) {
        const auto response = complete(fields);
        EXPECT_EQ(response.status, 400) << fields;
        EXPECT_EQ(json(response)["error"]["param"], param) << fields;
    }
    const auto too_long = json(complete(R"("prompt":"abc","max_tokens":1000)"))["error"];
    EXPECT_EQ(too_long["code"], "context_length_exceeded");
    EXPECT_EQ(too_long["param"], "prompt");
}

} // namespace
} // namespace lucebox::server
