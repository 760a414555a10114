// The handler's end of one exchange: answer at once, or keep it and answer later from any thread.
//
// Thread-safe. Give it exactly one of respond(), or start_stream() ... write() ... finish(). Dropping the last
// reference before that sends 500, or cuts an unfinished stream, so that a forgotten exchange never hangs its client.
// No function blocks. Those that return bool say whether anybody still listens: false means stop working.
#pragma once

#include "server/http/message.h"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace lucebox::server {

class Exchange;

// Owns a pending call; dropping it cancels the call unless it already runs.
using Timer = std::shared_ptr<void>;

class Responder {
public:
    explicit Responder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
    Responder(const Responder&) = delete;
    Responder& operator=(const Responder&) = delete;
    ~Responder();

    const Request& request() const; // lives as long as this object

    // The whole answer. Content-Length, Date, x-request-id and the CORS headers are added. Line breaks in header values
    // become spaces.
    bool respond(int status, Headers headers, std::string body);

    // An answer of unknown length. Chunked for HTTP/1.1; for HTTP/1.0 the connection's end ends it.
    bool start_stream(int status, Headers headers);
    // Queues `chunk`. More than Limits::backlog_bytes unsent bytes mean a client that does not read: it is cut off.
    bool write(std::string_view chunk);
    bool finish();

    // Calls `gone` once, on an I/O thread, when the client goes away, is cut off, or needs no more (the body of a HEAD
    // request) before the answer is complete; if that is already so, at once and on this thread. Never after finish()
    // or respond(). A second call replaces the function. It must not block.
    void on_disconnect(std::function<void()> gone);

    bool alive() const;          // somebody still waits for (more of) this answer
    bool draining() const;       // the server is about to end: answers without an end of their own should find one
    std::size_t backlog() const; // bytes written to us that the kernel has not taken yet

    // Calls `call` on an I/O thread after `delay`. For heartbeats: capture a weak_ptr to this, not a shared one.
    [[nodiscard]] Timer after(std::chrono::milliseconds delay, std::function<void()> call);

private:
    std::shared_ptr<Exchange> exchange_;
};

} // namespace lucebox::server
