// How the tokens of a sequence are cut for attention: by absolute positions alone, so that a row's result does not depend
// on who else is in the step nor on how long the text is.
//
// Short near the start, where there is little to share out; longer further on, but never so long that the last ones are more than a
// block's fair share: behind 128K tokens, 528 blocks have 990 tokens each.
#pragma once

#include <algorithm>
#include <cstddef>

namespace lucebox::compute::cuda {

#ifdef __CUDACC__
#define LUCEBOX_BOTH __host__ __device__
#else
#define LUCEBOX_BOTH
#endif

// Partitions of `tokens` from position `begin` on; `first` is the number of the first.
struct PartitionSpan {
    int begin, first, tokens;
};
// The span that a position, or a partition, lies in.
LUCEBOX_BOTH constexpr PartitionSpan partition_span(int position) {
    if (position < 4096) return {0, 0, 64};
    if (position < 8192) return {4096, 64, 128};
    if (position < 32768) return {8192, 96, 256};
    return {32768, 192, 512};
}
LUCEBOX_BOTH constexpr PartitionSpan span_of_partition(int partition) {
    if (partition < 64) return partition_span(0);
    if (partition < 96) return partition_span(4096);
    if (partition < 192) return partition_span(8192);
    return partition_span(32768);
}

// Partition p holds the tokens partition_begin(p) .. partition_begin(p + 1) - 1.
LUCEBOX_BOTH constexpr int partition_of(int position) {
    const PartitionSpan span = partition_span(position);
    return span.first + (position - span.begin) / span.tokens;
}

LUCEBOX_BOTH constexpr int partition_begin(int partition) {
    const PartitionSpan span = span_of_partition(partition);
    return span.begin + (partition - span.first) * span.tokens;
}

#undef LUCEBOX_BOTH

// More than these take more than one block to be added up soon: contexts beyond 24K tokens.
inline constexpr int many_partitions = 160;

// Sums of partitions are held for at most so many rows times partitions at once (317 MB for 24 heads of 256: 32 rows behind 128K
// tokens), or for 16 rows. A step of more takes its rows in passes.
inline constexpr std::size_t held_partitions = 12800, least_pass_rows = 16, most_pass_rows = 64;

inline constexpr std::size_t partitions_of_context(std::size_t context) {
    return static_cast<std::size_t>(partition_of(static_cast<int>(context) - 1)) + 1;
}
// The rows of a pass of a step whose longest row sees `context` tokens.
inline constexpr std::size_t pass_rows_of_context(std::size_t context) {
    std::size_t rows = most_pass_rows; // halved, since a pass's last tile of queries is better full
    while (rows > least_pass_rows && rows * partitions_of_context(context) > held_partitions) rows /= 2;
    return rows;
}
// The most rows times partitions of any pass, over contexts up to this one.
inline constexpr std::size_t pass_partitions(std::size_t rows, std::size_t context) {
    const std::size_t partitions = partitions_of_context(context);
    return std::min(partitions * std::min(rows, most_pass_rows), std::max(held_partitions, partitions * least_pass_rows));
}

} // namespace lucebox::compute::cuda
