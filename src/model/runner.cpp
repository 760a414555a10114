#include "model/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

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

Result<std::unique_ptr<Runner>> Runner::load(const gguf::ModelFile& file, const Placement& placement,
                                             const RunnerOptions& options, std::function<void(double)> progress) {
    LUCEBOX_TRY(auto model, Model::load(file, placement, std::move(progress)));
    cache::CacheOptions cache_options;
    cache_options.slots = options.sequences;
    cache_options.capacity = options.context + max_tree_rows;
    cache_options.kv_type = options.kv_type.value_or(default_kv_type(file));
    const auto keeps = [&](const compute::Device* device) { return device->supports_kv(cache_options.kv_type); };
    if (!options.kv_type && !std::ranges::all_of(placement.devices, keeps)) cache_options.kv_type = compute::DType::f16;
    if (const auto cannot = std::ranges::find_if_not(placement.devices, keeps); cannot != placement.devices.end()) {
        return Error{ErrorKind::unsupported, fmt::format("{} cannot keep keys and values in the type asked for", (*cannot)->name())};
    }
    const auto layers = model->layers();
    std::vector<compute::Device*> devices;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) devices.push_back(&placement.of_layer(layer));
    LUCEBOX_TRY(auto cache, cache::Cache::create(devices, layers, cache_options));
    std::unique_ptr<Runner> runner(new Runner(placement, std::move(model), std::move(cache), options));
    runner->has_recurrent_ = std::ranges::any_of(
        layers, [](const auto& layer) { return std::holds_alternative<cache::RecurrentShape>(layer); });
    LUCEBOX_CHECK(runner->allocate_scratch());
    const auto wants_rehearsal = [](const compute::Device* device) { return device->wants_rehearsal(); };
    if (std::ranges::any_of(placement.devices, wants_rehearsal)) LUCEBOX_CHECK(runner->rehearse());
    return runner;
}

Status Runner::take_scratch(compute::Device& device, std::unique_ptr<compute::Buffer>& buffer, std::size_t bytes) {
    LUCEBOX_TRY(buffer, device.allocate(bytes));
    scratch_bytes_ += bytes;
    return Ok{};
}

Status Runner::allocate_scratch() {
    const std::size_t rows = device_.padded_rows(options_.rows), layers = model_->layer_count();
    const std::size_t width = Workspace::padded(model_->width()), vocabulary = this->vocabulary();
    for (std::size_t i = 0; i < placement_.devices.size(); ++i) {
        Stage stage;
        stage.device = placement_.devices[i];
        stage.first_layer = std::min(placement_.first_layer[i], layers);
        stage.end_layer = i == placement_.last() ? layers : std::min(placement_.first_layer[i + 1], layers);
        const std::size_t stage_rows = stage.device->padded_rows(options_.rows);
        LUCEBOX_CHECK(take_scratch(*stage.device, stage.x, stage_rows * width * sizeof(float)));
        LUCEBOX_CHECK(take_scratch(*stage.device, stage.scratch, stage_rows * model_->scratch_width() * sizeof(float)));
        stages_.push_back(std::move(stage));
    }
    if (stages_.size() > 1) crossing_.resize(options_.rows * model_->width());
    LUCEBOX_CHECK(take_scratch(device_, gathered_, rows * width * sizeof(float)));
    const std::size_t window = std::min(rows, logits_window);
    LUCEBOX_CHECK(take_scratch(device_, logits_, window * vocabulary * sizeof(float)));
    LUCEBOX_CHECK(take_scratch(device_, best_, 2 * window * sizeof(float))); // ids, then log-probabilities
    LUCEBOX_CHECK(allocate_summaries(window));
    host_logits_.resize(window * vocabulary);
    host_best_.resize(2 * window);
    sequences_.resize(options_.sequences);
    plan_.rows.reserve(rows);
    plan_.outputs.reserve(rows);
    plan_.sequences.reserve(options_.sequences);
    kept_.reserve(max_tree_rows);
    for (Sequence& sequence : sequences_) sequence.pending.reserve(max_tree_rows);
    for (const Stage& stage : stages_) LUCEBOX_CHECK(stage.device->prepare(rows, options_.context + max_tree_rows));
    return Ok{};
}

