#include "server/api/request.h"

#include "base/cpu_time.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr const char* kHi = R"("messages":[{"role":"user","content":"Hi"}])";

Answer<ChatRequest> parse_chat(const std::string& fields, const RequestLimits& limits = {}) {
    auto body = parse_json("{" + (fields.empty() ? "" : fields + ",") + kHi + "}");
    if (const auto* error = std::get_if<ApiError>(&body)) return *error;
    return parse_chat_request(std::get<Json>(body), limits);
}

ChatRequest chat(const std::string& fields, const RequestLimits& limits = {}) {
    auto answer = parse_chat(fields, limits);
    if (const auto* error = std::get_if<ApiError>(&answer)) {
        ADD_FAILURE() << fields << ": " << error->message;
        return {};
    }
    return std::get<ChatRequest>(answer);
}

// The field that a refusal names; "accepted" if there is none.
std::string refused(const std::string& fields, const RequestLimits& limits = {}) {
    const auto answer = parse_chat(fields, limits);
    const auto* error = std::get_if<ApiError>(&answer);
    if (error == nullptr) return "accepted";
    EXPECT_EQ(error->status, 400);
    EXPECT_EQ(error->type, "invalid_request_error");
    EXPECT_FALSE(error->message.empty());
    return error->param;
}

std::string refused_messages(const std::string& messages) {
    const auto answer = parse_chat_request(Json::parse(R"({"messages":)" + messages + "}"), {});
    const auto* error = std::get_if<ApiError>(&answer);
    return error ? error->param : "accepted";
}

Json read(const std::string& messages) {
    const auto answer = parse_chat_request(Json::parse(R"({"messages":)" + messages + "}"), {});
    if (const auto* error = std::get_if<ApiError>(&answer)) {
        ADD_FAILURE() << error->message;
        return {};
    }
    return std::get<ChatRequest>(answer).messages;
}

Answer<CompletionRequest> parse_completion(const std::string& fields) {
    return parse_completion_request(Json::parse("{" + fields + "}"), {});
}

std::string refused_completion(const std::string& fields) {
    const auto answer = parse_completion(fields);
    const auto* error = std::get_if<ApiError>(&answer);
    return error ? error->param : "accepted";
}

TEST(ChatRequest, LinesThatChangeWithEveryRequestAreLeftOutOfSystemMessages) {
    const auto systems = [](std::string_view content, RequestLimits limits = {}) {
        const Json body{{"messages", Json::array({{{"role", "system"}, {"content", content}}, {{"role", "user"}, {"content", content}}})}};
        const auto parsed = parse_chat_request(body, limits);
        const auto* request = std::get_if<ChatRequest>(&parsed);
        EXPECT_NE(request, nullptr);
        EXPECT_EQ(request->messages.back()["content"], content) << "a user's words stay";
        return request->messages.size() == 2 ? request->messages[0]["content"].get<std::string>() : std::string("(none)");
    };
    EXPECT_EQ(systems("x-anthropic-billing-header: cch=1;\n\nBe brief.\nAnd kind."), "Be brief.\nAnd kind.");
    EXPECT_EQ(systems("Be brief.\nx-anthropic-billing-header: cch=1;\nAnd kind."), "Be brief.\nAnd kind.");
    EXPECT_EQ(systems("x-anthropic-billing-header: cch=1;"), "(none)");
    EXPECT_EQ(systems("Say x-anthropic-billing-header: as it is"), "Say x-anthropic-billing-header: as it is");
    RequestLimits none;
    none.volatile_lines.clear();
    EXPECT_EQ(systems("x-anthropic-billing-header: cch=1;", none), "x-anthropic-billing-header: cch=1;");
    RequestLimits own;
    own.volatile_lines = {"Today is "};
    EXPECT_EQ(systems("Today is Monday.\nBe brief.", own), "Be brief.");
}

