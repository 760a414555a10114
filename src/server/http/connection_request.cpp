// The protocol side: what a request must look like before a handler sees it, and what it is told otherwise.
#include "server/http/connection.h"

#include "base/log.h"

#include <algorithm>
#include <fmt/format.h>

namespace lucebox::server {
namespace {

namespace http = beast::http;

constexpr std::string_view wrong_request = "invalid_request_error";

bool may_have_body(std::string_view method) {
    return method == "POST" || method == "PUT" || method == "PATCH";
}

bool is_sane_id(std::string_view id) {
    return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
               c == '.';
    });
}

// "/path?query" of a target in origin form or, as proxies send it, absolute form; nothing for other forms.
std::optional<std::string_view> path_and_query(std::string_view target) {
    if (target.starts_with("http://") || target.starts_with("https://")) {
        const auto slash = target.find('/', target.find("//") + 2);
        return slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    }
    return target.starts_with('/') ? std::optional(target) : std::nullopt;
}

} // namespace

std::string_view Connection::field(http::field name) const {
    const auto value = parser_->get()[name];
    return {value.data(), value.size()};
}

void Connection::parse_head() {
    // Some clients end a body with an extra line break; RFC 9112 section 2.2 has us skip it.
    while (input_.size() >= 2 && std::memcmp(input_.data().data(), "\r\n", 2) == 0)
        input_.consume(2);
    if (input_.size() == 0) return read();
    beast::error_code error;
    const std::size_t used = parser_->put(input_.data(), error); // whole lines, as they arrive
    if (error && error != http::error::need_more) return fail_parse(error);
    input_.consume(used);
    head_bytes_ += used;
    if (!error) return on_head();
    // The parser forgets how much it was given before; slowly fed headers must meet the limit too.
    if (head_bytes_ + input_.size() > core_->options.limits.header_bytes) return fail_parse(http::error::header_limit);
    read();
}

void Connection::fail_parse(beast::error_code error) {
    if (error == http::error::header_limit) {
        const std::string_view seen(static_cast<const char*>(input_.data().data()), input_.size());
        if (head_bytes_ != 0 || seen.find('\n') != std::string_view::npos) {
            return fail(431, "headers_too_large", wrong_request, "The request's headers are too large.");
        }
        return fail(414, "uri_too_long", wrong_request, "The request's target is too long.");
    }
    if (error == http::error::bad_version) {
        return fail(505, "http_version_not_supported", wrong_request, "This server speaks HTTP/1.1.");
    }
    if (error == http::error::body_limit) {
        return fail(
            413, "request_too_large", wrong_request,
            fmt::format("The request's body is larger than the {} bytes allowed.", core_->options.limits.body_bytes));
    }
    fail(400, "malformed_request", wrong_request, fmt::format("The request is not valid HTTP: {}.", error.message()));
}

Request Connection::make_request() {
    Request request;
    const auto& message = parser_->get();
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    for (const auto& header : message) {
        request.headers.emplace_back(std::string(header.name_string()), std::string(header.value()));
    }
    request.remote_address = remote_;
    const auto id = request.header("x-request-id");
    request.id = id && is_sane_id(*id) ? std::string(*id) : core_->new_request_id();
    if (const auto path = path_and_query(request.target)) {
        const auto question = path->find('?');
        request.path = percent_decoded(path->substr(0, question)).value_or("");
        if (question != std::string_view::npos) request.query = path->substr(question + 1);
        request.query = request.query.substr(0, request.query.find('#'));
    }
    return request;
}

void Connection::on_head() {
    head_done_ = true;
    request_ = make_request();
    core_->requests.fetch_add(1, std::memory_order_relaxed);
    if (!check_framing() || !check_access() || !check_route() || !check_expectation()) return;
    phase_ = Phase::body;
    parser_->body_limit(core_->options.limits.body_bytes); // for chunked bodies, whose length nobody knows yet
    parser_->eager(true);
    arm(read_timer_, core_->options.limits.body_timeout, &Connection::on_read_timeout);
    parse_body();
}

bool Connection::check_framing() {
    const auto& message = parser_->get();
    if (request_.target.size() > core_->options.limits.target_bytes) {
        fail(414, "uri_too_long", wrong_request, "The request's target is too long.");
        return false;
    }
    const auto hosts = message.count(http::field::host);
    if (hosts > 1 || (hosts == 0 && message.version() >= 11)) {
        fail(400, "malformed_request", wrong_request, "Exactly one Host header is required.");
        return false;
    }
    if (message.count(http::field::transfer_encoding) != 0) {
        // Both lengths at once is how requests are smuggled past proxies.
        if (message.count(http::field::content_length) != 0 || message.version() < 11) {
            fail(400, "malformed_request", wrong_request,
                 "Transfer-Encoding cannot stand beside Content-Length or in HTTP/1.0.");
            return false;
        }
        if (!equal_without_case(field(http::field::transfer_encoding), "chunked")) {
            fail(501, "not_implemented", wrong_request, "The only transfer coding supported is chunked.");
            return false;
        }
    }
    const bool options_star = request_.method == "OPTIONS" && request_.target == "*";
    if (request_.path.empty() && !options_star) {
        fail(400, "malformed_request", wrong_request, "The request's target is not a path.");
        return false;
    }
    return true;
}

