// Anthropic's Messages, from blocks in to events out.
#include "api_fixture.h"

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class MessagesApi : public ScriptedApi {
protected:
    RawResponse messages(std::string_view fields) {
        return post("/v1/messages?beta=true", fmt::format(R"({{"model":"claude-x","max_tokens":50,{}}})", fields));
    }
    static std::vector<std::string> types(const std::vector<Json>& events) {
        std::vector<std::string> list;
        for (const Json& event : events) list.push_back(event["type"]);
        return list;
    }
};

constexpr const char* kHi = R"("messages":[{"role":"user","content":"Hi"}])";
constexpr const char* kTools = R"("tools":[{"name":"get_weather","input_schema":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}},
                                            {"type":"web_search_20250305","name":"web_search"}])";

TEST_F(MessagesApi, AnswersInBlocks) {
    says("<think>\nhm\n</think>\n\nHello <tool_call>\n<function=get_weather>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>");
    start();
    const auto response = messages(std::string(kHi) + "," + kTools);
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_NE(response.header("request-id"), "");
    const Json body = json(response);
    EXPECT_THAT(body["id"].get<std::string>(), StartsWith("msg_"));
    EXPECT_EQ(body["type"], "message");
    EXPECT_EQ(body["role"], "assistant");
    EXPECT_EQ(body["model"], "claude-x");
    ASSERT_EQ(body["content"].size(), 3u) << body;
    EXPECT_EQ(body["content"][0]["thinking"], "hm");
    EXPECT_NE(body["content"][0]["signature"], "");
    EXPECT_EQ(body["content"][1]["text"], "Hello");
    EXPECT_EQ(body["content"][2]["type"], "tool_use");
    EXPECT_THAT(body["content"][2]["id"].get<std::string>(), StartsWith("toolu_"));
    EXPECT_EQ(body["content"][2]["input"], (Json{{"days", 3}})); // a number, as input_schema says
    EXPECT_EQ(body["stop_reason"], "tool_use");
    EXPECT_TRUE(body["stop_sequence"].is_null());
    EXPECT_GT(body["usage"]["input_tokens"], 0);
    EXPECT_EQ(body["usage"]["output_tokens"], 7);
    EXPECT_EQ(body["usage"]["cache_read_input_tokens"], 0);
    EXPECT_EQ(seen["tools"].size(), 1u); // server tools are left out
}

TEST_F(MessagesApi, StreamsInTheOrderThatClientsParse) {
    says("<think>hm</think>Hello<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>\n</tool_call>");
    start();
    const auto list = events(messages(std::string(kHi) + R"(,"stream":true,)" + kTools).body, true);
    std::vector<std::string> order;
    for (const auto& type : types(list))
        if (order.empty() || type != order.back() || type != "content_block_delta") order.push_back(type);
    EXPECT_THAT(order, ElementsAre("message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
                                   "content_block_start", "content_block_delta", "content_block_stop", "content_block_start",
                                   "content_block_delta", "content_block_stop", "message_delta", "message_stop"));
    EXPECT_GT(list[0]["message"]["usage"]["input_tokens"], 0);
    EXPECT_TRUE(list[0]["message"]["stop_reason"].is_null());
    std::string input;
    int index = -1;
    bool signed_thought = false;
    for (const Json& event : list) {
        if (event["type"] == "content_block_start") {
            EXPECT_EQ(event["index"], ++index);
        }
        if (event["type"] != "content_block_delta") continue;
        EXPECT_EQ(event["index"], index);
        if (event["delta"]["type"] == "input_json_delta") input += event["delta"]["partial_json"];
        if (event["delta"]["type"] == "signature_delta") signed_thought = true;
    }
    EXPECT_EQ(Json::parse(input), (Json{{"city", "Rome"}}));
    EXPECT_TRUE(signed_thought);
    EXPECT_EQ(list[list.size() - 2]["delta"]["stop_reason"], "tool_use");
    EXPECT_EQ(list[list.size() - 2]["usage"]["output_tokens"], 7);
}

