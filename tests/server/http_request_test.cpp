// What requests are accepted, and what the others are told.
#include "http_fixture.h"

namespace lucebox::server {
namespace {

class HttpRequest : public HttpTest {};

TEST_F(HttpRequest, route_sees_method_path_query_parameters_and_body) {
    Request seen;
    router.add("POST", "/v1/models/{id}/run", [&](const Request& request, std::shared_ptr<Responder> out) {
        seen = request;
        out->respond(201, {}, "done");
    });
    start();
    const auto response = raw("POST /v1/models/a%2Fb%20c/run?beta=true&x=1+2%26 HTTP/1.1\r\nHost: localhost\r\n"
                              "X-Thing: one\r\nContent-Length: 4\r\n\r\nbody");
    EXPECT_EQ(response.status, 201);
    EXPECT_EQ(seen.path, "/v1/models/a/b c/run");
    EXPECT_EQ(seen.parameter("id"), "a/b c");
    EXPECT_EQ(seen.query_parameter("beta"), "true");
    EXPECT_EQ(seen.query_parameter("x"), "1 2&");
    EXPECT_FALSE(seen.query_parameter("y"));
    EXPECT_EQ(seen.header("x-thing"), "one");
    EXPECT_EQ(seen.body, "body");
    EXPECT_THAT(seen.remote_address, HasSubstr("127.0.0.1:"));
}

TEST_F(HttpRequest, literal_route_wins_over_a_name_and_a_rest_takes_slashes) {
    const auto say = [](const char* what) {
        return [what](const Request& request, std::shared_ptr<Responder> out) {
            out->respond(200, {}, what + std::string(request.parameter("id")));
        };
    };
    router.add("GET", "/m/{id*}", say("rest "));
    router.add("GET", "/m/{id}", say("name "));
    router.add("GET", "/m/list", say("literal"));
    start();
    EXPECT_EQ(get("/m/list").body, "literal");
    EXPECT_EQ(get("/m/x").body, "name x");
    EXPECT_EQ(get("/m/x/y").body, "rest x/y");
    EXPECT_EQ(get("/m/").status, 404);
}

TEST_F(HttpRequest, unknown_path_is_404_and_unknown_method_is_405_with_the_known_ones) {
    start();
    const auto unknown = get("/nowhere");
    EXPECT_EQ(unknown.status, 404);
    EXPECT_THAT(unknown.body, HasSubstr("GET /nowhere"));
    EXPECT_THAT(unknown.body, HasSubstr(R"("type":"invalid_request_error","param":null,"code":"not_found")"));
    const auto method = raw("DELETE /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(method.status, 405);
    EXPECT_EQ(method.header("allow"), "GET, HEAD, OPTIONS");
}

TEST_F(HttpRequest, head_has_the_headers_of_get_and_no_body) {
    start();
    RawClient client(port());
    const auto head = client.request("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", true);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.header("content-length"), "5");
    EXPECT_EQ(client.request("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").body, "hello"); // nothing stray between
}

TEST_F(HttpRequest, connection_is_kept_and_pipelined_requests_are_answered_in_order) {
    start();
    RawClient client(port());
    std::string all;
    for (int i = 0; i < 20; ++i) {
        const auto body = fmt::format("number {}", i);
        all += fmt::format("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
    }
    client.send(all);
    for (int i = 0; i < 20; ++i)
        EXPECT_EQ(client.response().body, fmt::format("number {}", i));
}

TEST_F(HttpRequest, pipelined_request_waits_for_a_slow_answer_before_it) {
    start();
    RawClient client(port());
    client.send("GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_for_kept()->respond(200, {}, "first");
    EXPECT_EQ(client.response().body, "first");
    EXPECT_EQ(client.response().body, "hello");
}

// The read that waits for the second request's body began before that request's head was taken out of the input.
TEST_F(HttpRequest, body_of_a_pipelined_request_may_come_after_the_answer_before_it) {
    start();
    RawClient client(port());
    client.send("GET /keep HTTP/1.1\r\nHost: localhost\r\n\r\n"
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n");
    wait_for_kept()->respond(200, {}, "first");
    EXPECT_EQ(client.response().body, "first");
    client.send("hello");
    client.send(" world");
    const auto second = client.response();
    EXPECT_EQ(second.status, 200);
    EXPECT_EQ(second.body, "hello world");
}

TEST_F(HttpRequest, http_1_0_and_connection_close_end_the_connection_after_the_answer) {
    start();
    for (const char* text :
         {"GET /hello HTTP/1.0\r\n\r\n", "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"}) {
        RawClient client(port());
        const auto response = client.request(text);
        EXPECT_EQ(response.body, "hello");
        EXPECT_EQ(response.header("connection"), "close");
        EXPECT_TRUE(client.closed_by_server());
    }
}

TEST_F(HttpRequest, body_may_come_chunked_and_in_pieces) {
    start();
    RawClient client(port());
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (const char* piece : {"5;ext=1\r", "\nhel", "lo\r\n", "6\r\n wor", "ld\r\n0\r\nTrailer: x\r\n", "\r\n"}) {
        std::this_thread::sleep_for(2ms);
        client.send(piece);
    }
    EXPECT_EQ(client.response().body, "hello world");
    EXPECT_EQ(client.request("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").body, "hello");
}

TEST_F(HttpRequest, expectation_of_100_continue_is_met_before_the_body) {
    start();
    RawClient client(port());
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(client.response().status, 100);
    EXPECT_EQ(client.request("ok").body, "ok");
}

TEST_F(HttpRequest, malformed_requests_get_400_and_the_end_of_the_connection) {
    start();
    const std::string get_line = "GET /hello HTTP/1.1\r\n", post = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
    const std::string malformed[] = {
        "nonsense\r\n\r\n",
        "GET  /hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /hello\r\n\r\n",
        get_line + "\r\n",                                       // no Host
        get_line + "Host: localhost\r\nHost: localhost\r\n\r\n", // two
        get_line + "Host: localhost\r\nbad header\r\n\r\n",
        get_line + "Host: localhost\r\nX: a\x01z\r\n\r\n",
        get_line + "Host : localhost\r\n\r\n",
        "GET hello HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        post + "Content-Length: -5\r\n\r\n",
        post + "Content-Length: 99999999999999999999999\r\n\r\n",
        post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloWORLD\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n",
        post + "Transfer-Encoding: chunked\r\n\r\n5;" + std::string(100000, 'e'),
    };
    for (const auto& text : malformed) {
        RawClient client(port());
        const auto response = client.request(text);
        EXPECT_EQ(response.status, 400) << text.substr(0, 200) << "\n" << response.body;
        EXPECT_EQ(response.header("connection"), "close") << text.substr(0, 200);
        EXPECT_TRUE(client.closed_by_server());
    }
    EXPECT_EQ(get("/hello").status, 200);
}

TEST_F(HttpRequest, other_refusals_have_their_own_status) {
    options.limits.body_bytes = 1000;
    start();
    const std::string post = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
    const std::pair<int, std::string> refused[] = {
        {411, post + "\r\n"},
        {413, post + "Content-Length: 1001\r\n\r\n"},
        {413, post + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n"},
        {413, post + "Transfer-Encoding: chunked\r\n\r\n300\r\n" + std::string(0x300, 'x') + "\r\n300\r\n"},
        {414, "GET /" + std::string(9000, 'x') + " HTTP/1.1\r\nHost: localhost\r\n\r\n"},
        {414, "GET /" + std::string(20000, 'x') + " HTTP/1.1\r\nHost: localhost\r\n\r\n"},
        {417, post + "Content-Length: 1\r\nExpect: miracles\r\n\r\n1"},
        {431, "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(20000, 'x') + "\r\n\r\n"},
        {501, post + "Transfer-Encoding: gzip\r\n\r\n"},
        {505, "GET /hello HTTP/2.0\r\nHost: localhost\r\n\r\n"},
    };
    for (const auto& [status, text] : refused)
        EXPECT_EQ(raw(text).status, status) << text.substr(0, 120);
    EXPECT_EQ(raw(post + "Content-Length: 1000\r\n\r\n" + std::string(1000, 'y')).body.size(), 1000u);
}

TEST_F(HttpRequest, client_in_the_middle_of_a_huge_body_still_reads_why_it_was_refused) {
    options.limits.body_bytes = 1000;
    start();
    RawClient client(port());
    client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n");
    const std::string block(65536, 'x');
    for (int i = 0; i < 20 && client.send(block); ++i) {
    }
    EXPECT_EQ(client.response().status, 413);
}

TEST_F(HttpRequest, slow_headers_and_bodies_end_in_408) {
    options.limits.header_timeout = 60ms;
    options.limits.body_timeout = 60ms;
    start();
    RawClient dripping(port()); // a byte now and then must not buy more time
    dripping.send("GET /hello HTTP/1.1\r\n");
    std::thread drip([&] {
        for (int i = 0; i < 30 && dripping.send("X"); ++i)
            std::this_thread::sleep_for(10ms);
    });
    EXPECT_EQ(dripping.response().status, 408);
    drip.join();
    RawClient body(port());
    EXPECT_EQ(body.request("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf").status, 408);
}

TEST_F(HttpRequest, headers_fed_line_by_line_meet_the_limit_too) {
    start();
    RawClient client(port());
    client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n");
    const std::string line = "X-Filler: " + std::string(500, 'x') + "\r\n";
    for (int i = 0; i < 60 && client.send(line); ++i)
        std::this_thread::sleep_for(1ms);
    EXPECT_EQ(client.response().status, 431);
}

TEST_F(HttpRequest, silent_connection_is_closed_without_a_word) {
    options.limits.idle_timeout = 50ms;
    start();
    RawClient client(port());
    EXPECT_TRUE(client.closed_by_server());
    EXPECT_EQ(client.received(), "");
    std::unique_ptr<RawClient> second;
    EXPECT_TRUE(eventually([&] { // one that a busy machine keeps from asking in time is closed as well
        second = std::make_unique<RawClient>(port());
        return second->request("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200;
    }));
    EXPECT_TRUE(second->closed_by_server());
}

TEST_F(HttpRequest, request_id_is_echoed_if_sane_and_made_up_otherwise) {
    start();
    EXPECT_EQ(get("/hello", "X-Request-Id: abc-123\r\n").header("x-request-id"), "abc-123");
    const auto made = get("/hello", "X-Request-Id: <script>\r\n").header("x-request-id");
    EXPECT_THAT(made, testing::StartsWith("req_"));
    EXPECT_NE(made, get("/hello").header("x-request-id"));
}

TEST_F(HttpRequest, random_bytes_never_stop_the_server) {
    options.limits.header_timeout = 20ms;
    options.limits.linger_timeout = 20ms;
    start();
    std::srand(3);
    const std::string alphabet = "GETPOST /:.HTTP11\r\n\r\n\r\n0123456789abcdefContent-Length: chunked\0\xff\x80"
                                 "Transfer-Encoding: Host: localhost;=%";
    for (int i = 0; i < 300; ++i) {
        RawClient client(port());
        std::string text =
            i % 2 == 0 ? "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" : "";
        for (int n = std::rand() % 300; n > 0; --n)
            text += alphabet[static_cast<std::size_t>(std::rand()) % alphabet.size()];
        client.send(text);
        if (i % 3 == 0) client.reset();
    }
    EXPECT_TRUE(eventually([&] { return get("/hello").status == 200; })); // once it comes within the 20 ms
    EXPECT_TRUE(eventually([&] { return server->counters().connections_open == 0; }));
}

} // namespace
} // namespace lucebox::server
