// What one launch of the step kernel does, as its blocks read it: a list of records, passed by value.
//
// A *segment* is a run of a step's operations that need nothing but rows and weights: norms and products. One
// persistent kernel runs all of it, a block on every multiprocessor. Records run in order. Weights wait for nothing:
// they stream into shared memory ahead of the records. Between records there are three ways to wait, and nobody waits for
// what it does not read:
//   marks    of few rows, a part of a sum is a word of 64 bits: the value, and a mark that says which product of which step
//            wrote it. Who needs it looks at it until the mark is right: one way through the level-2 cache, no fence, no
//            count. Sums of squares travel the same way, whatever the rows.
//   counts   of more rows, twice the bytes cost more than that saves: a product counts, for each of its groups, the parts
//            that are stored. And who finishes 128 outputs of a row counts it for these 128 inputs of the next product.
//   borders  behind a record with `sync` every block waits for all of them.
// Parts have room of their own, used in turns of two products: when a product's first part can be stored, the one before
// the last is read by nobody any more, because all its sums had to be complete for that.
//
// Products: a group is 4 tiles of 64 outputs, a step one unit along its inputs. The steps of all groups, one after the
// other, are dealt out in ranges (Share), so a group's sums may have parts from several blocks: the first part is
// stored in `base`, part i in slot `first block of the group + i` of `extra`; whoever reads the result adds them in
// order. A block has at most one part that is not its group's first: that of the group its range begins in. So there
// are as many slots as blocks. Ranges depend on the matrices and the card, never on the rows. Where there are more groups
// than blocks, those that one block has whole are results at once, and first parts of the others lie in the slot of
// their block.
//
// A norm between two products does not wait for its row's sum of squares. The first product's finish writes x * weight,
// and the sum of squares of each 128 outputs; the products behind it multiply that, and divide *their* sums by the root
// mean square, which is a factor of the row.
#pragma once

#include "compute/cuda/delta_net/params.h"
#include "compute/cuda/matmul/form.h"
#include "compute/device.h"

