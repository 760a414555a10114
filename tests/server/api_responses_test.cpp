// OpenAI's Responses, items in and events out.
#include "api_fixture.h"

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class ResponsesApi : public ScriptedApi {
protected:
    RawResponse responses(std::string_view fields) { return post("/v1/responses", fmt::format(R"({{"model":"gpt-x",{}}})", fields)); }
};

constexpr const char* kTools = R"("tools":[{"type":"function","name":"run","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer"}}}},
    {"type":"custom","name":"apply_patch","description":"d","format":{"type":"grammar","syntax":"lark","definition":"x"}},
    {"type":"namespace","name":"mcp","tools":[{"type":"function","name":"inner","parameters":{"type":"object"}}]},{"type":"web_search"},{"type":"local_shell"}])";

TEST_F(ResponsesApi, AnswersWithItems) {
    says("<think>hm</think>Hi<tool_call>\n<function=run>\n<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>");
    start();
    const auto response = responses(std::string(R"("input":"Hello","metadata":{"a":"b"},)") + kTools);
    ASSERT_EQ(response.status, 200) << response.body;
    const Json body = json(response);
    EXPECT_EQ(body["object"], "response");
    EXPECT_EQ(body["status"], "completed");
    ASSERT_EQ(body["output"].size(), 3u) << body;
    EXPECT_EQ(body["output"][0]["type"], "reasoning");
    EXPECT_EQ(body["output"][0]["summary"][0]["text"], "hm");
    EXPECT_EQ(body["output"][1]["content"][0]["text"], "Hi");
    EXPECT_EQ(body["output"][2]["type"], "function_call");
    EXPECT_EQ(body["output"][2]["arguments"], R"({"n":3})");
    EXPECT_NE(body["output"][2]["id"], body["output"][2]["call_id"]);
    EXPECT_GT(body["usage"]["input_tokens"], 0);
    EXPECT_EQ(body["usage"]["output_tokens_details"]["reasoning_tokens"].is_number(), true);
    EXPECT_EQ(body["metadata"]["a"], "b");
    for (const char* key : {"error", "incomplete_details", "instructions", "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p", "previous_response_id"})
        EXPECT_TRUE(body.contains(key)) << key;
    EXPECT_EQ(seen["tools"].size(), 3u); // the namespace is opened, what only other servers run is left out
}

TEST_F(ResponsesApi, StreamsEveryEventInOrderWithItsNumber) {
    says("<think>hm</think>Hi<tool_call>\n<function=run>\n<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>");
    start();
    const auto list = events(responses(std::string(R"("input":[{"role":"user","content":[{"type":"input_text","text":"Hello"}]}],"stream":true,)") + kTools).body, true);
    std::vector<std::string> order;
    for (std::size_t i = 0; i < list.size(); ++i) {
        EXPECT_EQ(list[i]["sequence_number"], i);
        const std::string type = list[i]["type"].get<std::string>().substr(9);
        if (order.empty() || type != order.back()) order.push_back(type);
    }
    EXPECT_THAT(order, ElementsAre("created", "in_progress", "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done",
                                   "reasoning_summary_part.done", "output_item.done", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
                                   "content_part.done", "output_item.done", "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
                                   "output_item.done", "completed"));
    const Json& last = list.back()["response"];
    ASSERT_EQ(last["output"].size(), 3u);
    EXPECT_EQ(last["output"][2]["arguments"], R"({"n":3})");
    EXPECT_EQ(last["id"], list[0]["response"]["id"]);
    EXPECT_EQ(last["usage"]["total_tokens"], last["usage"]["input_tokens"].get<int>() + 7);
    for (const Json& event : list)
        if (event["type"] == "response.output_item.done") {
            EXPECT_EQ(event["item"], last["output"][event["output_index"].get<std::size_t>()]);
        }
}

