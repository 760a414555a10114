// Cuts a step's attention into items, on the host.
#include "compute/cuda/attention/attention.h"
#include "compute/cuda/attention/partition.h"

#include <algorithm>

namespace lucebox::compute::cuda {
namespace {

constexpr std::int32_t tile_queries = 16;
constexpr std::int32_t largest_key_tile = 64; // prefill begins at a multiple of every kernel's tile
constexpr std::int32_t largest_partition = 512;
static_assert(most_pass_rows == static_cast<std::size_t>(max_tree_rows) && least_pass_rows * most_attention_passes >= most_pass_rows);

} // namespace

int query_tiles(const StepPlan& plan, std::size_t group, bool rounded) {
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
    // Three times two tiles take less than twice four: 433 us a layer and not 515, of 16 rows behind 131,072 tokens. Codes are widened
    // once for each, and that outweighs it.
    if (!rounded && most > 64 && most <= 96) return 2;
    return most <= 16 ? 1 : most <= 32 ? 2 : 4;
}

bool only_paths(const StepPlan& plan) {
    return std::ranges::all_of(plan.sequences, [](const PlanSequence& sequence) { return sequence.path; });
}

bool prompt_attention_takes(const KvView& cache) {
    return cache.type == DType::f16 && (cache.head_dim == 128 || cache.head_dim == 256);
}

namespace {

std::size_t longest_context(const StepPlan& plan) {
    std::int32_t longest = 1;
    for (const PlanSequence& sequence : plan.sequences) longest = std::max(longest, sequence.committed + sequence.rows);
    return static_cast<std::size_t>(longest);
}

// Tiles of queries of a pass, or of a prompt, with the keys that they see.
void add_tiles(const StepPlan& plan, const AttentionKind& kind, std::int32_t at_once, std::int32_t first_row, std::int32_t end_row,
               std::vector<AttentionItem>& tiles) {
    const auto group = static_cast<std::int32_t>(kind.group), window = static_cast<std::int32_t>(kind.window);
    for (std::size_t s = plan.sequences.size(); s-- > 0;) {
        const PlanSequence& sequence = plan.sequences[s];
        const std::int32_t begin_query = std::max(first_row - sequence.first_row, 0) * group;
        const std::int32_t end_query = std::min(end_row - sequence.first_row, sequence.rows) * group;
        if (begin_query >= end_query) continue;
        // The last queries see most keys: they go first, so that blocks finish together.
        for (std::int32_t first = begin_query + (end_query - begin_query - 1) / at_once * at_once; first >= begin_query; first -= at_once) {
            AttentionItem item;
            item.sequence = static_cast<std::int32_t>(s);
            item.first_query = first;
            item.queries = std::min(at_once, end_query - first);
            std::int32_t begin = INT32_MAX, end = 0;
            for (std::int32_t row = first / group; row <= (first + item.queries - 1) / group; ++row) {
                const std::int32_t position = plan.rows[static_cast<std::size_t>(sequence.first_row + row)].position;
                end = std::max(end, position + 1);
                begin = std::min(begin, window > 0 ? std::max(0, position + 1 - window) : 0);
            }
            if (kind.bidirectional) end = sequence.committed + sequence.rows;
            item.key_begin = begin;
            item.key_end = end;
            tiles.push_back(item);
        }
    }
}

// What a tile's last keys cost beside their number: of a tree, they are walked once for each of its rows.
std::int32_t tail_of(const StepPlan& plan, const AttentionItem& tile, std::int32_t group) {
    const PlanSequence& sequence = plan.sequences[static_cast<std::size_t>(tile.sequence)];
    return sequence.path ? 0 : (tile.queries + group - 1) / group * std::max(sequence.rows, largest_key_tile);
}

// Cuts a tile's keys into runs of partitions that cost at most `most`, or are one partition. Calls add(run).
template <class Add> void cut(const AttentionItem& tile, std::int32_t tail, std::int32_t most, const Add& add) {
    AttentionItem run = tile;
    std::int32_t cost = 0;
    const std::int32_t last = partition_of(tile.key_end - 1);
    for (std::int32_t p = partition_of(tile.key_begin); p <= last; ++p) {
        const std::int32_t begin = partition_begin(p), end = std::min(partition_begin(p + 1), tile.key_end);
        const std::int32_t own = end - begin + (p == last ? tail : 0);
        if (cost > 0 && cost + own > most) {
            add(run);
            cost = 0;
        }
        if (cost == 0) run.partition = p, run.key_begin = begin;
        run.key_end = end;
        cost += own;
    }
    add(run);
}

// Cuts tiles so that no block has more to do than it must.
void share_out(const StepPlan& plan, const std::vector<AttentionItem>& tiles, std::int32_t group, std::size_t blocks,
               std::vector<AttentionItem>& items) {
    std::int64_t all = 0;
    std::int32_t longest = 1;
    for (const AttentionItem& tile : tiles) {
        const std::int32_t cost = tile.key_end - tile.key_begin + tail_of(plan, tile, group);
        all += cost;
        longest = std::max(longest, cost);
    }
    const auto count = [&](std::int32_t most) {
        std::size_t runs = 0;
        for (const AttentionItem& tile : tiles) cut(tile, tail_of(plan, tile, group), most, [&](const AttentionItem&) { ++runs; });
        return runs;
    };
    auto most = static_cast<std::int32_t>(std::clamp<std::int64_t>(all / static_cast<std::int64_t>(blocks), 1, longest));
    while (count(most) > blocks && most < longest + largest_partition) most += most / 16 + 1;
    const std::size_t first = items.size();
    for (const AttentionItem& tile : tiles) cut(tile, tail_of(plan, tile, group), most, [&](const AttentionItem& run) { items.push_back(run); });
    if (items.size() - first <= blocks) return;
    // Some blocks take more than one: the long ones first.
    std::stable_sort(items.begin() + static_cast<std::ptrdiff_t>(first), items.end(), [](const AttentionItem& a, const AttentionItem& b) {
        return a.key_end - a.key_begin > b.key_end - b.key_begin;
    });
}

} // namespace

std::size_t attention_pass_rows(const StepPlan& plan) { return pass_rows_of_context(longest_context(plan)); }
bool has_many_partitions(const StepPlan& plan) { return partitions_of_context(longest_context(plan)) > many_partitions; }

void make_attention_work(const StepPlan& plan, const AttentionKind& kind, int query_tiles, std::size_t blocks, AttentionWorkList& work) {
    work.items.clear();
    const auto rows = static_cast<std::int32_t>(plan.size());
    const std::int32_t at_once = tile_queries * query_tiles;
    if (plan.size() > static_cast<std::size_t>(max_tree_rows)) {
        add_tiles(plan, kind, at_once, 0, rows, work.items);
        for (AttentionItem& item : work.items) item.key_begin = item.key_begin / largest_key_tile * largest_key_tile;
        std::fill(std::begin(work.begin) + 1, std::end(work.begin), static_cast<std::int32_t>(work.items.size()));
        return;
    }
    const auto pass_rows = static_cast<std::int32_t>(attention_pass_rows(plan));
    std::vector<AttentionItem>& tiles = work.tiles;
    for (std::size_t pass = 0; pass < most_attention_passes; ++pass) {
        tiles.clear();
        const std::int32_t first_row = static_cast<std::int32_t>(pass) * pass_rows;
        add_tiles(plan, kind, at_once, first_row, std::min(first_row + pass_rows, rows), tiles);
        if (!tiles.empty()) share_out(plan, tiles, static_cast<std::int32_t>(kind.group), std::clamp<std::size_t>(blocks, 1, most_attention_blocks), work.items);
        work.begin[pass + 1] = static_cast<std::int32_t>(work.items.size());
    }
}

std::size_t attention_query_bytes(std::size_t rows, std::size_t heads, std::size_t head_dim) {
    return rows * heads * head_dim * 2;
}

std::size_t attention_sum_bytes(std::size_t rows, std::size_t context, std::size_t heads, std::size_t head_dim) {
    return pass_partitions(rows, context) * heads * head_dim * sizeof(float);
}

std::size_t attention_maximum_bytes(std::size_t rows, std::size_t context, std::size_t heads) {
    return pass_partitions(rows, context) * heads * 2 * sizeof(float);
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