TEST(RequestJson, SaysWhereItIsMalformed) {
    const auto answer = parse_json(R"({"a": tru})");
    EXPECT_THAT(std::get<ApiError>(answer).message, HasSubstr("byte"));
    EXPECT_TRUE(std::holds_alternative<ApiError>(parse_json("")));
    EXPECT_TRUE(std::holds_alternative<ApiError>(parse_json("\"\xff\"")));
    EXPECT_TRUE(std::holds_alternative<ApiError>(parse_json(R"("\ud800")")));
    EXPECT_TRUE(std::holds_alternative<ApiError>(parse_json("1e999")));
}

TEST(RequestJson, RefusesWhatWouldBeCostly) {
    const JsonLimits limits{.depth = 3, .keys_per_object = 2, .keys = 4};
    const auto accepts = [&](std::string_view text) { return std::holds_alternative<Json>(parse_json(text, limits)); };
    EXPECT_TRUE(accepts("[[[1]]]"));
    EXPECT_FALSE(accepts("[[[[1]]]]"));
    EXPECT_TRUE(accepts(R"({"a":1,"b":2})"));
    EXPECT_FALSE(accepts(R"({"a":1,"b":2,"c":3})"));
    EXPECT_FALSE(accepts(R"([{"a":1,"b":2},{"a":1,"b":2},{"a":1}])"));
    EXPECT_TRUE(accepts(R"(["{[:{[:{[:{[:\"{[{[:::::"])")); // brackets in strings are text
    EXPECT_FALSE(std::holds_alternative<Json>(parse_json(std::string(1'000'000, '['))));
    // Each new key is compared with all before it in its object.
    std::string object = "{", objects = "[";
    for (int i = 0; i < 4096; ++i) object += fmt::format("{}\"k{}\":0", i ? "," : "", i);
    object += "}";
    for (int i = 0; i < 60; ++i) objects += (i ? "," : "") + object;
    const auto begin = thread_cpu_time();
    EXPECT_TRUE(std::holds_alternative<Json>(parse_json(object)));
    EXPECT_FALSE(std::holds_alternative<Json>(parse_json(objects + "]")));
#ifndef LUCEBOX_SANITIZED
    EXPECT_LT(thread_cpu_time() - begin, std::chrono::milliseconds(200)); // the honest one takes 30
#endif
}

TEST(ChatRequest, HasTheDocumentedDefaults) {
    RequestLimits limits;
    limits.defaults.temperature = 0.7f;
    limits.defaults.top_k = 20;
    const auto request = chat("", limits);
    const auto& options = request.options;
    EXPECT_FLOAT_EQ(options.sampling.temperature, 0.7f);
    EXPECT_EQ(options.sampling.top_k, 20);
    EXPECT_FALSE(options.seed || options.max_tokens || options.stream || options.include_usage || options.logprobs);
    EXPECT_EQ(options.n, 1u);
    EXPECT_TRUE(request.add_generation_prompt);
    EXPECT_EQ(request.template_variables["enable_thinking"], false);
    EXPECT_TRUE(request.tools.is_null());
}

TEST(ChatRequest, ReadsEveryField) {
    const auto request = chat(
        R"("model":"m","temperature":0.5,"top_p":0.9,"min_p":0.1,"top_k":40,"frequency_penalty":1,"presence_penalty":-1,
           "repetition_penalty":1.5,"repeat_last_n":100,"seed":7,"max_completion_tokens":9,"stop":["a","b"],"n":3,"stream":true,
           "stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":5,"logit_bias":{"3":-100,"7":2.5},
           "ignore_eos":true,"skip_special_tokens":false,"whatever":{"x":1},"user":"u")");
    const auto& options = request.options;
    EXPECT_EQ(options.model, "m");
    EXPECT_FLOAT_EQ(options.sampling.temperature, 0.5f);
    EXPECT_FLOAT_EQ(options.sampling.top_p, 0.9f);
    EXPECT_FLOAT_EQ(options.sampling.min_p, 0.1f);
    EXPECT_EQ(options.sampling.top_k, 40);
    EXPECT_FLOAT_EQ(options.sampling.frequency_penalty, 1);
    EXPECT_FLOAT_EQ(options.sampling.presence_penalty, -1);
    EXPECT_FLOAT_EQ(options.sampling.repetition_penalty, 1.5f);
    EXPECT_EQ(options.sampling.penalty_window, 100);
    EXPECT_EQ(options.seed, 7u);
    EXPECT_EQ(options.max_tokens, 9u);
    EXPECT_THAT(options.stop, ElementsAre("a", "b"));
    EXPECT_EQ(options.n, 3u);
    EXPECT_TRUE(options.stream && options.include_usage && options.logprobs && options.ignore_end &&
                options.show_special);
    EXPECT_EQ(options.top_logprobs, 5);
    EXPECT_THAT(options.sampling.logit_bias, ElementsAre(Pair(3, -100.0f), Pair(7, 2.5f)));
    EXPECT_TRUE(decode::validate(options.sampling));
}

TEST(ChatRequest, TakesNullForAbsentEverywhere) {
    const auto request = chat(
        R"("model":null,"temperature":null,"top_p":null,"top_k":null,"seed":null,"max_tokens":null,"stop":null,"n":null,
           "stream":null,"stream_options":null,"logprobs":null,"top_logprobs":null,"logit_bias":null,"tools":null,
           "tool_choice":null,"response_format":null,"chat_template_kwargs":null,"reasoning":null,"thinking":null)");
    EXPECT_EQ(request.options.n, 1u);
    EXPECT_FALSE(request.options.max_tokens);
}

TEST(ChatRequest, NamesTheFieldOfAWrongType) {
    for (const char* field : {"temperature",
                              "top_p",
                              "min_p",
                              "top_k",
                              "frequency_penalty",
                              "presence_penalty",
                              "repetition_penalty",
                              "seed",
                              "max_tokens",
                              "max_completion_tokens",
                              "n",
                              "stream",
                              "stream_options",
                              "logprobs",
                              "top_logprobs",
                              "logit_bias",
                              "tools",
                              "response_format",
                              "chat_template_kwargs",
                              "reasoning",
                              "reasoning_effort",
                              "thinking",
                              "model",
                              "ignore_eos",
                              "add_generation_prompt"}) {
        const std::string wrong =
            std::string(field) == "reasoning_effort" || std::string(field) == "model" ? "1.5" : R"("x")";
        EXPECT_EQ(refused("\"" + std::string(field) + "\":" + wrong), field);
    }
    EXPECT_EQ(refused(R"("stop":[1])"), "stop");
    EXPECT_EQ(refused(R"("tool_choice":"perhaps")"), "tool_choice");
    EXPECT_EQ(refused(R"("stream_options":{"include_usage":"yes"})"), "stream_options.include_usage");
    EXPECT_EQ(refused(R"("max_tokens":1.5)"), "max_tokens");
    EXPECT_EQ(refused(R"("logit_bias":{"x":1})"), "logit_bias.x");
    EXPECT_EQ(refused(R"("logit_bias":{"1":"x"})"), "logit_bias.1");
}

TEST(ChatRequest, NamesTheFieldThatIsOutOfRange) {
    EXPECT_EQ(refused(R"("temperature":-0.1)"), "temperature");
    EXPECT_EQ(refused(R"("top_p":1.01)"), "top_p");
    EXPECT_EQ(refused(R"("top_k":-2)"), "top_k");
    EXPECT_EQ(refused(R"("max_tokens":0)"), "max_tokens");
    EXPECT_EQ(refused(R"("max_tokens":-1)"), "max_tokens");
    EXPECT_EQ(refused(R"("max_tokens":18446744073709551615)"), "max_tokens");
    EXPECT_EQ(refused(R"("n":0)"), "n");
    EXPECT_EQ(refused(R"("n":17)"), "n");
    EXPECT_EQ(refused(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs");
    EXPECT_EQ(refused(R"("top_logprobs":2)"), "top_logprobs");
    EXPECT_EQ(refused(R"("logit_bias":{"1":101})"), "logit_bias.1");
    EXPECT_EQ(refused(R"("frequency_penalty":2.5)"), "frequency_penalty");
    RequestLimits limits;
    limits.stops = 2;
    limits.stop_bytes = 3;
    limits.biases = 1;
    EXPECT_EQ(refused(R"("stop":["a","b","c"])", limits), "stop");
    EXPECT_EQ(refused(R"("stop":"long")", limits), "stop");
    EXPECT_EQ(refused(R"("logit_bias":{"1":1,"2":1})", limits), "logit_bias");
}

TEST(ChatRequest, RefusesByNameWhatItWouldOtherwiseIgnore) {
    EXPECT_EQ(refused(R"("response_format":{"type":"xml"})"), "response_format");
    EXPECT_EQ(refused(R"("response_format":{"type":"text"})"), "accepted");
    EXPECT_EQ(refused(R"("response_format":{"type":"json_schema","json_schema":{"name":"x"}})"), "response_format.json_schema.schema");
    EXPECT_EQ(refused(R"("guided_regex":"a+")"), "guided_regex");
    EXPECT_EQ(refused(R"("tools":[{"name":"f"}],"tool_choice":{"type":"function","function":{"name":"g"}})"), "tool_choice");
}

TEST(ChatRequest, UnderstandsTheSeedsThatClientsSend) {
    EXPECT_EQ(chat(R"("seed":18446744073709551615)").options.seed, 18446744073709551615u);
    EXPECT_EQ(chat(R"("seed":42.0)").options.seed, 42u);
    EXPECT_FALSE(chat(R"("seed":-1)").options.seed); // random
}

TEST(ChatRequest, MaxTokensWinsOverItsYoungerNames) {
    EXPECT_EQ(chat(R"("max_completion_tokens":5,"max_tokens":6)").options.max_tokens, 6u);
    EXPECT_EQ(chat(R"("max_output_tokens":5,"max_completion_tokens":6)").options.max_tokens, 5u);
    EXPECT_EQ(chat(R"("top_k":-1)").options.sampling.top_k, 0); // all
}

TEST(ChatRequest, LaterFieldsDecideAboutThinking) {
    const auto thinking = [](const std::string& fields) { return chat(fields).template_variables["enable_thinking"]; };
    EXPECT_EQ(thinking(R"("reasoning":{})"), true);
    EXPECT_EQ(thinking(R"("reasoning":{"effort":"none"})"), false);
    EXPECT_EQ(thinking(R"("reasoning_effort":"low")"), true);
    EXPECT_EQ(thinking(R"("reasoning_effort":"low","thinking":{"type":"disabled"})"), false);
    EXPECT_EQ(thinking(R"("thinking":{"type":"adaptive"})"), true);
    EXPECT_EQ(thinking(R"("thinking":{"type":"enabled"},"chat_template_kwargs":{"enable_thinking":false})"), false);
    EXPECT_EQ(chat(R"("reasoning_effort":"low")").template_variables["reasoning_effort"], "low");
    EXPECT_EQ(chat(R"("chat_template_kwargs":{"style":"terse"})").template_variables["style"], "terse");
}

TEST(ChatRequest, UnderstandsHowMuchToThink) {
    const auto thinking = [](const std::string& fields) { return chat(fields).thinking; };
    EXPECT_EQ(thinking(R"("reasoning_effort":"x-high")").effort, "xhigh"); // both spellings
    EXPECT_EQ(thinking(R"("reasoning":{"effort":"minimal"})").effort, "low");
    EXPECT_EQ(thinking(R"("reasoning_effort":"gigantic")").effort, "high");
    EXPECT_EQ(thinking(R"("thinking":{"type":"enabled","budget_tokens":77})").budget, 77u);
    EXPECT_TRUE(thinking(R"("thinking":{"type":"enabled","budget_tokens":77})").has_budget);
    EXPECT_FALSE(thinking(R"("thinking":{"type":"enabled","budget_tokens":0})").enabled); // none, not unlimited
    EXPECT_FALSE(thinking(R"("chat_template_kwargs":{"enable_thinking":true})").has_budget);
    EXPECT_TRUE(thinking(R"("chat_template_kwargs":{"enable_thinking":true})").enabled);
}

TEST(ChatRequest, KnowsWhatItDoesNotRead) {
    EXPECT_EQ(ignored_fields(Json::parse(R"({"messages":[],"user":"x","store":null,"speed":1,"temperature":0})")),
              (std::vector<std::string>{"user", "speed"}));
}

TEST(ChatMessages, AreRefusedByPath) {
    EXPECT_EQ(std::get<ApiError>(parse_chat_request(Json::object(), {})).param, "messages");
    EXPECT_EQ(std::get<ApiError>(parse_chat_request(Json::array(), {})).message, "The body must be a JSON object.");
    EXPECT_EQ(refused_messages("[]"), "messages");
    EXPECT_EQ(refused_messages("\"hi\""), "messages");
    EXPECT_EQ(refused_messages("[1]"), "messages[0]");
    EXPECT_EQ(refused_messages(R"([{"content":"x"}])"), "messages[0].role");
    EXPECT_EQ(refused_messages(R"([{"role":"user","content":"x"},{"role":"endoftext","content":"x"}])"),
              "messages[1].role");
    EXPECT_EQ(refused_messages(R"([{"role":"user"}])"), "messages[0].content");
    EXPECT_EQ(refused_messages(R"([{"role":"user","content":1}])"), "messages[0].content");
    EXPECT_EQ(refused_messages(R"([{"role":"user","content":[{"type":"text"}]}])"), "messages[0].content[0].text");
    EXPECT_EQ(refused_messages(R"([{"role":"user","content":[{"type":"text","text":"a"},
                                   {"type":"image_url","image_url":{"url":"x"}}]}])"),
              "messages[0].content[1].type");
    EXPECT_EQ(refused_messages(R"([{"role":"assistant","tool_calls":[{"id":"1"}]}])"),
              "messages[0].tool_calls[0].function");
    EXPECT_EQ(refused_messages(R"([{"role":"user","content":"x","name":1}])"), "messages[0].name");
}

TEST(ChatMessages, JoinTextPartsAndDropNulls) {
    EXPECT_EQ(
        read(
            R"([{"role":"user","content":[{"type":"text","text":"a "},{"type":"input_text","text":"b"}],"name":null}])"),
        Json::parse(R"([{"role":"user","content":"a b"}])"));
    EXPECT_EQ(read(R"([{"role":"assistant","content":null,"tool_calls":[]}])"),
              Json::parse(R"([{"role":"assistant","content":""}])"));
}

TEST(ChatMessages, GiveTemplatesToolArgumentsAsObjects) {
    const Json messages = read(R"([{"role":"assistant","content":null,"tool_calls":[
        {"id":"1","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":[2]}"}},
        {"id":"2","type":"function","function":{"name":"g","arguments":"not json"}},
        {"id":"3","type":"function","function":{"name":"h"}}]},
        {"role":"tool","tool_call_id":"1","content":"ok"}])");
    const Json& calls = messages[0]["tool_calls"];
    EXPECT_EQ(calls[0]["function"]["arguments"].dump(), R"({"b":1,"a":[2]})"); // in the client's order
    EXPECT_EQ(calls[1]["function"]["arguments"], "not json");
    EXPECT_EQ(calls[2]["function"]["arguments"], Json::object());
    EXPECT_EQ(messages[1]["tool_call_id"], "1");
}

TEST(ChatTools, AreBroughtIntoOneShape) {
    const Json nested =
        Json::parse(R"({"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}})");
    EXPECT_EQ(chat(R"("tools":[)" + nested.dump() + "]").tools, Json::array({nested}));
    EXPECT_EQ(
        chat(R"("tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object"}}])").tools,
        Json::array({nested}));
    EXPECT_EQ(chat(R"("tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}])").tools,
              Json::array({nested}));
    EXPECT_TRUE(chat(R"("tool_choice":"none","tools":[)" + nested.dump() + "]").tools.is_null());
    EXPECT_FALSE(chat(R"("tool_choice":{"type":"function"},"tools":[)" + nested.dump() + "]").tools.is_null());
    EXPECT_EQ(refused(R"("tools":[{"type":"function","function":{}}])"), "tools[0].function.name");
    EXPECT_EQ(refused(R"("tools":[{"type":"web_search"}])"), "tools[0].type");
}