TEST_F(ResponsesApi, FreeTextToolsAnswerInText) {
    says(R"(<tool_call>{"name":"apply_patch","arguments":{"input":"*** Begin\n+x"}}</tool_call>)");
    start();
    const Json body = json(responses(std::string(R"("input":"x",)") + kTools));
    EXPECT_EQ(body["output"][0]["type"], "custom_tool_call");
    EXPECT_EQ(body["output"][0]["input"], "*** Begin\n+x");
    const auto list = events(responses(std::string(R"("input":"x","stream":true,)") + kTools).body, true);
    EXPECT_EQ(list.back()["response"]["output"][0]["input"], "*** Begin\n+x");
}

TEST_F(ResponsesApi, ItemsOfAWholeTurnBecomeTheConversation) {
    says("ok");
    start();
    const auto response = responses(R"("instructions":"Be brief.","input":[{"type":"message","role":"developer","content":"Rules."},{"role":"user","content":"Go"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"plan"}],"encrypted_content":"x"},
        {"type":"function_call","call_id":"c1","name":"run","arguments":"{\"n\":1}"},{"type":"function_call","call_id":"c2","name":"run","arguments":"{}"},
        {"type":"function_call_output","call_id":"c1","output":[{"type":"input_text","text":"one"}]},{"type":"function_call_output","call_id":"c2","output":"two"},
        {"type":"web_search_call","id":"w","status":"completed"},{"type":"custom_tool_call","call_id":"c3","name":"apply_patch","input":"p"},
        {"type":"custom_tool_call_output","call_id":"c3","output":"done"}])");
    ASSERT_EQ(response.status, 200) << response.body;
    const Json& messages = seen["messages"];
    ASSERT_EQ(messages.size(), 7u) << messages;
    EXPECT_EQ(messages[0], (Json{{"role", "system"}, {"content", "Be brief.\n\nRules."}}));
    EXPECT_EQ(messages[2]["tool_calls"].size(), 2u);
    EXPECT_EQ(messages[2]["reasoning_content"], "plan");
    EXPECT_EQ(messages[2]["tool_calls"][0]["function"]["arguments"]["n"], 1);
    EXPECT_EQ(messages[3]["content"], "one");
    EXPECT_EQ(messages[5]["tool_calls"][0]["function"]["arguments"]["input"], "p");
    EXPECT_EQ(messages[6]["content"], "done");
}

TEST_F(ResponsesApi, GoesOnFromAnAnswerThatWasStored) {
    says("first");
    start();
    const std::string id = json(responses(R"("input":"one","instructions":"I")"))["id"];
    static_cast<void>(responses(R"("input":"two","previous_response_id":")" + id + "\""));
    ASSERT_EQ(seen["messages"].size(), 3u) << seen["messages"]; // instructions are not inherited
    EXPECT_EQ(seen["messages"][1]["content"], "first");
    const std::string unstored = json(responses(R"("input":"one","store":false)"))["id"];
    const auto refused = responses(R"("input":"two","previous_response_id":")" + unstored + "\"");
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(json(refused)["error"]["code"], "previous_response_not_found");
}

TEST_F(ResponsesApi, AnAnswerIsFoundByTheKeyThatAskedForItAlone) {
    says("first");
    keys = {"one", "two"};
    options.needs_key = true;
    start();
    const auto asks = [this](std::string_view key, const std::string& body) {
        RawClient client(server->port());
        return client.request(fmt::format("POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nx-api-key: {}\r\nContent-Length: {}\r\n\r\n{}", key, body.size(), body));
    };
    const std::string id = json(asks("one", R"({"input":"one"})"))["id"];
    const std::string more = R"({"input":"two","previous_response_id":")" + id + "\"}";
    EXPECT_EQ(json(asks("two", more))["error"]["code"], "previous_response_not_found");
    EXPECT_EQ(asks("one", more).status, 200);
}

