#include "engine/generation.h"

#include "decode/runner_row.h"

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

void Generation::start(model::SequenceId sequence, std::size_t kept, decode::Speculator& speculator) {
    sequence_ = sequence;
    kept_ = fed_ = keepable_ = kept;
    started_ = Clock::now();
    timings_.queued = seconds(started_ - submitted_);
    speculator.open(sequence, request_.prompt, kept);
}

void Generation::begin_step() {
    output_ = -1;
    tree_ = nullptr;
    row_count_ = 0;
}

decode::Speculator::Ask Generation::ask(std::size_t context) {
    const std::size_t room = context - std::min(context, request_.prompt.size() + generated_);
    const std::size_t left = std::min(room, request_.max_tokens - std::min(request_.max_tokens, generated_));
    return {sequence_, last_, left > 0 ? left - 1 : 0, guide_.form()};
}

void Generation::add_prompt(std::vector<model::Row>& rows, const PromptCut& cut, std::size_t room, bool waited_for, std::size_t& outputs) {
    first_row_ = rows.size();
    row_count_ = cut.piece(fed_, request_.prompt.size(), room, waited_for);
    if (row_count_ == 0) return;
    if (keepable_ == fed_ && cut.is_kept(fed_, row_count_)) keepable_ += row_count_;
    const bool all = request_.pooling == Pooling::mean;
    for (std::size_t i = 0; i < row_count_; ++i) {
        const auto parent = i == 0 ? -1 : static_cast<std::int32_t>(rows.size()) - 1;
        rows.push_back({sequence_, request_.prompt[fed_++], parent, all, true});
    }
    if (all) {
        output_ = static_cast<std::int64_t>(outputs);
        outputs += row_count_;
    } else if (decoding()) { // the prompt's last token: its logits choose the first token of the answer
        rows.back().logits = true;
        output_ = static_cast<std::int64_t>(outputs++);
    }
}

