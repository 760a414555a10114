// Plain loops over the packed layout: the answer for machines without AVX2.
#include "compute/cpu/kernels_quantised.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lucebox::compute::cpu {
namespace {

float f16_at(const std::byte* base, std::size_t index) {
    std::uint16_t bits;
    std::memcpy(&bits, base + 2 * index, 2);
    return gguf::f16_to_f32(bits);
}

float i8_at(const std::byte* base, std::size_t index) { return static_cast<std::int8_t>(base[index]); }

// GCC and Clang make these of whatever vector unit there is; they don't find the vectors in plain loops.
using Int16x8 = std::int16_t __attribute__((vector_size(16)));
using Int32x8 = std::int32_t __attribute__((vector_size(32)));

// The values of one block, less 128 where they are larger than 7 bits, so that 16 bits hold the sum of two products.
struct BlockValues {
    Int16x8 values[block_inputs][2]; // 16 outputs
};

constexpr int taken_out(const Format& format) { return format.offset == 128 ? 128 : 0; }

void read_values(const Format& format, const CodeTable* table, const std::byte* packed, BlockValues& out) {
    BlockCodes codes;
    read_codes(format.codes, packed, codes);
    for (std::size_t i = 0; i < block_inputs; ++i) {
        for (std::size_t o = 0; o < group_outputs; ++o) {
            const std::uint8_t code = codes.codes[i][o];
            const int value = (table == nullptr ? code : (*table)[code]) - taken_out(format);
            out.values[i][o / 8][o % 8] = static_cast<std::int16_t>(value);
        }
    }
}

// dots[o] = sum over a sub-block's inputs of value * x; returns the sum of x.
std::int32_t dot_sub_block(const BlockValues& block, std::size_t first, std::size_t count, const ActivationBlock& x,
                           std::int32_t* dots) {
    Int32x8 sums[2] = {};
    std::int32_t x_sum = 0;
    for (std::size_t i = first; i < first + count; i += 2) {
        x_sum += x.values[i] + x.values[i + 1];
        for (std::size_t half = 0; half < 2; ++half) {
            const Int16x8 pair = block.values[i][half] * static_cast<std::int16_t>(x.values[i]) +
                                 block.values[i + 1][half] * static_cast<std::int16_t>(x.values[i + 1]);
            sums[half] += __builtin_convertvector(pair, Int32x8);
        }
    }
    std::memcpy(dots, sums, sizeof sums);
    return x_sum;
}

struct UnitScales {
    float scale[2 * unit_blocks][group_outputs];
    float min[2 * unit_blocks][group_outputs];
};

void read_scales(const Format& format, const std::byte* unit, std::size_t blocks, UnitScales& out) {
    const std::size_t sub_blocks = blocks * block_inputs / static_cast<std::size_t>(format.sub_block);
    for (std::size_t s = 0; s < sub_blocks; ++s) {
        for (std::size_t o = 0; o < group_outputs; ++o) {
            out.scale[s][o] = unit_scale(format, unit, blocks, s, o);
            out.min[s][o] = format.mins ? unit_min(format, unit, blocks, s, o) : 0.0f;
        }
    }
}

// Sums of one group for one row, added to acc.
void add_unit(const Format& format, const UnitScales& scales, const BlockValues* values, std::size_t blocks,
              const ActivationBlock* x, float* acc) {
    const auto sub = static_cast<std::size_t>(format.sub_block);
    const std::size_t parts = block_inputs / sub;
    std::int32_t dots[group_outputs];
    for (std::size_t b = 0; b < blocks; ++b) {
        float sums[group_outputs] = {};
        float x_sums[2] = {};
        for (std::size_t part = 0; part < parts; ++part) {
            const std::int32_t x_sum = dot_sub_block(values[b], part * sub, sub, x[b], dots);
            const float* scale = scales.scale[b * parts + part];
            x_sums[part] = static_cast<float>(x_sum) * x[b].scale;
            for (std::size_t o = 0; o < group_outputs; ++o) {
                const auto dot = static_cast<float>(dots[o] - (format.offset - taken_out(format)) * x_sum);
                sums[o] = part == 0 ? dot * scale[o] : std::fma(dot, scale[o], sums[o]);
            }
        }
        for (std::size_t o = 0; o < group_outputs; ++o) acc[o] = std::fma(sums[o], x[b].scale, acc[o]);
        if (!format.mins) continue;
        for (std::size_t part = 0; part < parts; ++part)
            for (std::size_t o = 0; o < group_outputs; ++o)
                acc[o] = std::fma(scales.min[b * parts + part][o], x_sums[part], acc[o]);
    }
}

void store(const MultiplyJob& job, std::size_t row, std::size_t output, const float* values) {
    float* out = job.out + row * job.out_stride + output;
    const std::size_t count = std::min(group_outputs, job.end - output);
    for (std::size_t o = 0; o < count; ++o) out[o] = job.accumulate ? out[o] + values[o] : values[o];
}

void multiply_group(const Format& format, const MultiplyJob& job, std::size_t output, std::size_t first_row,
                    std::size_t rows) {
    constexpr std::size_t most_rows = 64;
    float acc[most_rows][group_outputs] = {};
    UnitScales scales;
    BlockValues values[unit_blocks];
    const std::byte* unit = job.weights + output / group_outputs * job.group_bytes;
    const std::size_t all_blocks = job.inputs / block_inputs;
    for (std::size_t block = 0; block < all_blocks; block += unit_blocks) {
        const std::size_t blocks = std::min(unit_blocks, all_blocks - block);
        const UnitLayout layout = unit_layout(format, blocks);
        read_scales(format, unit, blocks, scales);
        for (std::size_t b = 0; b < blocks; ++b)
            read_values(format, job.table, unit + layout.codes + b * code_bytes(format.codes), values[b]);
        for (std::size_t r = 0; r < rows; ++r) {
            const std::byte* x = job.x + (first_row + r) * job.x_stride;
            add_unit(format, scales, values, blocks, reinterpret_cast<const ActivationBlock*>(x) + block, acc[r]);
        }
        unit += layout.bytes;
    }
    for (std::size_t r = 0; r < rows; ++r) store(job, first_row + r, output, acc[r]);
}

float to_f32(FloatFormat format, const std::byte* at) {
    if (format == FloatFormat::f32) {
        float value;
        std::memcpy(&value, at, 4);
        return value;
    }
    std::uint16_t bits;
    std::memcpy(&bits, at, 2);
    return format == FloatFormat::f16 ? gguf::f16_to_f32(bits) : gguf::bf16_to_f32(bits);
}

// Four partial sums for each output, by input modulo 4.
using Floats16 = float __attribute__((vector_size(64)));
struct FloatSums {
    Floats16 parts[4];
};

void add_inputs(const Floats16* w, const float* x, std::size_t inputs, FloatSums& sums) {
    FloatSums local = sums;
    std::size_t i = 0;
    for (; i + 4 <= inputs; i += 4) {
        local.parts[0] += w[i] * x[i];
        local.parts[1] += w[i + 1] * x[i + 1];
        local.parts[2] += w[i + 2] * x[i + 2];
        local.parts[3] += w[i + 3] * x[i + 3];
    }
    for (std::size_t p = 0; i < inputs; ++i, ++p) local.parts[p] += w[i] * x[i];
    sums = local;
}

// Weights are converted once for as many rows as have their sums at hand.
template <FloatFormat F>
void multiply_float(const MultiplyJob& job) {
    constexpr std::size_t value_bytes = F == FloatFormat::f32 ? 4 : 2;
    constexpr std::size_t most_rows = 16;
    constexpr std::size_t most_inputs = 64;
    Floats16 w[most_inputs];
    for (std::size_t output = job.first; output < job.end; output += group_outputs) {
        const std::byte* weights = job.weights + output / group_outputs * job.group_bytes;
        for (std::size_t first = 0; first < job.rows; first += most_rows) {
            const std::size_t rows = std::min(most_rows, job.rows - first);
            FloatSums sums[most_rows] = {};
            for (std::size_t i = 0; i < job.inputs; i += most_inputs) {
                const std::size_t inputs = std::min(most_inputs, job.inputs - i);
                for (std::size_t j = 0; j < inputs * group_outputs; ++j)
                    w[j / group_outputs][j % group_outputs] =
                        to_f32(F, weights + (i * group_outputs + j) * value_bytes);
                for (std::size_t r = 0; r < rows; ++r)
                    add_inputs(w, reinterpret_cast<const float*>(job.x + (first + r) * job.x_stride) + i, inputs, sums[r]);
            }
            for (std::size_t r = 0; r < rows; ++r) {
                const auto& part = sums[r].parts;
                const Floats16 total = (part[0] + part[1]) + (part[2] + part[3]);
                store(job, first + r, output, reinterpret_cast<const float*>(&total));
            }
        }
    }
}

} // namespace

