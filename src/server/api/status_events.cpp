#include "server/api/status_events.h"

#include <mutex>

namespace lucebox::server {
namespace {

using Clock = std::chrono::steady_clock;

struct StatusEvents : std::enable_shared_from_this<StatusEvents> {
    std::shared_ptr<Responder> responder;
    std::function<Json()> status;
    std::chrono::milliseconds interval{}, heartbeat{};
    Json last;
    std::uint64_t generated = 0;
    Clock::time_point written{};
    std::mutex mutex;
    Timer timer;
    bool gone = false;

    bool write(const std::string& text) {
        written = Clock::now();
        return responder->write(text);
    }

    bool tell() {
        Json now = status();
        const std::string whole = "event: status\ndata: " + now.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n\n";
        now.erase("uptime_s");
        if (now == last) return Clock::now() - written < heartbeat || write(": keep-alive\n\n");
        const std::uint64_t total = now.contains("stats") ? now["stats"]["generated_tokens"].get<std::uint64_t>() : 0;
        std::string tokens;
        if (!last.is_null() && total > generated) tokens = "event: token\ndata: " + Json{{"tokens", total - generated}}.dump() + "\n\n";
        generated = total;
        last = std::move(now);
        return write(whole + tokens);
    }

    void tick() {
        const std::lock_guard lock(mutex);
        if (gone) return;
        if (responder->draining()) {
            responder->finish();
        } else if (tell()) {
            timer = responder->after(interval, [weak = weak_from_this()] {
                if (const auto self = weak.lock()) self->tick();
            });
        }
    }

    void leave() {
        const std::lock_guard lock(mutex);
        gone = true;
        timer.reset();
    }
};

} // namespace

void stream_status(std::shared_ptr<Responder> responder, std::function<Json()> status, std::chrono::milliseconds interval,
                   std::chrono::milliseconds heartbeat) {
    if (!responder->start_stream(200, {{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}})) return;
    auto events = std::make_shared<StatusEvents>();
    events->responder = responder;
    events->status = std::move(status);
    events->interval = interval;
    events->heartbeat = heartbeat;
    responder->on_disconnect([events] { events->leave(); }); // and what keeps it until then, or until it finishes
    events->tick();
}

} // namespace lucebox::server
