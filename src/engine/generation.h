// One request on its way through the engine: where its prompt stands, its text so far, and how it ends.
//
// Used by the engine's thread only.
#pragma once

#include "decode/speculator.h"
#include "decode/stop_strings.h"
#include "engine/engine.h"
#include "engine/guide.h"
#include "engine/prompt_cut.h"
#include "model/runner.h"

#include <chrono>

namespace lucebox::engine {

using Clock = std::chrono::steady_clock;

// Whether rows of logits may stay on the device, as far as the request is concerned.
inline bool leaves_rows(const Request& request) {
    return decode::leaves_the_row(request.sampling) && !request.logprobs && request.top_logprobs == 0;
}

class Generation {
public:
    Generation(Request request, Guide guide, OnEvent on_event, const text::Tokenizer& tokenizer)
        : request_(std::move(request)), guide_(std::move(guide)), on_event_(std::move(on_event)), tokenizer_(tokenizer),
          stops_(request_.stop), leaves_rows_(leaves_rows(request_)), submitted_(Clock::now()) {
        history_.add_prompt(request_.prompt);
    }

    RequestId id() const { return id_; }
    std::uint64_t client() const { return request_.client; }
    // What it read may make room first: nobody goes on from a task beside the conversation, unless it went on from the conversation.
    bool leaves_little() const { return request_.background && 2 * kept_ < request_.prompt.size(); }
    void set_id(RequestId id) { id_ = id; }
    model::SequenceId sequence() const { return sequence_; }
    bool finished() const { return finished_; }
    // Where a piece of the prompt that the step just done has committed ends, if it may be kept and marking it is worth while.
    std::optional<std::size_t> mark_place(const PromptCut& cut) const {
        if (row_count_ == 0 || tree_ || keepable_ < fed_) return std::nullopt;
        return cut.border == 0 || fed_ == cut.last_border(request_.prompt.size()) ? std::optional(fed_) : std::nullopt;
    }
    // Tokens, of those the sequence holds, that another request may go on from.
    std::size_t keepable(const PromptCut& cut, std::size_t held) const { return cut.border == 0 ? held : std::min(held, keepable_); }
    bool decoding() const { return fed_ == request_.prompt.size(); }
    std::size_t prompt_left() const { return request_.prompt.size() - fed_; }
    bool reads_long(const PromptCut& cut) const { return prompt_left() > 0 && cut.is_long_at(fed_, request_.prompt.size()); }
    bool left_out() const { return decoding() && row_count_ == 0; } // of the last step

    // In a sequence that holds the prompt's first `kept` tokens already.
    void start(model::SequenceId sequence, std::size_t kept, decode::Speculator& speculator);

    void begin_step();
    // What guesses could be of use. `context`: tokens a sequence may hold.
    decode::Speculator::Ask ask(std::size_t context);
    // Appends rows to a step: a piece of the prompt, or the last token with guesses below it. Remembers which outputs will
    // be its own.
    void add_prompt(std::vector<model::Row>& rows, const PromptCut& cut, std::size_t room, bool waited_for, std::size_t& outputs);
    void add_tree(std::vector<model::Row>& rows, const decode::DraftTree& tree, std::size_t& outputs);
    // Behind the step, before anybody's advance(): asks the device for what the first choice needs.
    void prepare(model::Runner& runner);
    // Waits for its logits, or for that.
    void fetch(model::Runner& runner);
    // Samples as far as the guesses were right, tells the caller, commits what stays; how many tokens were generated.
    // `context`: tokens a sequence may hold.
    std::size_t advance(model::Runner& runner, decode::Sampler& sampler, decode::Speculator& speculator, std::size_t context);
    void finish(FinishReason reason, std::optional<Error> error = {});

    bool embeds() const { return request_.pooling.has_value(); }
    // What an earlier sequence may hold already: nothing, where every token's state is asked for.
    std::span<const TokenId> reusable_prompt() const { return embeds() ? std::span<const TokenId>() : std::span<const TokenId>(request_.prompt); }
    std::span<const TokenId> tokens() const { return history_.tokens(); } // prompt and answer
    std::size_t kept() const { return kept_; }
    std::size_t prompt_tokens() const { return request_.prompt.size(); }
    std::size_t generated_tokens() const { return generated_; }
    FinishReason reason() const { return reason_; }
    double prompt_seconds() const { return timings_.prompt; }
    double generation_seconds() const { return timings_.generation; }

private:
    void report_progress();
    void pool(std::span<const float> states);
    void end_with_embedding();
    bool needs_rows() const { return !leaves_rows_ || guide_.soft_close().has_value(); } // for the next choice
    decode::Sample choose(model::Runner& runner, std::size_t output, decode::Sampler& sampler, std::size_t position);
    decode::Sample choose_from(std::span<float> logits, decode::Sampler& sampler, std::size_t position);
    void take(decode::Sample sample, std::size_t position, std::size_t context);
    void walk(model::Runner& runner, decode::Sampler& sampler, decode::Speculator& speculator, std::size_t context);
    void complete(FinishReason reason, std::optional<Error> error = {}); // with the text that was held back
    void end(Finished finished);                                         // the caller is told by tell_end()
    void tell_end();

    RequestId id_ = 0;
    Request request_;
    Guide guide_;
    OnEvent on_event_;
    const text::Tokenizer& tokenizer_;
    decode::TokenHistory history_;
    decode::StopStrings stops_;
    text::Utf8Stream utf8_;
    bool leaves_rows_ = false;

    model::SequenceId sequence_ = -1;
    std::size_t kept_ = 0;       // prompt tokens that needed no step
    std::size_t fed_ = 0;        // prompt tokens given to steps
    std::size_t keepable_ = 0;   // of those, from the first on
    std::size_t generated_ = 0;
    // Of the step that runs:
    std::int64_t output_ = -1;   // its first; -1: none
    const decode::DraftTree* tree_ = nullptr; // null: a prompt's step
    std::size_t first_row_ = 0, row_count_ = 0;
    std::vector<std::int32_t> path_, committed_; // nodes that were right, rows that stay
    TokenId last_ = -1;
    bool finished_ = false;
    Finished ending_;
    FinishReason reason_ = FinishReason::stop;
    std::vector<double> pooled_; // the sum of the states so far

    Clock::time_point submitted_, started_{}, prompt_done_{}, progress_told_{};
    Timings timings_;
};

} // namespace lucebox::engine
