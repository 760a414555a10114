// One request and its answer, between the Responder (any thread) and the Connection (its strand). Private to http/.
//
// The mutex guards everything below it and is never held while foreign code runs or while the connection is called.
#pragma once

#include "server/http/responder.h"
#include "server/http/server.h"

#include <chrono>
#include <cstdint>
#include <mutex>

namespace lucebox::server {

class Connection;

class Exchange : public std::enable_shared_from_this<Exchange> {
public:
    struct Wire {
        bool http_1_1 = true;
        bool keep_alive = true; // what request and server allow; the answer says so
        bool head_only = false;
        bool counted = false; // given to a handler: counts as active
        Headers extra;        // CORS
    };

    Exchange(std::shared_ptr<Connection> connection, std::shared_ptr<ServerCore> core, Request request, Wire wire);

    // For the Responder.
    const Request& request() const { return request_; }
    bool respond(int status, const Headers& headers, std::string_view body);
    bool start_stream(int status, const Headers& headers);
    bool write(std::string_view chunk);
    bool finish();
    void on_disconnect(std::function<void()> gone);
    bool alive() const;
    bool draining() const;
    std::size_t backlog() const;
    void abandon(); // the last Responder is gone
    Timer after(std::chrono::milliseconds delay, std::function<void()> call);

    // For the Connection, on its strand.
    struct Output {
        std::string bytes;
        bool last = false; // nothing follows these bytes
    };
    Output take(); // what waits to be written; may be empty
    void written(std::size_t bytes);
    void complete();       // the last byte is with the kernel
    void lost();           // the client is gone
    bool answered() const; // respond() or finish() was called
    bool keep_alive() const;

private:
    enum class State { waiting, streaming, cut, answered, closed }; // cut: the connection is about to be aborted

    std::string head(int status, const Headers& headers, std::optional<std::size_t> length);
    void append_framed(std::string_view chunk);
    std::shared_ptr<Connection> flush_target(); // the connection if it must be told of new output, else null
    void close(bool disconnected);

    const Request request_;
    const std::shared_ptr<ServerCore> core_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

    mutable std::mutex mutex_;
    Wire wire_;
    std::shared_ptr<Connection> connection_; // until closed; breaks the cycle
    State state_ = State::waiting;
    bool wanted_ = true; // false once nobody needs more, and the handler did not end it itself
    bool flush_announced_ = false;
    std::string outgoing_;    // framed, not yet with the connection
    std::size_t backlog_ = 0; // outgoing_ and what the connection is writing
    std::function<void()> gone_;
    int status_ = 0;
    std::uint64_t sent_ = 0;
};

} // namespace lucebox::server
