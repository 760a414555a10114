#include "compute/cpu/attention.h"

#include "compute/cpu/kv_layout.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace lucebox::compute::cpu {
namespace {

// Rows that one task takes through the keys, so that a block of keys is read once for all of them.
constexpr std::size_t rows_per_task = 32;

// Keys of one partition: few enough that a few hundred tokens occupy several threads, many enough that merging them
// costs a hundredth of walking them. Part of the arithmetic: another size gives other bits.
constexpr std::size_t key_partition = 256;
static_assert(key_partition % key_block == 0);

// Floats that the partial sums of a step may take. A step that needs more has rows enough to occupy the threads.
constexpr std::size_t most_partial_sums = 1u << 22;

// Local index of the row at `depth` (from the committed end) on the path to `row`.
std::size_t local_at(const PlanRow& row, std::size_t depth) {
    std::uint64_t rest = row.ancestors;
    for (; depth > 0; --depth) rest &= rest - 1;
    return static_cast<std::size_t>(std::countr_zero(rest));
}

void rotate(float* head, const float* cosine, const float* sine, const Rope& rope) {
    const std::size_t pairs = rope.dimensions / 2;
    const std::size_t step = rope.adjacent_pairs ? 2 : 1, partner = rope.adjacent_pairs ? 1 : pairs;
    for (std::size_t i = 0; i < pairs; ++i) {
        float& a = head[i * step];
        float& b = head[i * step + partner];
        const float x = a, y = b;
        a = x * cosine[i] - y * sine[i];
        b = y * cosine[i] + x * sine[i];
    }
}

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

// total := total and part, two results over different keys of one query.
void merge(QueryState& total, const QueryState& part, std::size_t width) {
    if (part.weight == 0) return; // it sees none of these keys
    if (total.weight == 0) {
        std::memcpy(total.sum, part.sum, width * sizeof(float));
        total.max = part.max;
        total.weight = part.weight;
        return;
    }
    const float max = std::max(total.max, part.max);
    const float old_factor = std::exp(total.max - max), new_factor = std::exp(part.max - max);
    for (std::size_t d = 0; d < width; ++d) total.sum[d] = total.sum[d] * old_factor + part.sum[d] * new_factor;
    total.weight = total.weight * old_factor + part.weight * new_factor;
    total.max = max;
}

} // namespace

KvBytes Attention::bytes(const KvView& cache) { return KvLayout(cache).bytes(); }

void Attention::move_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from) {
    const KvLayout layout(cache);
    for (std::size_t head = 0; head < cache.kv_heads; ++head) {
        for (std::size_t i = 0; i < from.size(); ++i) {
            const std::size_t source = first + static_cast<std::size_t>(from[i]), target = first + i;
            if (source == target) continue;
            layout.copy_key(layout.keys(slot, head, target), target % key_group, layout.keys(slot, head, source), source % key_group);
            std::memcpy(layout.value(slot, head, target), layout.value(slot, head, source), layout.value_bytes());
        }
    }
}

void Attention::begin_step(const StepPlan& plan) {
    plan_ = &plan;
    for (auto& [rope, rotation] : rotations_) rotation.cosine.clear();
    scratch_.resize(pool_.size());
}

const Attention::Rotation& Attention::rotation(const Rope& rope) {
    Rotation& table = rotations_[&rope];
    if (!table.cosine.empty()) return table;
    const std::size_t pairs = rope.dimensions / 2;
    table.cosine.resize(plan_->size() * pairs);
    table.sine.resize(plan_->size() * pairs);
    pool_.run(plan_->size(), 8, [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t row = begin; row < end; ++row) {
            for (std::size_t i = 0; i < pairs; ++i) {
                const double angle = plan_->rows[row].position * rope.frequency[i];
                table.cosine[row * pairs + i] = static_cast<float>(std::cos(angle) * rope.magnitude);
                table.sine[row * pairs + i] = static_cast<float>(std::sin(angle) * rope.magnitude);
            }
        }
    });
    return table;
}