void Generation::add_tree(std::vector<model::Row>& rows, const decode::DraftTree& tree, std::size_t& outputs) {
    tree_ = &tree;
    first_row_ = rows.size();
    row_count_ = tree.nodes().size();
    output_ = static_cast<std::int64_t>(outputs);
    outputs += row_count_;
    for (const decode::DraftNode& node : tree.nodes()) {
        const auto parent = node.parent < 0 ? -1 : node.parent + static_cast<std::int32_t>(first_row_);
        rows.push_back({sequence_, node.token, parent, true, row_count_ == 1});
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

void Generation::prepare(model::Runner& runner) {
    if (output_ < 0 || embeds() || needs_rows() || guide_.forced() || request_.sampling.temperature == 0) return;
    runner.ask(static_cast<std::size_t>(output_), decode::query_of(request_.sampling, runner.vocabulary()));
}

void Generation::fetch(model::Runner& runner) {
    if (output_ < 0) return;
    if (embeds()) {
        const std::size_t width = runner.model().width(), count = request_.pooling == Pooling::mean ? row_count_ : 1;
        return pool(runner.states().subspan(static_cast<std::size_t>(output_) * width, count * width));
    }
    const auto output = static_cast<std::size_t>(output_);
    if (needs_rows()) runner.logits(output);
    else if (request_.sampling.temperature == 0) runner.best(output);
    else if (runner.asked(output)) runner.summary(output);
}

std::size_t Generation::advance(model::Runner& runner, decode::Sampler& sampler, decode::Speculator& speculator,
                                std::size_t context) {
    if (row_count_ == 0) return 0;
    if (generated_ == 0) report_progress();
    const std::size_t before = generated_;
    path_.assign(1, 0);
    if (embeds()) {
        if (decoding()) end_with_embedding();
    } else if (output_ >= 0) {
        walk(runner, sampler, speculator, context);
    }
    committed_.clear();
    const auto first = static_cast<std::int32_t>(first_row_);
    if (tree_) {
        for (const std::int32_t node : path_) committed_.push_back(first + node);
        if (row_count_ > 1) {
            const Status status = runner.commit(sequence_, committed_);
            if (!status && !finished_) complete(FinishReason::error, status.error());
        }
        speculator.verified(sequence_, path_, finished_ && ending_.stop_token ? -1 : last_);
    } else {
        for (std::size_t i = 0; i < row_count_; ++i) committed_.push_back(first + static_cast<std::int32_t>(i));
    }
    speculator.committed(sequence_, committed_);
    if (finished_) {
        ending_.speculation = speculator.stats(sequence_);
        tell_end();
    }
    return generated_ - before;
}

// states [rows, width], of the rows of one step.
void Generation::pool(std::span<const float> states) {
    const std::size_t width = states.size() / (request_.pooling == Pooling::mean ? row_count_ : 1);
    pooled_.resize(width);
    for (std::size_t i = 0; i < states.size(); ++i) pooled_[i % width] += double{states[i]};
}

// The length is 1 whatever was summed, so that a mean needs no division.
void Generation::end_with_embedding() {
    double squares = 0;
    for (const double value : pooled_) squares += value * value;
    const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
    Finished finished = finished_by(FinishReason::stop);
    for (const double value : pooled_) finished.embedding.push_back(static_cast<float>(value * scale));
    end(std::move(finished));
}

// From the last chosen token down the tree, as long as the model's choices were guessed.
void Generation::walk(model::Runner& runner, decode::Sampler& sampler, decode::Speculator& speculator, std::size_t context) {
    for (;;) {
        const auto output = static_cast<std::size_t>(output_ + path_.back());
        const std::size_t position = request_.prompt.size() + generated_;
        take(choose(runner, output, sampler, position), position, context);
        if (finished_) return;
        speculator.add(sequence_, last_, speculator.wants_sureness() ? decode::sureness(runner, output, request_.sampling) : decode::DraftWorth::unknown);
        const std::int32_t child = tree_ ? tree_->child(path_.back(), last_) : -1;
        if (child < 0) return;
        path_.push_back(child);
    }
}

decode::Sample Generation::choose(model::Runner& runner, std::size_t output, decode::Sampler& sampler, std::size_t position) {
    decode::RunnerRow row(runner, output);
    if (needs_rows()) return choose_from(row.whole(), sampler, position);
    decode::Sample sample;
    const auto forced = guide_.forced();
    sample.token = forced ? *forced : sampler.sample(row, request_.sampling, position, guide_.constraint());
    return sample;
}

decode::Sample Generation::choose_from(std::span<float> logits, decode::Sampler& sampler, std::size_t position) {
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
    if (auto refusal = guide_.refusal(last_)) return complete(FinishReason::error, std::move(refusal));
    if (tokenizer_.is_end_of_generation(last_) && guide_.refuses_end()) last_ = sample.token = *guide_.forced();
    if (!request_.ignore_end && tokenizer_.is_end_of_generation(last_)) {
        Finished finished = finished_by(FinishReason::stop);
        finished.stop_token = last_;
        finished.text = stops_.push(utf8_.finish()).text + stops_.finish();
        return end(std::move(finished));
    }
    ++generated_;
    history_.add_generated(last_);
    const bool fits = guide_.advance(last_);
    auto outcome = stops_.push(utf8_.push(tokenizer_.token_bytes(last_, request_.show_special)));
    const bool guessed = tree_ && tree_->child(path_.back(), last_) >= 0;
    on_event_(Generated{std::move(sample), std::move(outcome.text), guessed});
    if (outcome.matched) {
        Finished finished = finished_by(FinishReason::stop);
        finished.stop_string = std::move(outcome.matched);
        return end(std::move(finished));
    }
    if (!fits) {
        return complete(FinishReason::error, Error{ErrorKind::unsupported, "What stands behind the end of the reasoning is not what the form of the answer asks for."});
    }
    if (guide_.must_end()) return complete(FinishReason::stop);
    if (generated_ >= request_.max_tokens || position + 1 >= context) complete(FinishReason::length);
}

void Generation::finish(FinishReason reason, std::optional<Error> error) {
    complete(reason, std::move(error));
    tell_end();
}

void Generation::complete(FinishReason reason, std::optional<Error> error) {
    Finished finished = finished_by(reason);
    finished.error = std::move(error);
    auto outcome = stops_.push(utf8_.finish());
    finished.text = outcome.text + stops_.finish();
    end(std::move(finished));
}

void Generation::end(Finished finished) {
    finished_ = true;
    reason_ = finished.reason;
    ending_ = std::move(finished);
}

void Generation::tell_end() {
    ending_.prompt_tokens = request_.prompt.size();
    ending_.generated_tokens = generated_;
    ending_.cached_tokens = kept_;
    ending_.reasoning_tokens = guide_.reasoning_tokens();
    ending_.reasoning_close = guide_.close();
    ending_.timings = timings_;
    on_event_(std::move(ending_));
}

} // namespace lucebox::engine