bool Connection::check_access() {
    const std::string host(field(http::field::host));
    if (!host.empty() && !core_->access.host_is_allowed(host)) {
        fail(403, "host_not_allowed", "permission_error",
             fmt::format("This server does not answer to the host name {}; its operator can allow it.", host));
        return false;
    }
    const auto origin = request_.header("origin");
    if (!origin) return true;
    if (!core_->access.origin_is_allowed(*origin, host)) {
        fail(403, "origin_not_allowed", "permission_error",
             fmt::format("Pages from {} may not use this server; its operator can allow them.", *origin));
        return false;
    }
    extra_.emplace_back("Access-Control-Allow-Origin", std::string(*origin));
    extra_.emplace_back("Access-Control-Expose-Headers", "x-request-id, request-id, retry-after, x-lucebox-build, x-lucebox-ignored, x-queue-position");
    extra_.emplace_back("Vary", "Origin");
    return true;
}

bool Connection::check_route() {
    const auto target = path_and_query(request_.target).value_or("/");
    match_ = core_->router.find(request_.method, target.substr(0, target.find_first_of("?#")));
    if (request_.method == "OPTIONS" && match_.handler == nullptr) {
        Headers headers;
        if (!match_.allowed.empty()) headers.emplace_back("Allow", match_.allowed);
        answer_options(std::move(headers));
        return false;
    }
    request_.authorised = core_->access.key_is_valid(request_.header("authorization"), request_.header("x-api-key"));
    request_.client = core_->access.client_of(request_.header("authorization"), request_.header("x-api-key"), request_.remote_address);
    if (!request_.authorised && !(match_.handler != nullptr && match_.options.open)) {
        fail(401, "invalid_api_key", "authentication_error", "A valid API key is required.",
             {{"WWW-Authenticate", "Bearer"}});
        return false;
    }
    if (match_.allowed.empty()) {
        fail(404, "not_found", wrong_request, fmt::format("Unknown endpoint: {} {}", request_.method, request_.path));
        return false;
    }
    if (match_.handler == nullptr) {
        fail(405, "method_not_allowed", wrong_request,
             fmt::format("{} does not take {}; it takes {}.", request_.path, request_.method, match_.allowed),
             {{"Allow", match_.allowed}});
        return false;
    }
    if (core_->draining) {
        fail(503, "shutting_down", "server_error", "The server is shutting down.", {{"Retry-After", "5"}});
        return false;
    }
    request_.parameters = std::move(match_.parameters);
    return true;
}

void Connection::answer_options(Headers headers) {
    if (request_.header("origin") && request_.header("access-control-request-method")) {
        headers.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        // "*" would not cover Authorization, so what was asked for is named.
        if (const auto asked = request_.header("access-control-request-headers")) {
            headers.emplace_back("Access-Control-Allow-Headers", std::string(*asked));
        }
        headers.emplace_back("Access-Control-Max-Age", "600");
    }
    begin_exchange(false, true);
    exchange_->respond(204, headers, "");
}

bool Connection::check_expectation() {
    const auto& message = parser_->get();
    const bool has_length = message.count(http::field::content_length) != 0;
    if (may_have_body(request_.method) && !has_length && !parser_->chunked()) {
        fail(411, "length_required", wrong_request, "A body needs Content-Length or chunked transfer coding.");
        return false;
    }
    const auto length = parser_->content_length();
    if (length && *length > core_->options.limits.body_bytes) {
        fail_parse(http::error::body_limit);
        return false;
    }
    const auto expectation = request_.header("expect");
    if (!expectation || message.version() < 11) return true;
    if (!equal_without_case(*expectation, "100-continue")) {
        fail(417, "expectation_failed", wrong_request, "The only expectation supported is 100-continue.");
        return false;
    }
    if (!parser_->is_done() && input_.size() == 0) send_continue();
    return true;
}

void Connection::parse_body() {
    while (!parser_->is_done()) {
        if (input_.size() == 0) return read();
        beast::error_code error;
        const std::size_t used = parser_->put(input_.data(), error);
        input_.consume(used);
        // Only a chunk's header line can need more without using what is there; it has no business being long.
        if (error == http::error::need_more && input_.size() < core_->options.limits.header_bytes) return read();
        if (error && error != http::error::need_more) return fail_parse(error);
        if (error || used == 0) return fail_parse(http::error::bad_chunk);
    }
    dispatch();
}

void Connection::dispatch() {
    request_.body = std::move(parser_->get().body());
    const Handler& handler = *match_.handler;
    begin_exchange(true, true);
    const auto responder = std::make_shared<Responder>(exchange_);
    try {
        handler(responder->request(), responder);
    } catch (const std::exception& error) {
        log_error("a handler failed: {}", error.what());
        // Dropping the responder answers 500, unless the handler kept it.
    }
    if (phase_ == Phase::busy) read(); // watch for the client leaving
}

bool Connection::body_is_unread() const {
    return !head_done_ || !parser_->is_done();
}

void Connection::begin_exchange(bool counted, bool keep_alive) {
    phase_ = Phase::busy;
    waiting_since_.store(0, std::memory_order_relaxed);
    read_timer_.cancel();
    Exchange::Wire wire;
    wire.http_1_1 = !head_done_ || parser_->get().version() >= 11;
    wire.keep_alive = keep_alive && !body_is_unread() && wire.http_1_1 && parser_->get().keep_alive();
    wire.head_only = request_.method == "HEAD";
    wire.counted = counted;
    wire.extra = std::move(extra_);
    if (request_.id.empty()) request_.id = core_->new_request_id();
    exchange_ = std::make_shared<Exchange>(shared_from_this(), core_, std::move(request_), std::move(wire));
}

void Connection::fail(int status, std::string_view code, std::string_view type, std::string message, Headers headers) {
    begin_exchange(false, status != 400); // a client that errs about the protocol may err about where requests begin
    const auto& request = exchange_->request();
    auto body = core_->options.format_error({status, code, type, std::move(message), request.path, request.id});
    headers.emplace_back("Content-Type", std::move(body.content_type));
    exchange_->respond(status, headers, body.body);
    read();
}

} // namespace lucebox::server
