// One client's connection: reads requests, hands them to handlers one after the other, writes answers. Private to
// http/.
//
// All members are touched on the strand only; announce_output() and abort_soon() may be called from any thread. It
// lives as long as an operation of its socket is pending or an Exchange points at it.
#pragma once

#include "server/http/core.h"
#include "server/http/exchange.h"

#include <atomic>
#include <vector>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/core/flat_buffer.hpp>
// GCC 12 with -fsanitize=address thinks that an empty boost::optional is read here.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <boost/beast/http/parser.hpp>
#pragma GCC diagnostic pop
#include <optional>

namespace lucebox::server {

namespace beast = boost::beast;

// A request body that grows as bytes arrive, so that a large Content-Length alone costs no memory.
struct GrowingBody {
    using value_type = std::string;
    class reader {
    public:
        template <bool is_request, class Fields>
        reader(beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}
        void init(const boost::optional<std::uint64_t>&, beast::error_code& error) { error = {}; }
        template <class Buffers>
        std::size_t put(const Buffers& buffers, beast::error_code& error) {
            error = {};
            std::size_t count = 0;
            for (const asio::const_buffer part : beast::buffers_range_ref(buffers)) {
                body_.append(static_cast<const char*>(part.data()), part.size());
                count += part.size();
            }
            return count;
        }
        void finish(beast::error_code& error) { error = {}; }

    private:
        value_type& body_;
    };
};

class Connection : public std::enable_shared_from_this<Connection> {
public:
    Connection(std::shared_ptr<ServerCore> core, tcp::socket socket, bool over_limit);
    ~Connection();

    void start();
    void announce_output(std::shared_ptr<Exchange> exchange);
    void abort_soon();
    void close_if_idle_soon();
    void close_if_waiting_soon();
    // Since when it waits for a request to come in whole; nothing while it is served. Any thread.
    std::optional<std::chrono::steady_clock::time_point> waiting_since() const;

private:
    enum class Phase {
        idle,   // between requests, no byte of the next one
        head,   // some of it
        body,   // headers are accepted
        busy,   // a handler has it
        linger, // answered; waiting for the client to read that and leave
        closed,
    };
    using Parser = beast::http::parser<true, GrowingBody>;

    void begin_request();
    void read();
    void on_read(beast::error_code error, std::size_t bytes);
    void on_end_of_input();
    void parse_head();
    void on_head();
    void parse_body();
    void dispatch();

    // Each returns true when the request goes on, else it has answered.
    bool check_framing();
    bool check_access();
    bool check_route();
    bool check_expectation();

    Request make_request();
    void answer_options(Headers headers);
    void fail(int status, std::string_view code, std::string_view type, std::string message, Headers headers = {});
    void fail_parse(beast::error_code error);
    void begin_exchange(bool counted, bool keep_alive);
    bool body_is_unread() const;

    void flush();
    void write_some();
    void on_written(beast::error_code error, std::size_t bytes);
    void send_continue();
    void finish_exchange();
    void linger();
    void close();

    void arm(asio::steady_timer& timer, std::chrono::milliseconds delay, void (Connection::*expired)());
    void on_read_timeout();
    void on_write_timeout();
    std::string_view field(beast::http::field name) const;

    const std::shared_ptr<ServerCore> core_;
    tcp::socket socket_;
    asio::steady_timer read_timer_;
    asio::steady_timer write_timer_;
    const bool over_limit_;
    std::string remote_;

    Phase phase_ = Phase::idle;
    std::atomic<std::chrono::steady_clock::rep> waiting_since_{0}; // 0: it does not wait
    beast::flat_buffer input_;
    std::vector<char> incoming_; // what the read under way fills
    bool reading_ = false;
    bool input_ended_ = false;
    std::optional<Parser> parser_;
    std::size_t head_bytes_ = 0; // parsed so far
    bool head_done_ = false;
    Request request_;
    Router::Match match_;
    Headers extra_; // CORS headers of this answer

    std::shared_ptr<Exchange> exchange_;
    std::string output_;
    std::size_t output_done_ = 0;
    bool output_last_ = false;
    bool writing_ = false;
};

} // namespace lucebox::server
