#include "server/http/core.h"

#include "base/log.h"
#include "server/http/connection.h"

#include <algorithm>
#include <fmt/format.h>
#include <random>

namespace lucebox::server {
namespace {

// A call that waits. Its handle owns it; the pending wait does not, so dropping the handle cancels it.
struct PendingCall {
    PendingCall(std::shared_ptr<ServerCore> owner, std::function<void()> function)
        : core(std::move(owner)), timer(core->io), call(std::move(function)) {}
    std::shared_ptr<ServerCore> core; // the timer lives in its io_context
    asio::steady_timer timer;
    std::function<void()> call;
};

// From here on keys are kept as hashes only, by the access policy.
ServerOptions without_keys(ServerOptions options) {
    options.access.api_keys.clear();
    return options;
}

} // namespace

ServerCore::ServerCore(ServerOptions server_options, Router server_router)
    : options(without_keys(server_options)), router(std::move(server_router)), access(server_options.access) {
    for (std::string& key : server_options.access.api_keys) std::fill(key.begin(), key.end(), '\0');
}

void ServerCore::add(const std::shared_ptr<Connection>& connection) {
    const std::lock_guard lock(mutex_);
    connections_.emplace(connection.get(), connection);
}

void ServerCore::remove(const Connection* connection) {
    {
        const std::lock_guard lock(mutex_);
        if (connections_.erase(connection) == 0) return;
    }
    changed_.notify_all();
}

std::vector<std::shared_ptr<Connection>> ServerCore::connections() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& [key, connection] : connections_) {
        if (auto alive = connection.lock()) all.push_back(std::move(alive));
    }
    return all;
}

bool ServerCore::close_one_that_waits(std::chrono::milliseconds patience) {
    std::shared_ptr<Connection> longest;
    auto since = std::chrono::steady_clock::now() - patience;
    for (auto& connection : connections()) {
        const auto its = connection->waiting_since();
        if (!its || *its > since) continue;
        since = *its;
        longest = std::move(connection);
    }
    if (longest) longest->close_if_waiting_soon();
    return longest != nullptr;
}

std::size_t ServerCore::open_connections() const {
    const std::lock_guard lock(mutex_);
    return connections_.size();
}

bool ServerCore::wait_until_closed(std::chrono::milliseconds deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, deadline, [this] { return connections_.empty(); });
}

void ServerCore::exchange_began() {
    const std::lock_guard lock(mutex_);
    ++active_;
}

void ServerCore::exchange_ended() {
    {
        const std::lock_guard lock(mutex_);
        --active_;
    }
    changed_.notify_all();
}

std::uint64_t ServerCore::active() const {
    const std::lock_guard lock(mutex_);
    return active_;
}

bool ServerCore::wait_until_idle(std::chrono::milliseconds deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, deadline, [this] { return active_ == 0; });
}

void ServerCore::observe(const ExchangeRecord& record) const {
    if (options.observe) options.observe(record);
}

std::string ServerCore::new_request_id() {
    thread_local std::mt19937_64 random = [] {
        std::random_device device;
        std::seed_seq seed{device(), device(), device(), device()};
        return std::mt19937_64(seed);
    }();
    const std::uint64_t high = random(), low = random();
    return fmt::format("req_{:016x}{:08x}", high, static_cast<std::uint32_t>(low));
}

Timer ServerCore::after(std::chrono::milliseconds delay, std::function<void()> call) {
    auto pending = std::make_shared<PendingCall>(shared_from_this(), std::move(call));
    pending->timer.expires_after(delay);
    pending->timer.async_wait([weak = std::weak_ptr(pending)](const boost::system::error_code& error) {
        const auto due = weak.lock();
        if (error || !due || due->core->stopped) return;
        due->call();
    });
    return pending;
}

std::string http_date(std::chrono::system_clock::time_point time) {
    constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", days[utc.tm_wday], utc.tm_mday, months[utc.tm_mon],
                       utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

} // namespace lucebox::server
