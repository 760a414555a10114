// Requests that wait for a sequence, and whose turn it is.
//
// Turns are shared out among clients, not among requests: whoever runs least comes first, then whoever had a turn longest
// ago, then who came first. What a client marked as background waits for the others, but not for ever. Of one client no more
// may wait or run than the limits say. Not for sharing between threads.
#pragma once

#include "base/result.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

namespace lucebox::engine {

struct LineLimits {
    std::size_t all = 64;             // that wait
    std::size_t of_client = SIZE_MAX; // of one client that wait
    std::size_t running = SIZE_MAX;   // of one client that run
};

template <class T>
class WaitingLine {
public:
    using Clock = std::chrono::steady_clock;
    using Running = std::function<std::size_t(std::uint64_t client)>; // how many of it run now
    static constexpr std::chrono::seconds background_patience{15}; // then it counts as any other

    explicit WaitingLine(const LineLimits& limits = {}) : limits_(limits) {}

    std::size_t size() const { return line_.size(); }
    bool empty() const { return line_.empty(); }

    // Whether one more of this client may come. Whoever only has yet to be fetched, because sequences are free, does not count
    // as waiting. `free`: sequences that nobody has.
    Status check(std::uint64_t client, std::size_t free = 0, const Running& running = nobody_runs) const {
        std::unordered_map<std::uint64_t, std::size_t> room; // what may run of each client besides what does
        const auto runs_at_once = [&](std::uint64_t whose) {
            if (free == 0) return false;
            const auto [at, is_new] = room.try_emplace(whose, limits_.running);
            if (is_new) at->second -= std::min(at->second, running(whose));
            if (at->second == 0) return false;
            --at->second;
            --free;
            return true;
        };
        std::size_t waiting = 0, mine = 0;
        for (const Entry& entry : line_) {
            if (runs_at_once(entry.client)) continue;
            ++waiting;
            mine += entry.client == client;
        }
        if (runs_at_once(client)) return Ok{};
        if (waiting >= limits_.all)
            return Error{ErrorKind::unavailable, "All sequences are busy and the queue is full", "try again in a moment, or raise --queue"};
        if (mine >= limits_.of_client)
            return Error{ErrorKind::unavailable, "As many requests of this client wait already as may", "try again in a moment, or raise --client-queue"};
        return Ok{};
    }

    void push(T item, std::uint64_t client, bool background, Clock::time_point now = Clock::now()) {
        line_.push_back({std::move(item), client, background, now});
    }

    // Whose turn it is; nothing if nobody may run.
    std::optional<T> pop(const Running& running, Clock::time_point now = Clock::now()) {
        const Entry* best = nullptr;
        std::size_t best_running = 0;
        for (const Entry& entry : line_) {
            const std::size_t runs = running(entry.client);
            if (runs >= limits_.running) continue;
            if (best != nullptr && !comes_before(entry, runs, *best, best_running, now)) continue;
            best = &entry;
            best_running = runs;
        }
        if (best == nullptr) return std::nullopt;
        const auto at = line_.begin() + (best - line_.data());
        std::optional<T> item(std::move(at->item));
        const std::uint64_t client = at->client;
        line_.erase(at);
        turns_[client] = ++turn_;
        if (turns_.size() > 4096) turns_.clear(); // strangers' turns of long ago
        return item;
    }

    // Takes out all for which `wanted` says so.
    std::vector<T> remove_if(const std::function<bool(const T&)>& wanted) {
        std::vector<T> removed;
        std::erase_if(line_, [&](Entry& entry) {
            if (!wanted(entry.item)) return false;
            removed.push_back(std::move(entry.item));
            return true;
        });
        return removed;
    }

private:
    static std::size_t nobody_runs(std::uint64_t) { return 0; }

    struct Entry {
        T item;
        std::uint64_t client = 0;
        bool background = false;
        Clock::time_point since;
    };

    std::uint64_t turn_of(std::uint64_t client) const {
        const auto at = turns_.find(client);
        return at == turns_.end() ? 0 : at->second;
    }

    bool comes_before(const Entry& a, std::size_t a_runs, const Entry& b, std::size_t b_runs, Clock::time_point now) const {
        const bool a_yields = a.background && now - a.since < background_patience;
        const bool b_yields = b.background && now - b.since < background_patience;
        if (a_yields != b_yields) return b_yields;
        if (a_runs != b_runs) return a_runs < b_runs;
        return turn_of(a.client) < turn_of(b.client); // equal: the line's order
    }

    const LineLimits limits_;
    std::vector<Entry> line_;
    std::unordered_map<std::uint64_t, std::uint64_t> turns_; // the last one of each client
    std::uint64_t turn_ = 0;
};

} // namespace lucebox::engine
