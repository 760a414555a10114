// lucebox run: a chat in the terminal, or one answer to --prompt.
#include "app/commands.h"
#include "base/terminal.h"
#include "server/api/prompt.h"

#include <fmt/color.h>
#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <iostream>
#include <mutex>
#include <unistd.h>
#include <utility>

namespace lucebox::app {
namespace {

using server::Json;

std::atomic<bool> interrupted = false;

// One answer, printed as it comes; Ctrl-C ends it early. `live`: on a terminal that shows what speculation does, by colours, and in its
// title by tokens a step so far. The title that it had is put aside meanwhile (xterm's control sequences).
class Answer {
public:
    explicit Answer(bool live) : live_(live) {
        if (live_) fmt::print("\x1b[22;2t");
    }
    ~Answer() {
        if (live_) fmt::print("\x1b[23;2t");
    }
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

    void take(engine::Event&& event) {
        if (auto* generated = std::get_if<engine::Generated>(&event)) {
            if (live_) count(generated->guessed); // shown at once, with the text
            show(generated->text, generated->guessed);
        }
        auto* finished = std::get_if<engine::Finished>(&event);
        if (!finished) return;
        show(finished->text);
        const std::lock_guard lock(mutex_);
        finished_ = std::move(*finished);
        done_ = true;
        wake_.notify_all();
    }

    engine::Finished wait(engine::Engine& engine, engine::RequestId id) {
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, std::chrono::milliseconds(50), [&] { return done_; })) {
            if (!interrupted) continue;
            lock.unlock();
            engine.cancel(id);
            lock.lock();
        }
        return finished_;
    }

    const std::string& text() const { return text_; }

private:
    void show(const std::string& piece, bool guessed = false) {
        text_ += piece;
        const auto style = guessed && live_ ? fmt::fg(fmt::terminal_color::green) : fmt::text_style{};
        fmt::print(style, "{}", piece);
        std::fflush(stdout);
    }

    // A token that nobody guessed is the last of its step. The first of all came with the prompt.
    void count(bool guessed) {
        if (std::exchange(first_, false)) return;
        ++tokens_;
        if (guessed) return;
        ++steps_;
        fmt::print("\x1b]2;{:.2f} tokens a step\a", static_cast<double>(tokens_) / static_cast<double>(steps_));
    }

    const bool live_;
    bool first_ = true;
    std::size_t tokens_ = 0, steps_ = 0;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool done_ = false;
    engine::Finished finished_;
    std::string text_;
};

class Chat {
public:
    Chat(engine::Engine& engine, const Options& options)
        : engine_(engine), options_(options),
          prompts_(engine.tokenizer(), [&engine](const Json& variables) { return engine.chat_template()->render(variables); },
                   engine.chat_template_source()) {
        messages_ = Json::array();
        if (options.is_set("system")) messages_.push_back({{"role", "system"}, {"content", options.text("system")}});
    }

    Status say(const std::string& text) {
        messages_.push_back({{"role", "user"}, {"content", text}});
        server::ChatRequest chat;
        chat.messages = messages_;
        auto prompt = prompts_.chat(chat);
        if (const auto* error = std::get_if<server::ApiError>(&prompt)) return Error{ErrorKind::invalid_data, error->message};
        engine::Request request;
        request.prompt = std::move(std::get<server::ChatPrompt>(prompt).tokens);
        request.max_tokens = static_cast<std::size_t>(options_.integer("max-tokens"));
        LUCEBOX_TRY(request.sampling, sampling_params(options_, 0.7f));
        const bool stats = options_.boolean("stats");
        Answer answer(stats && wants_colours(1));
        interrupted = false;
        LUCEBOX_TRY(const auto id, engine_.submit(std::move(request), [&](engine::Event&& event) { answer.take(std::move(event)); }));
        const engine::Finished finished = answer.wait(engine_, id);
        if (finished.error) return *finished.error;
        messages_.push_back({{"role", "assistant"}, {"content", answer.text()}});
        fmt::print("\n");
        std::fflush(stdout);
        if (is_terminal(1)) print_speed(finished);
        if (stats) print_speculation(finished.speculation);
        return Ok{};
    }

private:
    static fmt::text_style faint(int descriptor) { return wants_colours(descriptor) ? fmt::text_style(fmt::emphasis::faint) : fmt::text_style{}; }

    static void print_speed(const engine::Finished& finished) {
        const auto rate = [](std::size_t tokens, double seconds) { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; };
        fmt::print(faint(1), "[{} + {} tokens, {:.0f} and {:.0f} tok/s]\n", finished.prompt_tokens, finished.generated_tokens,
                   rate(finished.prompt_tokens, finished.timings.prompt),
                   rate(finished.generated_tokens, finished.timings.generation));
    }

    // To standard error: it is no part of the answer.
    static void print_speculation(const decode::SpeculationStats& stats) {
        if (stats.steps == 0) return;
        fmt::print(stderr, faint(2), "[{:.2f} tokens a step: {} tokens in {} steps, {} of {} guesses right, {} of those found in the text]\n",
                   static_cast<double>(stats.tokens) / static_cast<double>(stats.steps), stats.tokens, stats.steps, stats.accepted,
                   stats.drafted, stats.accepted_from_lookup);
    }

    engine::Engine& engine_;
    const Options& options_;
    server::PromptBuilder prompts_;
    Json messages_;
};

} // namespace

Status run(const Invocation& invocation) {
    const Options& options = invocation.options;
    LUCEBOX_TRY(engine::Options settings, engine_options(options));
    settings.sequences = 1;
    LUCEBOX_TRY(const auto engine, engine::Engine::load(settings));
    if (!engine->chat_template()) {
        return Error{ErrorKind::invalid_data, fmt::format("{} has no usable chat template", engine->model().name),
                     "use lucebox generate --prompt TEXT"};
    }
    std::signal(SIGINT, [](int) { interrupted = true; });
    Chat chat(*engine, options);
    if (options.is_set("prompt")) return chat.say(options.text("prompt"));

    const bool person = is_terminal(0) && is_terminal(1);
    if (person) fmt::print("{} on {}. Ctrl-C stops an answer, Ctrl-D leaves.\n", engine->model().name, engine->device_name());
    std::string line;
    for (;;) {
        if (person) fmt::print("> ");
        std::fflush(stdout);
        if (!std::getline(std::cin, line)) break;
        if (!line.empty()) LUCEBOX_CHECK(chat.say(line));
    }
    if (person) fmt::print("\n");
    return Ok{};
}

} // namespace lucebox::app