TEST_F(MessagesApi, RefusesThreadsInTheFormThatClientsRecoverFrom) {
    says("x");
    start();
    const auto response = messages(std::string(kHi) + R"(,"thread":{"type":"create"})");
    EXPECT_EQ(response.status, 400);
    const Json error = json(response)["error"];
    EXPECT_EQ(error["details"], (Json{{"error_code", "thread_unsupported_request"}, {"unsupported", {"thread"}}}));
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("whole conversation"));
    EXPECT_EQ(messages(std::string(kHi) + R"(,"thread":null)").status, 200);
}

TEST_F(MessagesApi, SaysWhyItStopped) {
    says("abc", engine::FinishReason::length);
    start();
    EXPECT_EQ(json(messages(kHi))["stop_reason"], "max_tokens");
    const auto list = events(messages(std::string(kHi) + R"(,"stream":true)").body, true);
    EXPECT_EQ(list[list.size() - 2]["delta"]["stop_reason"], "max_tokens");
}

TEST_F(MessagesApi, NamesTheStopSequence) {
    backend->script = [](FakeBackend::Submission& s) {
        s.token('a', "a");
        auto end = s.finished(2);
        end.stop_string = "END";
        s.on_event(std::move(end));
    };
    start();
    const Json body = json(messages(std::string(kHi) + R"(,"stop_sequences":["END"])"));
    EXPECT_THAT(backend->at(0).request.stop, ElementsAre("END"));
    EXPECT_EQ(body["stop_reason"], "stop_sequence");
    EXPECT_EQ(body["stop_sequence"], "END");
}

TEST_F(MessagesApi, HistoryWithCallsAndResultsReachesTheTemplate) {
    says("ok");
    start();
    const auto response = messages(R"("system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=1; cch=abcde;"},{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],
        "messages":[{"role":"user","content":[{"type":"text","text":"Weather?"}]},
                    {"role":"assistant","content":[{"type":"thinking","thinking":"need tool","signature":"s"},{"type":"text","text":"Looking."},
                                                    {"type":"tool_use","id":"toolu_other","name":"get_weather","input":{"city":"Paris"}}]},
                    {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_other","content":[{"type":"text","text":"12C"},{"type":"image","source":{}}]},
                                               {"type":"tool_result","tool_use_id":"gone","is_error":true,"content":"boom"},{"type":"text","text":"And?"}]}],)" + std::string(kTools));
    ASSERT_EQ(response.status, 200) << response.body;
    const Json& history = seen["messages"];
    ASSERT_EQ(history.size(), 6u) << history;
    EXPECT_EQ(history[0], (Json{{"role", "system"}, {"content", "Be brief."}})); // without the line that always changes
    EXPECT_EQ(history[2]["tool_calls"][0]["function"]["arguments"], (Json{{"city", "Paris"}}));
    EXPECT_EQ(history[3]["role"], "tool");
    EXPECT_EQ(history[3]["content"], "12C[image omitted]");
    EXPECT_EQ(history[3]["name"], "get_weather");
    EXPECT_EQ(history[4]["content"], "Error: boom");
    EXPECT_EQ(history[5]["content"], "And?");
    EXPECT_FALSE(history[2].contains("reasoning_content")); // a newer text of the user came
}

