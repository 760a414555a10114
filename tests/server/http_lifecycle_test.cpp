// Taking the port, limits on connections, draining, stopping.
#include "http_fixture.h"

namespace lucebox::server {
namespace {

class HttpLifecycle : public HttpTest {
protected:
    static constexpr const char* keep = "GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static constexpr const char* hello = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
};

TEST_F(HttpLifecycle, taken_port_is_an_error_with_a_way_out) {
    start();
    ServerOptions second;
    second.port = port();
    const auto bound = Server(second, {}).bind();
    ASSERT_FALSE(bound);
    EXPECT_EQ(bound.error().kind, ErrorKind::unavailable);
    EXPECT_THAT(bound.error().message, HasSubstr(fmt::format("127.0.0.1:{}", port())));
    EXPECT_THAT(bound.error().hint, HasSubstr("--port"));
}

TEST_F(HttpLifecycle, address_that_is_none_is_refused) {
    for (const char* address : {"nonsense", "1.2.3", "", "203.0.113.77"}) { // the last is nobody's (RFC 5737)
        ServerOptions wrong;
        wrong.address = address;
        const auto bound = Server(wrong, {}).bind();
        ASSERT_FALSE(bound) << address;
        EXPECT_FALSE(bound.error().hint.empty()) << address;
    }
}

TEST_F(HttpLifecycle, port_is_free_again_at_once_after_stop) {
    start();
    EXPECT_EQ(get("/hello").status, 200);
    const auto was = port();
    server->stop();
    options.port = was;
    start();
    EXPECT_EQ(port(), was);
    EXPECT_EQ(get("/hello").status, 200);
}

TEST_F(HttpLifecycle, url_names_what_a_person_can_open) {
    options.address = "0.0.0.0";
    start();
    EXPECT_EQ(server->url(), fmt::format("http://localhost:{}", port()));
    EXPECT_EQ(get("/hello").status, 200);
}

TEST_F(HttpLifecycle, one_connection_too_many_is_told_so_and_the_next_after_a_close_is_served) {
    options.limits.connections = 2;
    options.limits.header_timeout = 1h; // nobody has waited long
    start();
    auto first = std::make_unique<RawClient>(port());
    RawClient second(port());
    EXPECT_EQ(first->request(hello).status, 200);
    EXPECT_EQ(second.request(hello).status, 200);
    {
        RawClient third(port());
        const auto refused = third.request(hello);
        EXPECT_EQ(refused.status, 503);
        EXPECT_EQ(refused.header("retry-after"), "1");
        EXPECT_TRUE(third.closed_by_server());
    }
    first.reset();
    EXPECT_TRUE(eventually([&] { return get("/hello").status == 200; }));
    EXPECT_GE(server->counters().connections_refused, 1u);
}

TEST_F(HttpLifecycle, who_holds_a_connection_and_asks_nothing_makes_room_for_who_asks) {
    options.limits.connections = 3;
    options.limits.header_timeout = 5s; // after a tenth of which a place is taken from who asks nothing
    start();
    RawClient busy(port()), idle(port()), slow(port());
    busy.send(keep);
    const auto out = wait_for_kept();
    slow.send("GET /hello HTTP/1.1\r\nHost: local"); // and no more
    EXPECT_TRUE(eventually([&] { return server->counters().connections_open == 3; }));
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<RawClient>> served; // who stay, so that each takes a place
    EXPECT_TRUE(eventually([&] {
        auto client = std::make_unique<RawClient>(port());
        if (client->request(hello).status == 200) served.push_back(std::move(client));
        return served.size() == 2;
    }));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, options.limits.header_timeout); // not because the time was up
    EXPECT_TRUE(idle.closed_by_server());
    EXPECT_TRUE(slow.closed_by_server());
    out->respond(200, {}, "still here");
    EXPECT_EQ(busy.response().status, 200);
}

TEST_F(HttpLifecycle, drain_finishes_what_runs_and_refuses_what_is_new) {
    start();
    RawClient idle(port()), busy(port());
    EXPECT_EQ(idle.request(hello).status, 200);
    busy.send(keep);
    const auto out = wait_for_kept();
    busy.send(hello); // pipelined behind it: new work
    server->stop_accepting();
    EXPECT_TRUE(idle.closed_by_server());
    EXPECT_FALSE(RawClient(port()).connected());
    EXPECT_FALSE(server->wait_until_idle(10ms));
    std::jthread answer([&] {
        std::this_thread::sleep_for(20ms);
        out->respond(200, {}, "last words");
    });
    EXPECT_TRUE(server->wait_until_idle(5s));
    const auto last = busy.response();
    EXPECT_EQ(last.body, "last words");
    EXPECT_EQ(last.header("connection"), "close");
    EXPECT_TRUE(busy.closed_by_server());
    EXPECT_EQ(gone, 0);
}

TEST_F(HttpLifecycle, new_request_on_a_kept_connection_while_draining_is_503) {
    start();
    RawClient client(port());
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\n"); // half of the headers: not idle
    RawClient other(port());
    EXPECT_EQ(other.request(hello).status, 200); // the first bytes were read by now
    server->stop_accepting();
    const auto refused = client.request("Content-Length: 0\r\n\r\n");
    EXPECT_EQ(refused.status, 503);
    EXPECT_THAT(refused.body, HasSubstr("shutting_down"));
}

TEST_F(HttpLifecycle, stop_cuts_streams_tells_their_makers_and_leaves_responders_harmless) {
    start();
    RawClient client(port());
    client.send(keep);
    const auto out = wait_for_kept();
    out->start_stream(200, {});
    out->write("x");
    const auto before = std::chrono::steady_clock::now();
    server->stop();
    EXPECT_LT(std::chrono::steady_clock::now() - before, 4s); // after 5 s it would no longer wait for the connections
    EXPECT_EQ(gone, 1);
    EXPECT_TRUE(client.closed_by_server());
    server.reset();
    EXPECT_FALSE(out->write("y"));
    EXPECT_FALSE(out->alive());
    EXPECT_EQ(out->request().path, "/keep");
    const auto timer = out->after(1ms, [] { FAIL(); });
}

TEST_F(HttpLifecycle, server_that_never_started_stops_cleanly) {
    Server never(options, router);
    EXPECT_TRUE(never.bind());
    EXPECT_NE(never.port(), 0);
    never.stop();
    never.stop();
}

TEST_F(HttpLifecycle, localhost_listens_where_this_machine_can) {
    options.address = "localhost";
    start();
    EXPECT_EQ(get("/hello").status, 200);
    EXPECT_EQ(server->url(), fmt::format("http://localhost:{}", port()));
}

} // namespace
} // namespace lucebox::server