void Attention::norm_and_rotate(const AttentionArgs& args, const Rotation& rotation, std::size_t row, const Vector* norm,
                                float* head) {
    const std::size_t pairs = args.rope->dimensions / 2;
    if (norm) kernels_.rms_norm(head, norm->data(), args.epsilon, args.cache.head_dim, head);
    rotate(head, rotation.cosine.data() + row * pairs, rotation.sine.data() + row * pairs, *args.rope);
}

void Attention::prepare_query(const AttentionArgs& args, const Rotation& rotation, std::size_t row) {
    const std::size_t stride = args.gated ? 2 * args.cache.head_dim : args.cache.head_dim;
    for (std::size_t head = 0; head < args.heads; ++head) {
        norm_and_rotate(args, rotation, row, args.q_norm, args.q.data + row * args.q.width + head * stride);
    }
}

void Attention::store_row(const AttentionArgs& args, const Rotation& rotation, std::size_t row) {
    const KvLayout layout(args.cache);
    const PlanRow& plan_row = plan_->rows[row];
    const PlanSequence& sequence = plan_->sequences[static_cast<std::size_t>(plan_row.sequence)];
    const std::size_t dim = args.cache.head_dim;
    const auto slot = static_cast<std::size_t>(sequence.slot);
    const auto token = static_cast<std::size_t>(sequence.committed) + static_cast<std::size_t>(plan_row.local);
    for (std::size_t head = 0; head < args.cache.kv_heads; ++head) {
        float* k = args.k.data + row * args.k.width + head * dim;
        const float* v = args.v.data + row * args.v.width + head * dim;
        norm_and_rotate(args, rotation, row, args.k_norm, k);
        layout.write_key(layout.keys(slot, head, token), token % key_group, k, kernels_);
        layout.write_value(layout.value(slot, head, token), v, kernels_);
    }
}

// The block of keys at positions first .. first + key_block. Tokens of a path lie in place; those of a tree's branch are
// collected from where its rows wrote them.
KeyBlock Attention::gather(const AttentionArgs& args, const PlanSequence& sequence, const PlanRow& row, std::size_t kv_head,
                           std::size_t first, std::size_t end, Scratch& scratch) const {
    const KvLayout layout(args.cache);
    const auto slot = static_cast<std::size_t>(sequence.slot), committed = static_cast<std::size_t>(sequence.committed);
    const std::size_t last = std::min(end, first + key_block);
    KeyBlock block;
    block.first = first;
    for (std::size_t group = 0; group < key_block / key_group; ++group) {
        block.k[group] = layout.keys(slot, kv_head, std::min(first + group * key_group, layout.last_group_token()));
    }
    const std::byte* values = layout.value(slot, kv_head, first);
    for (std::size_t token = first; token < last; ++token) block.v[token - first] = values + (token - first) * layout.value_bytes();
    if (sequence.path || last <= committed) return block;

    scratch.keys.resize(key_block / key_group * layout.group_bytes());
    for (std::size_t group = 0; group < key_block / key_group; ++group) {
        const std::size_t group_end = first + (group + 1) * key_group;
        if (group_end <= committed) continue;
        std::byte* to = scratch.keys.data() + group * layout.group_bytes();
        std::memcpy(to, block.k[group], layout.group_bytes());
        for (std::size_t token = std::max(first + group * key_group, committed); token < std::min(group_end, last); ++token) {
            const std::size_t source = committed + local_at(row, token - committed);
            layout.copy_key(to, token % key_group, layout.keys(slot, kv_head, source), source % key_group);
            block.v[token - first] = layout.value(slot, kv_head, source);
        }
        block.k[group] = to;
    }
    return block;
}

