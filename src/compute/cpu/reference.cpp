// The oracle: every row kernel as its formula reads, in double, one value after another.
#include "compute/cpu/row_kernels.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace lucebox::compute::cpu {
namespace {

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

double sum_of_squares(const float* x, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
    return sum;
}

void rms_norm(const float* x, const float* weight, float epsilon, std::size_t n, float* out) {
    const double factor = 1 / std::sqrt(sum_of_squares(x, n) / static_cast<double>(n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i] * factor * weight[i]);
}

void add(const float* x, std::size_t n, float* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] += x[i];
}

void scale(float factor, std::size_t n, float* x) {
    for (std::size_t i = 0; i < n; ++i) x[i] *= factor;
}

void gate(Activation activation, const float* up, std::size_t n, float* gate) {
    for (std::size_t i = 0; i < n; ++i) {
        const double g = gate[i];
        const double activated = activation == Activation::silu
                                     ? g * sigmoid_of(g)
                                     : 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
        gate[i] = static_cast<float>(activated * up[i]);
    }
}

void sigmoid_gate(const float* gate, std::size_t n, float* x) {
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] * sigmoid_of(gate[i]));
}

void silu(std::size_t n, float* x) {
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] * sigmoid_of(x[i]));
}

void l2_normalise(float factor, float epsilon, std::size_t n, float* x) {
    const double by = factor / std::sqrt(sum_of_squares(x, n) + epsilon);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] * by);
}

void to_f16(const float* x, std::size_t n, std::uint16_t* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = gguf::f32_to_f16(x[i]);
}

std::uint16_t load_u16(const std::byte* at) {
    std::uint16_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

// One number of a key or a value; `scale` says where the scale of q8_0 lies.
double element(const std::byte* at, std::size_t index, DType type, const std::byte* scale) {
    if (type == DType::q8_0) return static_cast<double>(static_cast<std::int8_t>(at[index])) * gguf::f16_to_f32(load_u16(scale));
    if (type == DType::f16) return gguf::f16_to_f32(load_u16(at + 2 * index));
    float value;
    std::memcpy(&value, at + 4 * index, 4);
    return value;
}
double key_element(const std::byte* group, DType type, std::size_t head_dim, std::size_t d, std::size_t lane) {
    return element(group, d * key_group + lane, type, group + key_group * head_dim + 2 * (d / kv_block * key_group + lane));
}
double value_element(const std::byte* value, DType type, std::size_t head_dim, std::size_t d) {
    return element(value, d, type, value + padded_dim(head_dim) + 2 * (d / kv_block));
}

void widen_keys(const std::byte* group, DType type, std::size_t head_dim, float* out) {
    for (std::size_t i = 0; i < head_dim * key_group; ++i) {
        out[i] = static_cast<float>(key_element(group, type, head_dim, i / key_group, i % key_group));
    }
}
void widen_value(const std::byte* value, DType type, std::size_t head_dim, float* out) {
    for (std::size_t d = 0; d < padded_dim(head_dim); ++d) out[d] = static_cast<float>(value_element(value, type, head_dim, d));
}

void attend(QueryState* queries, std::size_t count, const KeyBlock& block, DType type, std::size_t head_dim, float factor) {
    for (QueryState* query = queries; query != queries + count; ++query) {
        for (std::size_t key = 0; key < key_block; ++key) {
            const std::size_t position = block.first + key;
            if (position < query->begin || position >= query->end) continue;
            double score = 0;
            for (std::size_t d = 0; d < head_dim; ++d) {
                score += query->q[d] * key_element(block.k[key / key_group], type, head_dim, d, key % key_group);
            }
            score *= factor;
            const double max = std::max<double>(query->max, score);
            const double rescale = std::exp(query->max - max), weight = std::exp(score - max);
            query->weight = static_cast<float>(query->weight * rescale + weight);
            for (std::size_t d = 0; d < head_dim; ++d) {
                query->sum[d] = static_cast<float>(query->sum[d] * rescale + weight * value_element(block.v[key], type, head_dim, d));
            }
            query->max = static_cast<float>(max);
        }
    }
}

double sum_exponentials(const float* x, float max, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
        if (!std::isnan(x[i])) sum += std::exp(double{x[i]} - max);
    }
    return sum;
}

void delta_rule(float* m, const float* q, const float* k, const float* v, float beta, float decay, std::size_t dim,
                float* out) {
    for (std::size_t j = 0; j < dim; ++j) {
        double read = 0;
        for (std::size_t i = 0; i < dim; ++i) {
            m[i * dim + j] *= decay;
            read += double{m[i * dim + j]} * k[i];
        }
        const double error = beta * (v[j] - read);
        double result = 0;
        for (std::size_t i = 0; i < dim; ++i) {
            m[i * dim + j] = static_cast<float>(m[i * dim + j] + k[i] * error);
            result += double{m[i * dim + j]} * q[i];
        }
        if (out) out[j] = static_cast<float>(result);
    }
}

constexpr RowKernels table = {rms_norm, add,    scale,  gate,   sigmoid_gate, silu, l2_normalise,
                              to_f16, widen_keys, widen_value, attend, sum_exponentials, delta_rule};

} // namespace

const RowKernels& reference_kernels() { return table; }

extern const RowKernels row_kernels_portable, row_kernels_avx2, row_kernels_avx512;

const RowKernels& row_kernels(Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512) return row_kernels_avx512;
    if (isa == Isa::avx2) return row_kernels_avx2;
#endif
    (void)isa;
    return row_kernels_portable;
}

} // namespace lucebox::compute::cpu
