// What a step is, in the form that devices read: rows grouped by sequence, with everything a kernel needs to know of
// where a row stands. Built by model/runner.h from the caller's rows; plain data.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lucebox::compute {

// Rows of a tree see each other through a 64-bit mask, and steps of up to this many rows share one arithmetic.
inline constexpr std::int32_t max_tree_rows = 64;

struct PlanRow {
    std::int32_t token = 0;
    std::int32_t position = 0;  // from the start of the text
    std::int32_t sequence = 0;  // index into StepPlan::sequences
    std::int32_t local = 0;     // index among the rows of its sequence in this step
    std::int32_t parent = -1;   // local index of the row it follows; -1: the committed end
    std::uint64_t ancestors = 0; // bit i: local row i is an ancestor or the row itself; only if the sequence is a tree
};

struct PlanSequence {
    std::int32_t slot = 0;      // where its cache lives
    std::int32_t first_row = 0; // its rows are first_row .. first_row + rows, parents before children
    std::int32_t rows = 0;
    std::int32_t committed = 0; // cached tokens before this step
    bool path = true;           // every row follows the one before it; then `rows` may exceed max_tree_rows
    bool commit_now = false;    // the rows are known to stay: recurrent state may be advanced in place
    std::span<const std::int32_t> pending; // local rows of the previous step, accepted but not yet folded into the state
};

struct StepPlan {
    std::vector<PlanRow> rows;
    std::vector<PlanSequence> sequences;
    std::vector<std::int32_t> outputs; // rows whose logits are wanted, ascending
    bool observed = false;             // the caller reads tensors between operations: none may be deferred or skipped

    std::size_t size() const { return rows.size(); }
};

} // namespace lucebox::compute
