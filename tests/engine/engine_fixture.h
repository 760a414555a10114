// An engine over a tiny model, and a client of it that remembers every event of its request.
#pragma once

#include "engine/engine.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace lucebox::engine {

inline std::filesystem::path model_path(std::string_view folder = "llama") {
    return std::filesystem::path("tests/data/oracle") / folder / "model.gguf";
}

inline std::vector<TokenId> reference_tokens(const char* key, std::string_view folder = "llama") {
    std::ifstream file(model_path(folder).parent_path() / "greedy.json");
    return nlohmann::json::parse(file)[key].get<std::vector<TokenId>>();
}

inline bool gpu_is_here() {
    return std::ranges::any_of(compute::known_devices(), [](const auto& device) { return device.kind == "cuda" && device.problem.empty(); });
}

// The events of one request. `hook` sees each event on the engine's thread, before it is noted.
class Client {
public:
    using Hook = std::function<void(const Event&)>;
    explicit Client(Hook hook = {}) : hook_(std::move(hook)) {}

    OnEvent listener() {
        return [this](Event&& event) {
            if (hook_) hook_(event);
            const std::lock_guard lock(mutex_);
            EXPECT_FALSE(finished_) << "an event behind Finished";
            if (const auto* progress = std::get_if<Progress>(&event)) progress_.push_back(*progress);
            if (auto* generated = std::get_if<Generated>(&event)) {
                text_ += generated->text;
                samples_.push_back(std::move(generated->sample));
            }
            if (auto* finished = std::get_if<Finished>(&event)) {
                text_ += finished->text;
                finished_ = std::move(*finished);
                wake_.notify_all();
            }
        };
    }

    const Finished& wait() {
        std::unique_lock lock(mutex_);
        EXPECT_TRUE(wake_.wait_for(lock, std::chrono::seconds(60), [&] { return finished_.has_value(); }));
        if (!finished_) throw std::runtime_error("the request never finished");
        return *finished_;
    }

    // Behind wait().
    const std::string& text() const { return text_; }
    const std::vector<decode::Sample>& samples() const { return samples_; }
    const std::vector<Progress>& progress() const { return progress_; }
    std::vector<TokenId> tokens() const {
        std::vector<TokenId> tokens;
        for (const auto& sample : samples_) tokens.push_back(sample.token);
        return tokens;
    }

private:
    Hook hook_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::string text_;
    std::vector<decode::Sample> samples_;
    std::vector<Progress> progress_;
    std::optional<Finished> finished_;
};

// Keeps the engine's thread in its first event until told to go on, so that a test can line up other requests.
class Gate {
public:
    Client::Hook hook() {
        return [this](const Event&) {
            reached_.count_down_once();
            open_.wait();
        };
    }
    void wait_until_reached() { reached_.wait(); }
    void open() { open_.count_down_once(); }

private:
    class Signal {
    public:
        void count_down_once() {
            const std::lock_guard lock(mutex_);
            given_ = true;
            wake_.notify_all();
        }
        void wait() {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return given_; });
        }

    private:
        std::mutex mutex_;
        std::condition_variable wake_;
        bool given_ = false;
    };
    Signal reached_, open_;
};

class EngineTest : public ::testing::Test {
protected:
    std::unique_ptr<Engine> engine;
    std::vector<TokenId> prompt = reference_tokens("prompt");

    void load(Options options = {}) {
        if (options.model.empty()) options.model = model_path();
        if (options.context == 0) options.context = 512;
        if (options.device.choice != compute::DeviceChoice::cuda) options.device = {compute::DeviceChoice::cpu, 2, false, 0};
        auto loaded = Engine::load(options);
        ASSERT_TRUE(loaded) << loaded.error().message;
        engine = std::move(*loaded);
    }

    Request request(std::size_t max_tokens, float temperature = 0, std::uint64_t seed = 1) const {
        Request request;
        request.prompt = prompt;
        request.max_tokens = max_tokens;
        request.sampling.temperature = temperature;
        request.sampling.seed = seed;
        request.ignore_end = true;
        return request;
    }

    RequestId submit(Request request, Client& client) {
        const auto id = engine->submit(std::move(request), client.listener());
        EXPECT_TRUE(id) << (id ? "" : id.error().message);
        return id ? *id : 0;
    }
};

} // namespace lucebox::engine
