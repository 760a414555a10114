#include "server/http/exchange.h"

#include "server/http/connection.h"
#include "server/http/core.h"

#include <fmt/format.h>

namespace lucebox::server {
namespace {

// Framing belongs to the transport; a handler that sets these would break it.
bool is_ours(std::string_view name) {
    for (const std::string_view own : {"content-length", "transfer-encoding", "connection", "date", "server"}) {
        if (equal_without_case(name, own)) return true;
    }
    return false;
}

// A line break in a value would let whoever wrote the value write headers.
void append_header(std::string& text, std::string_view name, std::string_view value) {
    const auto append_clean = [&](std::string_view part) {
        for (const char c : part)
            text += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
    };
    append_clean(name);
    text += ": ";
    append_clean(value);
    text += "\r\n";
}

bool has_no_body(int status) {
    return status == 204 || status == 304;
}

} // namespace

Exchange::Exchange(std::shared_ptr<Connection> connection, std::shared_ptr<ServerCore> core, Request request, Wire wire)
    : request_(std::move(request)), core_(std::move(core)), wire_(std::move(wire)), connection_(std::move(connection)) {
    if (wire_.counted) core_->exchange_began();
}

std::string Exchange::head(int status, const Headers& headers, std::optional<std::size_t> length) {
    status_ = status;
    if (core_->draining) wire_.keep_alive = false;
    std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
    append_header(text, "Server", core_->options.server_name);
    append_header(text, "Date", http_date(std::chrono::system_clock::now()));
    append_header(text, "x-request-id", request_.id);
    if (!core_->options.build.empty()) append_header(text, "x-lucebox-build", core_->options.build);
    append_header(text, "X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : wire_.extra)
        append_header(text, name, value);
    for (const auto& [name, value] : headers) {
        if (!is_ours(name)) append_header(text, name, value);
    }
    if (length && !has_no_body(status)) append_header(text, "Content-Length", fmt::format("{}", *length));
    if (!length) {
        if (wire_.http_1_1)
            append_header(text, "Transfer-Encoding", "chunked");
        else
            wire_.keep_alive = false;
    }
    if (!wire_.keep_alive) append_header(text, "Connection", "close");
    text += "\r\n";
    return text;
}

void Exchange::append_framed(std::string_view chunk) {
    const std::size_t before = outgoing_.size();
    if (wire_.http_1_1) outgoing_ += fmt::format("{:x}\r\n", chunk.size());
    outgoing_ += chunk;
    if (wire_.http_1_1) outgoing_ += "\r\n";
    backlog_ += outgoing_.size() - before;
}

std::shared_ptr<Connection> Exchange::flush_target() {
    if (flush_announced_) return nullptr;
    flush_announced_ = true;
    return connection_;
}

bool Exchange::respond(int status, const Headers& headers, std::string_view body) {
    std::shared_ptr<Connection> target;
    {
        const std::lock_guard lock(mutex_);
        if (state_ != State::waiting) return false;
        outgoing_ = head(status, headers, body.size());
        if (!wire_.head_only && !has_no_body(status)) outgoing_ += body;
        backlog_ = outgoing_.size();
        state_ = State::answered;
        gone_ = nullptr;
        target = flush_target();
    }
    if (target) target->announce_output(shared_from_this());
    return true;
}

bool Exchange::start_stream(int status, const Headers& headers) {
    std::shared_ptr<Connection> target;
    std::function<void()> gone;
    bool listens = true;
    {
        const std::lock_guard lock(mutex_);
        if (state_ != State::waiting) return false;
        outgoing_ = head(status, headers, std::nullopt);
        backlog_ = outgoing_.size();
        state_ = State::streaming;
        if (wire_.head_only) {
            state_ = State::answered;
            listens = wanted_ = false;
            gone.swap(gone_);
        }
        target = flush_target();
    }
    if (target) target->announce_output(shared_from_this());
    if (gone) gone();
    return listens;
}

bool Exchange::write(std::string_view chunk) {
    std::shared_ptr<Connection> target;
    bool too_slow = false;
    {
        const std::lock_guard lock(mutex_);
        if (state_ != State::streaming) return false;
        if (chunk.empty()) return true; // an empty chunk would end the stream
        too_slow = backlog_ != 0 && backlog_ + chunk.size() > core_->options.limits.backlog_bytes;
        if (too_slow) {
            state_ = State::cut;
            target = connection_;
        } else {
            append_framed(chunk);
            target = flush_target();
        }
    }
    if (too_slow) {
        target->abort_soon();
        return false;
    }
    if (target) target->announce_output(shared_from_this());
    return true;
}

bool Exchange::finish() {
    std::shared_ptr<Connection> target;
    {
        const std::lock_guard lock(mutex_);
        if (state_ != State::streaming) return false;
        if (wire_.http_1_1) outgoing_ += "0\r\n\r\n";
        state_ = State::answered;
        gone_ = nullptr;
        target = flush_target();
    }
    if (target) target->announce_output(shared_from_this());
    return true;
}

void Exchange::on_disconnect(std::function<void()> gone) {
    {
        const std::lock_guard lock(mutex_);
        if (state_ == State::waiting || state_ == State::streaming || state_ == State::cut) {
            gone_.swap(gone);
            return;
        }
        if (wanted_) return; // answered in full by the handler itself
    }
    if (gone) gone();
}

bool Exchange::draining() const { return core_->draining.load(std::memory_order_relaxed); }

bool Exchange::alive() const {
    const std::lock_guard lock(mutex_);
    return state_ == State::waiting || state_ == State::streaming;
}

std::size_t Exchange::backlog() const {
    const std::lock_guard lock(mutex_);
    return backlog_;
}

void Exchange::abandon() {
    std::shared_ptr<Connection> target;
    bool unanswered = false;
    {
        const std::lock_guard lock(mutex_);
        unanswered = state_ == State::waiting;
        if (state_ == State::streaming) {
            state_ = State::cut;
            gone_ = nullptr; // nobody is left to care
            target = connection_;
        }
    }
    if (unanswered) {
        const auto error =
            core_->options.format_error({500, "internal_error", "server_error",
                                         "The request was dropped without an answer.", request_.path, request_.id});
        respond(500, {{"Content-Type", error.content_type}}, error.body);
    } else if (target) {
        target->abort_soon();
    }
}

Timer Exchange::after(std::chrono::milliseconds delay, std::function<void()> call) {
    return core_->after(delay, std::move(call));
}

Exchange::Output Exchange::take() {
    const std::lock_guard lock(mutex_);
    flush_announced_ = false;
    Output output{std::move(outgoing_), state_ == State::answered};
    outgoing_.clear();
    return output;
}

void Exchange::written(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    sent_ += bytes;
    backlog_ -= std::min(backlog_, bytes);
}

bool Exchange::answered() const {
    const std::lock_guard lock(mutex_);
    return state_ == State::answered;
}

bool Exchange::keep_alive() const {
    const std::lock_guard lock(mutex_);
    return wire_.keep_alive;
}

void Exchange::complete() {
    close(false);
}
void Exchange::lost() {
    close(true);
}

void Exchange::close(bool disconnected) {
    std::function<void()> gone;
    std::shared_ptr<Connection> connection;
    ExchangeRecord record;
    bool counted = false;
    {
        const std::lock_guard lock(mutex_);
        if (state_ == State::closed) return;
        // After respond() or finish() the handler is done, and hears nothing more.
        if (disconnected && state_ != State::answered) {
            wanted_ = false;
            gone.swap(gone_);
        }
        state_ = State::closed;
        gone_ = nullptr;
        outgoing_.clear();
        connection.swap(connection_);
        counted = wire_.counted;
        record = {request_.method.empty() ? nullptr : &request_, status_, sent_,
                  std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start_),
                  disconnected};
    }
    if (disconnected) core_->disconnects.fetch_add(1, std::memory_order_relaxed);
    if (gone) gone();
    core_->observe(record);
    if (counted) core_->exchange_ended();
}

} // namespace lucebox::server