Status Runner::allocate_summaries(std::size_t rows) {
    const std::size_t words = compute::mask_words(vocabulary()), summary = compute::RowSummary::bytes(vocabulary());
    constexpr std::size_t more = compute::RowSummary::room - compute::RowSummary::near;
    LUCEBOX_CHECK(take_scratch(device_, queries_, rows * sizeof(compute::RowQuery)));
    LUCEBOX_CHECK(take_scratch(device_, masks_, rows * words * sizeof(std::uint64_t)));
    LUCEBOX_CHECK(take_scratch(device_, summaries_, rows * summary));
    LUCEBOX_CHECK(take_scratch(device_, more_, rows * more * sizeof(compute::RowCandidate)));
    host_queries_.reserve(rows);
    host_mask_.resize(words);
    host_summaries_.resize(rows * summary);
    host_more_.resize(more);
    host_part_.resize(compute::RowSummary::mass_block);
    return Ok{};
}

Status Runner::capture(std::vector<std::size_t> layers) {
    if (stages_.size() > 1) { // a draft embeds its tokens with the model's table, too: all of it must be on one device
        return Error{ErrorKind::unsupported, "a model that is split over devices cannot have a draft", "put the model on one device"};
    }
    const std::size_t width = layers.size() * model_->width(), rows = device_.padded_rows(options_.rows);
    LUCEBOX_CHECK(take_scratch(device_, features_, rows * width * sizeof(float)));
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
        ask(0, {.masked = 1, .temperature = 1, .share = 0.5f}); // all that the device has for this
        summary(0);
        LUCEBOX_CHECK(device_.failure());
    }
    close(sequence);
    clear_plan();
    return Ok{};
}

