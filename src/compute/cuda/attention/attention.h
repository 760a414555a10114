// Attention on the GPU: three kernels a layer. prepare() norms and rotates queries and keys and writes the cache; flash()
// walks the keys on tensor cores, a partition at a time; combine() adds the partitions up and applies the gate.
//
// A step of up to max_tree_rows rows cuts a row's keys into partitions (partition.h) that many blocks share out, and adds
// them in the order of their positions. A longer step (prefill) has blocks enough without: one block walks all keys of 64
// queries, or of 128 on Hopper cards (prompt.cuh). All take keys in tiles at absolute positions, and a tree's branches are
// read as if they lay in a row: so a row's bits depend on its path alone.
//
// Cache: f16 or q8_0 (kv_plane.cuh); either is f16 where it is multiplied.
#pragma once

#include "compute/cuda/step_state.h"
#include "compute/device.h"

#include <cuda_runtime_api.h>
#include <span>
#include <vector>
#include <vector_types.h>

namespace lucebox::compute::cuda {

// One piece of work of flash(): some queries of a sequence against a range of tokens, for every KV head. Query i of a
// sequence is head i % group of its row i / group. Decoding: a run of partitions, from `partition` on.
struct AttentionItem {
    std::int32_t sequence = 0;
    std::int32_t first_query = 0, queries = 0;
    std::int32_t key_begin = 0, key_end = 0; // begin: of a tile
    std::int32_t partition = 0;
};
// The items of pass p are begin[p] .. begin[p + 1]: those of rows p * pass rows and on. Sums of a pass's partitions are added up
// before the next pass begins (partition.h says why).
inline constexpr std::size_t most_attention_passes = 4;
struct AttentionWork {
    std::int32_t begin[most_attention_passes + 1] = {};
    std::int32_t unused = 0;
    const AttentionItem* item = nullptr;
};
struct AttentionWorkList {
    std::vector<AttentionItem> items;
    std::int32_t begin[most_attention_passes + 1] = {};
    std::vector<AttentionItem> tiles; // scratch
};
// Blocks of a KV head that a pass's items are cut for, at most. A pass has no more items than that or than tiles of queries.
inline constexpr std::size_t most_attention_blocks = 1024;

// What a layer's work depends on, beside the step: layers that agree share one list.
struct AttentionKind {
    std::size_t window = 0;
    std::size_t group = 0; // query heads of a KV head
    bool bidirectional = false;
    friend bool operator==(const AttentionKind&, const AttentionKind&) = default;
};

// How many tiles of 16 queries a block of flash() takes: 1, 2 or 4. `rounded`: some keys are q8_0.
int query_tiles(const StepPlan& plan, std::size_t group, bool rounded);
// What a block of prompt.cuh's kernel takes, which runs prompts where it can: on sm_90a, with these caches, for paths.
inline constexpr int prompt_query_tiles = 8;
bool prompt_attention_runs(int shared_limit); // on this device; also prepares it
bool prompt_attention_takes(const KvView& cache);
bool only_paths(const StepPlan& plan);
// How many rows a pass of this step takes, and whether a row may have many partitions to add up.
std::size_t attention_pass_rows(const StepPlan& plan);
bool has_many_partitions(const StepPlan& plan);
// How many blocks share out the keys of a KV head.
std::size_t attention_blocks(const KvView& cache, int query_tiles, int processors, int shared_limit);
// `blocks`: that items are cut for.
void make_attention_work(const StepPlan& plan, const AttentionKind& kind, int query_tiles, std::size_t blocks, AttentionWorkList& work);

// A step's cosines and sines for one Rope: [rows, dimensions / 2] pairs.
struct RotationTable {
    const Rope* rope = nullptr;
    const double* frequency = nullptr; // device
    float2* values = nullptr;          // device
};
void rotate_positions(const RotationTable& table, std::size_t rows, const StepState* state, cudaStream_t stream);

struct AttentionScratch {
    std::byte* queries = nullptr; // [rows, heads, head_dim] f16
    float* sums = nullptr;        // [partitions, rows of a pass, heads, head_dim]
    float2* maxima = nullptr;     // [partitions, rows of a pass, heads]: largest score, weight of the sum
};
std::size_t attention_query_bytes(std::size_t rows, std::size_t heads, std::size_t head_dim);
std::size_t attention_sum_bytes(std::size_t rows, std::size_t context, std::size_t heads, std::size_t head_dim);
std::size_t attention_maximum_bytes(std::size_t rows, std::size_t context, std::size_t heads);

bool attention_supports(const KvView& cache);
KvBytes attention_kv_bytes(const KvView& cache);

struct AttentionCall {
    AttentionArgs args;
    RotationTable rotation;
    AttentionScratch scratch;
    const StepState* state = nullptr;   // device
    const AttentionWork* work = nullptr; // device
    int query_tiles = 1;
    bool whole = false;                 // prefill: more than max_tree_rows rows
    std::size_t pass_rows = max_tree_rows;
    bool many_partitions = false;
    std::size_t items = 0;              // of the work; only where `whole`: a captured launch outlives it
    int processors = 1;                 // of the GPU
    int shared_limit = 0;               // bytes a block may have
    std::byte* operand = nullptr;       // where the result goes in operand form
    bool write_out = true;              // whether args.out is wanted, too
};
// Once for each device, before the first call.
cudaError_t prepare_attention_kernels(int shared_limit);
void attention(const AttentionCall& call, cudaStream_t stream);
// Keys and values alone; of the call, only arguments, rotation and state are looked at.
void store_attention(const AttentionCall& call, cudaStream_t stream);

void move_attention_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from,
                           cudaStream_t stream);

} // namespace lucebox::compute::cuda
