#include "model/runner.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::model {

using compute::max_tree_rows;
using compute::PlanRow;
using compute::PlanSequence;

namespace {

// Logits are computed for this many rows at a time, when asked for.
constexpr std::size_t logits_window = max_tree_rows;

float* floats(const std::unique_ptr<compute::Buffer>& buffer) { return reinterpret_cast<float*>(buffer->data()); }

compute::DType default_kv_type(const gguf::ModelFile& file) {
    const auto is_f32 = [](const gguf::Tensor& tensor) { return tensor.type == gguf::TensorType::f32; };
    return std::ranges::all_of(file.tensors(), is_f32) ? compute::DType::f32 : compute::DType::f16;
}

Error usage(std::string message) { return {ErrorKind::usage, std::move(message)}; }

} // namespace

Result<std::unique_ptr<Runner>> Runner::load(const gguf::ModelFile& file, compute::Device& device,
                                             const RunnerOptions& options, std::function<void(double)> progress) {
    LUCEBOX_TRY(auto model, Model::load(file, device, std::move(progress)));
    cache::CacheOptions cache_options;
    cache_options.slots = options.sequences;
    cache_options.capacity = options.context + max_tree_rows;
    cache_options.kv_type = options.kv_type.value_or(default_kv_type(file));
    if (!options.kv_type && !device.supports_kv(cache_options.kv_type)) cache_options.kv_type = compute::DType::f16;
    if (!device.supports_kv(cache_options.kv_type)) {
        return Error{ErrorKind::unsupported, fmt::format("{} cannot keep keys and values in the type asked for", device.name())};
    }
    const auto layers = model->layers();
    LUCEBOX_TRY(auto cache, cache::Cache::create(device, layers, cache_options));
    std::unique_ptr<Runner> runner(new Runner(device, std::move(model), std::move(cache), options));
    runner->has_recurrent_ = std::ranges::any_of(
        layers, [](const auto& layer) { return std::holds_alternative<cache::RecurrentShape>(layer); });
    LUCEBOX_CHECK(runner->allocate_scratch());
    if (device.wants_rehearsal()) LUCEBOX_CHECK(runner->rehearse());
    return runner;
}

Status Runner::allocate_scratch() {
    const std::size_t rows = device_.padded_rows(options_.rows);
    const std::size_t width = Workspace::padded(model_->width()), vocabulary = this->vocabulary();
    const auto allocate = [&](std::unique_ptr<compute::Buffer>& buffer, std::size_t count) -> Status {
        LUCEBOX_TRY(buffer, device_.allocate(count * sizeof(float)));
        scratch_bytes_ += count * sizeof(float);
        return Ok{};
    };
    LUCEBOX_CHECK(allocate(x_, rows * width));
    LUCEBOX_CHECK(allocate(gathered_, rows * width));
    LUCEBOX_CHECK(allocate(scratch_, rows * model_->scratch_width()));
    const std::size_t window = std::min(rows, logits_window);
    LUCEBOX_CHECK(allocate(logits_, window * vocabulary));
    LUCEBOX_CHECK(allocate(best_, window));
    host_logits_.resize(window * vocabulary);
    host_best_.resize(window);
    sequences_.resize(options_.sequences);
    plan_.rows.reserve(rows);
    return device_.prepare(rows, options_.context + max_tree_rows);
}

Status Runner::capture(std::vector<std::size_t> layers) {
    const std::size_t width = layers.size() * model_->width(), rows = device_.padded_rows(options_.rows);
    const std::size_t bytes = rows * width * sizeof(float);
    LUCEBOX_TRY(features_, device_.allocate(bytes));
    scratch_bytes_ += bytes;
    capture_.layers = std::move(layers);
    capture_.features = {floats(features_), 0, width};
    return Ok{};
}

// One plain step and one of a prompt, to their last token; then everything is as if nothing had been.
Status Runner::rehearse() {
    LUCEBOX_TRY(const SequenceId sequence, open());
    for (const std::size_t count : {std::size_t{1}, std::min({options_.rows, options_.context - 1, std::size_t{max_tree_rows + 1}})}) {
        std::vector<Row> rows;
        for (std::size_t i = 0; i < count; ++i) rows.push_back({sequence, 0, static_cast<std::int32_t>(i) - 1, i + 1 == count});
        if (rows.empty()) continue;
        LUCEBOX_CHECK(step(rows, Commit::all));
        best(0);
        LUCEBOX_CHECK(device_.failure());
    }
    close(sequence);
    plan_ = {};
    return Ok{};
}

