// One exchange that generates: several choices run in the backend, and their events become one answer.
//
// It keeps itself alive through the callbacks it gives to the backend and is gone when the last choice has finished.
// It never keeps the backend alive: its last reference may fall on the backend's own thread. Events come on that
// thread, disconnects and heartbeats on I/O threads; a mutex orders what is written. The backend is never called under
// it.
#pragma once

#include "server/api/answer_format.h"
#include "server/api/backend.h"
#include "server/http/responder.h"

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace lucebox::server {

// How the model's output is taken apart; without it, all of it is content.
struct OutputRules {
    text::ReasoningMarkers markers;
    bool starts_inside = false; // the prompt has opened the reasoning
    std::shared_ptr<const text::ToolSet> tools;
    bool one_call = false; // the answer ends with its first call
};

struct GenerationPlan {
    std::vector<engine::Request> choices;
    std::size_t choices_per_prompt = 1; // prompts come one behind the other, each with its choices
    std::unique_ptr<AnswerFormat> format;
    bool stream = false;
    bool logprobs = false;
    std::optional<OutputRules> output;
    Headers headers; // of the answer, beside those of its kind
    std::string form_param; // the field that asked for the answer's form
    std::chrono::milliseconds heartbeat{8'000}; // silence after which a stream gets a comment
    std::function<void(std::size_t choice, const engine::Progress&)> on_progress;
    // Once for each finished choice, with the seconds from submission to its first token (none: no token).
    std::function<void(const engine::Finished&, std::optional<double> first_token)> on_finished;
    // Once, right before the answer's last byte is handed over.
    std::function<void(const Usage&)> on_answered;
    // Before that, if all went well.
    std::function<void(std::span<const Choice>)> on_complete;
};

class Generation : public std::enable_shared_from_this<Generation> {
public:
    // Submits and answers; a refused submission is answered with its error.
    static void start(std::shared_ptr<Responder> responder, const std::shared_ptr<Backend>& backend,
                      GenerationPlan plan);

private:
    using Clock = std::chrono::steady_clock;

    struct State {
        Choice choice;
        std::unique_ptr<text::OutputParser> parser;
        std::vector<decode::Sample> pending; // tokens whose text is still held back
        std::optional<engine::RequestId> id;
        std::optional<double> first_token;
        bool begun = false, finished = false;
        bool cut = false; // the answer is complete before the model's
    };

    Generation(std::shared_ptr<Responder> responder, const std::shared_ptr<Backend>& backend, GenerationPlan plan);

    void submit_all(Backend& backend);
    void open();
    void on_event(std::size_t choice, engine::Event&& event);
    void cancel_all();
    void cancel(const std::vector<engine::RequestId>& ids);

    // Under the mutex:
    bool handle(std::size_t choice, engine::Event&& event); // false: the rest is not wanted any more
    void show(std::size_t choice, std::string_view text);
    void take(std::size_t choice, std::vector<text::OutputEvent>& events, bool truncated);
    void begin(std::size_t choice);
    void finish(std::size_t choice, engine::Finished& finished);
    void fail(const ApiError& error);
    void complete();
    void send(const std::string& part);
    void arm_heartbeat(std::chrono::milliseconds delay);
    void beat();

    const std::shared_ptr<Responder> responder_;
    const std::weak_ptr<Backend> backend_;
    const Clock::time_point begin_ = Clock::now();

    std::mutex mutex_;
    GenerationPlan plan_;
    std::vector<State> states_;
    std::vector<std::pair<std::size_t, engine::Event>> early_; // events from before open()
    Usage usage_;
    std::size_t unfinished_ = 0;
    std::vector<engine::RequestId> complete_early_; // requests whose answer is complete before the model's; cancelled once the mutex is free
    bool opened_ = false, gone_ = false, answered_ = false;
    Clock::time_point last_write_ = begin_;
    Timer heartbeat_;
};

} // namespace lucebox::server