// Queries first .. of a task, with nothing seen yet and without room for their sums.
Attention::Tile Attention::make_tile(const AttentionArgs& args, const Task& task, std::size_t first) const {
    const std::size_t dim = args.cache.head_dim, group = args.heads / args.cache.kv_heads;
    Tile tile;
    tile.first = first;
    tile.count = std::min(query_tile, task.rows * group - first);
    tile.begin = std::numeric_limits<std::size_t>::max();
    tile.end = 0;
    for (std::size_t i = 0; i < tile.count; ++i) {
        const std::size_t row = task.first_row + (first + i) / group, head = task.kv_head * group + (first + i) % group;
        QueryState& query = tile.queries[i];
        query.q = args.q.data + row * args.q.width + head * (args.gated ? 2 * dim : dim);
        query.max = minus_infinity;
        query.end = static_cast<std::size_t>(plan_->rows[row].position) + 1;
        query.begin = args.window && query.end > args.window ? query.end - args.window : 0;
        if (args.bidirectional) query.end = static_cast<std::size_t>(task.sequence->committed) + static_cast<std::size_t>(task.sequence->rows);
        tile.begin = std::min(tile.begin, query.begin);
        tile.end = std::max(tile.end, query.end);
    }
    return tile;
}

// Sets the queries of a task's tiles to their result over one partition: block by block, so that each is fetched, and made f32,
// once for all tiles.
void Attention::attend_partition(const AttentionArgs& args, const Task& task, std::span<Tile> tiles, std::size_t partition,
                                 Scratch& scratch) const {
    const std::size_t dim = args.cache.head_dim, group = args.heads / args.cache.kv_heads;
    const auto committed = static_cast<std::size_t>(task.sequence->committed);
    std::size_t begin = std::numeric_limits<std::size_t>::max(), end = 0;
    for (Tile& tile : tiles) {
        for (std::size_t i = 0; i < tile.count; ++i) {
            QueryState& query = tile.queries[i];
            std::fill_n(query.sum, padded_dim(dim), 0.0f);
            query.max = minus_infinity;
            query.weight = 0;
        }
        begin = std::min(begin, tile.begin / key_block * key_block);
        end = std::max(end, tile.end);
    }
    begin = std::max(begin, partition * key_partition);
    end = std::min(end, (partition + 1) * key_partition);
    for (std::size_t first = begin; first < end; first += key_block) {
        if (task.sequence->path || std::min(end, first + key_block) <= committed) {
            DType type = args.cache.type;
            KeyBlock block = gather(args, *task.sequence, plan_->rows[task.first_row], task.kv_head, first, end, scratch);
            if (type != DType::f32 && tiles.size() > 1) {
                widen(block, type, dim, std::min(end, first + key_block) - first, scratch);
                type = DType::f32;
            }
            for (Tile& tile : tiles) {
                if (tile.begin < first + key_block && tile.end > first) kernels_.attend(tile.queries, tile.count, block, type, dim, args.scale);
            }
            continue;
        }
        // The rows of a tree share the committed keys; behind them each has keys of its own.
        for (Tile& tile : tiles) {
            for (std::size_t i = 0, next = 0; i < tile.count; i = next) {
                const std::size_t row = (tile.first + i) / group, last = std::min(end, tile.queries[i].end);
                next = std::min(tile.count, (row + 1) * group - tile.first);
                if (first >= last) continue;
                const KeyBlock block = gather(args, *task.sequence, plan_->rows[task.first_row + row], task.kv_head, first, last, scratch);
                kernels_.attend(tile.queries + i, next - i, block, args.cache.type, dim, args.scale);
            }
        }
    }
}

