// The socket side: reading, writing, timeouts, closing. What a request must look like is in connection_request.cpp.
#include "server/http/connection.h"

#include <fmt/format.h>

namespace lucebox::server {
namespace {

constexpr std::size_t read_bytes = 16 << 10;
constexpr std::string_view continue_line = "HTTP/1.1 100 Continue\r\n\r\n";

} // namespace

Connection::Connection(std::shared_ptr<ServerCore> core, tcp::socket socket, bool over_limit)
    : core_(std::move(core)), socket_(std::move(socket)), read_timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()), over_limit_(over_limit) {
    beast::error_code ignored;
    const auto endpoint = socket_.remote_endpoint(ignored);
    const std::string address = endpoint.address().to_string();
    remote_ = endpoint.address().is_v6() ? fmt::format("[{}]:{}", address, endpoint.port())
                                         : fmt::format("{}:{}", address, endpoint.port());
    socket_.set_option(tcp::no_delay(true), ignored); // tokens must not wait for each other
}

Connection::~Connection() {
    core_->remove(this);
}

void Connection::start() {
    asio::dispatch(socket_.get_executor(), [self = shared_from_this()] { self->begin_request(); });
}

void Connection::announce_output(std::shared_ptr<Exchange> exchange) {
    asio::post(socket_.get_executor(), [self = shared_from_this(), exchange = std::move(exchange)] {
        if (self->exchange_ == exchange) self->flush();
    });
}

void Connection::abort_soon() {
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->close(); });
}

void Connection::close_if_idle_soon() {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
        if (self->phase_ == Phase::idle) self->close();
    });
}

void Connection::close_if_waiting_soon() {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
        if (self->waiting_since()) self->close();
    });
}

std::optional<std::chrono::steady_clock::time_point> Connection::waiting_since() const {
    using std::chrono::steady_clock;
    const steady_clock::rep since = waiting_since_.load(std::memory_order_relaxed);
    if (since == 0) return std::nullopt;
    return steady_clock::time_point(steady_clock::duration(since));
}

void Connection::arm(asio::steady_timer& timer, std::chrono::milliseconds delay, void (Connection::*expired)()) {
    timer.expires_after(delay);
    timer.async_wait([self = shared_from_this(), &timer, expired](beast::error_code error) {
        // A timer re-armed after it had fired but before this ran says so by its expiry.
        if (!error && timer.expiry() <= std::chrono::steady_clock::now()) ((*self).*expired)();
    });
}

void Connection::begin_request() {
    if (over_limit_) {
        fail(503, "too_many_connections", "server_error", "Too many connections are open; try again later.",
             {{"Retry-After", "1"}});
        return;
    }
    waiting_since_.store(std::chrono::steady_clock::now().time_since_epoch().count(), std::memory_order_relaxed);
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(core_->options.limits.header_bytes));
    parser_->body_limit(boost::none); // checked in on_head(), where the answer can be a good one
    head_bytes_ = 0;
    head_done_ = false;
    request_ = {};
    match_ = {};
    extra_.clear();
    if (input_.size() == 0) {
        if (core_->draining || input_ended_) return close();
        phase_ = Phase::idle;
        arm(read_timer_, core_->options.limits.idle_timeout, &Connection::on_read_timeout);
        read();
        return;
    }
    phase_ = Phase::head;
    arm(read_timer_, core_->options.limits.header_timeout, &Connection::on_read_timeout);
    parse_head();
}

void Connection::read() {
    if (reading_) return;
    if (input_ended_) {
        if (phase_ != Phase::busy) close(); // a request that can never be completed
        return;
    }
    reading_ = true;
    // Not into input_ itself: the next request's head may be taken out of it while this read still waits for the body.
    incoming_.resize(read_bytes);
    socket_.async_read_some(
        asio::buffer(incoming_),
        [self = shared_from_this()](beast::error_code error, std::size_t n) { self->on_read(error, n); });
}

void Connection::on_read(beast::error_code error, std::size_t bytes) {
    reading_ = false;
    if (phase_ == Phase::closed) return;
    if (error == asio::error::eof) {
        input_ended_ = true;
        return on_end_of_input();
    }
    if (error) return close();
    input_.commit(asio::buffer_copy(input_.prepare(bytes), asio::buffer(incoming_, bytes)));
    switch (phase_) {
    case Phase::idle:
        phase_ = Phase::head;
        arm(read_timer_, core_->options.limits.header_timeout, &Connection::on_read_timeout);
        parse_head();
        return;
    case Phase::head: parse_head(); return;
    case Phase::body: parse_body(); return;
    case Phase::busy:
        // Kept for the next request. Reading on tells us when the client leaves; a client that sends without end while
        // it waits is read no further.
        if (input_.size() < core_->options.limits.header_bytes) read();
        return;
    case Phase::linger:
        input_.consume(input_.size());
        read();
        return;
    case Phase::closed: return;
    }
}

void Connection::on_end_of_input() {
    // An answer that is already on its way is still delivered: the client may have closed only its sending half.
    if (phase_ == Phase::busy && exchange_ && exchange_->answered()) return;
    close();
}

void Connection::on_read_timeout() {
    switch (phase_) {
    case Phase::head:
        return fail(408, "request_timeout", "invalid_request_error", "The request's headers took too long to arrive.");
    case Phase::body:
        return fail(408, "request_timeout", "invalid_request_error", "The request's body took too long to arrive.");
    case Phase::idle:
    case Phase::linger: return close();
    case Phase::busy:
    case Phase::closed: return;
    }
}

void Connection::on_write_timeout() {
    if (writing_) close();
}

void Connection::flush() {
    if (writing_ || phase_ == Phase::closed || !exchange_) return;
    auto output = exchange_->take();
    output_last_ = output.last;
    if (output.bytes.empty()) {
        if (output.last) finish_exchange();
        return;
    }
    output_ = std::move(output.bytes);
    output_done_ = 0;
    write_some();
}

void Connection::write_some() {
    writing_ = true;
    arm(write_timer_, core_->options.limits.write_timeout, &Connection::on_write_timeout);
    socket_.async_write_some(
        asio::buffer(output_) + output_done_,
        [self = shared_from_this()](beast::error_code error, std::size_t n) { self->on_written(error, n); });
}

void Connection::on_written(beast::error_code error, std::size_t bytes) {
    writing_ = false;
    write_timer_.cancel();
    if (phase_ == Phase::closed) return;
    if (error) return close();
    output_done_ += bytes;
    if (exchange_) exchange_->written(bytes);
    if (output_done_ < output_.size()) return write_some();
    output_.clear();
    output_done_ = 0;
    flush();
}

void Connection::send_continue() {
    output_ = continue_line;
    output_done_ = 0;
    write_some();
}

void Connection::finish_exchange() {
    const bool keep = exchange_->keep_alive();
    const auto exchange = std::exchange(exchange_, nullptr);
    exchange->complete();
    if (phase_ == Phase::closed) return; // by what complete() called
    if (keep)
        begin_request();
    else
        linger();
}

// Closing at once would reset the connection while unread input is pending, and the client might lose the answer.
void Connection::linger() {
    phase_ = Phase::linger;
    beast::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    input_.consume(input_.size());
    arm(read_timer_, core_->options.limits.linger_timeout, &Connection::on_read_timeout);
    read();
}

void Connection::close() {
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    beast::error_code ignored;
    socket_.close(ignored);
    read_timer_.cancel();
    write_timer_.cancel();
    core_->remove(this);
    if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->lost();
}

} // namespace lucebox::server
