// Tools, forms and thinking over /v1/chat/completions.
#include "api_fixture.h"

namespace lucebox::server {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kTools =
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}}},
                {"type":"function","function":{"name":"ping"}}])";
constexpr const char* kCall = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>";

class ToolsApi : public ApiTest {
protected:
    ToolsApi() { backend->template_source = "{{ tools }} <think> </think>"; }

    // The model says this, a few bytes at a time.
    void says(std::string text, engine::FinishReason reason = engine::FinishReason::stop) {
        backend->script = [text = std::move(text), reason](FakeBackend::Submission& s) {
            for (std::size_t at = 0; at < text.size(); at += 5) s.token('x', text.substr(at, 5));
            s.finish(text.size() / 5 + 1, reason);
        };
    }
};

TEST_F(ToolsApi, ACallIsTypedAndComplete) {
    says(std::string("Let me see.\n\n") + kCall);
    start();
    const Json body = json(chat(kTools));
    const Json& choice = body["choices"][0];
    EXPECT_EQ(choice["finish_reason"], "tool_calls");
    EXPECT_EQ(choice["message"]["content"], "Let me see.");
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u);
    const Json& call = choice["message"]["tool_calls"][0];
    EXPECT_THAT(call["id"].get<std::string>(), StartsWith("call_"));
    EXPECT_EQ(call["type"], "function");
    EXPECT_EQ(call["function"]["name"], "get_weather");
    EXPECT_EQ(Json::parse(call["function"]["arguments"].get<std::string>()), (Json{{"city", "Paris"}, {"days", 2}}));
}

TEST_F(ToolsApi, ContentIsNullBesideCallsAlone) {
    says(kCall);
    start();
    EXPECT_TRUE(json(chat(kTools))["choices"][0]["message"]["content"].is_null());
}

TEST_F(ToolsApi, AStreamedCallBeginsWithItsNameAndGrows) {
    says(std::string(kCall) + "\n" + kCall);
    start();
    const auto list = events(chat(std::string(kTools) + R"(,"stream":true)").body);
    std::vector<std::string> arguments(2);
    std::vector<Json> begun;
    for (const Json& event : list) {
        if (event == "[DONE]") continue;
        const Json& delta = event["choices"][0]["delta"];
        if (!delta.contains("tool_calls")) continue;
        const Json& call = delta["tool_calls"][0];
        const auto index = call["index"].get<std::size_t>();
        ASSERT_LT(index, 2u);
        if (call.contains("id")) {
            begun.push_back(call);
            EXPECT_EQ(call["function"]["arguments"], "");
        } else {
            EXPECT_FALSE(call["function"].contains("name"));
        }
        arguments[index] += call["function"]["arguments"].get<std::string>();
    }
    ASSERT_EQ(begun.size(), 2u);
    EXPECT_NE(begun[0]["id"], begun[1]["id"]);
    EXPECT_EQ(begun[1]["function"]["name"], "get_weather");
    for (const auto& text : arguments) EXPECT_EQ(Json::parse(text), (Json{{"city", "Paris"}, {"days", 2}}));
    EXPECT_EQ(list.at(list.size() - 2)["choices"][0]["finish_reason"], "tool_calls");
    EXPECT_GT(list.size(), 8u); // arguments came in pieces
}