TEST_F(ResponsesApi, TheStoreIsBounded) {
    ResponseStore store(2, 10'000);
    store.put("a", Json::array({"1"}));
    store.put("b", Json::array({"2"}));
    EXPECT_TRUE(store.get("a"));
    store.put("c", Json::array({"3"}));
    EXPECT_FALSE(store.get("b")); // the one that was not used
    EXPECT_TRUE(store.get("a"));
    store.put("d", Json::array({std::string(9'500, 'x')}));
    EXPECT_TRUE(store.get("d"));
    EXPECT_FALSE(store.get("c"));
    store.put("e", Json::array({std::string(20'000, 'x')}));
    EXPECT_FALSE(store.get("e"));
}

TEST_F(ResponsesApi, ACallThatComesToNoEndIsNeverDone) {
    says("<tool_call>\n<function=ping>\n<parameter=host>\nhal");
    start();
    const auto list = events(post("/v1/responses", R"({"input":"Hi","stream":true,"tools":[{"type":"function","name":"ping","parameters":{"type":"object","properties":{"host":{"type":"string"}}}}]})").body, true);
    std::string text;
    std::size_t items = 0;
    for (const Json& event : list) {
        if (event["type"] == "response.output_item.added") {
            EXPECT_EQ(event["output_index"], items++);
        }
        if (event["type"] == "response.output_text.delta") text += event["delta"].get<std::string>();
        if (event["type"] == "response.output_item.done") {
            EXPECT_EQ(event["item"]["type"], "message");
        }
    }
    EXPECT_EQ(text, "<tool_call>\n<function=ping>\n<parameter=host>\nhal");
    EXPECT_EQ(list.back()["type"], "response.completed");
    ASSERT_EQ(list.back()["response"]["output"].size(), 1u);
    EXPECT_EQ(list.back()["response"]["output"][0]["content"][0]["text"], text);
}

TEST_F(ResponsesApi, SaysThatItIsIncomplete) {
    says("abc", engine::FinishReason::length);
    start();
    const Json body = json(responses(R"("input":"x","max_output_tokens":3)"));
    EXPECT_EQ(body["status"], "incomplete");
    EXPECT_EQ(body["incomplete_details"]["reason"], "max_output_tokens");
    EXPECT_EQ(events(responses(R"("input":"x","stream":true)").body, true).back()["type"], "response.incomplete");
}

TEST_F(ResponsesApi, AnswersAProbeAndHoldsAForm) {
    says("{}");
    start();
    EXPECT_EQ(responses(R"("input":[],"max_output_tokens":1)").status, 200);
    EXPECT_EQ(responses(R"("input":"x","text":{"verbosity":"low","format":{"type":"json_schema","name":"out","strict":true,"schema":{"type":"object"}}})").status, 200);
    EXPECT_TRUE(backend->at(1).request.grammar);
    EXPECT_EQ(responses(R"("input":5)").status, 400);
    EXPECT_EQ(responses(R"("input":[{"type":"message","role":5,"content":"x"}])").status, 400);
}

TEST_F(ResponsesApi, ALateFailureIsAnEvent) {
    backend->script = [](FakeBackend::Submission& s) {
        auto end = s.finished(0, engine::FinishReason::error);
        end.error = Error{ErrorKind::internal, "broken"};
        s.on_event(std::move(end));
    };
    start();
    const auto list = events(responses(R"("input":"x","stream":true)").body, true);
    EXPECT_EQ(list.back()["type"], "response.failed");
    EXPECT_EQ(list.back()["response"]["error"]["message"], "broken");
}

TEST_F(ResponsesApi, ModelsAsCodexReadsThem) {
    start();
    const Json models = json(get("/v1/models?client_version=0.99"))["models"];
    ASSERT_EQ(models.size(), 1u);
    for (const char* key : {"slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility", "supported_in_api", "priority", "base_instructions",
                            "supports_reasoning_summaries", "support_verbosity", "truncation_policy", "supports_parallel_tool_calls", "experimental_supported_tools"})
        EXPECT_TRUE(models[0].contains(key)) << key;
    for (const Json& level : models[0]["supported_reasoning_levels"])
        EXPECT_THAT((std::vector<std::string>{"low", "medium", "high", "xhigh"}), testing::Contains(level["effort"].get<std::string>()));
}

} // namespace
} // namespace lucebox::server
