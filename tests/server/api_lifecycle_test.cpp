// What happens when something goes wrong, or away, while an answer is made.
#include "api_fixture.h"

namespace lucebox::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

class ApiLifecycle : public ApiTest {
protected:
    std::size_t occurrences(const std::string& text, std::string_view part) {
        std::size_t count = 0;
        for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
            ++count;
        return count;
    }
};

TEST_F(ApiLifecycle, AClientThatLeavesAStreamIsCancelled) {
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/chat/completions", chat_body(R"("stream":true)")));
    wait_for_submissions(1);
    backend->at(0).say("x");
    ASSERT_TRUE(client.receive_until("\"x\""));
    client.close();
    ASSERT_TRUE(eventually([&] { return !backend->cancelled().empty(); }));
    EXPECT_THAT(backend->cancelled(), ElementsAre(backend->at(0).id));
    backend->at(0).say("y"); // events that were under way do no harm
    backend->at(0).finish(2, engine::FinishReason::cancelled);
}

TEST_F(ApiLifecycle, AClientThatLeavesBeforeAnythingCameIsCancelled) {
    start();
    for (const char* fields : {R"("stream":true)", R"("stream":false)", R"("n":3)"}) {
        const std::size_t before = backend->submitted(), cancelled = backend->cancelled().size();
        const std::size_t count = std::string_view(fields) == R"("n":3)" ? 3 : 1;
        RawClient client(server->port());
        client.send(post_text("/v1/chat/completions", chat_body(fields)));
        wait_for_submissions(before + count);
        client.reset();
        EXPECT_TRUE(eventually([&] { return backend->cancelled().size() == cancelled + count; })) << fields;
    }
}

TEST_F(ApiLifecycle, FinishedChoicesAreNotCancelled) {
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/chat/completions", chat_body(R"("n":2,"stream":true)")));
    wait_for_submissions(2);
    backend->at(0).say("x");
    backend->at(0).finish(1);
    ASSERT_TRUE(client.receive_until("\"stop\""));
    client.close();
    ASSERT_TRUE(eventually([&] { return !backend->cancelled().empty(); }));
    EXPECT_THAT(backend->cancelled(), ElementsAre(backend->at(1).id));
}

TEST_F(ApiLifecycle, ACompleteAnswerCancelsNothing) {
    backend->script = [](FakeBackend::Submission& s) {
        s.say("x");
        s.finish(1);
    };
    start();
    EXPECT_EQ(chat().status, 200);
    EXPECT_EQ(chat(R"("stream":true)").status, 200);
    server->stop();
    EXPECT_THAT(backend->cancelled(), IsEmpty());
}

TEST_F(ApiLifecycle, AWaitingStreamIsKeptAlive) {
    options.heartbeat = 20ms;
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/chat/completions", chat_body(R"("stream":true)")));
    wait_for_submissions(1);
    ASSERT_TRUE(client.receive_until(": keep-alive\n\n")); // the prompt is still being processed
    while (occurrences(client.received(), ": keep-alive\n\n") < 3)
        ASSERT_TRUE(client.receive());
    EXPECT_THAT(client.received(), HasSubstr("text/event-stream"));
    backend->at(0).say("x");
    backend->at(0).finish(1);
    const auto list = events(client.response().body); // comments included, whole events only
    EXPECT_EQ(list.back(), "[DONE]");
}

TEST_F(ApiLifecycle, AFullQueueIs429WithRetryAfter) {
    backend->accept = 0;
    start();
    for (const char* fields : {"", R"("stream":true)"}) {
        const auto response = chat(fields);
        EXPECT_EQ(response.status, 429);
        EXPECT_EQ(response.header("retry-after"), "1");
        EXPECT_EQ(json(response)["error"]["code"], "queue_full");
    }
    // Codex tries again after 503 only.
    const auto response = post("/v1/responses", R"({"input":"Hi"})");
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.header("retry-after"), "1");
}