void read_codes(Codes kind, const std::byte* packed, BlockCodes& out) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(packed);
    for (std::size_t v = 0; v < 8; ++v) {
        for (std::size_t lane = 0; lane < 64; ++lane) {
            int code = kind == Codes::u8 ? bytes[64 * v + lane] : (bytes[64 * (v / 2) + lane] >> (4 * (v % 2))) & 15;
            if (kind == Codes::u5) code |= ((bytes[256 + lane] >> v) & 1) << 4;
            if (kind == Codes::u6) code |= ((bytes[256 + 64 * (v / 4) + lane] >> (2 * (v % 4))) & 3) << 4;
            out.codes[4 * v + lane % 4][lane / 4] = static_cast<std::uint8_t>(code);
        }
    }
}

float unit_scale(const Format& format, const std::byte* unit, std::size_t blocks, std::size_t s, std::size_t o) {
    const std::byte* scales = unit + unit_layout(format, blocks).scales;
    const std::size_t index = s * group_outputs + o;
    float value = 0;
    switch (format.scales) {
    case Scales::f16: return f16_at(scales, index);
    case Scales::super: return f16_at(unit, o) * i8_at(scales, index);
    case Scales::f32: std::memcpy(&value, scales + 4 * index, 4); return value;
    }
    return value;
}