TEST(CompletionRequest, TakesPromptsInEveryShape) {
    const auto count = [](const std::string& fields) {
        return std::get<CompletionRequest>(parse_completion(fields)).prompts;
    };
    EXPECT_EQ(std::get<std::string>(count(R"("prompt":"x")").at(0)), "x");
    EXPECT_EQ(count(R"("prompt":["x","y"])").size(), 2u);
    EXPECT_THAT(std::get<1>(count(R"("prompt":[1,2,3])").at(0)), ElementsAre(1, 2, 3));
    EXPECT_THAT(std::get<1>(count(R"("prompt":[[1],[2,3]])").at(1)), ElementsAre(2, 3));
}

TEST(CompletionRequest, RefusesByName) {
    for (const char* prompt :
         {"1", "{}", "[]", "[1,\"x\"]", "[1.5]", "[-1]", "[[1],[\"x\"]]", "[null]", "[3000000000]"})
        EXPECT_EQ(refused_completion(R"("prompt":)" + std::string(prompt)), "prompt") << prompt;
    EXPECT_EQ(refused_completion(""), "prompt");
    EXPECT_EQ(refused_completion(R"("prompt":"x","suffix":null,"best_of":1)"), "accepted");
    EXPECT_EQ(refused_completion(R"("prompt":"x","best_of":2)"), "best_of");
    EXPECT_EQ(refused_completion(R"("prompt":"x","echo":true,"logprobs":1)"), "echo");
    EXPECT_EQ(refused_completion(R"("prompt":"x","logprobs":true)"), "logprobs");
    EXPECT_EQ(refused_completion(R"("n":16,"prompt":["a","b","c","d","e"])"), "n");
}

