#include "server/api/generation.h"

namespace lucebox::server {

using engine::Event;
using engine::Finished;
using engine::FinishReason;

void Generation::start(std::shared_ptr<Responder> responder, const std::shared_ptr<Backend>& backend,
                       GenerationPlan plan) {
    const std::shared_ptr<Generation> generation(new Generation(std::move(responder), backend, std::move(plan)));
    generation->submit_all(*backend);
    generation->open();
}

Generation::Generation(std::shared_ptr<Responder> responder, const std::shared_ptr<Backend>& backend,
                       GenerationPlan plan)
    : responder_(std::move(responder)), backend_(backend), plan_(std::move(plan)), states_(plan_.choices.size()),
      unfinished_(plan_.choices.size()) {}

// Events may arrive before submit() returns, and even before the answer is known to become a stream: a refusal of a
// later choice must still be able to answer with its status. So they wait for open().
void Generation::submit_all(Backend& backend) {
    responder_->on_disconnect([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->cancel_all();
    });
    bool wanted = true;
    for (std::size_t i = 0; i < states_.size() && wanted; ++i) {
        auto id = backend.submit(std::move(plan_.choices[i]), [self = shared_from_this(), i](Event&& event) {
            self->on_event(i, std::move(event));
        });
        const std::lock_guard lock(mutex_);
        if (id)
            states_[i].id = *id;
        else
            fail(id.error().kind == ErrorKind::unavailable ? queue_full() : from_error(id.error(), "messages"));
        wanted = id && !gone_; // a disconnect before the id was stored could not cancel this one
    }
    if (!wanted) cancel_all();
}

void Generation::open() {
    bool wanted = true;
    {
        const std::lock_guard lock(mutex_);
        opened_ = true;
        if (plan_.stream && !answered_ && !gone_) {
            responder_->start_stream(200, {{"Content-Type", "text/event-stream"},
                                           {"Cache-Control", "no-cache"},
                                           {"X-Accel-Buffering", "no"}}); // proxies that collect would defeat it
            arm_heartbeat(plan_.heartbeat);
        }
        for (auto& [choice, event] : early_)
            wanted = handle(choice, std::move(event)) && wanted;
        early_.clear();
    }
    if (!wanted) cancel_all();
}

void Generation::on_event(std::size_t choice, Event&& event) {
    bool wanted = true;
    {
        const std::lock_guard lock(mutex_);
        if (opened_)
            wanted = handle(choice, std::move(event));
        else
            early_.emplace_back(choice, std::move(event));
    }
    if (!wanted) cancel_all();
}

void Generation::cancel_all() {
    std::vector<engine::RequestId> ids;
    {
        const std::lock_guard lock(mutex_);
        gone_ = true;
        heartbeat_.reset();
        for (State& state : states_) {
            if (state.id && !state.finished) ids.push_back(*state.id);
            state.id.reset();
        }
    }
    const auto backend = backend_.lock();
    for (const auto id : ids)
        if (backend) backend->cancel(id);
}

bool Generation::handle(std::size_t choice, Event&& event) {
    State& state = states_[choice];
    if (auto* generated = std::get_if<engine::Generated>(&event)) {
        if (!state.first_token) state.first_token = std::chrono::duration<double>(Clock::now() - begin_).count();
        if (gone_ || answered_) return true; // already cancelled
        if (plan_.logprobs) state.pending.push_back(std::move(generated->sample));
        if (!generated->text.empty()) show(choice, generated->text);
        return !gone_;
    }
    if (auto* finished = std::get_if<Finished>(&event)) {
        const bool failed = finished->reason == FinishReason::error || finished->reason == FinishReason::cancelled;
        state.finished = true;
        if (plan_.on_finished) plan_.on_finished(*finished, state.first_token);
        if (gone_ || answered_) return true;
        finish(choice, *finished);
        return !gone_ && !failed;
    }
    return true;
}

void Generation::show(std::size_t choice, std::string_view text) {
    State& state = states_[choice];
    if (plan_.stream) {
        if (!state.begun) send(plan_.format->begin(choice));
        state.begun = true;
        send(plan_.format->piece(choice, text, state.pending));
    } else {
        state.choice.text += text;
        for (auto& sample : state.pending)
            state.choice.samples.push_back(std::move(sample));
    }
    state.pending.clear();
}

void Generation::finish(std::size_t choice, Finished& finished) {
    if (finished.reason == FinishReason::error || finished.reason == FinishReason::cancelled) {
        const Error cancelled{ErrorKind::unavailable, "The request was cancelled by the server."};
        return fail(from_error(finished.error.value_or(cancelled)));
    }
    State& state = states_[choice];
    // Tokens whose text never appears (an end token, a stop string) are not reported; the rest comes out now.
    if (!finished.text.empty()) show(choice, finished.text);
    state.choice.reason = finished.reason;
    usage_.add(finished, choice % plan_.choices_per_prompt == 0);
    if (plan_.stream) {
        if (!state.begun) send(plan_.format->begin(choice));
        state.begun = true;
        send(plan_.format->end(choice, finished.reason));
    }
    if (--unfinished_ == 0 && !gone_) complete();
}

void Generation::complete() {
    answered_ = true;
    heartbeat_.reset();
    if (plan_.on_answered) plan_.on_answered(usage_);
    if (plan_.stream) {
        send(plan_.format->close(usage_));
        responder_->finish();
        return;
    }
    std::vector<Choice> choices;
    for (State& state : states_)
        choices.push_back(std::move(state.choice));
    responder_->respond(200, {{"Content-Type", "application/json"}}, plan_.format->whole(choices, usage_));
}

// The caller cancels what still runs, once it has let go of the mutex.
void Generation::fail(const ApiError& error) {
    if (answered_) return;
    answered_ = true;
    heartbeat_.reset();
    if (plan_.on_answered) plan_.on_answered(usage_);
    if (plan_.stream && opened_) {
        send(plan_.format->failure(error));
        responder_->finish();
    } else {
        responder_->respond(error.status, error_headers(error), error_json(error));
    }
}

void Generation::send(const std::string& part) {
    if (part.empty() || gone_) return;
    last_write_ = Clock::now();
    if (!responder_->write(part)) gone_ = true;
}

void Generation::arm_heartbeat(std::chrono::milliseconds delay) {
    heartbeat_ = responder_->after(delay, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->beat();
    });
}

void Generation::beat() {
    const std::lock_guard lock(mutex_);
    if (gone_ || answered_) return;
    const auto silence = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last_write_);
    if (silence < plan_.heartbeat) return arm_heartbeat(plan_.heartbeat - silence);
    send(": keep-alive\n\n");
    arm_heartbeat(plan_.heartbeat);
}

} // namespace lucebox::server
