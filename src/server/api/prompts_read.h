// Prompts that are being read, for people who wait. Any thread.
#pragma once

#include "engine/engine.h"
#include "server/api/json.h"

#include <chrono>
#include <map>
#include <mutex>
#include <string>

namespace lucebox::server {

class PromptsRead {
public:
    void note(const std::string& key, const engine::Progress& progress) {
        const std::lock_guard lock(mutex_);
        if (progress.processed >= progress.total) {
            prompts_.erase(key);
            return;
        }
        const auto [at, is_new] = prompts_.try_emplace(key, Prompt{Clock::now(), progress.processed, progress});
        at->second.now = progress;
    }
    void forget(const std::string& key) {
        const std::lock_guard lock(mutex_);
        prompts_.erase(key);
    }

    Json json() const {
        const std::lock_guard lock(mutex_);
        Json list = Json::array();
        for (const auto& [key, prompt] : prompts_) {
            // From the pace since the first report; what came before it was not waited for here.
            const double seconds = std::chrono::duration<double>(Clock::now() - prompt.begin).count();
            const auto done = static_cast<double>(prompt.now.processed - prompt.first), left = static_cast<double>(prompt.now.total - prompt.now.processed);
            list.push_back({{"processed", prompt.now.processed}, {"total", prompt.now.total}, {"eta_s", done > 0 ? Json(left * seconds / done) : Json()}});
        }
        return list;
    }

private:
    using Clock = std::chrono::steady_clock;
    struct Prompt {
        Clock::time_point begin;
        std::size_t first;
        engine::Progress now;
    };
    mutable std::mutex mutex_;
    std::map<std::string, Prompt> prompts_;
};

} // namespace lucebox::server