TEST_F(MessagesApi, ThoughtsStayInsideTheLoopOfCalls) {
    says("ok");
    start();
    static_cast<void>(messages(R"("messages":[{"role":"user","content":"Weather?"},{"role":"assistant","content":[{"type":"thinking","thinking":"need tool","signature":"s"},
        {"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"1"}]}])"));
    EXPECT_EQ(seen["messages"][1]["reasoning_content"], "need tool");
}

TEST_F(MessagesApi, AnAnswerThatWasBegunIsGoneOnWith) {
    says("!");
    start();
    static_cast<void>(messages(R"("messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello wor  "}])"));
    EXPECT_THAT(backend->words.decode(backend->at(0).request.prompt, true), testing::EndsWith("<|im_start|>assistant\nHello wor"));
}

TEST_F(MessagesApi, ErrorsAreInItsOwnDialect) {
    says("x");
    start();
    const auto refused = [&](const RawResponse& response, int status, const std::string& type) {
        EXPECT_EQ(response.status, status) << response.body;
        const Json body = json(response);
        EXPECT_EQ(body["type"], "error");
        EXPECT_EQ(body["error"]["type"], type);
        EXPECT_TRUE(body.contains("request_id"));
        return body["error"]["message"].get<std::string>();
    };
    EXPECT_THAT(refused(post("/v1/messages", "{"), 400, "invalid_request_error"), HasSubstr("JSON"));
    EXPECT_THAT(refused(post("/v1/messages", R"({"messages":[{"role":"user","content":"x"}]})"), 400, "invalid_request_error"), HasSubstr("max_tokens"));
    EXPECT_THAT(refused(messages(R"("messages":[{"role":"user","content":")" + std::string(1200, 'x') + R"("}])"), 400, "invalid_request_error"), HasSubstr("prompt is too long: "));
    refused(messages(R"("messages":[{"role":"user","content":[{"type":"image","source":{}}]}])"), 400, "invalid_request_error");
    refused(messages(R"("messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":5}]}])"), 400, "invalid_request_error");
    refused(get("/v1/messages/nothing"), 404, "not_found_error");
    refused(post("/v1/messages/batches", "{}"), 501, "invalid_request_error");
    backend->accept = 0;
    refused(messages(kHi), 529, "overloaded_error");
}

TEST_F(MessagesApi, AWrongKeyIsRefusedInEachDialect) {
    keys = {"secret"};
    says("x");
    start();
    for (const char* path : {"/v1/messages", "/v1/messages/count_tokens"}) {
        const auto response = post(path, "{}");
        EXPECT_EQ(response.status, 401);
        EXPECT_EQ(json(response)["error"]["type"], "authentication_error") << path;
        EXPECT_EQ(json(response)["type"], "error");
    }
    for (const char* path : {"/v1/chat/completions", "/v1/completions", "/v1/responses"}) {
        const auto response = post(path, "{}");
        EXPECT_EQ(response.status, 401);
        EXPECT_EQ(json(response)["error"]["code"], "invalid_api_key") << path;
    }
}

TEST_F(MessagesApi, ALateFailureIsAnEvent) {
    backend->script = [](FakeBackend::Submission& s) {
        s.token('a', "a");
        auto end = s.finished(1, engine::FinishReason::error);
        end.error = Error{ErrorKind::internal, "broken"};
        s.on_event(std::move(end));
    };
    start();
    const auto list = events(messages(std::string(kHi) + R"(,"stream":true)").body, true);
    EXPECT_EQ(list.back()["type"], "error");
    EXPECT_EQ(list.back()["error"]["type"], "api_error");
}

TEST_F(MessagesApi, CountsWhatTheModelWouldRead) {
    says("x");
    start();
    const auto count = [&](const std::string& fields) {
        return json(post("/v1/messages/count_tokens?beta=true", "{" + fields + "}"))["input_tokens"].get<int>();
    };
    const int plain = count(kHi);
    EXPECT_EQ(plain, static_cast<int>(backend->words.encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", {.parse_special = true}).size()));
    EXPECT_GT(count(R"("messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"text","text":"x"},{"type":"tool_use","id":"t","name":"f","input":{}}]},
                      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"a long result"}]}])"), plain);
    EXPECT_EQ(backend->submitted(), 0u);
}

TEST_F(MessagesApi, PingsWhileItWaits) {
    options.heartbeat = 20ms;
    backend->script = nullptr;
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/messages", fmt::format(R"({{"max_tokens":5,"stream":true,{}}})", kHi)));
    wait_for_submissions(1);
    const auto pings = [&] {
        std::size_t count = 0;
        for (std::size_t at = 0; (at = client.received().find("event: ping", at)) != std::string::npos; ++at) ++count;
        return count;
    };
    while (pings() < 3) ASSERT_TRUE(client.receive()); // while nothing else comes
    backend->at(0).finish(0);
    const auto list = types(events(client.response().body, true));
    EXPECT_GE(std::count(list.begin(), list.end(), "ping"), 3);
}

} // namespace
} // namespace lucebox::server
