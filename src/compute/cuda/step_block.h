// What kernels are told of a step, built on the host and copied to one block of device memory at a fixed address: the
// counts first, sequences and rows at fixed places behind them (captured launches point there), then whatever this step
// has.
//
// Copies are taken from a ring of pinned blocks, so that the next step can be built while this one's copy still waits.
#pragma once

#include "compute/cuda/attention/attention.h"
#include "compute/cuda/memory.h"
#include "compute/cuda/step_state.h"

#include <array>
#include <span>

namespace lucebox::compute::cuda {

class StepBlock {
public:
    static constexpr std::size_t most_kinds = 8; // of attention, in one model
    static constexpr std::size_t most_sequences = max_tree_rows;

    // Room for steps of `rows` rows.
    static Result<StepBlock> create(Memory& memory, std::size_t rows);
    StepBlock(StepBlock&&) noexcept = default;
    StepBlock& operator=(StepBlock&&) noexcept = default;
    ~StepBlock();

    // Fills the next pinned block and queues its copy. work[kind]: of each kind of attention. Rows from the
    // step's own to `padded_rows` are zero. number: of the step. Fails if a step is larger than was planned for.
    Status upload(const StepPlan& plan, std::size_t padded_rows, std::span<const AttentionWorkList> work,
                  std::uint32_t number, cudaStream_t stream);

    const StepState* state() const; // device addresses
    const StepRow* rows() const;
    const StepSequence* sequences() const;
    const AttentionWork* work(std::size_t kind) const;

private:
    static constexpr std::size_t ring = 3;
    struct Head {
        StepState state;
        AttentionWork work[most_kinds];
    };
    struct Staging {
        PinnedMemory memory;
        cudaEvent_t copied = nullptr;
    };

    StepBlock() = default;
    static std::size_t rows_offset();

    std::unique_ptr<Buffer> device_;
    std::array<Staging, ring> staging_;
    std::size_t next_ = 0, rows_ = 0;
};

} // namespace lucebox::compute::cuda
