// Attention on the CPU: prepares rows (norm, rotation, cache write), then walks the keys in blocks.
//
// A row's keys are taken in partitions at absolute positions, each walked in blocks (online softmax: Milakov and
// Gimelshein, 2018); the partitions' results are merged in order. So a row's result does not depend on how many rows a
// step has or how many threads share its partitions, and prefill gives the bits of decoding.
#pragma once

#include "base/thread_pool.h"
#include "compute/cpu/row_kernels.h"

#include <map>
#include <vector>

namespace lucebox::compute::cpu {

class Attention {
public:
    Attention(const RowKernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

    static KvBytes bytes(const KvView& cache);
    static void move_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from);

    void begin_step(const StepPlan& plan);
    void run(const AttentionArgs& args);
    void store(const AttentionArgs& args);

private:
    struct Rotation { // of the rows of this step: [rows, dimensions / 2]
        std::vector<float> cosine, sine;
    };
    // Neighbouring rows of a sequence and all query heads of one KV head.
    struct Task {
        const PlanSequence* sequence;
        std::size_t first_row, rows, kv_head;
    };
    // Up to query_tile queries of a task, which share passes over the keys. Query i of a task: row i / group, head i % group.
    struct Tile {
        std::size_t first, count;
        std::size_t begin, end; // the positions that any of them sees
        QueryState queries[query_tile];
    };
    struct Scratch { // of one thread
        std::vector<Tile> totals, parts;
        std::vector<float> sums, wide;
        std::vector<std::byte> keys;
    };

    const Rotation& rotation(const Rope& rope);
    void prepare_query(const AttentionArgs& args, const Rotation& rotation, std::size_t row);
    void store_row(const AttentionArgs& args, const Rotation& rotation, std::size_t row);
    void norm_and_rotate(const AttentionArgs& args, const Rotation& rotation, std::size_t row, const Vector* norm, float* head);
    Tile make_tile(const AttentionArgs& args, const Task& task, std::size_t first) const;
    void make_tiles(const AttentionArgs& args, const Task& task, float* sums, std::vector<Tile>& tiles) const;
    void attend_partition(const AttentionArgs& args, const Task& task, std::span<Tile> tiles, std::size_t partition, Scratch& scratch) const;
    void widen(KeyBlock& block, DType type, std::size_t head_dim, std::size_t tokens, Scratch& scratch) const;
    void finish(const AttentionArgs& args, const Task& task, Tile& tile) const;
    void attend(const AttentionArgs& args, const Task& task, Scratch& scratch) const;
    bool attend_split(const AttentionArgs& args, const PlanSequence& sequence);
    KeyBlock gather(const AttentionArgs& args, const PlanSequence& sequence, const PlanRow& row, std::size_t kv_head,
                    std::size_t first, std::size_t end, Scratch& scratch) const;

    const RowKernels& kernels_;
    ThreadPool& pool_;
    const StepPlan* plan_ = nullptr;
    std::map<const Rope*, Rotation> rotations_;
    std::vector<Scratch> scratch_;
    std::vector<QueryState> partial_states_; // of attend_split()
    std::vector<float> partial_sums_;
};

} // namespace lucebox::compute::cpu