Result<SequenceId> Runner::open() {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
        if (sequences_[i].open) continue;
        sequences_[i].open = true;
        sequences_[i].committed = 0;
        sequences_[i].pending.clear();
        cache_.clear(i);
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

std::optional<std::vector<std::byte>> Runner::snapshot(SequenceId sequence) const {
    if (!sequences_[static_cast<std::size_t>(sequence)].pending.empty()) return std::nullopt;
    std::vector<std::byte> bytes(cache_.snapshot_bytes());
    cache_.save(static_cast<std::size_t>(sequence), bytes);
    return bytes;
}

Status Runner::rewind(SequenceId sequence, std::size_t length, std::span<const std::byte> snapshot) {
    if (length > this->length(sequence) || snapshot.size() != cache_.snapshot_bytes()) {
        return usage(fmt::format("sequence {} cannot go back from {} tokens to {}", sequence, this->length(sequence), length));
    }
    Sequence& state = sequences_[static_cast<std::size_t>(sequence)];
    cache_.restore(static_cast<std::size_t>(sequence), snapshot);
    state.committed = length;
    state.pending.clear();
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

// What it had room for stays.
void Runner::clear_plan() {
    plan_.rows.clear();
    plan_.sequences.clear();
    plan_.outputs.clear();
    window_begin_ = window_end_ = 0;
    computed_ = Known::logits;
    asked_ = 0;
    host_queries_.clear();
}

Status Runner::build_plan(std::span<const Row> rows, Commit commit) {
    clear_plan();
    if (rows.empty() || rows.size() > options_.rows) {
        return usage(fmt::format("a step has 1 to {} rows, not {}", options_.rows, rows.size()));
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
        LUCEBOX_CHECK(check_row(rows, i));
        add_row(rows, i, commit);
    }
    for (Sequence& sequence : sequences_) sequence.in_step = false;
    for (const PlanSequence& plan : plan_.sequences) {
        Sequence& sequence = sequences_[static_cast<std::size_t>(plan.slot)];
        if (sequence.in_step) return usage(fmt::format("rows of sequence {} are not neighbours", plan.slot));
        sequence.in_step = true;
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
        clear_plan();
        return status;
    }
    LUCEBOX_CHECK(run_stages());
    for (PlanSequence& plan : plan_.sequences) {
        Sequence& sequence = sequences_[static_cast<std::size_t>(plan.slot)];
        plan.pending = {};
        sequence.pending.clear();
        if (plan.commit_now) sequence.committed += static_cast<std::size_t>(plan.rows);
    }
    return Ok{};
}

// The rows through all layers, device after device; the residual passes from one to the next by way of the host.
Status Runner::run_stages() {
    const std::size_t width = model_->width(), outputs = plan_.outputs.size();
    plan_.observed = static_cast<bool>(tap_);
    for (std::size_t i = 0; i < stages_.size(); ++i) {
        const Stage& stage = stages_[i];
        compute::Device& device = *stage.device;
        const bool last = i + 1 == stages_.size();
        const std::size_t rows = device.padded_rows(plan_.size());
        const Tensor x{floats(stage.x), rows, width};
        capture_.features.rows = rows;
        device.begin_step(plan_);
        Pass pass{device, cache_, Workspace(floats(stage.scratch), rows), tap_, capture_.layers.empty() ? nullptr : &capture_};
        if (i == 0) model_->vocabulary().embed(device, x);
        model_->run_layers(pass, x, stage.first_layer, stage.end_layer);
        if (last && outputs > 0) device.gather_outputs(x, {floats(gathered_), device.padded_rows(outputs), width});
        device.end_step();
        LUCEBOX_CHECK(device.failure());
        if (last) break;
        const std::span<float> host(crossing_.data(), plan_.size() * width);
        device.download(std::as_writable_bytes(host), stage.x->data());
        stages_[i + 1].device->upload(stages_[i + 1].x->data(), std::as_bytes(host));
    }
    return Ok{};
}

std::size_t Runner::compute_window(std::size_t output, Known wanted) {
    const bool inside = output >= window_begin_ && output < window_end_;
    if (wanted == Known::best && expects_sureness_) wanted = Known::sureness;
    if (inside && wanted <= computed_) return output - window_begin_;
    if (!inside) {
        window_begin_ = output / logits_window * logits_window;
        window_end_ = std::min({window_begin_ + logits_window, plan_.outputs.size(), window_begin_ + options_.rows});
        logits_here_ = asked_ = 0;
        best_here_ = false;
        host_queries_.clear();
    }
    const std::size_t count = device_.padded_rows(window_end_ - window_begin_), width = model_->width();
    const Tensor logits{floats(logits_), count, vocabulary()};
    plan_.observed = false;
    device_.begin_step(plan_);
    if (!inside) {
        const Tensor x{floats(gathered_) + window_begin_ * width, count, width}, normed{floats(stages_.back().x), count, width};
        model_->vocabulary().head(device_, x, normed, logits);
    }
    auto* const ids = reinterpret_cast<std::int32_t*>(best_->data());
    if (wanted == Known::best) device_.best_tokens(logits, ids);
    if (wanted == Known::sureness) device_.top_k(logits, 1, ids, floats(best_) + host_best_.size() / 2);
    device_.end_step();
    computed_ = wanted;
    best_here_ = false;
    return output - window_begin_;
}

std::span<const float> Runner::logits(std::size_t output) {
    const std::size_t vocabulary = this->vocabulary(), index = compute_window(output, Known::logits);
    const std::span to(host_logits_.data() + index * vocabulary, vocabulary);
    const std::uint64_t bit = std::uint64_t{1} << index;
    if ((logits_here_ & bit) == 0) {
        device_.download(std::as_writable_bytes(to), reinterpret_cast<const std::byte*>(floats(logits_) + index * vocabulary));
        logits_here_ |= bit;
        ++rows_fetched_;
    }
    return to;
}

std::span<const float> Runner::logits(std::size_t output, std::size_t first, std::size_t count) {
    const std::size_t index = compute_window(output, Known::logits);
    const std::span to(host_part_.data(), std::min(count, host_part_.size()));
    device_.download(std::as_writable_bytes(to), reinterpret_cast<const std::byte*>(floats(logits_) + index * vocabulary() + first));
    return to;
}

void Runner::ask(std::size_t output, compute::RowQuery query, std::span<const std::uint64_t> mask) {
    const std::size_t index = compute_window(output, Known::logits), words = host_mask_.size();
    query.row = static_cast<std::int32_t>(index);
    std::erase_if(host_queries_, [&](const compute::RowQuery& other) { return other.row == query.row; });
    host_queries_.push_back(query);
    asked_ |= std::uint64_t{1} << index;
    if (query.masked == 0) return;
    std::ranges::fill(host_mask_, 0);
    std::ranges::copy(mask.first(std::min(mask.size(), words)), host_mask_.begin());
    device_.upload(masks_->data() + index * words * sizeof(std::uint64_t), std::as_bytes(std::span(host_mask_)));
}

bool Runner::asked(std::size_t output) const {
    return output >= window_begin_ && output < window_end_ && (asked_ >> (output - window_begin_) & 1) != 0;
}

void Runner::answer_queries() {
    if (host_queries_.empty()) return;
    const auto [first, last] = std::ranges::minmax(host_queries_, {}, &compute::RowQuery::row);
    const auto begin = static_cast<std::size_t>(first.row), count = static_cast<std::size_t>(last.row) - begin + 1;
    host_queries_.resize(device_.padded_rows(host_queries_.size()));
    device_.upload(queries_->data(), std::as_bytes(std::span(host_queries_)));
    plan_.observed = false;
    device_.begin_step(plan_);
    device_.summarise({floats(logits_), host_logits_.size() / vocabulary(), vocabulary()}, reinterpret_cast<const compute::RowQuery*>(queries_->data()),
                      host_queries_.size(), reinterpret_cast<const std::uint64_t*>(masks_->data()), summaries_->data(),
                      reinterpret_cast<compute::RowCandidate*>(more_->data()));
    device_.end_step();
    host_queries_.clear();
    const std::size_t bytes = compute::RowSummary::bytes(vocabulary());
    device_.download(std::span(host_summaries_).subspan(begin * bytes, count * bytes), summaries_->data() + begin * bytes);
}

Runner::Summary Runner::summary(std::size_t output) {
    const std::size_t index = compute_window(output, Known::logits), bytes = compute::RowSummary::bytes(vocabulary());
    answer_queries();
    const std::byte* const at = host_summaries_.data() + index * bytes;
    return {reinterpret_cast<const compute::RowSummary*>(at),
            {reinterpret_cast<const double*>(at + sizeof(compute::RowSummary)), compute::RowSummary::masses(vocabulary())}};
}

std::span<const compute::RowCandidate> Runner::more_candidates(std::size_t output, std::size_t count) {
    const std::size_t index = compute_window(output, Known::logits);
    const std::span to(host_more_.data(), std::min(count, host_more_.size()));
    device_.download(std::as_writable_bytes(to), more_->data() + index * host_more_.size() * sizeof(compute::RowCandidate));
    return to;
}

std::span<const float> Runner::states() {
    const std::size_t width = model_->width(), count = plan_.outputs.size(), padded = device_.padded_rows(count);
    if (count == 0) return {};
    host_states_.resize(std::max(host_states_.size(), count * width));
    const Tensor normed{floats(stages_.back().x), padded, width};
    plan_.observed = false;
    device_.begin_step(plan_);
    model_->vocabulary().norm(device_, {floats(gathered_), padded, width}, normed);
    device_.end_step();
    const std::span to(host_states_.data(), count * width);
    device_.download(std::as_writable_bytes(to), stages_.back().x->data());
    return to;
}

void Runner::fetch_best() {
    if (best_here_) return;
    device_.download(std::as_writable_bytes(std::span(host_best_)), best_->data());
    best_here_ = true;
}

TokenId Runner::best(std::size_t output) {
    const std::size_t index = compute_window(output, Known::best);
    fetch_best();
    return host_best_[index];
}

float Runner::sureness(std::size_t output) {
    const std::size_t index = compute_window(output, Known::sureness);
    fetch_best();
    return std::exp(std::bit_cast<float>(host_best_[host_best_.size() / 2 + index]));
}

Status Runner::commit(SequenceId sequence, std::span<const std::int32_t> path) {
    const auto plan = std::ranges::find(plan_.sequences, sequence, &PlanSequence::slot);
    if (plan == plan_.sequences.end() || plan->commit_now) {
        return usage(fmt::format("sequence {} has no uncommitted rows", sequence));
    }
    std::vector<std::int32_t>& kept = kept_;
    kept.clear();
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
    cache_.compact(static_cast<std::size_t>(sequence), state.committed, kept);
    state.committed += kept.size();
    if (has_recurrent_) state.pending.assign(kept.begin(), kept.end());
    plan->commit_now = true; // a second commit of the same rows is refused
    return Ok{};
}

} // namespace lucebox::model
