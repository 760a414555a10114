// What the parts of one server share. Private to http/.
//
// Connections and exchanges hold it, so it outlives them all; the threads belong to Server.
#pragma once

#include "server/http/server.h"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

namespace lucebox::server {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

class Connection;

class ServerCore : public std::enable_shared_from_this<ServerCore> {
public:
    ServerCore(ServerOptions server_options, Router server_router);

    const ServerOptions options;
    const Router router;
    const AccessPolicy access;
    asio::io_context io;
    std::atomic<bool> draining{false};
    std::atomic<bool> stopped{false}; // no timer calls out any more

    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> requests{0};
    std::atomic<std::uint64_t> disconnects{0};

    // Connections register for stop(); refused ones linger apart from the limit.
    void add(const std::shared_ptr<Connection>& connection);
    void remove(const Connection* connection);
    std::vector<std::shared_ptr<Connection>> connections() const;
    std::size_t open_connections() const;
    // Closes the connection that has waited longest for its request, if one has for as long as `patience`: room for another.
    bool close_one_that_waits(std::chrono::milliseconds patience);
    bool wait_until_closed(std::chrono::milliseconds deadline);

    void exchange_began();
    void exchange_ended();
    std::uint64_t active() const;
    bool wait_until_idle(std::chrono::milliseconds deadline);

    void observe(const ExchangeRecord& record) const;
    std::string new_request_id();
    Timer after(std::chrono::milliseconds delay, std::function<void()> call);

private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::unordered_map<const Connection*, std::weak_ptr<Connection>> connections_;
    std::uint64_t active_ = 0;
};

// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(std::chrono::system_clock::time_point time);

} // namespace lucebox::server
