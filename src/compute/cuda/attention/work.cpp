// Cuts a step's attention into items, on the host.
#include "compute/cuda/attention/attention.h"
#include "compute/cuda/attention/partition.h"

#include <algorithm>

namespace lucebox::compute::cuda {
namespace {

constexpr std::int32_t tile_queries = 16;
constexpr std::int32_t largest_key_tile = 64; // prefill begins at a multiple of every kernel's tile

} // namespace

int query_tiles(const StepPlan& plan, std::size_t group) {
    std::size_t most = 0;
    bool trees = false;
    std::int32_t longest = 0;
    for (const PlanSequence& sequence : plan.sequences) {
        most = std::max(most, static_cast<std::size_t>(sequence.rows) * group);
        trees = trees || !sequence.path;
        longest = std::max(longest, sequence.committed);
    }
    // A tree's rows see different keys at the end: a block with many rows walks those once for each. That is worth it
    // only where the common part is long.
    if (trees && longest < 4096) return 1;
    return most <= 16 ? 1 : most <= 32 ? 2 : 4;
}

bool only_paths(const StepPlan& plan) {
    return std::ranges::all_of(plan.sequences, [](const PlanSequence& sequence) { return sequence.path; });
}

bool prompt_attention_takes(const KvView& cache) {
    return cache.type == DType::f16 && (cache.head_dim == 128 || cache.head_dim == 256);
}

void make_attention_work(const StepPlan& plan, const AttentionKind& kind, int query_tiles, std::vector<AttentionItem>& items) {
    items.clear();
    const bool whole = plan.size() > static_cast<std::size_t>(max_tree_rows);
    const auto group = static_cast<std::int32_t>(kind.group), window = static_cast<std::int32_t>(kind.window);
    const std::int32_t at_once = tile_queries * query_tiles;
    for (std::size_t s = plan.sequences.size(); s-- > 0;) {
        const PlanSequence& sequence = plan.sequences[s];
        const std::int32_t queries = sequence.rows * group;
        // The last queries see most keys: they go first, so that blocks finish together.
        for (std::int32_t first = (queries - 1) / at_once * at_once; first >= 0; first -= at_once) {
            AttentionItem item;
            item.sequence = static_cast<std::int32_t>(s);
            item.first_query = first;
            item.queries = std::min(at_once, queries - first);
            std::int32_t begin = INT32_MAX, end = 0;
            for (std::int32_t row = first / group; row <= (first + item.queries - 1) / group; ++row) {
                const std::int32_t position = plan.rows[static_cast<std::size_t>(sequence.first_row + row)].position;
                end = std::max(end, position + 1);
                begin = std::min(begin, window > 0 ? std::max(0, position + 1 - window) : 0);
            }
            if (kind.bidirectional) end = sequence.committed + sequence.rows;
            if (whole) {
                item.key_begin = begin / largest_key_tile * largest_key_tile;
                item.key_end = end;
                items.push_back(item);
                continue;
            }
            for (std::int32_t p = partition_of(begin); p <= partition_of(end - 1); ++p) {
                item.partition = p;
                item.key_begin = partition_begin(p);
                item.key_end = std::min(partition_begin(p + 1), end);
                items.push_back(item);
            }
        }
    }
}

std::size_t attention_query_bytes(std::size_t rows, std::size_t heads, std::size_t head_dim) {
    return rows * heads * head_dim * 2;
}

std::size_t attention_sum_bytes(std::size_t rows, std::size_t context, std::size_t heads, std::size_t head_dim) {
    const auto partitions = static_cast<std::size_t>(partition_of(static_cast<int>(context) - 1) + 1);
    return partitions * std::min<std::size_t>(rows, max_tree_rows) * heads * head_dim * sizeof(float);
}

std::size_t attention_maximum_bytes(std::size_t rows, std::size_t context, std::size_t heads) {
    const auto partitions = static_cast<std::size_t>(partition_of(static_cast<int>(context) - 1) + 1);
    return partitions * std::min<std::size_t>(rows, max_tree_rows) * heads * 2 * sizeof(float);
}

// Copies take 16 bytes: so many values, or codes, at once.
bool attention_supports(const KvView& cache) {
    const std::size_t at_once = cache.type == DType::q8_0 ? 16 : 8;
    return cache.type != DType::f32 && cache.head_dim % at_once == 0 && cache.head_dim > 0 && cache.head_dim <= 256;
}

KvBytes attention_kv_bytes(const KvView& cache) {
    const std::size_t bytes = cache.slots * cache.kv_heads * cache.capacity * kv_head_bytes(cache.type, cache.head_dim);
    return {bytes, bytes};
}

} // namespace lucebox::compute::cuda
