#include "server/http/server.h"

#include "base/log.h"
#include "server/http/connection.h"
#include "server/http/core.h"
#include "server/http/exchange.h"

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <future>

namespace lucebox::server {
namespace {

constexpr int backlog = 128; // connections the kernel holds for us
// While descriptors are short, accept fails at once and again; a pause lets connections end.
constexpr auto accept_pause = std::chrono::milliseconds(100);
// Refused clients get an answer too, but they may not become a second crowd.
constexpr std::size_t refused_at_once = 32;
constexpr auto closing_deadline = std::chrono::seconds(5);

Error cannot_listen(const std::string& where, const beast::error_code& error) {
    Error result{ErrorKind::io, fmt::format("cannot listen on {}: {}", where, error.message())};
    if (error == asio::error::address_in_use) {
        result.kind = ErrorKind::unavailable;
        result.hint = "another program has this port; stop it or choose another with --port";
    } else if (error == asio::error::access_denied) {
        result.hint = "ports below 1024 need privileges; choose a higher one with --port";
    } else if (error == boost::system::errc::address_not_available) {
        result.hint = "this machine has no such address; 127.0.0.1 reaches this machine only, 0.0.0.0 every network";
    }
    return result;
}

std::string shown_address(const asio::ip::address& address) {
    return address.is_v6() ? fmt::format("[{}]", address.to_string()) : address.to_string();
}

} // namespace

// Listens on one address. Its members are touched on its strand once it runs.
class Listener : public std::enable_shared_from_this<Listener> {
public:
    explicit Listener(ServerCore& core)
        : core_(core), acceptor_(asio::make_strand(core.io)), pause_(acceptor_.get_executor()) {}

    Status open(const asio::ip::address& address, std::uint16_t port) {
        const tcp::endpoint endpoint(address, port);
        beast::error_code error;
        const auto step = [&](auto&& action) {
            if (!error) action();
        };
        step([&] { acceptor_.open(endpoint.protocol(), error); });
        step([&] { ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC); });
        step([&] { acceptor_.set_option(tcp::acceptor::reuse_address(true), error); });
        if (address.is_v6()) step([&] { acceptor_.set_option(asio::ip::v6_only(!address.is_unspecified()), error); });
        step([&] { acceptor_.bind(endpoint, error); });
        step([&] { acceptor_.listen(backlog, error); });
        step([&] { port_ = acceptor_.local_endpoint(error).port(); });
        if (error) return cannot_listen(fmt::format("{}:{}", shown_address(address), port), error);
        return Ok{};
    }

    std::uint16_t port() const { return port_; }

    void accept() {
        acceptor_.async_accept(
            asio::make_strand(core_.io),
            [self = shared_from_this(), core = core_.shared_from_this()](beast::error_code error, tcp::socket socket) {
                self->on_accept(error, std::move(socket));
            });
    }

    // Called on any thread; returns when the port is free, if `wait`.
    void close(bool wait) {
        std::promise<void> closed;
        auto done = closed.get_future();
        const auto shut = [this] {
            beast::error_code ignored;
            acceptor_.close(ignored);
            pause_.cancel();
        };
        if (!wait) return shut();
        asio::post(acceptor_.get_executor(), [&] {
            shut();
            closed.set_value();
        });
        done.wait();
    }

private:
    void on_accept(const beast::error_code& error, tcp::socket socket) {
        if (!acceptor_.is_open()) return;
        if (error) {
            log_warning("cannot accept a connection: {}", error.message());
            pause_.expires_after(accept_pause);
            pause_.async_wait(
                [self = shared_from_this(), core = core_.shared_from_this()](const beast::error_code& stopped) {
                    if (!stopped && self->acceptor_.is_open()) self->accept();
                });
            return;
        }
        ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
        const std::size_t open = core_.open_connections();
        const std::size_t limit = core_.options.limits.connections;
        // Where many hold a connection without asking anything, those who ask are served.
        const bool over = open >= limit && !(open < limit + refused_at_once && core_.close_one_that_waits(core_.options.limits.header_timeout / 10));
        (over ? core_.refused : core_.accepted).fetch_add(1, std::memory_order_relaxed);
        if (open < limit + refused_at_once) {
            const auto connection = std::make_shared<Connection>(core_.shared_from_this(), std::move(socket), over);
            core_.add(connection);
            connection->start();
        }
        accept();
    }

    ServerCore& core_; // handlers hold it alive while they wait
    tcp::acceptor acceptor_;
    asio::steady_timer pause_;
    std::uint16_t port_ = 0;
};

// What only the owner of the threads needs.
class RunningServer final : public ServerCore {
public:
    using ServerCore::ServerCore;