TEST_F(ApiLifecycle, TheEngineLearnsWhoseEachRequestIs) {
    keys = {"one", "two"};
    backend->script = [](FakeBackend::Submission& s) { s.finish(0); };
    start();
    for (const char* key : {"Authorization: Bearer one", "x-api-key: one", "Authorization: bearer two"}) {
        RawClient client(server->port());
        const std::string body = chat_body();
        const auto response = client.request(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{}\r\nContent-Length: {}\r\n\r\n{}", key, body.size(), body));
        EXPECT_EQ(response.status, 200);
        EXPECT_EQ(response.header("x-queue-position"), "3"); // as many wait in this backend
    }
    EXPECT_EQ(backend->at(0).request.client, backend->at(1).request.client);
    EXPECT_NE(backend->at(0).request.client, backend->at(2).request.client);
}

TEST_F(ApiLifecycle, WithoutKeysAnAddressIsAClientAndTasksOfChatProgramsWait) {
    backend->script = [](FakeBackend::Submission& s) { s.finish(0); };
    start();
    chat();
    post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"### Task:\nGenerate a title"}]})");
    EXPECT_EQ(backend->at(0).request.client, backend->at(1).request.client);
    EXPECT_FALSE(backend->at(0).request.background);
    EXPECT_TRUE(backend->at(1).request.background);
}

TEST_F(ApiLifecycle, IfOneChoiceIsRefusedTheOthersAreCancelled) {
    backend->accept = 2;
    start();
    EXPECT_EQ(chat(R"("n":3,"stream":true)").status, 429);
    EXPECT_TRUE(eventually([&] { return backend->cancelled().size() == 2; }));
    EXPECT_THAT(backend->cancelled(), UnorderedElementsAre(backend->at(0).id, backend->at(1).id));
}

TEST_F(ApiLifecycle, AFailureBeforeTheAnswerHasItsStatus) {
    backend->script = [](FakeBackend::Submission& s) {
        auto end = s.finished(0, engine::FinishReason::error);
        end.error = Error{ErrorKind::internal, "a kernel failed"};
        s.on_event(std::move(end));
    };
    start();
    const auto response = chat();
    EXPECT_EQ(response.status, 500);
    EXPECT_EQ(json(response)["error"]["message"], "a kernel failed");
    EXPECT_EQ(json(response)["error"]["type"], "server_error");
}

TEST_F(ApiLifecycle, AFailureInAStreamIsItsLastEventAndEndsTheOthers) {
    start();
    RawClient client(server->port());
    client.send(post_text("/v1/chat/completions", chat_body(R"("n":2,"stream":true)")));
    wait_for_submissions(2);
    backend->at(0).say("x");
    auto end = backend->at(0).finished(1, engine::FinishReason::error);
    end.error = Error{ErrorKind::unavailable, "the server is shutting down"};
    backend->at(0).on_event(std::move(end));
    const auto list = events(client.response().body);
    ASSERT_EQ(list.size(), 4u);
    EXPECT_EQ(list[2]["error"]["message"], "the server is shutting down");
    EXPECT_EQ(list[3], "[DONE]");
    EXPECT_THAT(backend->cancelled(), ElementsAre(backend->at(1).id));
}

TEST_F(ApiLifecycle, AnEngineThatCancelsIsUnavailable) {
    backend->script = [](FakeBackend::Submission& s) { s.finish(0, engine::FinishReason::cancelled); };
    start();
    EXPECT_EQ(chat().status, 503);
}

// An engine may be faster than submit() returns.
class EagerBackend final : public Backend {
public:
    explicit EagerBackend(std::shared_ptr<FakeBackend> inner) : inner_(std::move(inner)) {}
    Result<engine::RequestId> submit(engine::Request request, engine::OnEvent on_event) override {
        FakeBackend::Submission submission{1, std::move(request), std::move(on_event)};
        submission.say("fast");
        submission.finish(4);
        return submission.id;
    }
    void cancel(engine::RequestId) override {}
    const engine::ModelInfo& model() const override { return inner_->model(); }
    const engine::Options& options() const override { return inner_->options(); }
    const engine::Memory& memory() const override { return inner_->memory(); }
    std::string_view device_name() const override { return "eager"; }
    engine::Stats stats() const override { return {}; }
    const text::Tokenizer& tokenizer() const override { return inner_->tokenizer(); }
    bool has_chat_template() const override { return true; }
    std::string_view chat_template_source() const override { return ""; }
    Result<std::string> render_chat(const text::Json& variables) const override {
        return inner_->render_chat(variables);
    }

private:
    std::shared_ptr<FakeBackend> inner_;
};