namespace lucebox::compute::cuda {

inline constexpr int group_outputs = 256;
inline constexpr int most_records = 72; // three DeltaNet layers and what is left of those with attention around them: 62
inline constexpr int trace_points = 2 * most_records + 3; // the last two: nanoseconds at the launch's begin and end
inline constexpr int most_rows = 64;
inline constexpr int most_norms = 4;     // between two borders
inline constexpr int most_products = 40; // of a segment
inline constexpr int most_layers = 8;    // records of DeltaNet in a segment: two of a layer
inline constexpr int mark_bits = 12;     // of a mark, for products of a step; the others are the step's number
inline constexpr int head_dim = 128;     // of those
inline constexpr int most_head_rows = 32; // with more, heads in fewer blocks than delta_net/step.cuh has are slower
inline constexpr std::size_t most_norm_width = 8192;

inline constexpr int piece_outputs = 128; // of a row: what a warp finishes at a time
LUCEBOX_HOST_DEVICE constexpr int pieces_of(int width) {
    return (width + piece_outputs - 1) / piece_outputs;
}
inline constexpr int most_pieces = 64;    // of a row that is normed
static_assert(piece_outputs * most_pieces >= most_norm_width);

enum class Work : std::uint8_t {
    multiply,   // parts of operand x weights
    finish,     // out [+]= parts + bias, and perhaps an operand of out * weight; by all warps, 128 outputs of a row each
    gate,       // activation(parts) * (parts of the up projection), as an operand; likewise
    convert,    // f32 rows to an operand; likewise
    replay,     // of a DeltaNet layer of one sequence: accepted rows of the step before are folded into the heads' states
    heads,      // a DeltaNet layer of one sequence, from its projections' results to an operand; a head by a block
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
// Blocks in a row, behind the last one the first; none: all.
struct Seats {
    std::uint8_t first = 0, count = 0;
};

// Of a group: the first block that has a part, and how many parts there are.
struct alignas(2) GroupParts {
    std::uint8_t first, count;
};

// A value in the low half, the mark of who wrote it in the high half.
using Word = std::uint64_t;

inline constexpr std::uint32_t most_marked_rows = 8; // of a step whose parts are words; else they are floats, and counted

// The parts of one product: words or floats.
struct Parts {
    std::byte* base = nullptr;  // [groups, rows, group_outputs]; `wide`: [blocks, rows, group_outputs]
    std::byte* extra = nullptr; // [blocks, rows, group_outputs]
    const GroupParts* groups = nullptr;
    std::uint32_t* done = nullptr; // [groups]: parts that are stored, if they are counted
    std::uint32_t index = 0;       // of the product in the step: its mark
    bool wide = false;             // more groups than blocks
};

// By what a product's sums are still to be divided: the root mean square of the rows of its operand.
struct RowScale {
    const Word* squares = nullptr; // [rows, most_pieces]: sums of 128 squares each; none: 1
    std::uint32_t index = 0;       // their mark
    std::int32_t width = 0;
    float epsilon = 0;
};

struct Record {
    Work work = Work::multiply;
    Form form{};
    Seats seats; // that have any of it, where its pieces or heads do not say so
    bool sync = false;
    bool accumulate = false;  // finish: out += instead of out =
    std::uint8_t product = 0; // multiply: of the segment; heads: which of its layers
    std::uint8_t first_warp = 0, first_block = 0; // finish: other ones for each of several records in a row
    bool held = false;        // norm: of the row that the record before has kept
    Activation activation{};
    std::int32_t outputs = 0; // or the width
    std::int32_t units = 0, tiles = 0;
    float number = 0; // multiply: what the weights are multiplied by; norm: epsilon
    Parts parts, up;
    RowScale scale;
    // [width / 128]: how much is there of the operand, or of a finish's result. multiply: what it waits for, `whole_piece`
    // of each; none: nothing.
    std::uint32_t* ready = nullptr;
    std::uint32_t whole_piece = 0;
    const std::byte* weights = nullptr;
    const Share* shares = nullptr; // [blocks]
    std::byte* operand = nullptr;  // multiply: read; else written
    const float* vector = nullptr; // bias, or a norm's weight
    const float* weight = nullptr; // finish: of the norm whose operand it writes
    Word* squares = nullptr;       // finish: [rows, most_pieces]
    std::uint32_t index = 0;       // their mark
    const float* in = nullptr;     // norm, convert: [rows, width]
    float* out = nullptr;          // [rows, outputs]; multiply: of a wide product
};

// What `heads` and `replay` need besides: counts of the inputs' pieces, of `rows` rows; none: they are there.
struct HeadsRecord {
    delta::Params layer;
    const std::uint32_t *qkv_ready = nullptr, *z_ready = nullptr, *alpha_ready = nullptr, *beta_ready = nullptr;
    std::uint32_t* read = nullptr; // [key heads]: value heads that have read their inputs
    std::uint32_t rows = 0;
};

struct StepSegment {
    Seats seats[most_records]; // of each record, side by side: who has none of it looks at nothing else
    Record record[most_records];
    HeadsRecord heads[most_layers];
    std::int32_t count = 0;
    std::uint32_t rows = 0;
    float* sums = nullptr;             // [norms in a row, rows, pieces]: exchanged between blocks that share a row
    std::uint32_t* counts = nullptr;   // [norms in a row, rows]: of blocks that have stored theirs; 0 between records
    const StepState* step = nullptr;
    std::uint32_t* arrivals = nullptr; // [0]: blocks that came to borders, ever; [1]: as it was when this launch began
    std::int32_t stages = 0, slots = 0, slot_bytes = 0; // of shared memory
    std::int32_t under_way = 0;                         // copies of weights into a ring, at most
    long long* trace = nullptr;                         // [blocks, trace_points] clocks of this launch, of builds with LUCEBOX_STEP_TRACE
};

} // namespace lucebox::compute::cuda