TEST(CompletionRequest, GeneratesSixteenTokensUnlessToldOtherwise) {
    EXPECT_EQ(std::get<CompletionRequest>(parse_completion(R"("prompt":"x")")).options.max_tokens, 16u);
    const auto request =
        std::get<CompletionRequest>(parse_completion(R"("prompt":"x","max_tokens":5,"logprobs":0,"echo":false)"));
    EXPECT_EQ(request.options.max_tokens, 5u);
    EXPECT_TRUE(request.options.logprobs);
    EXPECT_EQ(request.options.top_logprobs, 0);
}

TEST(TokenizeRequest, IsCheckedToo) {
    EXPECT_EQ(std::get<ApiError>(parse_tokenize_request(Json::parse("{}"))).param, "content");
    EXPECT_EQ(std::get<ApiError>(parse_tokenize_request(Json::parse(R"({"content":1})"))).param, "content");
    EXPECT_TRUE(std::get<TokenizeRequest>(parse_tokenize_request(Json::parse(R"({"content":"x"})"))).parse_special);
    EXPECT_EQ(std::get<ApiError>(parse_detokenize_request(Json::parse("{}"), {})).param, "tokens");
    EXPECT_EQ(std::get<ApiError>(parse_detokenize_request(Json::parse(R"({"tokens":["a"]})"), {})).param, "tokens");
}

} // namespace
} // namespace lucebox::server