Result<SequenceId> Runner::open() {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
        if (sequences_[i].open) continue;
        sequences_[i] = {true, 0, {}};
        cache_.clear(device_, i);
        return static_cast<SequenceId>(i);
    }
    return Error{ErrorKind::unavailable, fmt::format("all {} sequences are in use", sequences_.size())};
}

void Runner::close(SequenceId sequence) { sequences_[static_cast<std::size_t>(sequence)].open = false; }

bool Runner::rewindable(SequenceId sequence, std::size_t length) const {
    const std::size_t committed = sequences_[static_cast<std::size_t>(sequence)].committed;
    return length == committed || (length < committed && !has_recurrent_);
}

Status Runner::rewind(SequenceId sequence, std::size_t length) {
    if (!rewindable(sequence, length)) {
        return usage(fmt::format("sequence {} cannot go back from {} tokens to {}", sequence, this->length(sequence), length));
    }
    sequences_[static_cast<std::size_t>(sequence)].committed = length;
    return Ok{};
}

Status Runner::check_row(std::span<const Row> rows, std::size_t index) const {
    const Row& row = rows[index];
    const auto sequence = static_cast<std::size_t>(row.sequence);
    if (row.sequence < 0 || sequence >= sequences_.size() || !sequences_[sequence].open) {
        return usage(fmt::format("row {}: sequence {} is not open", index, row.sequence));
    }
    if (row.token < 0 || static_cast<std::size_t>(row.token) >= vocabulary()) {
        return usage(fmt::format("row {}: token {} is outside the vocabulary of {}", index, row.token, vocabulary()));
    }
    const bool parent_fits = row.parent == -1 || (row.parent >= 0 && static_cast<std::size_t>(row.parent) < index &&
                                                  rows[static_cast<std::size_t>(row.parent)].sequence == row.sequence);
    if (!parent_fits) return usage(fmt::format("row {}: parent {} is not an earlier row of its sequence", index, row.parent));
    return Ok{};
}

void Runner::add_row(std::span<const Row> rows, std::size_t index, Commit commit) {
    const Row& row = rows[index];
    const Sequence& sequence = sequences_[static_cast<std::size_t>(row.sequence)];
    if (index == 0 || rows[index - 1].sequence != row.sequence) {
        PlanSequence plan;
        plan.slot = row.sequence;
        plan.first_row = static_cast<std::int32_t>(index);
        plan.committed = static_cast<std::int32_t>(sequence.committed);
        plan.commit_now = commit == Commit::all || row.stays;
        plan.pending = sequence.pending;
        plan_.sequences.push_back(std::move(plan));
    }
    PlanSequence& plan = plan_.sequences.back();
    PlanRow out;
    out.token = row.token;
    out.sequence = static_cast<std::int32_t>(plan_.sequences.size() - 1);
    out.local = plan.rows++;
    out.parent = row.parent < 0 ? -1 : row.parent - plan.first_row;
    out.position = row.parent < 0 ? plan.committed : plan_.rows[static_cast<std::size_t>(row.parent)].position + 1;
    if (out.local < static_cast<std::int32_t>(max_tree_rows)) {
        out.ancestors = std::uint64_t{1} << out.local;
        if (row.parent >= 0) out.ancestors |= plan_.rows[static_cast<std::size_t>(row.parent)].ancestors;
    }
    plan.path = plan.path && out.parent == out.local - 1;
    if (row.logits) plan_.outputs.push_back(static_cast<std::int32_t>(index));
    plan_.rows.push_back(out);
}

Status Runner::build_plan(std::span<const Row> rows, Commit commit) {
    plan_.rows.clear();
    plan_.sequences.clear();
    plan_.outputs.clear();
    window_begin_ = window_end_ = 0;
    best_computed_ = false;
    if (rows.empty() || rows.size() > options_.rows) {
        return usage(fmt::format("a step has 1 to {} rows, not {}", options_.rows, rows.size()));
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        LUCEBOX_CHECK(check_row(rows, i));
        add_row(rows, i, commit);
    }
    std::vector<bool> seen(sequences_.size());
    for (const PlanSequence& plan : plan_.sequences) {
        const auto slot = static_cast<std::size_t>(plan.slot);
        if (seen[slot]) return usage(fmt::format("rows of sequence {} are not neighbours", plan.slot));
        seen[slot] = true;
        if (!plan.path && plan.commit_now) {
            return usage(fmt::format("sequence {} is a tree: its rows cannot all be committed", plan.slot));
        }
        if (!plan.commit_now && plan.rows > max_tree_rows) {
            return usage(fmt::format("sequence {} has {} uncommitted rows; {} are possible", plan.slot, plan.rows, max_tree_rows));
        }
        // Uncommitted rows may reach behind the context; committed ones may not.
        const std::size_t end = static_cast<std::size_t>(plan.committed) + static_cast<std::size_t>(plan.rows);
        const std::size_t limit = options_.context + (plan.commit_now ? 0 : max_tree_rows);
        if (end > limit) return usage(fmt::format("sequence {} would hold {} tokens; the context is {}", plan.slot, end, options_.context));
    }
    return Ok{};
}