float unit_min(const Format& format, const std::byte* unit, std::size_t blocks, std::size_t s, std::size_t o) {
    const std::byte* mins = unit + unit_layout(format, blocks).mins;
    const std::size_t index = s * group_outputs + o;
    if (format.scales == Scales::super) return f16_at(unit, group_outputs + o) * i8_at(mins, index);
    return f16_at(mins, index);
}

void multiply_portable(const Format& format, const MultiplyJob& job) {
    constexpr std::size_t most_rows = 64;
    for (std::size_t output = job.first; output < job.end; output += group_outputs)
        for (std::size_t r = 0; r < job.rows; r += most_rows)
            multiply_group(format, job, output, r, std::min(most_rows, job.rows - r));
}

MultiplyKernel float_kernel_portable(FloatFormat format) {
    switch (format) {
    case FloatFormat::f32: return multiply_float<FloatFormat::f32>;
    case FloatFormat::f16: return multiply_float<FloatFormat::f16>;
    case FloatFormat::bf16: return multiply_float<FloatFormat::bf16>;
    }
    return nullptr;
}

void quantise_row_portable(std::span<const float> x, ActivationBlock* out) {
    for (std::size_t i = 0; i < x.size(); i += block_inputs, ++out) {
        const std::size_t count = std::min(block_inputs, x.size() - i);
        float largest = 0;
        for (std::size_t j = 0; j < count; ++j) largest = std::max(largest, std::fabs(x[i + j]));
        const float inverse = largest >= smallest_activation ? 127.0f / largest : 0.0f;
        std::int32_t sums[2] = {0, 0};
        *out = {};
        for (std::size_t j = 0; j < count; ++j) {
            out->values[j] = static_cast<std::int8_t>(std::nearbyint(x[i + j] * inverse));
            sums[j / 16] += out->values[j];
        }
        out->set_sums(largest / 127.0f, sums[0], sums[1]);
    }
}

} // namespace lucebox::compute::cpu
