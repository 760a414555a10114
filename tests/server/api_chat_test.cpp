#include "api_fixture.h"

#include <limits>

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class ChatApi : public ApiTest {
protected:
    // Tokens "Hello", then "!" that stays hidden until the end.
    ChatApi() {
        backend->script = [](FakeBackend::Submission& s) {
            s.on_event(engine::Progress{1, s.request.prompt.size()});
            s.token('H', "Hel");
            s.token('l', "");
            s.token('o', "lo");
            auto end = s.finished(4);
            end.text = "!";
            end.cached_tokens = 2;
            s.on_event(std::move(end));
        };
    }

    // The error of a request that is refused.
    Json refusal(std::string_view body, int status = 400) {
        const auto response = post("/v1/chat/completions", body);
        EXPECT_EQ(response.status, status) << response.body;
        EXPECT_EQ(response.header("content-type"), "application/json");
        const Json error = json(response)["error"];
        for (const char* key : {"message", "type", "param", "code"})
            EXPECT_TRUE(error.contains(key)) << key;
        return error;
    }
};

TEST_F(ChatApi, AnswersInOnePiece) {
    start();
    const auto response = chat(R"("model":"gpt-x")");
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.header("content-type"), "application/json");
    const Json body = json(response);
    EXPECT_THAT(body["id"].get<std::string>(), StartsWith("chatcmpl_"));
    EXPECT_EQ(body["object"], "chat.completion");
    EXPECT_GT(body["created"].get<std::int64_t>(), 1'700'000'000);
    EXPECT_EQ(body["model"], "gpt-x");
    EXPECT_THAT(body["system_fingerprint"].get<std::string>(), StartsWith("lucebox-1.2.3"));
    ASSERT_EQ(body["choices"].size(), 1u);
    const Json& choice = body["choices"][0];
    EXPECT_EQ(choice["index"], 0);
    EXPECT_EQ(choice["message"]["role"], "assistant");
    EXPECT_EQ(choice["message"]["content"], "Hello!");
    EXPECT_TRUE(choice["logprobs"].is_null());
    EXPECT_EQ(choice["finish_reason"], "stop");
    const std::size_t prompt = backend->at(0).request.prompt.size();
    EXPECT_EQ(body["usage"]["prompt_tokens"], prompt);
    EXPECT_EQ(body["usage"]["completion_tokens"], 4);
    EXPECT_EQ(body["usage"]["total_tokens"], prompt + 4);
    EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    EXPECT_EQ(body["usage"]["timings"]["decode_tokens_per_sec"], 2.0);
    EXPECT_EQ(body["timings"]["prompt_n"], prompt - 2);
    EXPECT_EQ(body["timings"]["predicted_per_second"], 2.0);
}

TEST_F(ChatApi, WhereARequestNamesNoLengthTheOperatorsHolds) {
    options.default_tokens = 12;
    start();
    ASSERT_EQ(chat(R"("seed":1)").status, 200);
    ASSERT_EQ(chat(R"("max_tokens":20)").status, 200);
    EXPECT_EQ(backend->at(0).request.max_tokens, 12u);
    EXPECT_EQ(backend->at(1).request.max_tokens, 20u);
}

TEST_F(ChatApi, GivesTheEngineThePromptAndTheSettings) {
    start();
    ASSERT_EQ(chat(R"("seed":5,"temperature":0,"max_tokens":7,"stop":"END","top_k":3,"logit_bias":{"65":1})").status,
              200);
    const auto& request = backend->at(0).request;
    EXPECT_EQ(backend->words.decode(request.prompt, true), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    EXPECT_EQ(request.prompt[0], FakeTokenizer::kStart);
    EXPECT_EQ(request.sampling.seed, 5u);
    EXPECT_EQ(request.sampling.temperature, 0);
    EXPECT_EQ(request.sampling.top_k, 3);
    EXPECT_EQ(request.sampling.logit_bias.size(), 1u);
    EXPECT_EQ(request.max_tokens, 7u);
    EXPECT_THAT(request.stop, ElementsAre("END"));
    EXPECT_FALSE(request.logprobs);
}

TEST_F(ChatApi, StreamsInOrder) {
    start();
    const auto response = chat(R"("stream":true)");
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.header("content-type"), "text/event-stream");
    EXPECT_EQ(response.header("cache-control"), "no-cache");
    const auto list = events(response.body);
    ASSERT_EQ(list.size(), 6u) << response.body;
    EXPECT_EQ(list[0]["choices"][0]["delta"], Json::parse(R"({"role":"assistant","content":""})"));
    EXPECT_EQ(list[1]["choices"][0]["delta"], Json::parse(R"({"content":"Hel"})"));
    EXPECT_EQ(list[2]["choices"][0]["delta"]["content"], "lo");
    EXPECT_EQ(list[3]["choices"][0]["delta"]["content"], "!");
    EXPECT_EQ(list[4]["choices"][0]["delta"], Json::object());
    EXPECT_EQ(list[4]["choices"][0]["finish_reason"], "stop");
    EXPECT_EQ(list[5], "[DONE]");
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(list[i]["object"], "chat.completion.chunk");
        EXPECT_EQ(list[i]["id"], list[0]["id"]);
        EXPECT_EQ(list[i]["created"], list[0]["created"]);
        EXPECT_EQ(list[i]["model"], "fake-model");
        EXPECT_EQ(list[i]["system_fingerprint"], list[0]["system_fingerprint"]);
        EXPECT_FALSE(list[i].contains("usage"));
        if (i < 4) {
            EXPECT_TRUE(list[i]["choices"][0]["finish_reason"].is_null());
        }
    }
}

