// Runs a draft beside its target: keeps what the target computed for committed tokens, and proposes blocks.
//
// A sequence of the draft is the target's sequence of the same id. After each step of the target the caller names the rows
// that were committed, in order; their features wait until a block is asked for (or too many wait) and are then projected
// into the draft's cache, each once. Same thread as the target; nothing is allocated after load().
#pragma once

#include "model/dflash_draft.h"
#include "model/runner.h"

namespace lucebox::model {

class DraftRunner {
public:
    // Turns on the capture of features in `target`. `file` and `target` must outlive the runner. `head_tokens`: it guesses
    // among the first so many tokens of the vocabulary only, with a copy of their rows of the output matrix, which is the
    // largest of all that a draft reads; 0: among all. A vocabulary made by merging (BPE) has the common tokens first.
    static Result<std::unique_ptr<DraftRunner>> load(const DflashFile& file, compute::Device& device, Runner& target,
                                                     std::size_t head_tokens = 0);

    const DflashDraft& draft() const { return *draft_; }
    const cache::Cache& cache() const { return cache_; }
    std::size_t weight_bytes() const { return draft_->weight_bytes() + (head_ ? head_->bytes() : 0); }
    std::size_t scratch_bytes() const { return scratch_bytes_; }
    std::size_t head_tokens() const { return head_ ? head_->outputs() : target_.vocabulary(); }
    std::size_t block() const { return draft_->config().block; }

    void clear(SequenceId sequence) { truncate(sequence, 0); } // a new, empty one
    void truncate(SequenceId sequence, std::size_t length);    // keeps at most that many tokens from the start
    // Rows of the target's last step, now committed, in the order of the text.
    void append(SequenceId sequence, std::span<const std::int32_t> rows);
    std::size_t length(SequenceId sequence) const;

    struct Block {
        SequenceId sequence = 0;
        TokenId token = 0; // that follows the committed ones
    };
    // Guesses what follows each block's token: for depths 1..depth (at most block() - 1), the `top` best tokens.
    void propose(std::span<const Block> blocks, std::size_t depth, std::size_t top);
    // Of the i-th block and a depth from 1: [top], best first.
    std::span<const std::int32_t> tokens(std::size_t block, std::size_t depth) const;
    std::span<const float> logprobs(std::size_t block, std::size_t depth) const;

    // All rows of one block, its first included: [block, head_tokens()]. For comparing with other programs.
    std::vector<float> logits(const Block& block);

private:
    // Features that may wait for each sequence: enough that plain decoding projects in large batches.
    static constexpr std::size_t most_waiting = 64;

    struct Sequence {
        std::size_t cached = 0, waiting = 0;
    };

    DraftRunner(compute::Device& device, Runner& target, std::unique_ptr<DflashDraft> draft, cache::Cache cache)
        : device_(device), target_(target), draft_(std::move(draft)), cache_(std::move(cache)) {}

    Status load_head(std::size_t tokens);
    Status allocate();
    void project(Tensor hidden, Tensor logits); // over the tokens that may be guessed
    Tensor waiting_features() const;
    void add_plan_rows(SequenceId sequence, std::size_t count, bool context);
    void add_context(Tensor features);
    void project_waiting(std::span<const SequenceId> sequences);
    void project_rows(SequenceId sequence, std::span<const std::int32_t> rows);
    void begin_blocks(std::span<const Block> blocks, std::size_t first_output, std::size_t outputs);

    compute::Device& device_;
    Runner& target_;
    std::unique_ptr<DflashDraft> draft_;
    cache::Cache cache_;
    std::vector<Sequence> sequences_;
    gguf::Tensor head_tensor_{};            // read until the device has been prepared
    std::unique_ptr<compute::Matrix> head_; // null: the target's, whole
    compute::StepPlan plan_;
    std::vector<SequenceId> ids_; // of project_waiting's callers
    std::size_t most_rows_ = 0;   // of one step
    std::unique_ptr<compute::Buffer> waiting_, x_, scratch_, hidden_, logits_, top_ids_, top_logprobs_;
    std::vector<std::int32_t> host_ids_;
    std::vector<float> host_logprobs_;
    std::size_t depth_ = 0, top_ = 0; // of the last propose()
    std::size_t scratch_bytes_ = 0;
};

} // namespace lucebox::model
