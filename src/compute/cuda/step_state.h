// The plan of a step as kernels read it: one block of device memory at a fixed address, so that a captured graph stays
// valid while its contents change from step to step.
//
// Filled on the host in pinned memory from a StepPlan, copied by one asynchronous copy at begin_step(). Plain data.
#pragma once

#include <cstdint>

namespace lucebox::compute::cuda {

struct StepRow {
    std::int32_t token = 0;
    std::int32_t position = 0;   // from the start of the text
    std::int32_t sequence = 0;   // index into sequences
    std::int32_t slot = 0;       // where its cache lives
    std::int32_t local = 0;      // index among the rows of its sequence in this step
    std::int32_t parent = -1;    // local index; -1: the committed end
    std::uint64_t ancestors = 0; // bit i: local row i is an ancestor or the row itself; only if the sequence is a tree
};

// One stop of the walk that visits a tree's rows depth first (delta_net/walk.h). Slots hold states behind rows whose
// children are not all visited yet.
inline constexpr std::uint8_t no_slot = 255;
struct WalkStop {
    std::uint8_t row = 0;        // local row
    std::uint8_t load = no_slot; // the state to start from; none: what the stop before left
    std::uint8_t save = no_slot; // where to keep the state behind this row
    std::uint8_t leaf = 0;       // nothing follows: the state behind it is not needed
};

struct StepSequence {
    std::int32_t slot = 0;
    std::int32_t first_row = 0;
    std::int32_t rows = 0;
    std::int32_t committed = 0;  // cached tokens before this step
    std::int32_t path = 1;       // every row follows the one before it
    std::int32_t commit_now = 0; // recurrent state may be advanced in place
    std::int32_t pending_count = 0;
    std::uint8_t pending[64] = {}; // local rows of the previous step, accepted but not yet folded into the state
    std::uint8_t base_save = no_slot; // where to keep the committed state, if several rows follow it
    WalkStop walk[64] = {};           // of a tree; paths are walked in order
};

// Counts, and where the arrays lie. Passed to kernels as a pointer; a kernel's grid may be larger than the counts (it is
// the captured shape), so every kernel compares with them and leaves rows behind `rows` alone.
struct StepState {
    std::int32_t rows = 0;
    std::int32_t sequences = 0;
    std::int32_t outputs = 0;
    std::uint32_t number = 0; // of the step: no two steps that share memory have the same
    const StepRow* row = nullptr;
    const StepSequence* sequence = nullptr;
    const std::int32_t* output = nullptr; // rows whose logits are wanted, ascending
};

} // namespace lucebox::compute::cuda