TEST_F(ChatApi, StreamsTheUsageLastIfAsked) {
    start();
    const auto list = events(chat(R"("stream":true,"stream_options":{"include_usage":true})").body);
    ASSERT_EQ(list.size(), 7u);
    for (std::size_t i = 0; i < 5; ++i)
        EXPECT_TRUE(list[i]["usage"].is_null());
    EXPECT_EQ(list[5]["choices"], Json::array());
    EXPECT_EQ(list[5]["usage"]["completion_tokens"], 4);
    EXPECT_EQ(list[6], "[DONE]");
}

TEST_F(ChatApi, SaysThatTheLengthEndedIt) {
    backend->script = [](FakeBackend::Submission& s) {
        s.say("ab");
        s.finish(2, engine::FinishReason::length);
    };
    start();
    EXPECT_EQ(json(chat(R"("max_tokens":2)"))["choices"][0]["finish_reason"], "length");
    const auto list = events(chat(R"("max_tokens":2,"stream":true)").body);
    EXPECT_EQ(list.at(list.size() - 2)["choices"][0]["finish_reason"], "length");
}

TEST_F(ChatApi, ReportsLogprobsWithTheTextTheyBelongTo) {
    backend->script = [](FakeBackend::Submission& s) {
        EXPECT_TRUE(s.request.logprobs);
        EXPECT_EQ(s.request.top_logprobs, 2);
        const auto say = [&](text::TokenId token, float logprob, std::string text) {
            s.on_event(engine::Generated{
                {token, logprob, {{token, logprob}, {'z', -std::numeric_limits<float>::infinity()}}}, std::move(text)});
        };
        say(0xC3, -0.5f, ""); // the first half of a character
        say(0xA9, -0.25f, "é");
        say('S', -1, ""); // held back, and then cut as a stop string
        s.finish(3);
    };
    start();
    const Json expected = Json::parse(R"([
        {"token":"\ufffd","logprob":-0.5,"bytes":[195],"top_logprobs":[
            {"token":"\ufffd","logprob":-0.5,"bytes":[195]},{"token":"z","logprob":-9999.0,"bytes":[122]}]},
        {"token":"\ufffd","logprob":-0.25,"bytes":[169],"top_logprobs":[
            {"token":"\ufffd","logprob":-0.25,"bytes":[169]},{"token":"z","logprob":-9999.0,"bytes":[122]}]}])");
    const Json whole = json(chat(R"("logprobs":true,"top_logprobs":2)"));
    EXPECT_EQ(whole["choices"][0]["message"]["content"], "é");
    EXPECT_EQ(whole["choices"][0]["logprobs"]["content"], expected);
    const auto list = events(chat(R"("logprobs":true,"top_logprobs":2,"stream":true)").body);
    ASSERT_EQ(list.size(), 4u);
    EXPECT_EQ(list[1]["choices"][0]["delta"]["content"], "é");
    EXPECT_EQ(list[1]["choices"][0]["logprobs"]["content"], expected);
    EXPECT_TRUE(list[2]["choices"][0]["logprobs"].is_null());
}

TEST_F(ChatApi, RunsSeveralChoicesWithSeedsOfTheirOwn) {
    backend->script = nullptr;
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/chat/completions", chat_body(R"("n":3,"seed":10)")));
    wait_for_submissions(3);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(backend->at(i).request.sampling.seed, 10 + i);
        EXPECT_EQ(backend->at(i).request.prompt, backend->at(0).request.prompt);
    }
    for (const std::size_t i : {2u, 0u, 1u}) { // whoever finishes first
        backend->at(i).say(std::string(1, static_cast<char>('a' + i)));
        backend->at(i).finish(1);
    }
    const Json body = json(client.response());
    ASSERT_EQ(body["choices"].size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(body["choices"][i]["index"], i);
        EXPECT_EQ(body["choices"][i]["message"]["content"], std::string(1, static_cast<char>('a' + i)));
    }
    EXPECT_EQ(body["usage"]["prompt_tokens"], backend->at(0).request.prompt.size()); // once
    EXPECT_EQ(body["usage"]["completion_tokens"], 3);
}

