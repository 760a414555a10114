#include "server/api/workers.h"

namespace lucebox::server {

Workers::Workers(std::size_t threads, std::size_t queue) : queue_limit_(queue) {
    for (std::size_t i = 0; i < threads; ++i)
        threads_.emplace_back([this] { run(); });
}

Workers::~Workers() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_)
        thread.join();
}

bool Workers::post(std::function<void()> work) {
    {
        const std::lock_guard lock(mutex_);
        if (stop_ || queue_.size() >= queue_limit_) return false;
        queue_.push_back(std::move(work));
    }
    wake_.notify_one();
    return true;
}

void Workers::run() {
    for (;;) {
        std::function<void()> work;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
            if (stop_) return;
            work = std::move(queue_.front());
            queue_.pop_front();
        }
        work();
    }
}

} // namespace lucebox::server
