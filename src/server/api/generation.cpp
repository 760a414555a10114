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
      unfinished_(plan_.choices.size()) {
    if (!plan_.output) return;
    const OutputRules& rules = *plan_.output;
    for (State& state : states_)
        state.parser = std::make_unique<text::OutputParser>(rules.markers, *rules.tools, rules.starts_inside);
}

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
            fail(id.error().kind == ErrorKind::unavailable ? queue_full(id.error().message) : from_error(id.error(), "messages"));
        wanted = id && !gone_; // a disconnect before the id was stored could not cancel this one
    }
    if (!wanted) return cancel_all();
    // How many are served before the last choice, at most: it may have its turn earlier.
    const std::size_t waiting = backend.stats().waiting;
    const std::lock_guard lock(mutex_);
    if (waiting > 0) plan_.headers.emplace_back("x-queue-position", std::to_string(waiting));
}

void Generation::open() {
    bool wanted = true;
    std::vector<engine::RequestId> complete;
    {
        const std::lock_guard lock(mutex_);
        opened_ = true;
        if (plan_.stream && !answered_ && !gone_) {
            Headers headers{{"Content-Type", "text/event-stream"},
                            {"Cache-Control", "no-cache"},
                            {"X-Accel-Buffering", "no"}}; // proxies that collect would defeat it
            headers.insert(headers.end(), plan_.headers.begin(), plan_.headers.end());
            responder_->start_stream(200, std::move(headers));
            send(plan_.format->open());
            if (states_.size() == 1) begin(0); // the prompt may take long: the client should see that it is being read
            arm_heartbeat(plan_.heartbeat);
        }
        for (auto& [choice, event] : early_)
            wanted = handle(choice, std::move(event)) && wanted;
        early_.clear();
        complete.swap(complete_early_);
    }
    if (!wanted) cancel_all();
    cancel(complete);
}

void Generation::on_event(std::size_t choice, Event&& event) {
    bool wanted = true;
    std::vector<engine::RequestId> complete;
    {
        const std::lock_guard lock(mutex_);
        if (opened_)
            wanted = handle(choice, std::move(event));
        else
            early_.emplace_back(choice, std::move(event));
        complete.swap(complete_early_);
    }
    if (!wanted) cancel_all();
    cancel(complete);
}

void Generation::cancel(const std::vector<engine::RequestId>& ids) {
    const auto backend = ids.empty() ? nullptr : backend_.lock();
    if (!backend) return;
    for (const auto id : ids)
        backend->cancel(id);
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
    cancel(ids);
}

bool Generation::handle(std::size_t choice, Event&& event) {
    State& state = states_[choice];
    if (auto* generated = std::get_if<engine::Generated>(&event)) {
        if (!state.first_token) state.first_token = std::chrono::duration<double>(Clock::now() - begin_).count();
        if (gone_ || answered_ || state.cut) return true; // already cancelled
        if (state.parser && state.parser->in_reasoning()) ++state.choice.reasoning_tokens;
        if (plan_.output && !plan_.output->tools->empty()) state.choice.tokens.push_back(generated->sample.token);
        if (plan_.logprobs) state.pending.push_back(std::move(generated->sample));
        if (!generated->text.empty()) show(choice, generated->text);
        if (state.cut && state.id) complete_early_.push_back(*state.id);
        return !gone_;
    }
    if (const auto* progress = std::get_if<engine::Progress>(&event)) {
        if (plan_.on_progress) plan_.on_progress(choice, *progress);
        return true;
    }
    if (auto* finished = std::get_if<Finished>(&event)) {
        if (state.cut && finished->reason == FinishReason::cancelled) finished->reason = FinishReason::stop;
        const bool failed = finished->reason == FinishReason::error || finished->reason == FinishReason::cancelled;
        state.finished = true;
        if (plan_.on_finished) plan_.on_finished(*finished, state.first_token);
        if (gone_ || answered_) return true;
        finish(choice, *finished);
        return !gone_ && !failed;
    }
    return true;
}

void Generation::begin(std::size_t choice) {
    if (!states_[choice].begun) send(plan_.format->begin(choice));
    states_[choice].begun = true;
}