TEST_F(ApiLifecycle, EventsFromBeforeSubmitReturnsAreNotLost) {
    start(false);
    api->set_ready(std::make_shared<EagerBackend>(backend));
    EXPECT_EQ(json(chat(R"("n":2)"))["choices"][1]["message"]["content"], "fast");
    const auto list = events(chat(R"("n":2,"stream":true)").body);
    EXPECT_THAT(list, SizeIs(7)); // role, text, end for each, and the end of all
}

TEST_F(ApiLifecycle, ManyClientsAtOnceGetTheirOwnAnswers) {
    backend->script = [](FakeBackend::Submission& s) {
        s.say(std::to_string(s.request.max_tokens));
        s.finish(1);
    };
    start();
    std::vector<std::thread> clients;
    std::atomic<int> right{0};
    for (int i = 1; i <= 16; ++i)
        clients.emplace_back([&, i] {
            for (int turn = 0; turn < 10; ++turn) {
                const auto response = chat(fmt::format(R"("max_tokens":{},"stream":{})", i, turn % 2 == 0));
                const std::string expected = fmt::format("\"content\":\"{}\"", i);
                right += response.status == 200 && response.body.find(expected) != std::string::npos;
            }
        });
    for (auto& client : clients)
        client.join();
    EXPECT_EQ(right, 160);
}

TEST_F(ApiLifecycle, AFloodOfPromptsIsRefusedNotQueuedForEver) {
    options.workers = 1;
    options.worker_queue = 1;
    std::mutex gate;
    std::unique_lock closed(gate);
    std::atomic<int> rendering{0};
    backend->render = [&](const Json& variables) {
        ++rendering;
        const std::lock_guard wait(gate);
        return FakeBackend::chatml(variables);
    };
    backend->script = [](FakeBackend::Submission& s) { s.finish(0); };
    start();
    RawClient first(server->port()), second(server->port()), third(server->port());
    first.send(post_text("/v1/chat/completions", chat_body()));
    ASSERT_TRUE(eventually([&] { return rendering == 1; }));
    second.send(post_text("/v1/chat/completions", chat_body()));
    third.send(post_text("/v1/chat/completions", chat_body()));
    ASSERT_TRUE(eventually([&] { return second.receive(1ms) || third.receive(1ms); }));
    const bool in_order = second.received().empty(); // whichever comes to the server first has the one place in the queue
    EXPECT_EQ((in_order ? third : second).response().status, 429);
    EXPECT_EQ(get("/health").status, 200); // a busy worker does not slow the rest
    EXPECT_TRUE((in_order ? second : third).received().empty());
    closed.unlock();
    EXPECT_EQ(first.response().status, 200);
    EXPECT_EQ((in_order ? second : third).response().status, 200);
}

TEST_F(ApiLifecycle, TheAccessLogHoldsPromptsOnlyIfAsked) {
    backend->script = [](FakeBackend::Submission& s) { s.token('x', "answer"); s.finish(1); };
    for (const bool asked : {false, true}) {
        options.logs_prompts = asked;
        start();
        testing::internal::CaptureStderr();
        EXPECT_EQ(chat(R"("user":"a secret\nforged line")").status, 200);
        EXPECT_EQ(chat(R"("user":"secret","n":"not a number")").status, 400);
        EXPECT_EQ(get("/v1/models?word=secret").status, 200);
        server->stop();
        const std::string log = testing::internal::GetCapturedStderr();
        EXPECT_THAT(log, testing::HasSubstr("POST /v1/chat/completions 200"));
        EXPECT_EQ(log.find("secret") != std::string::npos, asked) << log;
        EXPECT_EQ(log.find("\"content\":\"Hi\"") != std::string::npos, asked) << log;
        EXPECT_THAT(log, testing::Not(testing::HasSubstr("answer")));
        EXPECT_EQ(std::ranges::count(log, '\n'), 3) << log;
    }
}

TEST_F(ApiLifecycle, RoutesMayOutliveTheApi) {
    start();
    api.reset();
    EXPECT_EQ(chat().status, 503);
    EXPECT_EQ(get("/health").status, 503);
}

} // namespace
} // namespace lucebox::server
