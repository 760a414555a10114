// Host names, origins, keys: who is let in.
#include "http_fixture.h"

#include <nlohmann/json.hpp>

namespace lucebox::server {
namespace {

class HttpAccess : public HttpTest {
protected:
    int status_with_host(const std::string& host) {
        return raw("GET /hello HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
    }
};

TEST_F(HttpAccess, names_that_an_attacker_could_rebind_are_refused) {
    options.access.allowed_hosts = {"Gpu-Box", "llm.example"};
    start();
    for (const char* host : {"localhost", "LOCALHOST:8080", "localhost.", "app.localhost", "127.0.0.1:1",
                             "192.168.1.5:8080", "[::1]:8080", "[fe80::1]", "gpu-box:8080", "llm.example"}) {
        EXPECT_EQ(status_with_host(host), 200) << host;
    }
    for (const char* host : {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
                             "1.2.3.4@evil.example", "llm.example.evil.example", "notlocalhost", "[::1", "[evil]",
                             "localhost:80evil", "999.1.1.1"}) {
        EXPECT_EQ(status_with_host(host), 403) << host;
    }
}

TEST_F(HttpAccess, star_allows_every_host) {
    options.access.allowed_hosts = {"*"};
    start();
    EXPECT_EQ(status_with_host("any.example"), 200);
}

TEST_F(HttpAccess, pages_from_elsewhere_are_refused_and_our_own_are_not) {
    options.access.allowed_origins = {"https://chat.example/"};
    start();
    EXPECT_EQ(get("/hello").header("access-control-allow-origin"), "");
    EXPECT_EQ(get("/hello", "Origin: https://evil.example\r\n").status, 403);
    EXPECT_EQ(get("/hello", "Origin: null\r\n").status, 403);
    EXPECT_EQ(get("/hello", "Origin: http://localhost:99\r\n").status, 403); // another program's page on this machine
    EXPECT_EQ(get("/hello", "Origin: http://localhost\r\n").status, 200);    // Host: localhost
    const auto allowed = get("/hello", "Origin: https://chat.example\r\n");
    EXPECT_EQ(allowed.status, 200);
    EXPECT_EQ(allowed.header("access-control-allow-origin"), "https://chat.example");
    EXPECT_EQ(allowed.header("vary"), "Origin");
}

TEST_F(HttpAccess, preflight_needs_no_key_and_names_the_headers_asked_for) {
    options.access.allowed_origins = {"https://chat.example"};
    options.access.api_keys = {"sesame"};
    start();
    const auto preflight = raw(
        "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://chat.example\r\n"
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type\r\n\r\n");
    EXPECT_EQ(preflight.status, 204);
    EXPECT_EQ(preflight.header("access-control-allow-origin"), "https://chat.example");
    EXPECT_THAT(preflight.header("access-control-allow-methods"), HasSubstr("POST"));
    EXPECT_EQ(preflight.header("access-control-allow-headers"), "authorization, content-type");
    EXPECT_EQ(preflight.header("content-length"), "");
    EXPECT_THAT(preflight.header("access-control-expose-headers"), HasSubstr("x-lucebox-ignored")); // else the page could not read it
    const auto plain = raw("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(plain.status, 204);
    EXPECT_EQ(plain.header("allow"), "POST, OPTIONS");
    EXPECT_EQ(raw("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);
}

TEST_F(HttpAccess, key_is_taken_from_either_header_and_nothing_else_passes) {
    options.access.api_keys = {"sesame", "second key"};
    start();
    const auto refused = get("/hello");
    EXPECT_EQ(refused.status, 401);
    EXPECT_EQ(refused.header("www-authenticate"), "Bearer");
    EXPECT_EQ(nlohmann::json::parse(refused.body)["error"]["code"], "invalid_api_key");
    for (const char* good : {"Authorization: Bearer sesame", "authorization: bearer  sesame", "x-api-key: sesame",
                             "X-Api-Key: second key", "Authorization: Basic eA==\r\nx-api-key: sesame"}) {
        EXPECT_EQ(get("/hello", std::string(good) + "\r\n").status, 200) << good;
    }
    for (const char* bad :
         {"Authorization: sesame", "Authorization: Bearer", "Authorization: Bearer sesame2",
          "Authorization: Bearer sesam", "Authorization: Basic sesame", "x-api-key: Sesame", "x-api-key:"}) {
        EXPECT_EQ(get("/hello", std::string(bad) + "\r\n").status, 401) << bad;
    }
    EXPECT_EQ(get("/health").status, 200);  // open
    EXPECT_EQ(get("/nowhere").status, 401); // strangers do not learn what exists
}

TEST_F(HttpAccess, body_of_a_stranger_is_not_read) {
    options.access.api_keys = {"sesame"};
    start();
    RawClient client(port());
    // Refused at the headers: nothing of the body was sent yet.
    EXPECT_EQ(client.request("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n").status, 401);
}

TEST_F(HttpAccess, errors_speak_the_dialect_of_the_formatter) {
    options.access.api_keys = {"sesame"};
    options.format_error = [](const TransportError& error) {
        return ErrorBody{"text/x-dialect", fmt::format("{} {} {}", error.status, error.path, error.request_id)};
    };
    start();
    const auto response = get("/v1/messages", "x-request-id: r1\r\n");
    EXPECT_EQ(response.header("content-type"), "text/x-dialect");
    EXPECT_EQ(response.body, "401 /v1/messages r1");
}

TEST_F(HttpAccess, error_bodies_stay_json_whatever_the_request_contained) {
    start();
    const auto response = get("/%ff%22%0a");
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(nlohmann::json::parse(response.body)["error"]["code"], "not_found");
}

TEST_F(HttpAccess, header_values_cannot_smuggle_a_header) {
    router.add("GET", "/split", [](const Request& request, std::shared_ptr<Responder> out) {
        out->respond(200, {{"X-Echo", request.query_parameter("v").value_or("")}, {"Content-Length", "999"}}, "x");
    });
    start();
    const auto response = get("/split?v=a%0d%0aSet-Cookie:%20b");
    EXPECT_EQ(response.header("set-cookie"), "");
    EXPECT_THAT(response.header("x-echo"), HasSubstr("Set-Cookie: b"));
    EXPECT_EQ(response.header("content-length"), "1");
}

} // namespace
} // namespace lucebox::server
