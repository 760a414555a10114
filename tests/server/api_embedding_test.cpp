#include "api_fixture.h"

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Its embedding of a text is the text's first id, its length, and a half.
class EmbeddingApi : public ApiTest {
protected:
    EmbeddingApi() {
        backend->info.width = 3;
        backend->info.pooling = engine::Pooling::last;
        backend->script = [](FakeBackend::Submission& s) {
            engine::Finished end = s.finished(0);
            end.embedding = {static_cast<float>(s.request.prompt[0]), static_cast<float>(s.request.prompt.size()), 0.5F};
            s.on_event(std::move(end));
        };
    }
    RawResponse embed(std::string_view fields) { return post("/v1/embeddings", fmt::format("{{{}}}", fields)); }
};

TEST_F(EmbeddingApi, AnswersInOpenAisShape) {
    start();
    const auto response = embed(R"("input":"abc","model":"m","encoding_format":null,"user":"me")");
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(json(response), Json::parse(R"({"object":"list","data":[{"object":"embedding","index":0,"embedding":[260,2,0.5]}],
        "model":"m","usage":{"prompt_tokens":2,"total_tokens":2}})"));
    EXPECT_EQ(response.header("x-lucebox-ignored"), "user");
    EXPECT_EQ(backend->at(0).request.pooling, engine::Pooling::last);
    EXPECT_EQ(json(post("/embeddings", R"({"input":"a","pooling":"mean"})"))["model"], "fake-model");
    EXPECT_EQ(backend->at(1).request.pooling, engine::Pooling::mean);
}

TEST_F(EmbeddingApi, ReadsTextsAndIdsInEveryShapeAndKeepsTheirOrder) {
    start();
    const auto numbers = [&](std::string_view input) {
        Json list = Json::array();
        const auto response = embed(fmt::format(R"("input":{})", input));
        EXPECT_EQ(response.status, 200) << response.body;
        const Json body = json(response);
        for (const Json& entry : body["data"]) {
            EXPECT_EQ(entry["index"], list.size() / 2);
            list.push_back(entry["embedding"][0]);
            list.push_back(entry["embedding"][1]);
        }
        return list;
    };
    EXPECT_EQ(numbers(R"(["x","yz"])"), Json::parse("[120,1,121,2]"));
    EXPECT_EQ(numbers("[7,8,9]"), Json::parse("[7,3]"));
    EXPECT_EQ(numbers("[[7],[9,9]]"), Json::parse("[7,1,9,2]"));
    // More texts than the engine would take at once. Control tokens in a text are text.
    std::string many = "[";
    for (int i = 0; i < 300; ++i) many += fmt::format(R"({}"{}")", i == 0 ? "" : ",", std::string(static_cast<std::size_t>(i + 1), 'x'));
    const Json lengths = numbers(many + "]");
    ASSERT_EQ(lengths.size(), 600u);
    for (std::size_t i = 0; i < 300; ++i) EXPECT_EQ(lengths[2 * i + 1], i + 1);
    EXPECT_EQ(numbers(R"("<|im_end|>")"), Json::parse("[60,10]"));
}

TEST_F(EmbeddingApi, GivesBase64OfLittleEndianFloats) {
    start();
    // 1.0, 2.0, 0.5 as f32
    EXPECT_EQ(json(embed(R"("input":[1,1],"encoding_format":"base64","dimensions":3)"))["data"][0]["embedding"], "AACAPwAAAEAAAAA/");
}

TEST_F(EmbeddingApi, RefusesByName) {
    start();
    for (const auto& [fields, param] : std::vector<std::pair<std::string, std::string>>{{R"("model":"m")", "input"},
                                                                                       {R"("input":"")", "input"},
                                                                                       {R"("input":["a",""])", "input"},
                                                                                       {R"("input":[])", "input"},
                                                                                       {R"("input":[[]])", "input"},
                                                                                       {R"("input":{})", "input"},
                                                                                       {R"("input":[1,99999])", "input"},
                                                                                       {R"("input":[1,-1])", "input"},
                                                                                       {R"("input":["a",{}])", "input"},
                                                                                       {R"("input":"a","encoding_format":"int8")", "encoding_format"},
                                                                                       {R"("input":"a","pooling":"cls")", "pooling"},
                                                                                       {R"("input":"a","dimensions":2)", "dimensions"},
                                                                                       {R"("input":"a","dimensions":0)", "dimensions"}}) {
        const auto response = embed(fields);
        EXPECT_EQ(response.status, 400) << fields;
        EXPECT_EQ(json(response)["error"]["param"], param) << fields << response.body;
    }
    const Json error = json(embed(fmt::format(R"("input":["a","{}"])", std::string(1001, 'x'))))["error"];
    EXPECT_EQ(error["code"], "context_length_exceeded");
    EXPECT_EQ(error["param"], "input");
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("1001"));
    EXPECT_EQ(embed(fmt::format(R"("input":"{}")", std::string(1000, 'x'))).status, 200) << "a text may fill the context";
}

TEST_F(EmbeddingApi, TellsWhenTheEngineIsFullOrFails) {
    backend->accept = 2;
    start();
    EXPECT_EQ(embed(R"("input":["a","b"])").status, 200);
    const auto full = embed(R"("input":["a","b"])");
    EXPECT_EQ(full.status, 429);
    EXPECT_EQ(full.header("retry-after"), "1");
    backend->accept = 10;
    backend->script = [](FakeBackend::Submission& s) {
        engine::Finished end = s.finished(0, engine::FinishReason::error);
        end.error = Error{ErrorKind::out_of_memory, "too much"};
        s.on_event(std::move(end));
    };
    const auto failed = embed(R"("input":["a","b"])");
    EXPECT_EQ(failed.status, 500);
    EXPECT_EQ(json(failed)["error"]["code"], "out_of_memory");
}

TEST_F(EmbeddingApi, CancelsWhatRunsWhenItsClientLeaves) {
    backend->script = {};
    start();
    {
        RawClient client(server->port());
        client.send(post_text("/v1/embeddings", R"({"input":["a","b","c"]})"));
        wait_for_submissions(3);
    }
    EXPECT_TRUE(eventually([&] { return backend->cancelled().size() == 3; }));
}

} // namespace
} // namespace lucebox::server
