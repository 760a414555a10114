// Turns that called tools, put into the next prompt as the model wrote them, in the templates of several families;
// clients/test_conformance.py has those whose vocabularies are not here.
#include "server/api/prompt.h"
#include "server/api/tool_memory.h"

#include "base/file.h"
#include "gguf/model_file.h"
#include "text/chat_template.h"

#include <gtest/gtest.h>

namespace lucebox::server {
namespace {

using Tokens = std::vector<text::TokenId>;

struct Family {
    const char* chat_template;
    const char* vocabulary;
    const char* call; // as its model may write it: right, but not to the letter what the template would
    const char* end;  // of the turn, in the history
};
void PrintTo(const Family& family, std::ostream* out) { *out << family.chat_template; }

const Family families[] = {
    {"qwen3_5", "qwen35", "I look.\n\n<tool_call>\n<function=read>\n<parameter=lines>\n  12\n</parameter>\n<parameter=path>\na.txt\n</parameter>\n</function>\n</tool_call>\n", "<|im_end|>"},
    {"qwen3_coder", "qwen35", "<function=read><parameter=path>a.txt</parameter><parameter=lines>12</parameter></function>", "<|im_end|>"},
    {"qwen2_5", "qwen2", "<tool_call>{\"arguments\":{\"lines\":12,   \"path\":\"a.txt\"},\"name\":\"read\"}</tool_call>", "<|im_end|>"},
    {"smollm2", "smollm", "<tool_call>\n{\"name\" : \"read\", \"arguments\" : {\"lines\" : 12, \"path\" : \"a.txt\"}}\n</tool_call>", "<|im_end|>"},
};

class Replays : public testing::TestWithParam<Family> {
protected:
    void SetUp() override {
        const auto file = gguf::ModelFile::open(std::string("tests/data/tokenizers/") + GetParam().vocabulary + ".gguf");
        ASSERT_TRUE(file) << file.error().message;
        auto loaded = text::Tokenizer::from_metadata(*file);
        ASSERT_TRUE(loaded) << loaded.error().message;
        tokenizer = std::move(*loaded);
        const auto source = read_text_file(std::string("tests/data/templates/") + GetParam().chat_template + ".jinja", 1u << 20);
        ASSERT_TRUE(source);
        auto parsed = text::ChatTemplate::parse(*source);
        ASSERT_TRUE(parsed) << parsed.error().message;
        chat_template.emplace(std::move(*parsed));
        builder = std::make_unique<PromptBuilder>(*tokenizer, [this](const Json& variables) { return chat_template->render(variables); }, *source);
    }

    static Json call(const std::string& id) {
        return {{"id", id}, {"type", "function"}, {"function", {{"name", "read"}, {"arguments", {{"lines", 12}, {"path", "a.txt"}}}}}}; // in an order of its own
    }
    static Json assistant(const std::string& id) { return {{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array({call(id)})}}; }
    static Json result(const std::string& id, const std::string& text) {
        return {{"role", "tool"}, {"tool_call_id", id}, {"name", "read"}, {"content", text}};
    }
    static ChatRequest request(Json messages) {
        ChatRequest request;
        request.messages = std::move(messages);
        const Json parameters{{"type", "object"}, {"properties", {{"path", {{"type", "string"}}}, {"lines", {{"type", "integer"}}}}}};
        request.tools = Json::array({{{"type", "function"}, {"function", {{"name", "read"}, {"description", "reads"}, {"parameters", parameters}}}}});
        return request;
    }
    ChatPrompt prompt(const Json& messages, ToolMemory* with) {
        auto answer = builder->chat(request(messages), false, with);
        const auto* error = std::get_if<ApiError>(&answer);
        EXPECT_EQ(error, nullptr) << (error ? error->message : "");
        return error ? ChatPrompt{} : std::get<ChatPrompt>(std::move(answer));
    }
    // A token for each character, as no encoder would put it.
    Tokens written() const {
        Tokens tokens;
        for (const char c : std::string(GetParam().call)) {
            const Tokens one = tokenizer->encode(std::string(1, c), {});
            tokens.insert(tokens.end(), one.begin(), one.end());
        }
        return tokens;
    }
    void remember(const ChatPrompt& prompt, const std::string& id) {
        memory.put({prompt.place, written(), "", Json::array({{{"id", id}, {"name", "read"}, {"arguments", {{"path", "a.txt"}, {"lines", 12}}}}}), false});
    }
    static bool begins(const Tokens& tokens, const Tokens& with) {
        return tokens.size() >= with.size() && std::equal(with.begin(), with.end(), tokens.begin());
    }
    static Tokens joined(Tokens a, const Tokens& b) {
        a.insert(a.end(), b.begin(), b.end());
        return a;
    }
    std::string text(std::span<const text::TokenId> tokens) const { return tokenizer->decode(tokens, true); }