// Makes f32 of a block's keys and of its first `tokens` values.
void Attention::widen(KeyBlock& block, DType type, std::size_t head_dim, std::size_t tokens, Scratch& scratch) const {
    const std::size_t padded = padded_dim(head_dim), keys = key_group * head_dim;
    scratch.wide.resize(key_block * (head_dim + padded));
    float* to = scratch.wide.data();
    for (std::size_t group = 0; group * key_group < tokens; ++group, to += keys) {
        kernels_.widen_keys(block.k[group], type, head_dim, to);
        block.k[group] = reinterpret_cast<const std::byte*>(to);
    }
    for (std::size_t token = 0; token < tokens; ++token, to += padded) {
        kernels_.widen_value(block.v[token], type, head_dim, to);
        block.v[token] = reinterpret_cast<const std::byte*>(to);
    }
}

void Attention::finish(const AttentionArgs& args, const Task& task, Tile& tile) const {
    const std::size_t dim = args.cache.head_dim, group = args.heads / args.cache.kv_heads;
    for (std::size_t i = 0; i < tile.count; ++i) {
        const QueryState& query = tile.queries[i];
        const std::size_t row = task.first_row + (tile.first + i) / group;
        const std::size_t head = task.kv_head * group + (tile.first + i) % group;
        float* out = args.out.data + row * args.out.width + head * dim;
        std::memcpy(out, query.sum, dim * sizeof(float));
        kernels_.scale(1 / query.weight, dim, out);
        if (args.gated) kernels_.sigmoid_gate(query.q + dim, dim, out);
    }
}

// A task's tiles, with sums from `sums` on, one behind the other.
void Attention::make_tiles(const AttentionArgs& args, const Task& task, float* sums, std::vector<Tile>& tiles) const {
    const std::size_t padded = padded_dim(args.cache.head_dim), queries = task.rows * (args.heads / args.cache.kv_heads);
    tiles.clear();
    for (std::size_t first = 0; first < queries; first += query_tile) {
        tiles.push_back(make_tile(args, task, first));
        for (std::size_t i = 0; i < tiles.back().count; ++i) tiles.back().queries[i].sum = sums + (first + i) * padded;
    }
}

// A whole task, partition by partition.
void Attention::attend(const AttentionArgs& args, const Task& task, Scratch& scratch) const {
    const std::size_t padded = padded_dim(args.cache.head_dim), queries = task.rows * (args.heads / args.cache.kv_heads);
    scratch.sums.resize(2 * queries * padded);
    make_tiles(args, task, scratch.sums.data(), scratch.totals);
    make_tiles(args, task, scratch.sums.data() + queries * padded, scratch.parts);
    std::size_t begin = std::numeric_limits<std::size_t>::max(), end = 0;
    for (const Tile& tile : scratch.totals) begin = std::min(begin, tile.begin), end = std::max(end, tile.end);
    for (std::size_t p = begin / key_partition; p * key_partition < end; ++p) {
        attend_partition(args, task, scratch.parts, p, scratch);
        for (std::size_t t = 0; t < scratch.totals.size(); ++t) {
            for (std::size_t i = 0; i < scratch.totals[t].count; ++i) merge(scratch.totals[t].queries[i], scratch.parts[t].queries[i], padded);
        }
    }
    for (Tile& tile : scratch.totals) finish(args, task, tile);
}

