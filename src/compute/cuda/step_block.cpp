#include "compute/cuda/step_block.h"

#include "compute/cuda/cuda_error.h"
#include "compute/cuda/delta_net/walk.h"

#include <algorithm>
#include <cstring>

namespace lucebox::compute::cuda {
namespace {

constexpr std::size_t piece_alignment = 64;
std::size_t aligned(std::size_t bytes) { return (bytes + piece_alignment - 1) / piece_alignment * piece_alignment; }

StepSequence describe(const StepPlan& plan, const PlanSequence& from) {
    StepSequence to;
    to.slot = from.slot;
    to.first_row = from.first_row;
    to.rows = from.rows;
    to.committed = from.committed;
    to.path = from.path ? 1 : 0;
    to.commit_now = from.commit_now ? 1 : 0;
    to.pending_count = static_cast<std::int32_t>(from.pending.size());
    for (std::size_t i = 0; i < from.pending.size(); ++i) to.pending[i] = static_cast<std::uint8_t>(from.pending[i]);
    if (!from.path) {
        std::array<std::int32_t, max_tree_rows> parents{};
        const auto rows = static_cast<std::size_t>(from.rows);
        for (std::size_t i = 0; i < rows; ++i) parents[i] = plan.rows[static_cast<std::size_t>(from.first_row) + i].parent;
        plan_walk(std::span(parents).first(rows), to);
    }
    return to;
}

} // namespace

std::size_t StepBlock::rows_offset() { return aligned(sizeof(Head)) + aligned(most_sequences * sizeof(StepSequence)); }

Result<StepBlock> StepBlock::create(Memory& memory, std::size_t rows) {
    // A row brings two tiles of queries at most (a larger step is refused).
    const std::size_t items = std::max<std::size_t>(max_tree_rows, rows) * 2 + most_attention_passes * most_attention_blocks;
    const std::size_t bytes = rows_offset() + aligned(rows * sizeof(StepRow)) + aligned(rows * sizeof(std::int32_t)) +
                              most_kinds * aligned(items * sizeof(AttentionItem));
    StepBlock block;
    block.rows_ = rows;
    LUCEBOX_TRY(block.device_, memory.allocate(bytes));
    for (Staging& staging : block.staging_) {
        LUCEBOX_TRY(staging.memory, memory.allocate_pinned(bytes));
        LUCEBOX_CHECK(cuda_status(cudaEventCreateWithFlags(&staging.copied, cudaEventDisableTiming), "making an event"));
    }
    return block;
}

StepBlock::~StepBlock() {
    for (const Staging& staging : staging_) {
        if (staging.memory.data() && staging.copied) cudaEventDestroy(staging.copied);
    }
}

const StepState* StepBlock::state() const { return &reinterpret_cast<const Head*>(device_->data())->state; }
const AttentionWork* StepBlock::work(std::size_t kind) const {
    return &reinterpret_cast<const Head*>(device_->data())->work[kind];
}
const StepRow* StepBlock::rows() const {
    return reinterpret_cast<const StepRow*>(device_->data() + rows_offset());
}
const StepSequence* StepBlock::sequences() const {
    return reinterpret_cast<const StepSequence*>(device_->data() + aligned(sizeof(Head)));
}

Status StepBlock::upload(const StepPlan& plan, std::size_t padded_rows, std::span<const AttentionWorkList> work,
                         std::uint32_t number, cudaStream_t stream) {
    Staging& staging = staging_[next_];
    next_ = (next_ + 1) % ring;
    LUCEBOX_CHECK(cuda_status(cudaEventSynchronize(staging.copied), "waiting for a step's plan"));
    std::byte* const host = staging.memory.data();
    std::size_t end = rows_offset();
    // Where a piece of `bytes` comes, on the host and on the device.
    const auto place = [&](std::size_t bytes) {
        const std::size_t at = end;
        end += aligned(bytes);
        return at;
    };
    const Error too_large{ErrorKind::internal, "a step is larger than the device was prepared for"};
    if (padded_rows > rows_ || plan.sequences.size() > most_sequences) return too_large;

    auto* const rows = reinterpret_cast<StepRow*>(host + place(padded_rows * sizeof(StepRow)));
    for (std::size_t i = 0; i < plan.rows.size(); ++i) {
        const PlanRow& from = plan.rows[i];
        rows[i] = {from.token,  from.position, from.sequence, plan.sequences[static_cast<std::size_t>(from.sequence)].slot,
                   from.local, from.parent,   from.ancestors};
    }
    std::fill(rows + plan.rows.size(), rows + padded_rows, StepRow{});

    Head head{};
    head.state.rows = static_cast<std::int32_t>(plan.rows.size());
    head.state.sequences = static_cast<std::int32_t>(plan.sequences.size());
    head.state.outputs = static_cast<std::int32_t>(plan.outputs.size());
    head.state.number = number;
    head.state.row = this->rows();
    head.state.sequence = sequences();
    auto* const sequences = reinterpret_cast<StepSequence*>(host + aligned(sizeof(Head)));
    for (std::size_t i = 0; i < plan.sequences.size(); ++i) sequences[i] = describe(plan, plan.sequences[i]);
    const std::size_t outputs_at = place(plan.outputs.size() * sizeof(std::int32_t));
    head.state.output = reinterpret_cast<const std::int32_t*>(device_->data() + outputs_at);
    std::ranges::copy(plan.outputs, reinterpret_cast<std::int32_t*>(host + outputs_at));
    for (std::size_t kind = 0; kind < work.size(); ++kind) {
        const std::size_t bytes = work[kind].items.size() * sizeof(AttentionItem), at = place(bytes);
        if (end > staging.memory.bytes()) return too_large;
        std::memcpy(host + at, work[kind].items.data(), bytes);
        std::ranges::copy(work[kind].begin, head.work[kind].begin);
        head.work[kind].item = reinterpret_cast<const AttentionItem*>(device_->data() + at);
    }
    std::memcpy(host, &head, sizeof(head));
    LUCEBOX_CHECK(cuda_status(cudaMemcpyAsync(device_->data(), host, end, cudaMemcpyHostToDevice, stream), "sending a step's plan"));
    return cuda_status(cudaEventRecord(staging.copied, stream), "sending a step's plan");
}

} // namespace lucebox::compute::cuda
