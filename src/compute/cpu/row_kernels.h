// The inner loops of the CPU device over f32 rows, as one table of functions for each instruction set.
//
// row_kernels.inc is compiled once for every set; reference.cpp fills the same table with plain loops in double, which
// are the oracle. What a function computes for a row never depends on the other rows of a call.
#pragma once

#include "compute/cpu/packed_matrix.h"
#include "compute/device.h"

#include <cstddef>
#include <cstdint>

namespace lucebox::compute::cpu {

// Keys lie in groups of 16 tokens, [head_dim][16], so that vector lanes are tokens; values lie token by token, padded. Behind
// a group's keys of q8_0 come their scales, f16 [blocks][16]; behind a token's value come its own, f16 [blocks].
inline constexpr std::size_t key_group = 16;
// Attention takes keys in blocks of this many, aligned to absolute positions, and merges the blocks in order.
inline constexpr std::size_t key_block = 64;
constexpr std::size_t padded_dim(std::size_t head_dim) { return (head_dim + 15) / 16 * 16; }
constexpr std::size_t key_group_bytes(DType type, std::size_t head_dim) { return key_group * kv_head_bytes(type, head_dim); }
constexpr std::size_t value_bytes(DType type, std::size_t head_dim) { return kv_head_bytes(type, padded_dim(head_dim)); }

// Up to this many queries share one pass over the keys: the conversion of f16 keys then costs a fifth of the products.
inline constexpr std::size_t query_tile = 8;

struct KeyBlock {
    const std::byte* k[key_block / key_group]; // groups of 16 keys; those behind the last visible one may be anything
    const std::byte* v[key_block];             // values
    std::size_t first = 0;                     // position of the first key, a multiple of key_block
};

// One query's running softmax over the blocks seen so far.
struct QueryState {
    const float* q = nullptr;   // [head_dim]
    float* sum = nullptr;       // [padded_dim], weighted values
    float max = 0, weight = 0;  // of the scores so far; weight is the sum of exponentials
    std::size_t begin = 0, end = 0; // positions it sees
};

struct RowKernels {
    // out = x / sqrt(mean(x^2) + epsilon) * weight; out may be x.
    void (*rms_norm)(const float* x, const float* weight, float epsilon, std::size_t n, float* out);
    void (*add)(const float* x, std::size_t n, float* out); // out += x
    void (*scale)(float factor, std::size_t n, float* x);
    // gate[i] = activation(gate[i]) * up[i]
    void (*gate)(Activation activation, const float* up, std::size_t n, float* gate);
    // x[i] *= sigmoid(gate[i])
    void (*sigmoid_gate)(const float* gate, std::size_t n, float* x);
    // x[i] = silu(x[i])
    void (*silu)(std::size_t n, float* x);
    // x = factor * x / sqrt(sum(x^2) + epsilon)
    void (*l2_normalise)(float factor, float epsilon, std::size_t n, float* x);
    void (*to_f16)(const float* x, std::size_t n, std::uint16_t* out);
    // A group of keys (head_dim * 16 values) or one value (padded head_dim), from f16 or q8_0: exactly what attend() reads.
    void (*widen_keys)(const std::byte* group, DType type, std::size_t head_dim, float* out);
    void (*widen_value)(const std::byte* value, DType type, std::size_t head_dim, float* out);
    // Adds one block of keys to 1..query_tile queries.
    void (*attend)(QueryState* queries, std::size_t count, const KeyBlock& block, DType type, std::size_t head_dim,
                   float scale);
    // sum of e^(x[i] - max); values that are not numbers count as minus infinity
    double (*sum_exponentials)(const float* x, float max, std::size_t n);
    // Gated delta rule on one head: M = decay M; e = beta (v - M^T k); M += k e^T; out = M^T q (out may be null).
    void (*delta_rule)(float* m, const float* q, const float* k, const float* v, float beta, float decay,
                       std::size_t dim, float* out);
};

const RowKernels& row_kernels(Isa isa);
const RowKernels& reference_kernels();

} // namespace lucebox::compute::cpu
