// One request on its way through the engine: where its prompt stands, its text so far, and how it ends.
//
// Used by the engine's thread only.
#pragma once

#include "decode/stop_strings.h"
#include "engine/engine.h"
#include "engine/guide.h"
#include "model/runner.h"

#include <chrono>

namespace lucebox::engine {

using Clock = std::chrono::steady_clock;

// Whether a request's tokens are the largest logits as the model gave them, and nobody asks for more of a row.
inline bool asks_for_the_best_only(const Request& request) {
    return decode::takes_the_best(request.sampling) && !request.logprobs && request.top_logprobs == 0 && !request.reasoning &&
           !request.grammar;
}

class Generation {
public:
    Generation(Request request, Guide guide, OnEvent on_event, const text::Tokenizer& tokenizer)
        : request_(std::move(request)), guide_(std::move(guide)), on_event_(std::move(on_event)), tokenizer_(tokenizer),
          stops_(request_.stop), best_only_(asks_for_the_best_only(request_)), submitted_(Clock::now()) {
        history_.add_prompt(request_.prompt);
    }

    RequestId id() const { return id_; }
    void set_id(RequestId id) { id_ = id; }
    model::SequenceId sequence() const { return sequence_; }
    bool finished() const { return finished_; }
    bool decoding() const { return fed_ == request_.prompt.size(); }
    std::size_t prompt_left() const { return request_.prompt.size() - fed_; }

    // In a sequence that holds the prompt's first `kept` tokens already.
    void start(model::SequenceId sequence, std::size_t kept);

    void begin_step() { output_ = -1; }
    // Appends rows to a step: a piece of the prompt, or the last token. Remembers which output will be its own.
    void add_rows(std::vector<model::Row>& rows, std::size_t limit, std::size_t& outputs);
    // Behind the step: waits for its logits, or for its best token where that is all it needs.
    void fetch(model::Runner& runner);
    // Samples, tells the caller; how many tokens were generated. `context`: tokens a sequence may hold.
    std::size_t advance(model::Runner& runner, decode::Sampler& sampler, std::size_t context);
    void finish(FinishReason reason, std::optional<Error> error = {});

    std::span<const TokenId> prompt() const { return request_.prompt; }
    std::span<const TokenId> tokens() const { return history_.tokens(); } // prompt and answer
    std::size_t kept() const { return kept_; }
    std::size_t prompt_tokens() const { return request_.prompt.size(); }
    std::size_t generated_tokens() const { return generated_; }
    FinishReason reason() const { return reason_; }
    double prompt_seconds() const { return timings_.prompt; }
    double generation_seconds() const { return timings_.generation; }

private:
    void report_progress();
    decode::Sample choose(std::span<float> logits, decode::Sampler& sampler, std::size_t position);
    void take(decode::Sample sample, std::size_t position, std::size_t context);
    void end(Finished finished);

    RequestId id_ = 0;
    Request request_;
    Guide guide_;
    OnEvent on_event_;
    const text::Tokenizer& tokenizer_;
    decode::TokenHistory history_;
    decode::StopStrings stops_;
    text::Utf8Stream utf8_;
    bool best_only_ = false;

    model::SequenceId sequence_ = -1;
    std::size_t kept_ = 0;       // prompt tokens that needed no step
    std::size_t fed_ = 0;        // prompt tokens given to steps
    std::size_t generated_ = 0;
    std::int64_t output_ = -1;   // of the step that runs; -1: none
    TokenId last_ = -1;
    bool finished_ = false;
    FinishReason reason_ = FinishReason::stop;

    Clock::time_point submitted_, started_{}, prompt_done_{}, progress_told_{};
    Timings timings_;
};

} // namespace lucebox::engine
