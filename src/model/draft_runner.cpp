#include "model/draft_runner.h"

#include <algorithm>

namespace lucebox::model {
namespace {

// Logits are computed for this many rows at a time.
constexpr std::size_t logits_window = compute::max_tree_rows;
// Rows of a prompt that the draft takes at a time: enough for a product's speed, and few, because each row's features are wide.
constexpr std::size_t most_context_rows = 256;

float* floats(const std::unique_ptr<compute::Buffer>& buffer) { return reinterpret_cast<float*>(buffer->data()); }
std::size_t index(SequenceId sequence) { return static_cast<std::size_t>(sequence); }

// A draft has few layers: its keys and values are a small part of all, and nothing is gained by rounding them further.
compute::DType cache_type(compute::DType target) { return target == compute::DType::q8_0 ? compute::DType::f16 : target; }

} // namespace

Result<std::unique_ptr<DraftRunner>> DraftRunner::load(const DflashFile& file, compute::Device& device, Runner& target,
                                                       std::size_t head_tokens) {
    LUCEBOX_TRY(auto draft, DflashDraft::load(file, device, target.model()));
    cache::CacheOptions options = target.cache().options();
    options.kv_type = cache_type(options.kv_type);
    options.capacity = target.options().context + compute::max_tree_rows;
    LUCEBOX_TRY(auto cache, cache::Cache::create(device, draft->layers(), options));
    LUCEBOX_CHECK(target.capture(draft->config().target_layers));
    std::unique_ptr<DraftRunner> runner(new DraftRunner(device, target, std::move(draft), std::move(cache)));
    LUCEBOX_CHECK(runner->load_head(head_tokens));
    LUCEBOX_CHECK(runner->allocate());
    return runner;
}

Status DraftRunner::load_head(std::size_t tokens) {
    if (tokens == 0 || tokens >= target_.vocabulary()) return Ok{};
    head_tensor_ = target_.model().vocabulary().output_tensor();
    head_tensor_.data = head_tensor_.data.first(tokens * head_tensor_.row_bytes());
    head_tensor_.shape[1] = tokens;
    LUCEBOX_TRY(head_, device_.load_matrix(head_tensor_));
    return Ok{};
}

void DraftRunner::project(Tensor hidden, Tensor logits) {
    if (!head_) return target_.model().vocabulary().project(device_, hidden, logits);
    const compute::Projection projection[] = {{head_.get(), nullptr, logits, false}};
    device_.project(hidden, projection);
}

Status DraftRunner::allocate() {
    const std::size_t slots = target_.options().sequences, width = draft_->config().width;
    sequences_.resize(slots);
    most_rows_ = std::max(std::min(target_.options().rows, most_context_rows), slots * block());
    const std::size_t outputs = device_.padded_rows(slots * block()), rows = device_.padded_rows(most_rows_);
    const auto allocate = [&](std::unique_ptr<compute::Buffer>& buffer, std::size_t values) -> Status {
        LUCEBOX_TRY(buffer, device_.allocate(values * sizeof(float)));
        scratch_bytes_ += values * sizeof(float);
        return Ok{};
    };
    LUCEBOX_CHECK(allocate(waiting_, slots * most_waiting * draft_->config().target_layers.size() * width));
    LUCEBOX_CHECK(allocate(x_, outputs * Workspace::padded(width)));
    LUCEBOX_CHECK(allocate(hidden_, outputs * Workspace::padded(width)));
    LUCEBOX_CHECK(allocate(scratch_, rows * draft_->scratch_width()));
    LUCEBOX_CHECK(allocate(logits_, std::min(logits_window, outputs) * head_tokens()));
    LUCEBOX_CHECK(allocate(top_ids_, outputs * compute::max_top_k));
    LUCEBOX_CHECK(allocate(top_logprobs_, outputs * compute::max_top_k));
    host_ids_.resize(outputs * compute::max_top_k);
    host_logprobs_.resize(outputs * compute::max_top_k);
    plan_.rows.reserve(most_rows_);
    plan_.outputs.reserve(most_rows_);
    plan_.sequences.reserve(slots);
    ids_.reserve(slots);
    return device_.prepare(most_rows_, target_.options().context + compute::max_tree_rows);
}

void DraftRunner::truncate(SequenceId sequence, std::size_t length) {
    Sequence& state = sequences_[index(sequence)];
    state.cached = std::min(state.cached, length);
    state.waiting = std::min(state.waiting, length - state.cached);
}

std::size_t DraftRunner::length(SequenceId sequence) const {
    return sequences_[index(sequence)].cached + sequences_[index(sequence)].waiting;
}

Tensor DraftRunner::waiting_features() const {
    return {floats(waiting_), sequences_.size() * most_waiting, draft_->config().target_layers.size() * draft_->config().width};
}

void DraftRunner::append(SequenceId sequence, std::span<const std::int32_t> rows) {
    Sequence& state = sequences_[index(sequence)];
    if (state.waiting + rows.size() > most_waiting) {
        project_waiting({&sequence, 1});
        for (; rows.size() > most_waiting; rows = rows.subspan(std::min(rows.size(), most_rows_))) {
            project_rows(sequence, rows.first(std::min(rows.size(), most_rows_)));
        }
    }
    const Tensor from = target_.features(), to = waiting_features();
    const auto place = [](const Tensor& tensor, std::size_t row) {
        return reinterpret_cast<std::byte*>(tensor.data + row * tensor.width);
    };
    for (std::size_t begin = 0; begin < rows.size();) { // runs of neighbours travel together
        std::size_t end = begin + 1;
        while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
        device_.copy(place(to, index(sequence) * most_waiting + state.waiting), place(from, static_cast<std::size_t>(rows[begin])),
                     (end - begin) * to.width * sizeof(float));
        state.waiting += end - begin;
        begin = end;
    }
}

// Adds `count` rows that follow the cached ones.
void DraftRunner::add_plan_rows(SequenceId sequence, std::size_t count, bool context) {
    const Sequence& state = sequences_[index(sequence)];
    compute::PlanSequence plan;
    plan.slot = sequence;
    plan.first_row = static_cast<std::int32_t>(plan_.rows.size());
    plan.rows = static_cast<std::int32_t>(count);
    plan.committed = static_cast<std::int32_t>(state.cached);
    plan.commit_now = context;
    for (std::size_t i = 0; i < count; ++i) {
        compute::PlanRow row;
        row.token = draft_->config().mask_token;
        row.local = static_cast<std::int32_t>(i);
        row.position = plan.committed + row.local;
        row.sequence = static_cast<std::int32_t>(plan_.sequences.size());
        row.parent = row.local - 1;
        if (i < compute::max_tree_rows) row.ancestors = ~std::uint64_t{0} >> (compute::max_tree_rows - 1 - i);
        plan_.rows.push_back(row);
    }
    plan_.sequences.push_back(plan);
}

// Runs the plan of context rows that was just made.
void DraftRunner::add_context(Tensor features) {
    device_.begin_step(plan_);
    Pass pass{device_, cache_, Workspace(floats(scratch_), device_.padded_rows(plan_.size()))};
    draft_->add_context(pass, features);
    device_.end_step();
    for (const compute::PlanSequence& plan : plan_.sequences) {
        sequences_[index(plan.slot)].cached += static_cast<std::size_t>(plan.rows);
    }
}

void DraftRunner::project_waiting(std::span<const SequenceId> sequences) {
    for (std::size_t next = 0; next < sequences.size();) {
        plan_.rows.clear();
        plan_.sequences.clear();
        plan_.outputs.clear();
        for (; next < sequences.size() && plan_.size() + most_waiting <= most_rows_; ++next) {
            Sequence& state = sequences_[index(sequences[next])];
            if (state.waiting == 0) continue;
            add_plan_rows(sequences[next], state.waiting, true);
            for (std::size_t i = 0; i < state.waiting; ++i) {
                plan_.outputs.push_back(static_cast<std::int32_t>(index(sequences[next]) * most_waiting + i));
            }
            state.waiting = 0;
        }
        if (!plan_.rows.empty()) add_context(waiting_features());
    }
}

void DraftRunner::project_rows(SequenceId sequence, std::span<const std::int32_t> rows) {
    plan_.rows.clear();
    plan_.sequences.clear();
    add_plan_rows(sequence, rows.size(), true);
    plan_.outputs.assign(rows.begin(), rows.end());
    add_context(target_.features());
}

// Runs the draft over the blocks; hidden_ then holds rows first_output .. first_output + outputs of each.
void DraftRunner::begin_blocks(std::span<const Block> blocks, std::size_t first_output, std::size_t outputs) {
    ids_.clear();
    for (const Block& block : blocks) ids_.push_back(block.sequence);
    project_waiting(ids_);
    plan_.rows.clear();
    plan_.sequences.clear();
    plan_.outputs.clear();
    for (const Block& block : blocks) {
        const std::size_t first = plan_.size();
        add_plan_rows(block.sequence, this->block(), false);
        plan_.rows[first].token = block.token;
        for (std::size_t i = 0; i < outputs; ++i) plan_.outputs.push_back(static_cast<std::int32_t>(first + first_output + i));
    }
    const std::size_t width = draft_->config().width;
    device_.begin_step(plan_);
    Pass pass{device_, cache_, Workspace(floats(scratch_), device_.padded_rows(plan_.size()))};
    draft_->run_block(pass, target_.model().vocabulary(), {floats(x_), device_.padded_rows(plan_.size()), width},
                      {floats(hidden_), device_.padded_rows(plan_.outputs.size()), width});
}

void DraftRunner::propose(std::span<const Block> blocks, std::size_t depth, std::size_t top) {
    depth_ = std::min(depth, block() - 1);
    top_ = std::min({top, compute::max_top_k, head_tokens()});
    begin_blocks(blocks, 1, depth_);
    const std::size_t width = draft_->config().width, rows = plan_.outputs.size();
    auto* ids = reinterpret_cast<std::int32_t*>(top_ids_->data());
    for (std::size_t begin = 0; begin < rows; begin += logits_window) {
        const std::size_t count = device_.padded_rows(std::min(logits_window, rows - begin));
        const Tensor logits{floats(logits_), count, head_tokens()};
        project({floats(hidden_) + begin * width, count, width}, logits);
        device_.top_k(logits, top_, ids + begin * top_, floats(top_logprobs_) + begin * top_);
    }
    device_.end_step();
    device_.download(std::as_writable_bytes(std::span(host_ids_.data(), rows * top_)), top_ids_->data());
    device_.download(std::as_writable_bytes(std::span(host_logprobs_.data(), rows * top_)), top_logprobs_->data());
}

std::span<const std::int32_t> DraftRunner::tokens(std::size_t block, std::size_t depth) const {
    return {host_ids_.data() + (block * depth_ + depth - 1) * top_, top_};
}

std::span<const float> DraftRunner::logprobs(std::size_t block, std::size_t depth) const {
    return {host_logprobs_.data() + (block * depth_ + depth - 1) * top_, top_};
}

std::vector<float> DraftRunner::logits(const Block& block) {
    begin_blocks({&block, 1}, 0, this->block());
    const std::size_t width = draft_->config().width, rows = device_.padded_rows(this->block());
    const Tensor logits{floats(logits_), rows, head_tokens()};
    project({floats(hidden_), rows, width}, logits);
    device_.end_step();
    std::vector<float> values(this->block() * head_tokens());
    device_.download(std::as_writable_bytes(std::span(values)), logits_->data());
    return values;
}

} // namespace lucebox::model
