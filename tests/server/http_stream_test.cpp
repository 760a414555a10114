// Answers that come later, in pieces, from other threads, to clients that leave or do not read.
#include "http_fixture.h"

#include <random>

namespace lucebox::server {
namespace {

class HttpStream : public HttpTest {
protected:
    static constexpr const char* keep = "GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n";
};

TEST_F(HttpStream, chunks_arrive_as_they_are_written_and_the_connection_lives_on) {
    start();
    RawClient client(port());
    client.send(keep);
    const auto out = wait_for_kept();
    ASSERT_TRUE(out->start_stream(200, {{"Content-Type", "text/event-stream"}}));
    ASSERT_TRUE(out->write("data: 1\n\n"));
    ASSERT_TRUE(client.receive_until("data: 1\n\n")); // before anything else was written
    EXPECT_THAT(client.received(), HasSubstr("Transfer-Encoding: chunked"));
    ASSERT_TRUE(out->write("data: 2\n\n"));
    ASSERT_TRUE(out->finish());
    EXPECT_EQ(client.response().body, "data: 1\n\ndata: 2\n\n");
    EXPECT_FALSE(out->write("late"));
    EXPECT_FALSE(out->alive());
    EXPECT_EQ(client.request("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").body, "hello");
    EXPECT_EQ(gone, 0);
}

TEST_F(HttpStream, http_1_0_client_gets_plain_bytes_and_the_end_of_the_connection) {
    start();
    RawClient client(port());
    client.send("GET /keep HTTP/1.0\r\n\r\n");
    const auto out = wait_for_kept();
    out->start_stream(200, {});
    out->write("plain");
    out->finish();
    EXPECT_TRUE(client.closed_by_server());
    EXPECT_THAT(client.received(), testing::EndsWith("\r\n\r\nplain"));
}

TEST_F(HttpStream, head_request_to_a_stream_ends_it_before_the_first_byte) {
    start();
    RawClient client(port());
    client.send("HEAD /keep HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const auto out = wait_for_kept();
    EXPECT_FALSE(out->start_stream(200, {}));
    EXPECT_FALSE(out->write("x"));
    EXPECT_EQ(client.response(true).status, 200);
    EXPECT_EQ(gone, 1);
    EXPECT_EQ(client.request("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").body, "hello");
}

TEST_F(HttpStream, client_that_leaves_is_noticed_once_and_disturbs_nobody) {
    start();
    RawClient stays(port());
    stays.send(keep);
    const auto other = wait_for_kept(0);
    other->start_stream(200, {});
    using Leave = void (*)(RawClient&);
    const Leave ways[] = {[](RawClient& c) { c.close(); }, [](RawClient& c) { c.reset(); },
                          [](RawClient& c) { c.close_sending_half(); }};
    std::string expected;
    for (std::size_t i = 0; i < 6; ++i) {
        RawClient leaves(port());
        leaves.send(keep);
        const auto out = wait_for_kept(1 + i);
        if (i % 2 == 0) out->start_stream(200, {}); // while waiting, and while streaming
        EXPECT_TRUE(out->alive());
        ways[i / 2](leaves);
        EXPECT_TRUE(eventually([&] { return gone == static_cast<int>(i) + 1; })) << i;
        EXPECT_FALSE(out->alive());
        EXPECT_FALSE(out->write("nobody"));
        EXPECT_FALSE(out->finish());
        EXPECT_TRUE(other->write("still here "));
        expected += "still here ";
    }
    other->finish();
    EXPECT_EQ(stays.response().body, expected);
    EXPECT_EQ(gone, 6);
    EXPECT_EQ(server->counters().disconnects, 6u);
}

TEST_F(HttpStream, on_disconnect_set_too_late_is_called_at_once) {
    start();
    RawClient client(port());
    client.send(keep);
    const auto out = wait_for_kept();
    client.close();
    ASSERT_TRUE(eventually([&] { return gone == 1; }));
    bool late = false;
    out->on_disconnect([&] { late = true; });
    EXPECT_TRUE(late);
    EXPECT_EQ(gone, 1);
}

TEST_F(HttpStream, reader_that_stalls_is_cut_off_at_the_backlog_limit_and_others_flow) {
    options.limits.backlog_bytes = 256 << 10;
    start();
    RawClient stalled(port(), 4096), healthy(port());
    stalled.send(keep);
    const auto slow = wait_for_kept(0);
    healthy.send(keep);
    const auto quick = wait_for_kept(1);
    slow->start_stream(200, {});
    quick->start_stream(200, {});
    const std::string block(16 << 10, 'x');
    std::size_t written = 0, most = 0;
    while (slow->write(block)) {
        written += block.size();
        most = std::max(most, slow->backlog());
        ASSERT_LT(written, 64u << 20) << "never cut off";
    }
    EXPECT_LE(most, options.limits.backlog_bytes);
    EXPECT_TRUE(eventually([&] { return gone == 1; }));
    quick->write("fine");
    quick->finish();
    EXPECT_EQ(healthy.response().body, "fine");
}

TEST_F(HttpStream, single_chunk_larger_than_the_backlog_limit_reaches_a_client_that_reads) {
    options.limits.backlog_bytes = 1000;
    start();
    RawClient client(port());
    client.send(keep);
    const auto out = wait_for_kept();
    out->start_stream(200, {});
    ASSERT_TRUE(eventually([&] { return out->backlog() == 0; }));
    EXPECT_TRUE(out->write(std::string(100000, 'x')));
    out->finish();
    EXPECT_EQ(client.response().body.size(), 100000u);
}

TEST_F(HttpStream, client_that_takes_no_byte_within_the_write_timeout_is_cut_off) {
    options.limits.write_timeout = 80ms;
    start();
    RawClient client(port(), 4096);
    client.send(keep);
    wait_for_kept()->respond(200, {}, std::string(32 << 20, 'x')); // more than the kernel buffers
    EXPECT_TRUE(eventually([&] { return server->counters().connections_open == 0; }));
    EXPECT_EQ(server->counters().disconnects, 1u);
    EXPECT_EQ(gone, 0); // the handler had done its part
}

TEST_F(HttpStream, forgotten_and_failed_handlers_answer_500) {
    router.add("GET", "/forget", [](const Request&, std::shared_ptr<Responder>) {});
    router.add("GET", "/throw", [](const Request&, std::shared_ptr<Responder>) { throw std::runtime_error("oh"); });
    router.add("GET", "/stop", [](const Request&, std::shared_ptr<Responder> out) {
        out->start_stream(200, {});
        out->write("half");
    });
    start();
    EXPECT_EQ(get("/forget").status, 500);
    testing::internal::CaptureStderr();
    EXPECT_EQ(get("/throw").status, 500);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("oh"));
    EXPECT_EQ(get("/stop").status, 0); // cut, so that half an answer is never taken for a whole one
    EXPECT_EQ(get("/hello").status, 200);
}

TEST_F(HttpStream, answering_twice_has_no_effect) {
    start();
    RawClient client(port());
    client.send(keep);
    const auto out = wait_for_kept();
    EXPECT_TRUE(out->respond(200, {}, "one"));
    EXPECT_FALSE(out->respond(200, {}, "two"));
    EXPECT_FALSE(out->start_stream(200, {}));
    EXPECT_EQ(client.response().body, "one");
    EXPECT_EQ(client.request("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").body, "hello");
}

TEST_F(HttpStream, half_closed_client_still_gets_the_answers_to_what_it_pipelined) {
    start();
    RawClient client(port());
    for (int i = 0; i < 3; ++i)
        client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.close_sending_half();
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(client.response().body, "hello");
    EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpStream, timers_fire_and_dropping_one_cancels_it) {
    start();
    std::atomic<int> fired{0};
    const auto kept_timer = server->after(200ms, [&] { ++fired; }); // when this one fires, the other would have
    {
        const auto dropped = server->after(100ms, [&] { fired += 100; });
    }
    EXPECT_TRUE(eventually([&] { return fired > 0; }));
    EXPECT_EQ(fired, 1);
}

TEST_F(HttpStream, every_exchange_is_observed_with_its_fate) {
    std::mutex lock;
    std::vector<std::string> seen;
    options.observe = [&](const ExchangeRecord& record) {
        const std::lock_guard guard(lock);
        seen.push_back(fmt::format("{} {} {}", record.request ? record.request->path : "-", record.status,
                                   record.disconnected ? "gone" : "done"));
    };
    start();
    get("/hello");
    get("/nowhere");
    raw("garbage\r\n\r\n");
    RawClient client(port());
    client.send(keep);
    wait_for_kept();
    client.close();
    EXPECT_TRUE(eventually([&] {
        const std::lock_guard guard(lock);
        return seen.size() == 4;
    }));
    const std::lock_guard guard(lock);
    EXPECT_THAT(seen,
                testing::UnorderedElementsAre("/hello 200 done", "/nowhere 404 done", "- 400 done", "/keep 0 gone"));
}

// Threads that answer while clients come, read part, and leave at random: nothing is lost, crossed or counted twice.
TEST_F(HttpStream, many_streams_with_random_leavers_keep_their_bytes_apart) {
    std::atomic<int> begun{0}, ended{0};
    std::vector<std::jthread> producers;
    std::mutex producers_lock;
    router.add("GET", "/stream/{n}", [&](const Request& request, std::shared_ptr<Responder> out) {
        ++begun;
        const std::lock_guard guard(producers_lock);
        producers.emplace_back([out, &ended, n = std::string(request.parameter("n"))] {
            out->start_stream(200, {});
            for (int i = 0; i < 40 && out->write(n + ","); ++i)
                std::this_thread::sleep_for(std::chrono::microseconds(200));
            out->finish();
            ++ended;
        });
    });
    start();
    std::vector<std::jthread> clients;
    std::atomic<int> wrong{0};
    for (int c = 0; c < 6; ++c) {
        clients.emplace_back([&, c] {
            std::mt19937 random(static_cast<unsigned>(c));
            for (int r = 0; r < 12; ++r) {
                RawClient client(port());
                const auto id = fmt::format("{}x{}", c, r);
                client.send(fmt::format("GET /stream/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", id));
                if (random() % 2 == 0) {
                    std::string expected;
                    for (int i = 0; i < 40; ++i)
                        expected += id + ",";
                    if (client.response().body != expected) ++wrong;
                } else {
                    client.receive();
                    if (random() % 2 == 0) client.reset();
                }
            }
        });
    }
    clients.clear(); // joins
    EXPECT_EQ(wrong, 0);
    EXPECT_TRUE(eventually([&] { return ended == begun && server->counters().active == 0; }));
    server->stop();
    EXPECT_EQ(server->counters().connections_open, 0u);
}

} // namespace
} // namespace lucebox::server
