// Any bytes on a connection: the server answers in HTTP or closes, in time, and goes on serving.
//
// The server is a real one on a loopback port, so that what is fuzzed is what clients reach: reading, framing, limits,
// routing, streams and the connection's end.
#include "base/log.h"
#include "server/http/server.h"

#include "../server/raw_client.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace lucebox::server {
namespace {

void use(bool condition, const char* promise) {
    if (condition) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
}

Router routes() {
    Router router;
    const Headers plain{{"Content-Type", "text/plain"}};
    router.add("GET", "/hello", [=](const Request&, std::shared_ptr<Responder> out) { out->respond(200, plain, "hello"); });
    router.add("GET", "/health", [](const Request&, std::shared_ptr<Responder> out) { out->respond(200, {}, "ok"); },
               {.open = true});
    router.add("POST", "/echo", [](const Request& request, std::shared_ptr<Responder> out) {
        std::string body = request.body + std::string(request.query_parameter("x").value_or(""));
        out->respond(200, {}, std::move(body));
    });
    router.add("GET", "/v1/models/{id}", [=](const Request& request, std::shared_ptr<Responder> out) {
        out->respond(200, plain, std::string(request.parameter("id")));
    });
    router.add("GET", "/stream", [](const Request&, std::shared_ptr<Responder> out) {
        out->start_stream(200, {{"Content-Type", "text/event-stream"}});
        for (int i = 0; i < 3; ++i) out->write("data: x\n\n");
        out->finish();
    });
    return router;
}

Server& server() {
    static Server* const running = [] {
        configure_log(LogLevel::off, LogFormat::text);
        ServerOptions options;
        options.port = 0;
        options.io_threads = 1;
        options.limits.body_bytes = 4096;
        options.limits.header_timeout = std::chrono::milliseconds(500);
        options.limits.body_timeout = std::chrono::milliseconds(500);
        options.limits.idle_timeout = std::chrono::milliseconds(500);
        options.limits.linger_timeout = std::chrono::milliseconds(100);
        auto* made = new Server(options, routes()); // lives as long as the process: its threads must not outlive it
        use(bool(made->bind()), "a free port can be taken");
        made->start();
        return made;
    }();
    return *running;
}

} // namespace
} // namespace lucebox::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lucebox::server;
    RawClient client(server().port());
    use(client.connected(), "connections are accepted");
    client.send({reinterpret_cast<const char*>(data), size});
    client.close_sending_half();
    use(client.closed_by_server(std::chrono::seconds(15)), "the connection ends when the client's side has ended");
    const std::string& answer = client.received();
    use(answer.empty() || answer.starts_with("HTTP/1."), "what is answered is HTTP");
    return 0;
}
