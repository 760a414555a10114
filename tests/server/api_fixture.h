// The API over a scripted backend, behind the real HTTP server on a free loopback port.
#pragma once

#include "api_fakes.h"
#include "raw_client.h"
#include "server/api/api.h"
#include "server/api/dialects.h"
#include "server/api/error.h"
#include "server/api/json.h"
#include "text/grammar/matcher.h"

#include <chrono>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lucebox::server {

using namespace std::chrono_literals;

class ApiTest : public testing::Test {
protected:
    ApiTest() : backend(std::make_shared<FakeBackend>()) {
        options.build.version = "1.2.3";
        options.image_info = "/nonexistent";
        options.host_info = "/nonexistent";
    }
    ~ApiTest() override {
        if (server) server->stop();
        if (backend) backend->forget();
        api.reset();
    }

    void start(bool ready = true) {
        api = std::make_unique<Api>(options);
        Router router;
        api->add_routes(router);
        ServerOptions server_options;
        server_options.port = 0;
        server_options.observe = api->observer();
        server_options.format_error = error_in_dialect;
        server_options.access.api_keys = keys;
        server = std::make_unique<Server>(server_options, std::move(router));
        const auto bound = server->bind();
        ASSERT_TRUE(bound) << bound.error().message;
        server->start();
        if (ready) api->set_ready(backend);
    }

    static std::string post_text(std::string_view path, std::string_view body) {
        return fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", path, body.size(),
                           body);
    }
    RawResponse get(std::string_view path) {
        RawClient client(server->port());
        return client.request(fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path));
    }
    RawResponse post(std::string_view path, std::string_view body) {
        RawClient client(server->port());
        return client.request(post_text(path, body));
    }
    // {"messages":[a user's "Hi"], fields}
    static std::string chat_body(std::string_view fields = "") {
        return fmt::format(R"({{"messages":[{{"role":"user","content":"Hi"}}]{}{}}})", fields.empty() ? "" : ",",
                           fields);
    }
    RawResponse chat(std::string_view fields = "") { return post("/v1/chat/completions", chat_body(fields)); }

    static Json json(const RawResponse& response) {
        Json result = Json::parse(response.body, nullptr, false);
        EXPECT_FALSE(result.is_discarded()) << response.status << ": " << response.body;
        return result;
    }
    // The data of each event; "[DONE]" as a string.
    static std::vector<Json> events(const std::string& body, bool named = false) {
        std::vector<Json> list;
        for (std::size_t at = 0; at < body.size();) {
            const std::size_t end = body.find("\n\n", at);
            std::string event = body.substr(at, end - at);
            EXPECT_NE(end, std::string::npos) << "unfinished event: " << event;
            if (named && event.starts_with("event: ")) { // the name is also the data's type
                const std::size_t line = event.find('\n');
                const std::string name = event.substr(7, line - 7);
                event.erase(0, line + 1);
                EXPECT_EQ(Json::parse(event.substr(6))["type"], name);
            }
            if (event.starts_with("data: "))
                list.push_back(event == "data: [DONE]" ? Json("[DONE]") : Json::parse(event.substr(6)));
            else
                EXPECT_TRUE(event.starts_with(":")) << event;
            if (end == std::string::npos) break;
            at = end + 2;
        }
        return list;
    }

    void wait_for_submissions(std::size_t count) {
        ASSERT_TRUE(eventually([&] { return backend->submitted() >= count; }));
    }

    ApiOptions options;
    std::vector<std::string> keys;
    std::shared_ptr<FakeBackend> backend;
    std::unique_ptr<Api> api;
    std::unique_ptr<Server> server;
};

// A backend that thinks and calls tools, says what it is told to, and shows what its chat template was given.
class ScriptedApi : public ApiTest {
protected:
    ScriptedApi() {
        backend->template_source = "{{ tools }} <think> </think>";
        backend->render = [this](const Json& variables) {
            seen = variables;
            return FakeBackend::chatml(variables);
        };
    }
    void says(std::string text, engine::FinishReason reason = engine::FinishReason::stop) {
        backend->script = [text = std::move(text), reason](FakeBackend::Submission& s) {
            for (std::size_t at = 0; at < text.size(); at += 5) s.token('x', text.substr(at, 5));
            s.finish(7, reason);
        };
    }

    Json seen; // the template's variables, of the last render
};

} // namespace lucebox::server
