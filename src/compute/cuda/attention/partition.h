// How the tokens of a sequence are cut for attention: by absolute positions alone, so that a row's result does not depend
// on who else is in the step nor on how long the text is.
//
// Short near the start, where there is little to share out, and a 32nd of their position further on, so that their number
// (and the room for their results) grows with the logarithm of the context.
#pragma once

namespace lucebox::compute::cuda {

inline constexpr int first_partition_tokens = 64;
inline constexpr int partitions_per_octave = 32;
inline constexpr int even_partitions_end = first_partition_tokens * partitions_per_octave;

#ifdef __CUDACC__
#define LUCEBOX_BOTH __host__ __device__
#else
#define LUCEBOX_BOTH
#endif

// Partition p holds the tokens partition_begin(p) .. partition_begin(p + 1) - 1.
LUCEBOX_BOTH constexpr int partition_of(int position) {
    if (position < even_partitions_end) return position / first_partition_tokens;
    int octave = 0;
    while ((even_partitions_end << (octave + 1)) <= position) ++octave;
    const int first = even_partitions_end << octave;
    return partitions_per_octave * (octave + 1) + (position - first) / (first / partitions_per_octave);
}

LUCEBOX_BOTH constexpr int partition_begin(int partition) {
    if (partition < partitions_per_octave) return partition * first_partition_tokens;
    const int octave = partition / partitions_per_octave - 1;
    const int first = even_partitions_end << octave;
    return first + partition % partitions_per_octave * (first / partitions_per_octave);
}

#undef LUCEBOX_BOTH

} // namespace lucebox::compute::cuda