TEST_F(ChatApi, InterleavesTheChoicesOfAStream) {
    backend->script = nullptr;
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/chat/completions", chat_body(R"("n":2,"stream":true)")));
    wait_for_submissions(2);
    backend->at(1).say("x");
    backend->at(0).say("y");
    backend->at(1).say("z");
    backend->at(1).finish(2);
    backend->at(0).finish(1);
    const auto list = events(client.response().body);
    std::vector<std::string> order;
    for (const Json& event : list) {
        if (event == "[DONE]") continue;
        const Json& choice = event["choices"][0];
        const Json& delta = choice["delta"];
        order.push_back(fmt::format("{}{}", choice["index"].get<int>(),
                                    delta.contains("role")      ? "role"
                                    : delta.contains("content") ? delta["content"].get<std::string>()
                                                                : "end"));
    }
    EXPECT_THAT(order, ElementsAre("1role", "1x", "0role", "0y", "1z", "1end", "0end"));
    EXPECT_EQ(list.back(), "[DONE]");
}

TEST_F(ChatApi, DifferentRequestsWithoutASeedDiffer) {
    start();
    ASSERT_EQ(chat().status, 200);
    ASSERT_EQ(chat().status, 200);
    EXPECT_NE(backend->at(0).request.sampling.seed, backend->at(1).request.sampling.seed);
}

TEST_F(ChatApi, RefusesInOpenAisShape) {
    start();
    EXPECT_THAT(refusal("{")["message"].get<std::string>(), HasSubstr("not JSON"));
    EXPECT_EQ(refusal("{}")["param"], "messages");
    EXPECT_EQ(refusal("{}")["type"], "invalid_request_error");
    EXPECT_TRUE(refusal("{}")["code"].is_null());
    EXPECT_EQ(refusal(chat_body(R"("temperature":"hot")"))["param"], "temperature");
    EXPECT_EQ(refusal(chat_body(R"("logit_bias":{"265":1})"))["param"], "logit_bias");
    const Json image =
        refusal(R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})");
    EXPECT_EQ(image["param"], "messages[0].content[0].type");
    EXPECT_EQ(image["code"], "unsupported");
    EXPECT_THAT(image["message"].get<std::string>(), HasSubstr("unsupported content part"));
    EXPECT_EQ(backend->submitted(), 0u);
}

TEST_F(ChatApi, ATooLongPromptIsRefusedInTheKnownWords) {
    start();
    const Json error = refusal(chat_body(R"("max_tokens":990)"));
    EXPECT_EQ(error["code"], "context_length_exceeded");
    EXPECT_EQ(error["param"], "messages");
    const std::size_t actual =
        backend->words.encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", {.parse_special = true})
            .size();
    EXPECT_THAT(
        error["message"].get<std::string>(),
        HasSubstr(fmt::format("maximum context length is 1000 tokens. However, you requested {} tokens ({} in the "
                              "messages, 990 in the completion)",
                              990 + actual, actual)));
    EXPECT_EQ(chat(fmt::format(R"("max_tokens":{})", 1000 - actual)).status, 200); // exactly full
    const std::string long_text(1000, 'x');
    EXPECT_EQ(refusal(R"({"messages":[{"role":"user","content":")" + long_text + R"("}]})")["code"],
              "context_length_exceeded");
}

TEST_F(ChatApi, PassesToolsToTheTemplateAndAnswersInText) {
    Json seen;
    backend->render = [&](const Json& variables) {
        seen = variables["tools"];
        return FakeBackend::chatml(variables);
    };
    start();
    const char* tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
    EXPECT_EQ(json(chat(tools))["choices"][0]["message"]["content"], "Hello!");
    EXPECT_EQ(seen[0]["function"]["name"], "f");
    EXPECT_EQ(chat(fmt::format(R"({},"tool_choice":"none")", tools)).status, 200);
    EXPECT_TRUE(seen.is_null());
}

TEST_F(ChatApi, ATemplateThatRefusesIsTheClientsError) {
    backend->render = [](const Json&) -> Result<std::string> {
        return Error{ErrorKind::invalid_data, "roles must alternate"};
    };
    start();
    EXPECT_THAT(refusal(chat_body())["message"].get<std::string>(), HasSubstr("roles must alternate"));
}

TEST_F(ChatApi, AModelWithoutATemplateSaysSo) {
    backend->render = nullptr;
    start();
    EXPECT_THAT(refusal(chat_body())["message"].get<std::string>(), HasSubstr("no chat template"));
}

TEST_F(ChatApi, ATemplateThatThrowsCostsThatRequestAlone) {
    backend->render = [](const Json&) -> Result<std::string> { throw std::bad_alloc(); };
    start();
    EXPECT_EQ(refusal(chat_body(), 500)["code"], "internal_error");
    EXPECT_EQ(get("/health").status, 200);
}

} // namespace
} // namespace lucebox::server
