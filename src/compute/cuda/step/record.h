// What one launch of the step kernel does, as its blocks read it: a list of records, passed by value.
//
// A *segment* is a run of a step's operations that need nothing but rows and weights: norms and products. One
// persistent kernel runs all of it, a block on every multiprocessor. Records run in order; behind one with `sync` every
// block waits for all of them. Weights do not wait: they stream into shared memory across those borders.
//
// Products: a group is 4 tiles of 64 outputs, a step one unit along its inputs. The steps of all groups, one after the
// other, are dealt out in ranges (Share), so a group's sums may have parts from several blocks: the first part is
// stored in `base`, part i in slot `first block of the group + i` of `extra`; whoever reads the result adds them in
// order. A block has at most one part that is not its group's first: that of the group its range begins in. So there
// are as many slots as blocks. Ranges depend on the matrices and the card, never on the rows.
#pragma once

#include "compute/cuda/matmul/form.h"
#include "compute/device.h"

namespace lucebox::compute::cuda {

inline constexpr int group_tiles = 4;
inline constexpr int group_outputs = 256;
inline constexpr int most_records = 28;
inline constexpr int trace_points = 64;
inline constexpr int most_rows = 64;
inline constexpr int most_norms = 4;     // between two borders
inline constexpr int most_products = 16; // of a segment
inline constexpr int most_groups = 1536; // of all its products
inline constexpr std::size_t most_norm_width = 8192;

enum class Work : std::uint8_t {
    multiply,   // parts of operand x weights
    finish,     // out [+]= parts + bias: 1024 outputs of a row at a time, by all blocks
    gate,       // activation(parts) * (parts of the up projection), as an operand; dealt out likewise
    convert,    // f32 rows to an operand; dealt out likewise
    finish_row, // finish, a row by one block, which keeps the row for the norm behind it
    norm,       // of a row, by one block: f32, operand, or both
    add_norm,   // out += norm; the row is kept
};

inline constexpr std::uint16_t base_slot = 0xffff;

// A block's range of a product's steps.
struct Share {
    std::uint32_t first;
    std::uint16_t steps;
    std::uint16_t slot; // where its first part goes
};
// Of a group: the first block that has a part, and how many parts there are.
struct GroupParts {
    std::uint8_t first, count;
};

// The parts of one product.
struct Parts {
    float* base = nullptr;  // [rows, outputs]
    float* extra = nullptr; // [slots, rows, group_outputs]
    const GroupParts* groups = nullptr;
    std::int32_t first_group = 0; // in the block's own copy of all groups
};

struct Record {
    Work work = Work::multiply;
    Form form{};
    bool sync = false;
    bool accumulate = false;  // finish: out += instead of out =
    bool whole = false;       // finish: base is out, and what has one part is there already
    std::uint8_t product = 0; // multiply: of the segment
    bool held = false;        // norm: of the row that the record before has kept
    Activation activation{};
    std::int32_t outputs = 0; // or the width
    std::int32_t units = 0, tiles = 0;
    float number = 0; // multiply: what the weights are multiplied by; norm: epsilon
    Parts parts, up;
    const std::byte* weights = nullptr;
    const Share* shares = nullptr; // [blocks]
    std::byte* operand = nullptr;  // multiply: read; else written
    const float* vector = nullptr; // bias, or a norm's weight
    const float* in = nullptr;     // norm, convert: [rows, width]
    float* out = nullptr;          // [rows, outputs]
};

struct StepSegment {
    Record record[most_records];
    std::int32_t count = 0;
    std::uint32_t rows = 0;
    float* sums = nullptr;             // [norms in a row, rows, pieces]: exchanged between blocks that share a row
    std::uint32_t* counts = nullptr;   // [norms in a row, rows]: of blocks that have stored theirs; 0 between records
    std::uint32_t* arrivals = nullptr; // [0]: blocks that came to borders, ever; [1]: as it was when this launch began
    std::int32_t stages = 0, slots = 0, slot_bytes = 0; // of shared memory
    std::int32_t under_way = 0,
                 under_way_aside = 0; // copies of weights into a ring under way: while it is read, and else
    long long* trace =
        nullptr; // [blocks, trace_points] clocks of this launch; written by builds with LUCEBOX_STEP_TRACE
};

} // namespace lucebox::compute::cuda