Status Runner::step(std::span<const Row> rows, Commit commit) {
    if (Status status = build_plan(rows, commit); !status) {
        plan_ = {};
        return status;
    }
    plan_.observed = static_cast<bool>(tap_);
    const std::size_t padded = device_.padded_rows(rows.size()), outputs = plan_.outputs.size();
    device_.begin_step(plan_);
    const Tensor x{floats(x_), padded, model_->width()};
    capture_.features.rows = padded;
    Pass pass{device_, cache_, Workspace(floats(scratch_), padded), tap_, capture_.layers.empty() ? nullptr : &capture_};
    model_->forward(pass, x);
    if (outputs > 0) device_.gather_outputs(x, {floats(gathered_), device_.padded_rows(outputs), model_->width()});
    device_.end_step();
    LUCEBOX_CHECK(device_.failure());
    for (const PlanSequence& plan : plan_.sequences) {
        Sequence& sequence = sequences_[static_cast<std::size_t>(plan.slot)];
        sequence.pending.clear();
        if (plan.commit_now) sequence.committed += static_cast<std::size_t>(plan.rows);
    }
    return Ok{};
}

std::size_t Runner::compute_window(std::size_t output, bool best) {
    const bool inside = output >= window_begin_ && output < window_end_;
    if (inside && (!best || best_computed_)) return output - window_begin_;
    if (!inside) {
        window_begin_ = output / logits_window * logits_window;
        window_end_ = std::min({window_begin_ + logits_window, plan_.outputs.size(), window_begin_ + options_.rows});
        logits_here_ = best_here_ = false;
    }
    const std::size_t count = device_.padded_rows(window_end_ - window_begin_), width = model_->width();
    const Tensor logits{floats(logits_), count, vocabulary()};
    plan_.observed = false;
    device_.begin_step(plan_);
    if (!inside) {
        const Tensor x{floats(gathered_) + window_begin_ * width, count, width}, normed{floats(x_), count, width};
        model_->vocabulary().head(device_, x, normed, logits);
    }
    if (best) device_.best_tokens(logits, reinterpret_cast<std::int32_t*>(best_->data()));
    device_.end_step();
    best_computed_ = best;
    return output - window_begin_;
}

std::span<const float> Runner::logits(std::size_t output) {
    const std::size_t vocabulary = this->vocabulary(), index = compute_window(output, false);
    if (!logits_here_) {
        const std::span to(host_logits_.data(), (window_end_ - window_begin_) * vocabulary);
        device_.download(std::as_writable_bytes(to), logits_->data());
        logits_here_ = true;
    }
    return {host_logits_.data() + index * vocabulary, vocabulary};
}

TokenId Runner::best(std::size_t output) {
    const std::size_t index = compute_window(output, true);
    if (!best_here_) {
        device_.download(std::as_writable_bytes(std::span(host_best_.data(), window_end_ - window_begin_)), best_->data());
        best_here_ = true;
    }
    return host_best_[index];
}

Status Runner::commit(SequenceId sequence, std::span<const std::int32_t> path) {
    const auto plan = std::ranges::find(plan_.sequences, sequence, &PlanSequence::slot);
    if (plan == plan_.sequences.end() || plan->commit_now) {
        return usage(fmt::format("sequence {} has no uncommitted rows", sequence));
    }
    std::vector<std::int32_t> kept;
    for (const std::int32_t index : path) {
        const std::int32_t local = index - plan->first_row;
        const std::int32_t expected = kept.empty() ? -1 : kept.back();
        if (local < 0 || local >= plan->rows || plan_.rows[static_cast<std::size_t>(index)].parent != expected) {
            return usage(fmt::format("row {} does not continue the path to commit", index));
        }
        kept.push_back(local);
    }
    Sequence& state = sequences_[static_cast<std::size_t>(sequence)];
    if (state.committed + kept.size() > options_.context) {
        return usage(fmt::format("sequence {} would hold {} tokens; the context is {}", sequence, state.committed + kept.size(),
                                 options_.context));
    }
    cache_.compact(device_, static_cast<std::size_t>(sequence), state.committed, kept);
    state.committed += kept.size();
    if (has_recurrent_) state.pending = std::move(kept);
    plan->commit_now = true; // a second commit of the same rows is refused
    return Ok{};
}

} // namespace lucebox::model
