// Runs steps: rows of tokens, of one or several sequences, in paths or trees. See docs/architecture.md, "A step".
//
// What a step computes is scratch until commit(); rows that are not committed never happened. The result of a row is
// bit for bit the same whatever other rows are in the step. One thread; nothing is allocated after load().
#pragma once

#include "model/model.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace lucebox::model {

using SequenceId = std::int32_t;
using TokenId = std::int32_t;

struct Row {
    SequenceId sequence = 0;
    TokenId token = 0;
    std::int32_t parent = -1; // row of this step that it follows; -1: the sequence's committed end
    bool logits = false;      // whether logits are wanted
    bool stays = false;       // with Commit::later: of a path's first row, that the path is committed as by Commit::all
};

enum class Commit {
    all,   // the rows are known to stay (prompts, plain decoding): committed by step() itself; paths only
    later, // commit() will say which rows stay, but for those that say so themselves; at most max_tree_rows a sequence
};

struct RunnerOptions {
    std::size_t context = 4096;            // tokens of a sequence
    std::size_t sequences = 1;
    std::size_t rows = 256;                // of one step
    std::optional<compute::DType> kv_type; // none: f32 if the weights are F32, else f16
};

class Runner {
public:
    static Result<std::unique_ptr<Runner>> load(const gguf::ModelFile& file, const Placement& placement,
                                                const RunnerOptions& options, std::function<void(double)> progress = {});

    const Model& model() const { return *model_; }
    const cache::Cache& cache() const { return cache_; }
    const RunnerOptions& options() const { return options_; }
    std::size_t vocabulary() const { return model_->vocabulary().size(); }
    std::size_t scratch_bytes() const { return scratch_bytes_; }

    // A slot for a new, empty sequence; unavailable when all are taken.
    Result<SequenceId> open();
    void close(SequenceId sequence);
    // Whether the sequence can go back to its first `length` tokens, and going back. Recurrent layers hold no past.
    bool rewindable(SequenceId sequence, std::size_t length) const;
    Status rewind(SequenceId sequence, std::size_t length);
    // What a sequence needs to come back to where it stands now, beside the keys and values that it keeps; empty if that is
    // nothing. Not behind a commit() that recurrent layers have yet to fold in: none then.
    std::optional<std::vector<std::byte>> snapshot(SequenceId sequence) const;
    // Back to the first `length` tokens, where the snapshot was taken; the tokens up to there are still the same.
    Status rewind(SequenceId sequence, std::size_t length, std::span<const std::byte> snapshot);
    bool has_recurrent_layers() const { return has_recurrent_; }
    std::size_t length(SequenceId sequence) const { return sequences_[static_cast<std::size_t>(sequence)].committed; }

    // Rows of a sequence must be neighbours, parents before children. Errors are the caller's (usage) and leave every
    // sequence as it was.
    Status step(std::span<const Row> rows, Commit commit);

    // Logits of the i-th row that asked for them in the last step, valid until the next call. After a failure of the device
    // they mean nothing: see Device::failure.
    std::span<const float> logits(std::size_t output);
    // The best token of that row, the lower id of equals: less to wait for than its logits.
    TokenId best(std::size_t output);
    // The probability that the model gives that token. Costs next to nothing beside best() if it was announced before; else the best
    // tokens are looked for again.
    float sureness(std::size_t output);
    void expect_sureness(bool expected) { expects_sureness_ = expected; }
    // Asks the device about that row; query.row is set here. `mask`: of a masked query, words of 64 tokens; what lies behind
    // its end may not come. What is asked before a summary is looked at is answered together. A row of another window of
    // max_tree_rows outputs than the last one forgets what was asked of that.
    void ask(std::size_t output, compute::RowQuery query, std::span<const std::uint64_t> mask = {});
    bool asked(std::size_t output) const; // and not asked something else since
    struct Summary {
        const compute::RowSummary* row;
        std::span<const double> masses;
    };
    Summary summary(std::size_t output);
    std::span<const compute::RowCandidate> more_candidates(std::size_t output, std::size_t count);
    // logits(output).subspan(first, count), without the others; valid until the next call.
    std::span<const float> logits(std::size_t output, std::size_t first, std::size_t count);
    std::size_t rows_fetched() const { return rows_fetched_; } // whole rows of logits that have left the device
    std::size_t outputs() const { return plan_.outputs.size(); }
    // The final hidden states, behind the last norm, of all rows that asked for logits: [outputs, width], valid until the
    // next call. Not for decoding: the first call allocates.
    std::span<const float> states();