void Generation::show(std::size_t choice, std::string_view text) {
    State& state = states_[choice];
    std::vector<text::OutputEvent> events;
    if (state.parser)
        state.parser->push(text, events);
    else
        events.push_back({text::OutputEvent::Kind::content, std::string(text), 0});
    take(choice, events, false);
}

// `truncated`: the output was cut off by its length, so that a call which is not whole is no mistake of the model's.
void Generation::take(std::size_t choice, std::vector<text::OutputEvent>& events, bool truncated) {
    using Kind = text::OutputEvent::Kind;
    State& state = states_[choice];
    for (text::OutputEvent& event : events) {
        if (state.cut) return;
        bool is_shown = true;
        if (event.kind == Kind::call_broken) {
            state.choice.calls[event.call].broken = true;
            event.kind = Kind::content;
            is_shown = !truncated;
        }
        switch (event.kind) {
        case Kind::reasoning: state.choice.reasoning += event.text; break;
        case Kind::content: state.choice.text += event.text; break;
        case Kind::call_begin:
            state.choice.calls.push_back({std::string(plan_.format->call_prefix()) + random_hex(24), event.text, "", false});
            break;
        case Kind::call_arguments: state.choice.calls[event.call].arguments += event.text; break;
        case Kind::call_end: state.cut = plan_.output && plan_.output->one_call; break;
        case Kind::call_broken: break;
        }
        if (plan_.stream && is_shown) {
            begin(choice);
            send(plan_.format->piece(choice, state.choice, event, state.pending));
        } else if (event.kind == Kind::content) {
            for (auto& sample : state.pending)
                state.choice.samples.push_back(std::move(sample));
        }
        if (event.kind == Kind::content || state.parser) state.pending.clear();
    }
}

void Generation::finish(std::size_t choice, Finished& finished) {
    if (finished.reason == FinishReason::error || finished.reason == FinishReason::cancelled) {
        const Error cancelled{ErrorKind::unavailable, "The request was cancelled by the server."};
        return fail(from_error(finished.error.value_or(cancelled), plan_.form_param));
    }
    State& state = states_[choice];
    state.choice.reason = finished.reason;
    state.choice.stop_string = finished.stop_string;
    state.choice.generated_tokens = finished.generated_tokens;
    state.choice.reasoning_close = finished.reasoning_close;
    if (finished.reasoning_tokens > 0) state.choice.reasoning_tokens = finished.reasoning_tokens;
    // Tokens whose text never appears (an end token, a stop string) are not reported; the rest comes out now.
    if (!finished.text.empty() && !state.cut) show(choice, finished.text);
    if (state.parser && !state.cut) {
        std::vector<text::OutputEvent> events;
        const bool truncated = finished.reason == FinishReason::length;
        state.parser->finish(!truncated && !finished.stop_string, events);
        take(choice, events, truncated);
    }
    usage_.add(finished, state.choice, choice % plan_.choices_per_prompt == 0);
    if (plan_.stream) {
        begin(choice);
        send(plan_.format->end(choice, state.choice));
    }
    if (--unfinished_ == 0 && !gone_) complete();
}

void Generation::complete() {
    answered_ = true;
    heartbeat_.reset();
    std::vector<Choice> choices;
    for (State& state : states_)
        choices.push_back(std::move(state.choice));
    if (plan_.on_complete) plan_.on_complete(choices);
    if (plan_.on_answered) plan_.on_answered(usage_);
    if (plan_.stream) {
        send(plan_.format->close(choices, usage_));
        responder_->finish();
        return;
    }
    Headers headers{{"Content-Type", "application/json"}};
    headers.insert(headers.end(), plan_.headers.begin(), plan_.headers.end());
    responder_->respond(200, std::move(headers), plan_.format->whole(choices, usage_));
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
        responder_->respond(status_for(error, responder_->request().path), error_headers(error), error_body(error, responder_->request()));
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
    send(plan_.format->heartbeat());
    arm_heartbeat(plan_.heartbeat);
}

} // namespace lucebox::server