// Shares the partitions of a sequence's keys between threads, where it has too few rows and heads to occupy them; the same
// arithmetic as attend(). False: not worth it, nothing done.
bool Attention::attend_split(const AttentionArgs& args, const PlanSequence& sequence) {
    const std::size_t rows = static_cast<std::size_t>(sequence.rows), kv_heads = args.cache.kv_heads;
    const std::size_t tasks = (rows + rows_per_task - 1) / rows_per_task * kv_heads;
    const std::size_t end = static_cast<std::size_t>(sequence.committed) + rows;
    const std::size_t first = args.window && static_cast<std::size_t>(sequence.committed) + 1 > args.window
                                  ? (static_cast<std::size_t>(sequence.committed) + 1 - args.window) / key_partition
                                  : 0;
    const std::size_t partitions = (end + key_partition - 1) / key_partition - first;
    if (tasks >= 2 * pool_.size() || pool_.size() == 1 || partitions == 1) return false;

    const std::size_t padded = padded_dim(args.cache.head_dim), queries = std::min(rows_per_task, rows) * (args.heads / kv_heads);
    const std::size_t unit = tasks * queries; // of one partition
    if (unit * partitions * padded > most_partial_sums) return false;
    if (partial_states_.size() < unit * partitions || partial_sums_.size() < unit * partitions * padded) {
        const std::size_t all = std::max(partitions, std::min(args.cache.capacity / key_partition + 1, most_partial_sums / (unit * padded)));
        partial_states_.resize(std::max(partial_states_.size(), unit * all));
        partial_sums_.resize(std::max(partial_sums_.size(), unit * all * padded));
    }
    const auto task_at = [&](std::size_t index) {
        const std::size_t row = index / kv_heads * rows_per_task;
        return Task{&sequence, static_cast<std::size_t>(sequence.first_row) + row, std::min(rows_per_task, rows - row), index % kv_heads};
    };
    const auto query_count = [&](const Task& task) { return task.rows * (args.heads / kv_heads); };
    pool_.run(tasks * partitions, 1, [&](std::size_t begin, std::size_t last, std::size_t thread) {
        for (std::size_t item = begin; item < last; ++item) {
            const Task task = task_at(item / partitions);
            std::vector<Tile>& tiles = scratch_[thread].parts;
            make_tiles(args, task, partial_sums_.data() + item * queries * padded, tiles);
            attend_partition(args, task, tiles, first + item % partitions, scratch_[thread]);
            for (const Tile& tile : tiles) {
                std::copy_n(tile.queries, tile.count, partial_states_.begin() + static_cast<std::ptrdiff_t>(item * queries + tile.first));
            }
        }
    });
    pool_.run(tasks, 8, [&](std::size_t begin, std::size_t last, std::size_t thread) {
        std::vector<float>& sums = scratch_[thread].sums;
        sums.resize(2 * query_tile * padded);
        for (std::size_t index = begin; index < last; ++index) {
            const Task task = task_at(index);
            for (std::size_t query = 0; query < query_count(task); query += query_tile) {
                Tile tile = make_tile(args, task, query);
                for (std::size_t i = 0; i < tile.count; ++i) {
                    tile.queries[i].sum = sums.data() + i * padded;
                    for (std::size_t p = 0; p < partitions; ++p) {
                        merge(tile.queries[i], partial_states_[(index * partitions + p) * queries + query + i], padded);
                    }
                }
                finish(args, task, tile);
            }
        }
    });
    return true;
}

void Attention::store(const AttentionArgs& args) {
    const Rotation& table = rotation(*args.rope);
    pool_.run(plan_->size(), 4, [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t row = begin; row < end; ++row) store_row(args, table, row);
    });
}

void Attention::run(const AttentionArgs& args) {
    const Rotation& table = rotation(*args.rope);
    pool_.run(plan_->size(), plan_->size() <= 2 ? 2 : 4, [&](std::size_t begin, std::size_t end, std::size_t) {
        for (std::size_t row = begin; row < end; ++row) {
            prepare_query(args, table, row);
            store_row(args, table, row);
        }
    });
    for (const PlanSequence& sequence : plan_->sequences) {
        if (attend_split(args, sequence)) continue;
        const std::size_t rows = static_cast<std::size_t>(sequence.rows), tasks = (rows + rows_per_task - 1) / rows_per_task;
        // The last rows see most keys: they go first, so that threads finish together.
        pool_.run(tasks * args.cache.kv_heads, 1, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            for (std::size_t task = begin; task < end; ++task) {
                const std::size_t first = (tasks - 1 - task / args.cache.kv_heads) * rows_per_task;
                attend(args, {&sequence, static_cast<std::size_t>(sequence.first_row) + first, std::min(rows_per_task, rows - first),
                              task % args.cache.kv_heads}, scratch_[thread]);
            }
        });
    }
}

} // namespace lucebox::compute::cpu
