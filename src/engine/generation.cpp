#include "engine/generation.h"

#include <algorithm>
#include <cmath>

namespace lucebox::engine {
namespace {

constexpr std::chrono::milliseconds progress_interval{250};

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

Finished finished_by(FinishReason reason) {
    Finished finished;
    finished.reason = reason;
    return finished;
}

} // namespace

void Generation::start(model::SequenceId sequence, std::size_t kept) {
    sequence_ = sequence;
    kept_ = fed_ = kept;
    started_ = Clock::now();
    timings_.queued = seconds(started_ - submitted_);
}

void Generation::add_rows(std::vector<model::Row>& rows, std::size_t limit, std::size_t& outputs) {
    if (decoding()) {
        rows.push_back({sequence_, last_, -1, true});
        output_ = static_cast<std::int64_t>(outputs++);
        return;
    }
    const std::size_t count = std::min(limit, prompt_left());
    for (std::size_t i = 0; i < count; ++i) {
        const auto parent = i == 0 ? -1 : static_cast<std::int32_t>(rows.size()) - 1;
        rows.push_back({sequence_, request_.prompt[fed_++], parent, false});
    }
    if (decoding()) { // the prompt's last token: its logits choose the first token of the answer
        rows.back().logits = true;
        output_ = static_cast<std::int64_t>(outputs++);
    }
}

void Generation::report_progress() {
    const auto now = Clock::now();
    const bool done = decoding();
    if (!done && now - progress_told_ < progress_interval) return;
    progress_told_ = now;
    if (done) {
        prompt_done_ = now;
        timings_.prompt = seconds(now - started_);
    }
    on_event_(Progress{fed_, request_.prompt.size()});
}

void Generation::fetch(model::Runner& runner) {
    if (output_ < 0) return;
    if (best_only_) runner.best(static_cast<std::size_t>(output_));
    else runner.logits(static_cast<std::size_t>(output_));
}

std::size_t Generation::advance(model::Runner& runner, decode::Sampler& sampler, std::size_t context) {
    if (generated_ == 0) report_progress();
    if (output_ < 0) return 0;
    const std::size_t before = generated_, position = request_.prompt.size() + generated_;
    if (best_only_) {
        decode::Sample sample;
        sample.token = runner.best(static_cast<std::size_t>(output_));
        take(std::move(sample), position, context);
        return generated_ - before;
    }
    const std::span<const float> row = runner.logits(static_cast<std::size_t>(output_));
    // The runner's copy is not read again, so the sampler may work in it.
    const std::span<float> logits(const_cast<float*>(row.data()), row.size());
    take(choose(logits, sampler, position), position, context);
    return generated_ - before;
}

decode::Sample Generation::choose(std::span<float> logits, decode::Sampler& sampler, std::size_t position) {
    const auto soft = guide_.soft_close();
    const float close_logit = soft ? logits[static_cast<std::size_t>(*soft)] : 0;
    decode::Sample sample = sampler.sample(logits, request_.sampling, history_, position, request_.logprobs, request_.top_logprobs,
                                           guide_.constraint());
    if (soft && close_logit - logits[static_cast<std::size_t>(sample.token)] >= std::log(request_.reasoning->soft_ratio)) {
        guide_.close_softly();
    }
    if (const auto forced = guide_.forced()) {
        sample.token = *forced;
        sample.logprob = 0; // it was certain
    }
    return sample;
}

void Generation::take(decode::Sample sample, std::size_t position, std::size_t context) {
    timings_.generation = seconds(Clock::now() - prompt_done_);
    last_ = sample.token;
    if (request_.max_tokens == 0) return end(finished_by(FinishReason::length));
    if (tokenizer_.is_end_of_generation(last_) && guide_.refuses_end()) last_ = sample.token = *guide_.forced();
    if (!request_.ignore_end && tokenizer_.is_end_of_generation(last_)) {
        Finished finished = finished_by(FinishReason::stop);
        finished.stop_token = last_;
        finished.text = stops_.push(utf8_.finish()).text + stops_.finish();
        return end(std::move(finished));
    }
    ++generated_;
    history_.add_generated(last_);
    const bool fits = guide_.advance(last_, tokenizer_.token_bytes(last_, true));
    auto outcome = stops_.push(utf8_.push(tokenizer_.token_bytes(last_, request_.show_special)));
    on_event_(Generated{std::move(sample), std::move(outcome.text)});
    if (outcome.matched) {
        Finished finished = finished_by(FinishReason::stop);
        finished.stop_string = std::move(outcome.matched);
        return end(std::move(finished));
    }
    if (!fits) return finish(FinishReason::error, Error{ErrorKind::unsupported, "no token of this model continues what the grammar asks for"});
    if (guide_.must_end()) return finish(FinishReason::stop);
    if (generated_ >= request_.max_tokens || position + 1 >= context) finish(FinishReason::length);
}

void Generation::finish(FinishReason reason, std::optional<Error> error) {
    Finished finished = finished_by(reason);
    finished.error = std::move(error);
    auto outcome = stops_.push(utf8_.finish());
    finished.text = outcome.text + stops_.finish();
    end(std::move(finished));
}

void Generation::end(Finished finished) {
    finished_ = true;
    reason_ = finished.reason;
    finished.prompt_tokens = request_.prompt.size();
    finished.generated_tokens = generated_;
    finished.cached_tokens = kept_;
    finished.reasoning_tokens = guide_.reasoning_tokens();
    finished.reasoning_close = guide_.close();
    finished.timings = timings_;
    on_event_(std::move(finished));
}

} // namespace lucebox::engine
