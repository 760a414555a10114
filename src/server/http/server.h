// An HTTP/1.1 server on a few I/O threads. It knows connections, limits and access; nothing of models.
//
//     Router router;
//     router.add("GET", "/health", handler, {.open = true});
//     Server server(options, std::move(router));
//     LUCEBOX_CHECK(server.bind());   // the port is taken here
//     server.start();                 // handlers run from here on
//     ...
//     server.stop_accepting();        // drain: finish what runs, refuse what is new
//     server.wait_until_idle(8s);
//     server.stop();                  // cut the rest, join the threads; the destructor does it too
//
// Threads: handlers, on_disconnect functions, timers, the formatter and the observer run on I/O threads and must not
// block. All functions of Server may be called from any thread but those; stop() and wait_until_idle() wait.
// Responders may outlive the server: they then report that nobody listens.
//
// What the transport answers by itself, each with ErrorFormatter's body and `Connection: close` where the connection
// cannot go on:
//   400 malformed request, bad chunking, missing or repeated Host   401 no valid key (WWW-Authenticate: Bearer)
//   403 Host or Origin not allowed    404 no such path              405 path without that method (Allow)
//   408 headers or body too slow      411 body without length       413 body too large
//   414 target too long               417 unknown Expect            431 headers too large
//   501 unknown transfer coding       503 too many connections, or draining (Retry-After)      505 version
// CORS preflights and other OPTIONS are answered with 204. Pipelined requests are answered in order. While an answer is
// prepared the connection is still read, so a client that leaves (also by closing only its sending half) is noticed at
// once; a client that pipelines more than Limits::header_bytes meanwhile is noticed when writing to it fails.
#pragma once

#include "base/result.h"
#include "server/http/access.h"
#include "server/http/responder.h"
#include "server/http/router.h"
#include "server/http/transport_error.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace lucebox::server {

struct Limits {
    std::size_t header_bytes = 16 << 10; // request line and headers
    std::size_t target_bytes = 8 << 10;
    std::size_t body_bytes = 32 << 20;   // agents send whole repositories, but not more than this
    std::size_t backlog_bytes = 1 << 20; // unsent stream: minutes of tokens
    std::size_t connections = 512;
    std::chrono::milliseconds header_timeout =
        std::chrono::seconds(10);                                      // from a request's first byte to its last header
    std::chrono::milliseconds body_timeout = std::chrono::seconds(60); // the whole body
    std::chrono::milliseconds idle_timeout = std::chrono::seconds(75); // between requests
    std::chrono::milliseconds write_timeout = std::chrono::seconds(30); // without the client taking a byte
    std::chrono::milliseconds linger_timeout = std::chrono::seconds(2); // for a client to read the last answer
};

// One finished exchange, for access logs and metrics.
struct ExchangeRecord {
    const Request* request = nullptr; // valid during the call; null when the request was not understood
    int status = 0;                   // 0: nothing was sent
    std::uint64_t bytes = 0;          // body bytes handed to the kernel
    std::chrono::milliseconds duration{};
    bool disconnected = false; // the client went away, or was cut off, before the end
};

struct ServerOptions {
    std::string address = "127.0.0.1"; // an IP address, or "localhost" for 127.0.0.1 and ::1; "::" takes IPv4 too
    std::uint16_t port = 8080;         // 0: any free one, see Server::port()
    int io_threads = 2;
    Limits limits;
    AccessRules access;
    std::string server_name = "lucebox"; // the Server header
    std::string build;                   // the x-lucebox-build header; empty: none
    ErrorFormatter format_error = openai_error_body;
    std::function<void(const ExchangeRecord&)> observe; // may be empty
};

struct ServerCounters {
    std::uint64_t connections_accepted = 0;
    std::uint64_t connections_refused = 0; // over the limit
    std::uint64_t connections_open = 0;
    std::uint64_t requests = 0; // understood, whatever the answer
    std::uint64_t active = 0;   // handed to a handler and not yet answered
    std::uint64_t disconnects = 0;
};

class ServerCore;

class Server {
public:
    Server(ServerOptions options, Router router);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server();

    Status bind();
    std::uint16_t port() const; // after bind()
    std::string url() const;    // "http://127.0.0.1:8080"

    void start();

    void stop_accepting();
    bool wait_until_idle(std::chrono::milliseconds deadline); // true: no request is active any more
    void stop();

    ServerCounters counters() const;
    [[nodiscard]] Timer after(std::chrono::milliseconds delay, std::function<void()> call);

private:
    std::shared_ptr<ServerCore> core_;
};

} // namespace lucebox::server
