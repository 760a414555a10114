// How the value heads of a key head are cut into blocks of the step kernel, and what lies where in a block's shared
// memory. Fixed for head size 128, so that the compiler sees numbers; computed for other sizes.
#pragma once

#include "compute/cuda/delta_net/rows.cuh"
#include "compute/cuda/delta_net/walk.h"

namespace lucebox::compute::cuda::delta {

constexpr int most_parts = 8; // blocks of a head group; the portable cluster size
constexpr int batch_rows = 8; // rows prepared at a time: one for each warp of a block
constexpr int padded_keys = 128;
constexpr int most_threads = 448;

struct Layout {
    int dim = 0, heads = 0;                // size of a head, value heads in a block
    int parts = 0, columns = 0;            // blocks of a head group; columns of each head in a block
    int walkers = 0;                       // warps that hold the state, four columns of every head each; as many help
    int quads = 0;                         // heads * columns / 4
    int per_tap = 0, own_quads = 0;        // channels of a block; channels / 4 of its head group
    int saved_floats = 0, shared_saves = 0; // of one saved state; how many of them fit shared memory
    int weights = 0, k = 0, q = 0, v = 0, gates = 0, out = 0, sums = 0, tail = 0, saves = 0, floats = 0; // offsets in floats

    constexpr Layout(int dim_, int heads_, int shared_saves_) : dim(dim_), heads(heads_), shared_saves(shared_saves_) {
        parts = dim % 32 == 0 ? most_parts : 4;
        columns = dim / parts;
        walkers = columns / 4;
        quads = heads * walkers;
        per_tap = 2 * padded_keys + heads * columns;
        own_quads = (2 + heads) * dim / 4;
        saved_floats = quads * 512;
        int at = 0;
        const auto take = [&](int count) {
            const int begin = at;
            at += (count + 3) / 4 * 4;
            return begin;
        };
        weights = take(max_taps * per_tap);
        k = take(2 * batch_rows * padded_keys);
        q = take(2 * batch_rows * padded_keys);
        v = take(2 * batch_rows * heads * columns);
        gates = take(2 * batch_rows * heads * 4); // decay, write strength, k . q
        out = take(3 * batch_rows * heads * columns);
        sums = take(2 * batch_rows * heads * most_parts);
        tail = take((own_quads + parts - 1) / parts * 4 * (max_taps - 1));
        saves = take(shared_saves * saved_floats);
        floats = at;
    }
};

// Kernels are compiled for head size 128 (FIXED) and for any other one. What does not depend on the card is a constant.
template <bool FIXED, int HEADS> struct LayoutOf {
    __device__ static constexpr Layout get(const Layout& any) {
        if constexpr (!FIXED) return any;
        Layout layout(128, HEADS, max_saved_states);
        layout.shared_saves = any.shared_saves;
        return layout;
    }
};

} // namespace lucebox::compute::cuda::delta
