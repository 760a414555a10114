// The layout of packed weights: what the repacker writes and the products read. Host and device, plain constants.
//
// A matrix W [outputs, inputs] is cut into tiles of 64 outputs, a tile along its inputs into units of 256 (the K types)
// or 128 inputs, a unit into 4 parts of 16 outputs. Four neighbouring tiles are a group, whose weights lie unit by unit:
// [group][unit][tile][part], so that what a block multiplies at once is one run of bytes (place_of_tile). The last group
// has the tiles that are left. A part belongs to one warp; it is read with 16-byte accesses, lane by lane, and holds
// exactly the bytes that the file has for these weights:
//   codes    planes of 4, 2 and 1 bits, or of bytes; for each block of 64 inputs, each lane's 32 codes
//   scales   for each lane, those of its two outputs and its sub-blocks
//   d        for each output, what the K types multiply scales with
// A lane (g = lane / 4, t = lane % 4) owns outputs g and g + 8, and of every 128 inputs those of sub-block t, 32 t ..
// 32 t + 31 (operand.cuh). Block b of a pair holds inputs 16 b .. 16 b + 15 of it, in 4 steps of 4: so a block needs
// one scale an output, for sub-blocks of 16 and of 32 alike. A step's 8 codes are 4 pairs, in the order of the tensor
// core's four registers: pair j = output g + 8 (j % 2), inputs 4 s + 2 (j / 2) and the next.
//
// The last tile and the last unit are padded with weights of zero. F32 becomes two f16, high and low part; BF16 becomes
// one f16. Weights are used times a power of two that is chosen for the matrix (MatrixHeader): floats are packed times
// it, the largest near 2^14, so that f16 loses nothing of BF16 and 22 bits of F32 remain; codes are packed as they are.
#pragma once

#include "gguf/tensor_type.h"

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define LUCEBOX_HOST_DEVICE __host__ __device__
#else
#define LUCEBOX_HOST_DEVICE
#endif