TEST_F(ToolsApi, ACallThatDoesNotParseComesBackAsText) {
    const std::string text = "<tool_call>\n<function=rm>\n</function>\n</tool_call>";
    says(text);
    start();
    const Json choice = json(chat(kTools))["choices"][0];
    EXPECT_EQ(choice["message"]["content"], text);
    EXPECT_EQ(choice["finish_reason"], "stop");
    EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

TEST_F(ToolsApi, ACallThatIsCutOffIsTextAndSaysLength) {
    says("<tool_call>\n<function=get_weather>\n<parameter=city>\nPar", engine::FinishReason::length);
    start();
    const Json choice = json(chat(kTools))["choices"][0];
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_THAT(choice["message"]["content"].get<std::string>(), HasSubstr("<parameter=city>\nPar"));
    EXPECT_FALSE(choice["message"].contains("tool_calls"));
}

TEST_F(ToolsApi, WithoutParallelCallsTheFirstEndsTheAnswer) {
    backend->script = [](FakeBackend::Submission& s) {
        s.token('x', kCall);
        s.token('x', kCall);
        s.finish(3, engine::FinishReason::cancelled);
    };
    start();
    const Json choice = json(chat(std::string(kTools) + R"(,"parallel_tool_calls":false)"))["choices"][0];
    EXPECT_EQ(choice["message"]["tool_calls"].size(), 1u);
    EXPECT_EQ(choice["finish_reason"], "tool_calls");
    EXPECT_TRUE(eventually([&] { return backend->cancelled() == std::vector<engine::RequestId>{backend->at(0).id}; }));
}

TEST_F(ToolsApi, CallsAreNotLookedForWithoutTools) {
    says(kCall);
    start();
    EXPECT_EQ(json(chat())["choices"][0]["message"]["content"], kCall);
    EXPECT_EQ(json(chat(std::string(kTools) + R"(,"tool_choice":"none")"))["choices"][0]["message"]["content"], kCall);
}

TEST_F(ToolsApi, ThinkingIsToldApartUnderBothNames) {
    says("<think>\nhm\n</think>\n\nHello");
    start();
    const Json message = json(chat())["choices"][0]["message"];
    EXPECT_EQ(message["content"], "Hello");
    EXPECT_EQ(message["reasoning_content"], "hm");
    EXPECT_EQ(message["reasoning"], "hm");
    std::string thought, content;
    for (const Json& event : events(chat(R"("stream":true)").body)) {
        if (event == "[DONE]") continue;
        const Json& delta = event["choices"][0]["delta"];
        thought += delta.value("reasoning_content", "");
        content += delta.value("content", "");
    }
    EXPECT_EQ(thought, "hm");
    EXPECT_EQ(content, "Hello");
    EXPECT_GT(json(chat())["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
}

TEST_F(ToolsApi, APromptThatOpensTheThoughtStartsInsideIt) {
    backend->render = [](const Json& variables) {
        return *FakeBackend::chatml(variables) + (variables["enable_thinking"] == true ? "<think>\n" : "<think>\n\n</think>\n\n");
    };
    says("hm</think>\n\nHello");
    start();
    const Json choice = json(chat(R"("thinking":{"type":"enabled","budget_tokens":20},"max_tokens":100)"))["choices"][0];
    EXPECT_EQ(choice["message"]["reasoning_content"], "hm");
    EXPECT_EQ(choice["message"]["content"], "Hello");
    EXPECT_TRUE(choice.contains("finish_details"));
    ASSERT_TRUE(backend->at(0).request.reasoning);
    EXPECT_EQ(backend->at(0).request.reasoning->close, "</think>");
    EXPECT_EQ(backend->at(0).request.reasoning->budget, 20u);
    EXPECT_FALSE(backend->at(0).request.reasoning->closing.empty());
    EXPECT_EQ(json(chat())["choices"][0]["message"]["content"], "hm</think>\n\nHello"); // off: the prompt has closed it
    EXPECT_FALSE(backend->at(1).request.reasoning);
}

TEST_F(ToolsApi, EffortsBecomeBudgetsThatLeaveRoomForTheReply) {
    backend->render = [](const Json& variables) { return *FakeBackend::chatml(variables) + "<think>\n"; };
    backend->info.context = 60'000;
    backend->info.architecture = "qwen35"; // at most 32,768 tokens, of which 4,096 are the reply's
    says("x</think>y");
    start();
    const auto budget = [&](const std::string& fields) {
        static_cast<void>(chat(fields));
        return backend->at(backend->submitted() - 1).request.reasoning->budget;
    };
    EXPECT_EQ(budget(R"("reasoning_effort":"low")"), 28'672u / 8);
    EXPECT_EQ(budget(R"("reasoning_effort":"medium")"), 28'672u / 2);
    EXPECT_EQ(budget(R"("reasoning_effort":"max")"), 28'672u);
    EXPECT_EQ(budget(R"("thinking":{"type":"enabled","budget_tokens":50000})"), 28'672u);
    EXPECT_EQ(budget(R"("reasoning_effort":"xhigh")"), budget(R"("reasoning_effort":"x-high")"));
    EXPECT_LT(budget(R"("reasoning_effort":"high","max_tokens":1000)").value(), 501u); // half of a small answer
    EXPECT_FALSE(budget(R"("chat_template_kwargs":{"enable_thinking":true})")); // no limit was asked for
}

TEST_F(ToolsApi, RequiredAndNamedCallsAreEnforced) {
    says(R"({"name":"ping","arguments":{}})");
    start();
    const Json choice = json(chat(std::string(kTools) + R"(,"tool_choice":"required")"))["choices"][0];
    EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["name"], "ping");
    ASSERT_TRUE(backend->at(0).request.grammar);
    static_cast<void>(chat(std::string(kTools) + R"(,"tool_choice":{"type":"function","function":{"name":"get_weather"}})"));
    ASSERT_TRUE(backend->at(1).request.grammar);
    const auto trie = text::TokenTrie::build(backend->words);
    const auto allows = [&](std::size_t request, std::string_view text) {
        text::GrammarMatcher matcher(backend->at(request).request.grammar, trie);
        return matcher.accept_bytes(text) && matcher.may_end();
    };
    EXPECT_TRUE(allows(0, R"({"name":"ping","arguments":{}})"));
    EXPECT_TRUE(allows(0, R"({"name": "get_weather", "arguments": {"city": "Rome", "days": 3}})"));
    EXPECT_FALSE(allows(0, R"({"name":"get_weather","arguments":{"days":3}})"));
    EXPECT_FALSE(allows(0, "Hello"));
    EXPECT_FALSE(allows(1, R"({"name":"ping","arguments":{}})"));
    EXPECT_TRUE(allows(1, R"({"name":"get_weather","arguments":{"city":"Rome"}})"));
    static_cast<void>(chat(kTools));
    EXPECT_FALSE(backend->at(2).request.grammar); // "auto" is free
    EXPECT_FALSE(allows(1, R"({"name":"get_weather","arguments":{"city":"Rome","mood":"gay"}})")); // nothing is invented
    const auto tool = [](const char* parameters) { return fmt::format(R"("tools":[{{"type":"function","function":{{"name":"f","parameters":{}}}}}],"tool_choice":"required")", parameters); };
    static_cast<void>(chat(tool(R"({"type":"object","properties":{"a":{"type":"object","properties":{"properties":{"type":"string"}}}},"additionalProperties":true})")));
    EXPECT_TRUE(allows(3, R"({"name":"f","arguments":{"a":{"properties":"x"},"b":1}})")); // it was said that there may be more
    EXPECT_FALSE(allows(3, R"({"name":"f","arguments":{"a":{"b":1}}})"));
    static_cast<void>(chat(tool(R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"properties":{"b":{"type":"integer"}}}]})")));
    EXPECT_TRUE(allows(4, R"({"name":"f","arguments":{"a":1,"b":2}})"));
}

TEST_F(ToolsApi, FormsReachTheEngineAndBadOnesTheClient) {
    says("{}");
    start();
    ASSERT_EQ(chat(R"("response_format":{"type":"json_object"})").status, 200);
    EXPECT_TRUE(backend->at(0).request.grammar);
    ASSERT_EQ(chat(R"("response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}})").status, 200);
    EXPECT_TRUE(backend->at(1).request.grammar);
    const auto refused = chat(R"("response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"not":{}}}})");
    EXPECT_EQ(refused.status, 400);
    EXPECT_THAT(json(refused)["error"]["message"].get<std::string>(), HasSubstr("\"not\""));
    EXPECT_EQ(json(refused)["error"]["param"], "response_format.json_schema.schema");
    EXPECT_EQ(chat(R"("grammar":"root ::= x")").status, 400);
    EXPECT_EQ(post("/v1/completions", R"({"prompt":"x","grammar":"root ::= \"a\""})").status, 200);
}

TEST_F(ToolsApi, TemplatesWithoutToolsGetThemInWords) {
    backend->template_source = "chatml";
    says("ok");
    start();
    const auto response = post("/v1/chat/completions", std::string(R"({"messages":[{"role":"user","content":"Hi"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"foreign_1","type":"function","function":{"name":"ping","arguments":"{\"a\":1}"}}]},
        {"role":"tool","tool_call_id":"foreign_1","content":"pong"}],)") + kTools + "}");
    ASSERT_EQ(response.status, 200) << response.body;
    const std::string prompt = backend->words.decode(backend->at(0).request.prompt, true);
    EXPECT_THAT(prompt, HasSubstr("get_weather"));
    EXPECT_THAT(prompt, HasSubstr("<tool_call>\n{\"name\":\"ping\",\"arguments\":{\"a\":1}}\n</tool_call>"));
    EXPECT_THAT(prompt, HasSubstr("<tool_response>\npong\n</tool_response>"));
}

TEST_F(ToolsApi, IgnoredFieldsAreTold) {
    says("ok");
    start();
    EXPECT_EQ(chat(R"("user":"me","store":false,"service_tier":null)").header("x-lucebox-ignored"), "user, store");
    EXPECT_EQ(chat().header("x-lucebox-ignored"), "");
}

} // namespace
} // namespace lucebox::server
