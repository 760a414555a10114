// f32 rows to blocks.
//
// Scales are searched, not taken from the largest value: for each of some candidate scales the integers are rounded,
// and for these integers the best scale (and offset) has a closed form, weighted least squares. The candidate with the
// smallest error wins. A value's weight is rms + |x|: large weights matter more to the output than small ones, but not
// with their square, which would give the small ones away.
#include "gguf/blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <fmt/format.h>

namespace lucebox::gguf {
namespace {

using Block = std::uint8_t*;

constexpr std::size_t lanes = 8; // sums run in as many partial sums, so that the compiler can use vectors
constexpr std::size_t largest_group = 32;

void store_u16(Block at, std::uint16_t value) {
    std::memcpy(at, &value, sizeof value);
}

// Stores as half and returns what a reader will see.
float store_f16(Block at, float value) {
    const std::uint16_t bits = f32_to_f16(value);
    store_u16(at, bits);
    return f16_to_f32(bits);
}

std::uint8_t pack_nibbles(int low, int high) {
    return static_cast<std::uint8_t>(low | high << 4);
}

// Nearest integer in lowest..highest. Adding 1.5 * 2^23 leaves the integer in the low bits; unlike lrint, vectorises.
int round_within(float value, float lowest, float highest) {
    const float bounded = std::min(std::max(value, lowest), highest);
    return std::bit_cast<std::int32_t>(bounded + 0x1.8p23f) - 0x4B400000;
}

float inverse_or_zero(float value) {
    const float inverse = 1.0f / value;
    return std::isfinite(inverse) ? inverse : 0.0f; // of 0, and of numbers too small to divide by
}

struct Sum {
    float part[lanes] = {};
    float total() const {
        float out = 0;
        for (const float value : part)
            out += value;
        return out;
    }
};

using Weights = std::array<float, largest_group>;

Weights weigh(const float* x, std::size_t count) {
    Sum squares;
    for (std::size_t i = 0; i < count; i += lanes) {
        for (std::size_t j = 0; j < lanes; ++j)
            squares.part[j] += x[i + j] * x[i + j];
    }
    const float rms = std::sqrt(squares.total() / static_cast<float>(count));
    Weights weights{};
    for (std::size_t i = 0; i < count; ++i)
        weights[i] = rms + std::fabs(x[i]);
    return weights;
}

// ---- x = scale * q

struct ScaleRange {
    float lowest; // of q
    float highest;
    float reach; // candidates place the largest value at -lowest +- reach
    int steps;   // candidates on each side
};

// The largest value by magnitude goes near `lowest`, where there is one integer more than at `highest`; hence scales
// may be negative.
float fit_scale(const float* x, std::size_t count, const ScaleRange& range) {
    float largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
    }
    const float unit = inverse_or_zero(largest);
    if (unit == 0.0f) return 0;
    const Weights weights = weigh(x, count);
    float best_score = 0;
    float best = 0;
    for (int step = -range.steps; step <= range.steps; ++step) {
        const float inverse =
            (range.lowest + range.reach * static_cast<float>(step) / static_cast<float>(range.steps)) * unit;
        Sum products;
        Sum squares;
        for (std::size_t i = 0; i < count; i += lanes) {
            for (std::size_t j = 0; j < lanes; ++j) {
                const auto q = static_cast<float>(round_within(x[i + j] * inverse, range.lowest, range.highest));
                const float weighted = weights[i + j] * q;
                products.part[j] += weighted * x[i + j];
                squares.part[j] += weighted * q;
            }
        }
        // The best scale for these q is xq / qq, and it takes xq^2 / qq off the error.
        const float xq = products.total();
        const float qq = squares.total();
        if (qq > 0 && xq * xq > best_score * qq) {
            best_score = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

// ---- x = scale * q - min

struct Affine {
    float scale = 0;
    float min = 0;
};

struct AffineSums {
    Sum w, x, q, qq, xq, xx;
};

// The least-squares line through (q, x); through the origin if `min` would be negative and must not be.
Affine solve(float w, float x, float q, float qq, float xq, bool min_may_be_negative) {
    const float determinant = w * qq - q * q;
    Affine line;
    if (determinant > 0) {
        line.scale = (w * xq - x * q) / determinant;
        line.min = (q * xq - qq * x) / determinant;
    }
    if (determinant <= 0 || (line.min < 0 && !min_may_be_negative)) line = {qq > 0 ? xq / qq : 0.0f, 0.0f};
    return line;
}

// 32 values, q in 0..highest.
Affine fit_affine(const float* x, int highest, bool min_may_be_negative) {
    constexpr std::size_t count = 32;
    constexpr int steps = 10; // candidates from (highest - 1) to (highest + 1) integers for the range of values
    const auto [low, high] = std::minmax_element(x, x + count);
    const float base = min_may_be_negative ? *low : std::min(*low, 0.0f);
    const float unit = inverse_or_zero(*high - base);
    if (unit == 0.0f) return {0, -base};
    const Weights weights = weigh(x, count);
    const auto top = static_cast<float>(highest);
    float best_error = INFINITY;
    Affine best;
    for (int step = -steps; step <= steps; ++step) {
        const float inverse = (top + static_cast<float>(step) / static_cast<float>(steps)) * unit;
        AffineSums sums;
        for (std::size_t i = 0; i < count; i += lanes) {
            for (std::size_t j = 0; j < lanes; ++j) {
                const auto q = static_cast<float>(round_within((x[i + j] - base) * inverse, 0.0f, top));
                const float weight = weights[i + j];
                sums.w.part[j] += weight;
                sums.x.part[j] += weight * x[i + j];
                sums.q.part[j] += weight * q;
                sums.qq.part[j] += weight * q * q;
                sums.xq.part[j] += weight * x[i + j] * q;
                sums.xx.part[j] += weight * x[i + j] * x[i + j];
            }
        }
        const float w = sums.w.total(), sx = sums.x.total(), sq = sums.q.total();
        const float qq = sums.qq.total(), xq = sums.xq.total(), xx = sums.xx.total();
        const Affine line = solve(w, sx, sq, qq, xq, min_may_be_negative);
        // The sum of w (scale q - min - x)^2, multiplied out.
        const float error =
            xx + line.scale * (line.scale * qq - 2 * xq - 2 * line.min * sq) + line.min * (line.min * w + 2 * sx);
        if (error < best_error) {
            best_error = error;
            best = line;
        }
    }
    return best;
}

// ---- one value

void quantise_f32(const float* x, Block block) {
    std::memcpy(block, x, sizeof *x);
}
void quantise_f16(const float* x, Block block) {
    store_u16(block, f32_to_f16(*x));
}
void quantise_bf16(const float* x, Block block) {
    store_u16(block, f32_to_bf16(*x));
}

// ---- 32 values

void quantise_q8_0(const float* x, Block block) {
    float largest = 0;
    for (int j = 0; j < 32; ++j)
        largest = std::max(largest, std::fabs(x[j]));
    const float inverse = inverse_or_zero(store_f16(block, largest / 127.0f));
    for (int j = 0; j < 32; ++j) {
        block[2 + j] = static_cast<std::uint8_t>(round_within(x[j] * inverse, -127.0f, 127.0f));
    }
}

void quantise_q4_0(const float* x, Block block) {
    const float inverse = inverse_or_zero(store_f16(block, fit_scale(x, 32, {-8, 7, 1.5f, 12})));
    for (int j = 0; j < 16; ++j) {
        const int low = round_within(x[j] * inverse, -8.0f, 7.0f) + 8;
        const int high = round_within(x[j + 16] * inverse, -8.0f, 7.0f) + 8;
        block[2 + j] = pack_nibbles(low, high);
    }
}

// q: 32 integers of 5 bits. Low nibbles at `nibbles`, fifth bits at `fifth`.
void pack_five_bits(const std::array<int, 32>& q, Block fifth, Block nibbles) {
    std::uint32_t high_bits = 0;
    for (std::size_t j = 0; j < 32; ++j)
        high_bits |= static_cast<std::uint32_t>(q[j] >> 4) << j;
    std::memcpy(fifth, &high_bits, sizeof high_bits);
    for (std::size_t j = 0; j < 16; ++j)
        nibbles[j] = pack_nibbles(q[j] & 15, q[j + 16] & 15);
}

void quantise_q5_0(const float* x, Block block) {
    const float inverse = inverse_or_zero(store_f16(block, fit_scale(x, 32, {-16, 15, 1.5f, 12})));
    std::array<int, 32> q{};
    for (std::size_t j = 0; j < 32; ++j)
        q[j] = round_within(x[j] * inverse, -16.0f, 15.0f) + 16;
    pack_five_bits(q, block + 2, block + 6);
}

void quantise_q4_1(const float* x, Block block) {
    const Affine fit = fit_affine(x, 15, true);
    const float inverse = inverse_or_zero(store_f16(block, fit.scale));
    const float min = store_f16(block + 2, -fit.min);
    for (int j = 0; j < 16; ++j) {
        const int low = round_within((x[j] - min) * inverse, 0.0f, 15.0f);
        const int high = round_within((x[j + 16] - min) * inverse, 0.0f, 15.0f);
        block[4 + j] = pack_nibbles(low, high);
    }
}

void quantise_q5_1(const float* x, Block block) {
    const Affine fit = fit_affine(x, 31, true);
    const float inverse = inverse_or_zero(store_f16(block, fit.scale));
    const float min = store_f16(block + 2, -fit.min);
    std::array<int, 32> q{};
    for (std::size_t j = 0; j < 32; ++j)
        q[j] = round_within((x[j] - min) * inverse, 0.0f, 31.0f);
    pack_five_bits(q, block + 4, block + 8);
}

// ---- 256 values in groups

void pack_k_scale_min(Block packed, std::size_t group, int scale, int min) {
    if (group < 4) {
        packed[group] = static_cast<std::uint8_t>(packed[group] | scale);
        packed[group + 4] = static_cast<std::uint8_t>(packed[group + 4] | min);
        return;
    }
    packed[group + 4] = pack_nibbles(scale & 15, min & 15);
    packed[group - 4] = static_cast<std::uint8_t>(packed[group - 4] | (scale >> 4) << 6);
    packed[group] = static_cast<std::uint8_t>(packed[group] | (min >> 4) << 6);
}

// What one group of Q4_K or Q5_K stores.
struct Group {
    int scale = 0; // 0..63, of d
    int min = 0;   // 0..63, of dmin
};

struct SuperScale {
    float d;
    float dmin;
};

// Integers of a group for the scales a reader will see. Returns their weighted squared error.
float round_group(const float* x, const Weights& weights, Group group, SuperScale super, int highest, int* q) {
    const float scale = super.d * static_cast<float>(group.scale);
    const float offset = super.dmin * static_cast<float>(group.min);
    const float inverse = inverse_or_zero(scale);
    Sum errors;
    for (std::size_t i = 0; i < 32; i += lanes) {
        for (std::size_t j = 0; j < lanes; ++j) {
            const float value = x[i + j];
            q[i + j] = round_within((value + offset) * inverse, 0.0f, static_cast<float>(highest));
            const float error = scale * static_cast<float>(q[i + j]) - offset - value;
            errors.part[j] += weights[i + j] * error * error;
        }
    }
    return errors.total();
}

// The rounded pair and its neighbours, by true error: both numbers were rounded separately, but err together. Worth 1.5
// % (Q4_K) to 3.5 % (Q5_K) of the rms error, for half the speed.
Group best_group(const float* x, const Affine& fit, SuperScale super, int highest, int* q) {
    const int scale = round_within(fit.scale * inverse_or_zero(super.d), 0.0f, 63.0f);
    const int min = round_within(fit.min * inverse_or_zero(super.dmin), 0.0f, 63.0f);
    const Weights weights = weigh(x, 32);
    Group best;
    float best_error = INFINITY;
    for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, 63); ++s) {
        for (int m = std::max(min - 1, 0); m <= std::min(min + 1, 63); ++m) {
            const float error = round_group(x, weights, {s, m}, super, highest, q);
            if (error < best_error) {
                best_error = error;
                best = {s, m};
            }
        }
    }
    round_group(x, weights, best, super, highest, q);
    return best;
}

// Q4_K and Q5_K: writes d, dmin and the packed pairs to block[0..16), and the integers to q.
void quantise_k_with_min(const float* x, int highest, Block block, std::array<int, 256>& q) {
    std::array<Affine, 8> fits;
    float largest_scale = 0;
    float largest_min = 0;
    for (std::size_t group = 0; group < 8; ++group) {
        fits[group] = fit_affine(x + 32 * group, highest, false);
        largest_scale = std::max(largest_scale, fits[group].scale);
        largest_min = std::max(largest_min, fits[group].min);
    }
    const SuperScale super = {store_f16(block, largest_scale / 63.0f), store_f16(block + 2, largest_min / 63.0f)};
    std::memset(block + 4, 0, 12);
    for (std::size_t group = 0; group < 8; ++group) {
        const Group chosen = best_group(x + 32 * group, fits[group], super, highest, q.data() + 32 * group);
        pack_k_scale_min(block + 4, group, chosen.scale, chosen.min);
    }
}

void quantise_q4_k(const float* x, Block block) {
    std::array<int, 256> q;
    quantise_k_with_min(x, 15, block, q);
    for (std::size_t i = 0; i < 128; ++i) {
        const std::size_t from = 64 * (i / 32) + i % 32;
        block[16 + i] = pack_nibbles(q[from], q[from + 32]);
    }
}

void quantise_q5_k(const float* x, Block block) {
    std::array<int, 256> q;
    quantise_k_with_min(x, 31, block, q);
    std::memset(block + 16, 0, 32);
    for (std::size_t i = 0; i < 256; ++i) {
        block[16 + i % 32] = static_cast<std::uint8_t>(block[16 + i % 32] | (q[i] >> 4) << (i / 32));
    }
    for (std::size_t i = 0; i < 128; ++i) {
        const std::size_t from = 64 * (i / 32) + i % 32;
        block[48 + i] = pack_nibbles(q[from] & 15, q[from + 32] & 15);
    }
}

void pack_q6_k(const std::array<int, 256>& q, Block block) {
    for (std::size_t half = 0; half < 2; ++half) {
        for (std::size_t l = 0; l < 32; ++l) {
            const int* at = q.data() + 128 * half + l;
            block[64 * half + l] = pack_nibbles(at[0] & 15, at[64] & 15);
            block[64 * half + l + 32] = pack_nibbles(at[32] & 15, at[96] & 15);
            const int high = at[0] >> 4 | (at[32] >> 4) << 2 | (at[64] >> 4) << 4 | (at[96] >> 4) << 6;
            block[128 + 32 * half + l] = static_cast<std::uint8_t>(high);
        }
    }
}

void quantise_q6_k(const float* x, Block block) {
    std::array<float, 16> scales;
    float largest = 0;
    for (std::size_t group = 0; group < 16; ++group) {
        scales[group] = fit_scale(x + 16 * group, 16, {-32, 31, 1.0f, 10});
        if (std::fabs(scales[group]) > std::fabs(largest)) largest = scales[group];
    }
    const float d = store_f16(block + 208, largest / -128.0f); // int8 reaches further on the negative side
    const float inverse_d = inverse_or_zero(d);
    std::array<int, 256> q;
    for (std::size_t group = 0; group < 16; ++group) {
        const int scale = round_within(scales[group] * inverse_d, -128.0f, 127.0f);
        block[192 + group] = static_cast<std::uint8_t>(scale);
        const float inverse = inverse_or_zero(d * static_cast<float>(scale));
        for (std::size_t i = 16 * group; i < 16 * group + 16; ++i) {
            q[i] = round_within(x[i] * inverse, -32.0f, 31.0f) + 32;
        }
    }
    pack_q6_k(q, block);
}

using Quantise = void (*)(const float*, Block);

Quantise quantiser(TensorType type) {
    switch (type) {
    case TensorType::f32: return quantise_f32;
    case TensorType::f16: return quantise_f16;
    case TensorType::bf16: return quantise_bf16;
    case TensorType::q8_0: return quantise_q8_0;
    case TensorType::q4_0: return quantise_q4_0;
    case TensorType::q4_1: return quantise_q4_1;
    case TensorType::q5_0: return quantise_q5_0;
    case TensorType::q5_1: return quantise_q5_1;
    case TensorType::q4_k: return quantise_q4_k;
    case TensorType::q5_k: return quantise_q5_k;
    case TensorType::q6_k: return quantise_q6_k;
    default: return nullptr;
    }
}

// Halves hold up to 65504, and every scale is at most the largest value. F32 and BF16 hold any float.
Status check_range(TensorType type, std::span<const float> values) {
    if (type == TensorType::f32 || type == TensorType::bf16) return Ok{};
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (std::fabs(values[i]) <= 65504.0f) continue;
        return Error{ErrorKind::invalid_data,
                     fmt::format("value {} is {}, which {} cannot hold", i, values[i], block_format(type).name)};
    }
    return Ok{};
}

} // namespace

bool quantisable(TensorType type) {
    return quantiser(type) != nullptr;
}

Status quantise_row(TensorType type, std::span<const float> values, std::span<std::byte> out) {
    const BlockFormat& format = block_format(type);
    const Quantise quantise = quantiser(type);
    if (quantise == nullptr) {
        return Error{ErrorKind::unsupported, fmt::format("nothing here quantises to {}", format.name)};
    }
    assert(values.size() % format.elements == 0 && out.size() == values.size() / format.elements * format.bytes);
    LUCEBOX_CHECK(check_range(type, values));
    auto* block = reinterpret_cast<Block>(out.data());
    for (std::size_t i = 0; i < values.size(); i += format.elements) {
        quantise(values.data() + i, block);
        block += format.bytes;
    }
    return Ok{};
}

} // namespace lucebox::gguf