namespace lucebox::compute::cuda {

enum class Form : std::uint8_t { q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, f16, f32 };

constexpr std::size_t tile_outputs = 64;
constexpr std::size_t part_outputs = 16;
constexpr int group_tiles = 4;
constexpr std::size_t pair_inputs = 128;         // two blocks: what the operand's width is padded to
constexpr std::size_t matrix_header_bytes = 256; // before the tiles: MatrixHeader

struct MatrixHeader {
    float scale;         // what is multiplied are the weights times `scale`, a power of two
    float inverse;       // 1 / scale
    std::uint32_t bound; // bits of the largest weight or scale, while it is searched
};

LUCEBOX_HOST_DEVICE constexpr int unit_inputs(Form form) {
    switch (form) {
    case Form::q2_k:
    case Form::q3_k:
    case Form::q4_k:
    case Form::q5_k:
    case Form::q6_k:
    case Form::iq4_xs: return 256;
    default: return 128;
    }
}

// Of 16 outputs and one unit.
LUCEBOX_HOST_DEVICE constexpr int part_bytes(Form form) {
    switch (form) {
    case Form::q4_0: return 64 * 18;
    case Form::q4_1: return 64 * 20;
    case Form::q5_0: return 64 * 22;
    case Form::q5_1: return 64 * 24;
    case Form::q8_0: return 64 * 34;
    case Form::q2_k: return 16 * 84;
    case Form::q3_k: return 16 * 110;
    case Form::q4_k: return 16 * 144;
    case Form::q5_k: return 16 * 176;
    case Form::q6_k: return 16 * 210;
    case Form::iq4_nl: return 64 * 18;
    case Form::iq4_xs: return 16 * 136;
    case Form::f16: return 16 * 128 * 2;
    case Form::f32: return 16 * 128 * 4;
    }
    return 0;
}
LUCEBOX_HOST_DEVICE constexpr int unit_bytes(Form form) {
    return 4 * part_bytes(form);
}

// Where a tile's units lie: the first, and from each to the next, in bytes behind the header.
struct TilePlace {
    std::size_t first;
    int stride;
    LUCEBOX_HOST_DEVICE constexpr std::size_t at(int unit) const {
        return first + static_cast<std::size_t>(unit) * static_cast<std::size_t>(stride);
    }
};
LUCEBOX_HOST_DEVICE constexpr TilePlace place_of_tile(Form form, int tile, int tiles, int units) {
    const int group = tile / group_tiles * group_tiles, beside = tiles - group < group_tiles ? tiles - group : group_tiles;
    const std::size_t before = static_cast<std::size_t>(group) * static_cast<std::size_t>(units) + static_cast<std::size_t>(tile - group);
    return {before * static_cast<std::size_t>(unit_bytes(form)), beside * unit_bytes(form)};
}

// Offsets within a part of what the planes and scales are; -1: the form has none.
struct PartLayout {
    int bits4 = -1, bits2 = -1, bits1 = -1,
        bytes = -1;                // [block][lane] 16 B; [pair][lane] 16 B; [lane] 4 B a block; [block][2][lane] 16 B
    int scales = -1, scales2 = -1; // by lane; bytes a lane: scale_bytes, scale2_bytes
    int scale_bytes = 0, scale2_bytes = 0;
    int d = -1, d_bytes = 0; // by output
};
LUCEBOX_HOST_DEVICE constexpr PartLayout part_layout(Form form) {
    switch (form) {
    case Form::q4_0:
    case Form::iq4_nl: return {.bits4 = 0, .scales = 1024, .scale_bytes = 4};
    case Form::q4_1: return {.bits4 = 0, .scales = 1024, .scale_bytes = 8};
    case Form::q5_0: return {.bits4 = 0, .bits1 = 1024, .scales = 1280, .scale_bytes = 4};
    case Form::q5_1: return {.bits4 = 0, .bits1 = 1024, .scales = 1280, .scale_bytes = 8};
    case Form::q8_0: return {.bytes = 0, .scales = 2048, .scale_bytes = 4};
    case Form::q2_k: return {.bits2 = 0, .scales = 1024, .scale_bytes = 8, .d = 1280, .d_bytes = 4};
    case Form::q3_k:
        return {.bits2 = 0,
                .bits1 = 1024,
                .scales = 1536,
                .scales2 = 1664,
                .scale_bytes = 4,
                .scale2_bytes = 2,
                .d = 1728,
                .d_bytes = 2};
    case Form::q4_k:
        return {
            .bits4 = 0, .scales = 2048, .scales2 = 2176, .scale_bytes = 4, .scale2_bytes = 2, .d = 2240, .d_bytes = 4};
    case Form::q5_k:
        return {.bits4 = 0,
                .bits1 = 2048,
                .scales = 2560,
                .scales2 = 2688,
                .scale_bytes = 4,
                .scale2_bytes = 2,
                .d = 2752,
                .d_bytes = 4};
    case Form::q6_k: return {.bits4 = 0, .bits2 = 2048, .scales = 3072, .scale_bytes = 8, .d = 3328, .d_bytes = 2};
    case Form::iq4_xs:
        return {
            .bits4 = 0, .scales = 2048, .scales2 = 2112, .scale_bytes = 2, .scale2_bytes = 1, .d = 2144, .d_bytes = 2};
    case Form::f16:
    case Form::f32: return {};
    }
    return {};
}

// Where in each half of their word the planes of one and of two bits have those of pair j of step s (of the word's two steps, for
// two bits). Beside codes of four bits, the pairs of outputs g and g + 8 lie four bits apart, as their codes do: one shift brings both
// to their codes.
LUCEBOX_HOST_DEVICE constexpr int one_bit_at(Form form, int s, int j) {
    const int pairs = 2 * s + j / 2;
    return part_layout(form).bits4 >= 0 ? pairs % 4 + 8 * (pairs / 4) + 4 * (j % 2) : 4 * s + j;
}
LUCEBOX_HOST_DEVICE constexpr int two_bits_at(Form form, int s, int j) {
    return part_layout(form).bits4 >= 0 ? 8 * (s % 2) + 2 * (j / 2) + 4 * (j % 2) : 2 * (4 * (s % 2) + j);
}

LUCEBOX_HOST_DEVICE constexpr bool packable(gguf::TensorType type, Form* form) {
    using gguf::TensorType;
    switch (type) {
    case TensorType::q4_0: *form = Form::q4_0; return true;
    case TensorType::q4_1: *form = Form::q4_1; return true;
    case TensorType::q5_0: *form = Form::q5_0; return true;
    case TensorType::q5_1: *form = Form::q5_1; return true;
    case TensorType::q8_0: *form = Form::q8_0; return true;
    case TensorType::q2_k: *form = Form::q2_k; return true;
    case TensorType::q3_k: *form = Form::q3_k; return true;
    case TensorType::q4_k: *form = Form::q4_k; return true;
    case TensorType::q5_k: *form = Form::q5_k; return true;
    case TensorType::q6_k: *form = Form::q6_k; return true;
    case TensorType::iq4_nl: *form = Form::iq4_nl; return true;
    case TensorType::iq4_xs: *form = Form::iq4_xs; return true;
    case TensorType::f16:
    case TensorType::bf16: *form = Form::f16; return true;
    case TensorType::f32: *form = Form::f32; return true;
    default: return false;
    }
}

// function.operator()<form>(), on the host.
template <class Function>
auto with_form(Form form, Function&& function) {
    switch (form) {
    case Form::q4_0: return function.template operator()<Form::q4_0>();
    case Form::q4_1: return function.template operator()<Form::q4_1>();
    case Form::q5_0: return function.template operator()<Form::q5_0>();
    case Form::q5_1: return function.template operator()<Form::q5_1>();
    case Form::q8_0: return function.template operator()<Form::q8_0>();
    case Form::q2_k: return function.template operator()<Form::q2_k>();
    case Form::q3_k: return function.template operator()<Form::q3_k>();
    case Form::q4_k: return function.template operator()<Form::q4_k>();
    case Form::q5_k: return function.template operator()<Form::q5_k>();
    case Form::q6_k: return function.template operator()<Form::q6_k>();
    case Form::iq4_nl: return function.template operator()<Form::iq4_nl>();
    case Form::iq4_xs: return function.template operator()<Form::iq4_xs>();
    case Form::f16: return function.template operator()<Form::f16>();
    case Form::f32: break;
    }
    return function.template operator()<Form::f32>();
}

} // namespace lucebox::compute::cuda