    // Keeps rows of the last step (their indices, a path that begins at the committed end). At most once a sequence and step.
    Status commit(SequenceId sequence, std::span<const std::int32_t> path);

    // Sees every layer's output x [rows, width] in device memory, while set.
    void set_tap(std::function<void(std::size_t layer, Tensor x)> tap) { tap_ = std::move(tap); }
    compute::Device& device() { return device_; } // the last one: it has the outputs

    // From now on steps keep the outputs of these layers (0-based, each below the model's count); once, before the first.
    // Unsupported for a model on several devices.
    Status capture(std::vector<std::size_t> layers);
    // Of the rows of the last step, [rows, layers * width] in device memory.
    Tensor features() const { return capture_.features; }

private:
    struct Sequence {
        bool open = false, in_step = false;
        std::size_t committed = 0;
        std::vector<std::int32_t> pending; // accepted rows that recurrent layers have yet to fold in
    };

    // A device's part of the model, and what it needs to run it.
    struct Stage {
        compute::Device* device = nullptr;
        std::size_t first_layer = 0, end_layer = 0;
        std::unique_ptr<compute::Buffer> x, scratch;
    };

    Runner(Placement placement, std::unique_ptr<Model> model, cache::Cache cache, const RunnerOptions& options)
        : placement_(std::move(placement)), device_(*placement_.devices.back()), model_(std::move(model)),
          cache_(std::move(cache)), options_(options) {}

    Status allocate_scratch();
    Status rehearse();
    void clear_plan();
    Status build_plan(std::span<const Row> rows, Commit commit);
    Status check_row(std::span<const Row> rows, std::size_t index) const;
    void add_row(std::span<const Row> rows, std::size_t index, Commit commit);
    Status run_stages();
    enum class Known { logits,
                       best,
                       sureness };                                // each with those before it
    std::size_t compute_window(std::size_t output, Known wanted); // the output's place in the window
    void fetch_best();
    Status allocate_summaries(std::size_t rows);
    Status take_scratch(compute::Device& device, std::unique_ptr<compute::Buffer>& buffer, std::size_t bytes); // counts them, too
    void answer_queries();

    Placement placement_;
    compute::Device& device_; // the last one
    std::unique_ptr<Model> model_;
    cache::Cache cache_;
    RunnerOptions options_;
    std::vector<Sequence> sequences_;
    std::vector<std::int32_t> kept_; // of the commit that runs
    compute::StepPlan plan_;
    std::function<void(std::size_t, Tensor)> tap_;
    bool has_recurrent_ = false;
    Capture capture_;

    std::vector<Stage> stages_;   // of the devices, in the order of their layers
    std::vector<float> crossing_; // the residual on its way from one device to the next
    std::unique_ptr<compute::Buffer> gathered_, logits_, best_, features_;
    std::size_t window_begin_ = 0, window_end_ = 0; // outputs whose logits are on the device
    std::vector<float> host_logits_;                // of the window's rows whose bit of logits_here_ is set
    std::vector<TokenId> host_best_;                // of the window, if best_here_; behind them the bits of their log-probabilities
    std::vector<float> host_states_;
    std::uint64_t logits_here_ = 0;
    std::size_t rows_fetched_ = 0;
    Known computed_ = Known::logits; // of the window
    bool expects_sureness_ = false, best_here_ = false;
    std::unique_ptr<compute::Buffer> queries_, masks_, summaries_, more_;
    std::vector<compute::RowQuery> host_queries_; // that wait for the device
    std::vector<std::uint64_t> host_mask_;
    std::vector<std::byte> host_summaries_; // of the window's rows
    std::vector<compute::RowCandidate> host_more_;
    std::vector<float> host_part_;
    std::uint64_t asked_ = 0; // of the window's rows: those whose summary is here, or will be
    std::size_t scratch_bytes_ = 0;
};

} // namespace lucebox::model
