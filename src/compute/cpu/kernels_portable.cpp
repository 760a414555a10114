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

// dots[o] = sum over a sub-block's inputs of code * x; returns the sum of x.
std::int32_t dot_sub_block(const BlockCodes& block, std::size_t first, std::size_t count, const ActivationBlock& x,
                           std::int32_t* dots) {
    std::fill_n(dots, group_outputs, 0);
    std::int32_t x_sum = 0;
    for (std::size_t i = first; i < first + count; ++i) {
        x_sum += x.values[i];
        for (std::size_t o = 0; o < group_outputs; ++o) dots[o] += block.codes[i][o] * x.values[i];
    }
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
void add_unit(const Format& format, const UnitScales& scales, const BlockCodes* codes, std::size_t blocks,
              const ActivationBlock* x, float* acc) {
    const auto sub = static_cast<std::size_t>(format.sub_block);
    const std::size_t parts = block_inputs / sub;
    std::int32_t dots[group_outputs];
    for (std::size_t b = 0; b < blocks; ++b) {
        float sums[group_outputs] = {};
        float x_sums[2] = {};
        for (std::size_t part = 0; part < parts; ++part) {
            const std::int32_t x_sum = dot_sub_block(codes[b], part * sub, sub, x[b], dots);
            const float* scale = scales.scale[b * parts + part];
            x_sums[part] = static_cast<float>(x_sum) * x[b].scale;
            for (std::size_t o = 0; o < group_outputs; ++o) {
                const auto dot = static_cast<float>(dots[o] - format.offset * x_sum);
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
    BlockCodes codes[unit_blocks];
    const std::byte* unit = job.weights + output / group_outputs * job.group_bytes;
    const std::size_t all_blocks = job.inputs / block_inputs;
    for (std::size_t block = 0; block < all_blocks; block += unit_blocks) {
        const std::size_t blocks = std::min(unit_blocks, all_blocks - block);
        const UnitLayout layout = unit_layout(format, blocks);
        read_scales(format, unit, blocks, scales);
        for (std::size_t b = 0; b < blocks; ++b) {
            read_codes(format.codes, unit + layout.codes + b * code_bytes(format.codes), codes[b]);
            if (job.table == nullptr) continue;
            for (auto& line : codes[b].codes)
                for (std::uint8_t& code : line) code = (*job.table)[code];
        }
        for (std::size_t r = 0; r < rows; ++r) {
            const std::byte* x = job.x + (first_row + r) * job.x_stride;
            add_unit(format, scales, codes, blocks, reinterpret_cast<const ActivationBlock*>(x) + block, acc[r]);
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

template <FloatFormat F>
void multiply_float(const MultiplyJob& job) {
    constexpr std::size_t value_bytes = F == FloatFormat::f32 ? 4 : 2;
    for (std::size_t output = job.first; output < job.end; output += group_outputs) {
        const std::byte* weights = job.weights + output / group_outputs * job.group_bytes;
        for (std::size_t r = 0; r < job.rows; ++r) {
            const auto* x = reinterpret_cast<const float*>(job.x + r * job.x_stride);
            float acc[4][group_outputs] = {};
            for (std::size_t i = 0; i < job.inputs; ++i)
                for (std::size_t o = 0; o < group_outputs; ++o)
                    acc[i % 4][o] += to_f32(F, weights + (i * group_outputs + o) * value_bytes) * x[i];
            for (std::size_t o = 0; o < group_outputs; ++o)
                acc[0][o] = (acc[0][o] + acc[1][o]) + (acc[2][o] + acc[3][o]);
            store(job, r, output, acc[0]);
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
