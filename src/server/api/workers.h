// A few threads for work that is too long for an I/O thread: parsing large bodies, rendering, tokenising.
//
// The queue is bounded; what does not fit is refused, so that a flood of prompts costs memory for a few only. Dropping
// the object finishes what runs and forgets what waits. Work must not throw.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lucebox::server {

class Workers {
public:
    Workers(std::size_t threads, std::size_t queue);
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers();

    bool post(std::function<void()> work); // false: the queue is full

private:
    void run();

    const std::size_t queue_limit_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> queue_;
    bool stop_ = false;
    std::vector<std::thread> threads_;
};

} // namespace lucebox::server