    std::vector<std::shared_ptr<Listener>> listeners;
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
    std::vector<std::thread> threads;
    std::uint16_t port = 0;
    bool accepting = false;
};

static RunningServer& running(const std::shared_ptr<ServerCore>& core) {
    return static_cast<RunningServer&>(*core);
}

Server::Server(ServerOptions options, Router router)
    : core_(std::make_shared<RunningServer>(std::move(options), std::move(router))) {}

Server::~Server() {
    stop();
}

Status Server::bind() {
    auto& self = running(core_);
    const std::string& name = core_->options.address;
    std::vector<asio::ip::address> addresses;
    if (name == "localhost") {
        addresses = {asio::ip::address_v4::loopback(), asio::ip::address_v6::loopback()};
    } else {
        beast::error_code error;
        const bool bracketed = name.starts_with('[') && name.ends_with(']');
        addresses = {asio::ip::make_address(bracketed ? name.substr(1, name.size() - 2) : name, error)};
        if (error) {
            return Error{ErrorKind::usage, fmt::format("{} is not an IP address to listen on", name),
                         "use 127.0.0.1, 0.0.0.0, ::1, ::, an address of this machine, or localhost"};
        }
    }
    self.port = core_->options.port;
    for (const auto& address : addresses) {
        auto listener = std::make_shared<Listener>(*core_);
        if (auto opened = listener->open(address, self.port); !opened) {
            if (address.is_v6() && !self.listeners.empty()) continue; // localhost without IPv6, as in many containers
            return opened;
        }
        self.port = listener->port();
        self.listeners.push_back(std::move(listener));
    }
    return Ok{};
}

std::uint16_t Server::port() const {
    return running(core_).port;
}

std::string Server::url() const {
    beast::error_code error;
    const auto address = asio::ip::make_address(core_->options.address, error);
    std::string host = error ? core_->options.address : shown_address(address);
    if (!error && address.is_unspecified()) host = "localhost";
    return fmt::format("http://{}:{}", host, port());
}

void Server::start() {
    auto& self = running(core_);
    self.work.emplace(core_->io.get_executor());
    self.accepting = true;
    for (const auto& listener : self.listeners)
        listener->accept();
    for (int i = 0; i < std::max(1, core_->options.io_threads); ++i) {
        self.threads.emplace_back([&io = core_->io] { io.run(); });
    }
}

void Server::stop_accepting() {
    auto& self = running(core_);
    core_->draining = true;
    for (const auto& listener : self.listeners)
        listener->close(self.accepting);
    self.listeners.clear();
    self.accepting = false;
    for (const auto& connection : core_->connections())
        connection->close_if_idle_soon();
}

bool Server::wait_until_idle(std::chrono::milliseconds deadline) {
    return core_->wait_until_idle(deadline);
}

void Server::stop() {
    auto& self = running(core_);
    stop_accepting();
    for (const auto& connection : core_->connections())
        connection->abort_soon();
    if (!self.threads.empty()) core_->wait_until_closed(closing_deadline);
    core_->stopped = true;
    self.work.reset();
    core_->io.stop();
    for (auto& thread : self.threads)
        thread.join();
    self.threads.clear();
    // What was cancelled still waits to be told; it holds the core, which holds the queue that it waits in.
    core_->io.restart();
    while (core_->io.poll() != 0)
        core_->io.restart();
    core_->io.stop();
}

ServerCounters Server::counters() const {
    return {core_->accepted, core_->refused,  core_->open_connections(),
            core_->requests, core_->active(), core_->disconnects};
}

Timer Server::after(std::chrono::milliseconds delay, std::function<void()> call) {
    return core_->after(delay, std::move(call));
}

// The Responder is only a handle; it lives here because nothing else needs a file of its own.
Responder::~Responder() {
    exchange_->abandon();
}
const Request& Responder::request() const {
    return exchange_->request();
}
bool Responder::respond(int status, Headers headers, std::string body) {
    return exchange_->respond(status, headers, body);
}
bool Responder::start_stream(int status, Headers headers) {
    return exchange_->start_stream(status, headers);
}
bool Responder::write(std::string_view chunk) {
    return exchange_->write(chunk);
}
bool Responder::finish() {
    return exchange_->finish();
}
void Responder::on_disconnect(std::function<void()> gone) {
    exchange_->on_disconnect(std::move(gone));
}
bool Responder::alive() const {
    return exchange_->alive();
}
bool Responder::draining() const {
    return exchange_->draining();
}
std::size_t Responder::backlog() const {
    return exchange_->backlog();
}
Timer Responder::after(std::chrono::milliseconds delay, std::function<void()> call) {
    return exchange_->after(delay, std::move(call));
}

} // namespace lucebox::server