    std::unique_ptr<text::Tokenizer> tokenizer;
    std::optional<text::ChatTemplate> chat_template;
    std::unique_ptr<PromptBuilder> builder;
    ToolMemory memory{100, 1u << 20};
};

TEST_P(Replays, OwnCallsStandInTheNextPromptTokenForToken) {
    Json messages = Json::array({{{"role", "user"}, {"content", "What does a.txt say?"}}});
    const ChatPrompt first = prompt(messages, &memory);
    ASSERT_FALSE(first.place.opening.empty());
    remember(first, "call_1");
    messages.push_back(assistant("call_1"));
    messages.push_back(result("call_1", "Hello <|im_end|>"));
    const ChatPrompt second = prompt(messages, &memory), plain = prompt(messages, nullptr);
    EXPECT_EQ(second.replayed, 1u);
    EXPECT_EQ(plain.replayed, 0u);
    const Tokens before = joined(first.tokens, written());
    ASSERT_TRUE(begins(second.tokens, before)) << text(second.tokens);
    EXPECT_TRUE(text(std::span(second.tokens).subspan(before.size())).starts_with(GetParam().end)) << text(second.tokens);
    // What follows is the template's, token for token, as it is for a turn that nobody remembers.
    const std::size_t behind = second.tokens.size() - before.size();
    ASSERT_GE(plain.tokens.size(), behind);
    EXPECT_TRUE(std::equal(second.tokens.end() - static_cast<std::ptrdiff_t>(behind), second.tokens.end(), plain.tokens.end() - static_cast<std::ptrdiff_t>(behind)));

    // And once more in the same turn.
    remember(second, "call_2");
    messages.push_back(assistant("call_2"));
    messages.push_back(result("call_2", "Bye"));
    const ChatPrompt third = prompt(messages, &memory);
    EXPECT_EQ(third.replayed, 2u);
    EXPECT_TRUE(begins(third.tokens, joined(second.tokens, written()))) << text(third.tokens);
}

TEST_P(Replays, ForeignAndChangedCallsAreRenderedByTheTemplate) {
    Json messages = Json::array({{{"role", "user"}, {"content", "What does a.txt say?"}}, assistant("toolu_elsewhere"), result("toolu_elsewhere", "Hello")});
    const ChatPrompt plain = prompt(messages, nullptr);
    EXPECT_EQ(prompt(messages, &memory).tokens, plain.tokens);
    remember(prompt(Json::array({messages[0]}), nullptr), "toolu_elsewhere");
    EXPECT_EQ(prompt(messages, &memory).replayed, 1u);
    messages[1]["tool_calls"][0]["function"]["arguments"]["lines"] = 13;
    EXPECT_EQ(prompt(messages, &memory).tokens, prompt(messages, nullptr).tokens);
    EXPECT_NE(text(prompt(messages, &memory).tokens).find("13"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Families, Replays, testing::ValuesIn(families), [](const auto& parameter) { return std::string(parameter.param.chat_template); });

TEST(ToolMemory, KeepsTheYoungestWithinItsBounds) {
    ToolMemory memory(2, 1u << 20);
    const auto turn = [](const std::string& id) { return RememberedTurn{{"<a>", ""}, {1, 2}, "hi", Json::array({{{"id", id}, {"name", "f"}, {"arguments", Json::object()}}}), false}; };
    const auto message = [](const std::string& id, const std::string& content = "") {
        return Json{{"role", "assistant"}, {"content", content}, {"tool_calls", Json::array({{{"id", id}, {"function", {{"name", "f"}, {"arguments", Json::object()}}}}})}};
    };
    memory.put(turn("1"));
    memory.put(turn("2"));
    EXPECT_NE(memory.find(message("1")), nullptr); // used: "2" is the oldest now
    memory.put(turn("3"));
    EXPECT_EQ(memory.find(message("2")), nullptr);
    EXPECT_NE(memory.find(message("1")), nullptr);
    EXPECT_NE(memory.find(message("3", "hi\n")), nullptr);
    EXPECT_EQ(memory.find(message("3", "something else")), nullptr);
    EXPECT_EQ(memory.size().entries, 2u);
    ToolMemory small(100, 2000);
    for (int i = 0; i < 50; ++i) small.put(turn(std::to_string(i)));
    EXPECT_LE(small.size().bytes, 2000u);
    EXPECT_GE(small.size().entries, 1u);
    EXPECT_NE(small.find(message("49")), nullptr);
}

} // namespace
} // namespace lucebox::server
