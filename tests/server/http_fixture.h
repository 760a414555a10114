// A server on a free loopback port with the few routes that the transport's tests need.
#pragma once

#include "raw_client.h"
#include "server/http/server.h"

#include <atomic>
#include <condition_variable>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mutex>
#include <thread>

namespace lucebox::server {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class HttpTest : public testing::Test {
protected:
    HttpTest() {
        options.port = 0;
        options.limits.linger_timeout = 500ms;
        router.add("GET", "/hello", [](const Request&, std::shared_ptr<Responder> out) {
            out->respond(200, {{"Content-Type", "text/plain"}}, "hello");
        });
        router.add("POST", "/echo",
                   [](const Request& request, std::shared_ptr<Responder> out) { out->respond(200, {}, request.body); });
        router.add("GET", "/health",
                   [](const Request&, std::shared_ptr<Responder> out) { out->respond(200, {}, "ok"); }, {.open = true});
        // Kept until the test answers.
        const auto keep = [this](const Request&, std::shared_ptr<Responder> out) {
            out->on_disconnect([this] { ++gone; });
            const std::lock_guard lock(mutex);
            kept.push_back(std::move(out));
        };
        router.add("GET", "/keep", keep);
        router.add("POST", "/keep", keep);
    }
    ~HttpTest() override {
        kept.clear();
        if (server) server->stop();
    }

    void start() {
        server = std::make_unique<Server>(options, router);
        const auto bound = server->bind();
        ASSERT_TRUE(bound) << bound.error().message;
        server->start();
    }
    std::uint16_t port() const { return server->port(); }

    std::shared_ptr<Responder> wait_for_kept(std::size_t index = 0) {
        EXPECT_TRUE(eventually([&] {
            const std::lock_guard lock(mutex);
            return kept.size() > index;
        }));
        const std::lock_guard lock(mutex);
        return kept.at(index);
    }

    // One request on a connection of its own.
    RawResponse get(std::string_view path, std::string_view headers = "") {
        RawClient client(port());
        return client.request(fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, headers));
    }
    RawResponse raw(std::string_view text) {
        RawClient client(port());
        return client.request(text);
    }

    ServerOptions options;
    Router router;
    std::unique_ptr<Server> server;
    std::mutex mutex;
    std::vector<std::shared_ptr<Responder>> kept;
    std::atomic<int> gone{0};
};

} // namespace lucebox::server
