// The kernels that pack a matrix (form.h), and that read it back a weight at a time.
#pragma once

#include "compute/cuda/matmul/blocks.cuh"

namespace lucebox::compute::cuda::packing {

struct Shape {
    int inputs, outputs, units, tiles; // units along the inputs, tiles along the outputs
    std::size_t row_bytes;
};

enum class Floats { f16, bf16, f32 };

__device__ inline float float_at(Bytes row, int k, Floats type) {
    if (type == Floats::f32) return reinterpret_cast<const float*>(row)[k];
    const std::uint32_t bits = u16_at(row + 2 * k);
    return type == Floats::f16 ? f16_value(bits) : __uint_as_float(bits << 16);
}

// The largest bound over all blocks, as the bits of a float (they order like the floats when positive).
template <Form form>
__global__ void find_bound(Bytes raw, Shape shape, Floats type, MatrixHeader* header) {
    float most = 0;
    const int blocks = (shape.inputs + file_block_inputs(form) - 1) / file_block_inputs(form);
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x;
         i < static_cast<std::size_t>(blocks) * shape.outputs; i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const Bytes row = raw + i / blocks * shape.row_bytes;
        const int k = static_cast<int>(i % blocks) * file_block_inputs(form);
        const float bound = file_block_inputs(form) == 1 ? fabsf(float_at(row, k, type)) : block_bound<form>(row, k);
        if (isfinite(bound)) most = fmaxf(most, bound);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, lanes));
    if (threadIdx.x % 32 == 0) atomicMax(&header->bound, __float_as_uint(most));
}

// What choose_scale is told. Floats: weights up to 2^14. Codes: scales up to 2^-9, for they are used 2^24 times as
// large (expand.cuh), and 2^12 times the power itself must be an f16.
LUCEBOX_HOST_DEVICE constexpr int scale_target(Form form) {
    return form == Form::f16 || form == Form::f32 ? 14 : -9;
}
LUCEBOX_HOST_DEVICE constexpr int scale_largest(Form form) {
    return form == Form::f16 || form == Form::f32 ? 15 : 3;
}

// The power of two that brings the largest bound just below 2^target. F16 files keep their bits.
static __global__ void choose_scale(MatrixHeader* header, int target, int largest, bool keep) {
    const float bound = __uint_as_float(header->bound);
    int exponent = 0;
    if (!keep && bound > 0) exponent = max(-14, min(largest, target - (ilogbf(bound) + 1)));
    header->scale = ldexpf(1, exponent);
    header->inverse = ldexpf(1, -exponent);
}

// Input within a 128-pair of lane t, block b, step s, pair j's first element (form.h).
__device__ inline int input_of(int lane, int block, int step, int j) {
    return block / 2 * 128 + 32 * (lane & 3) + 16 * (block % 2) + 4 * step + 2 * (j / 2);
}

// One warp packs one part. blockDim.x = 128: the four parts of a unit.
template <Form form>
__global__ void pack(Bytes raw, Shape shape, Floats type, std::byte* packed) {
    constexpr PartLayout layout = part_layout(form);
    constexpr int blocks = unit_inputs(form) / 64;
    const int lane = threadIdx.x % 32, part_index = threadIdx.x / 32;
    const int unit = blockIdx.x % shape.units;
    const int tile = blockIdx.x / shape.units;
    const int first_input = unit * unit_inputs(form);
    const TilePlace place = place_of_tile(form, tile, shape.tiles, shape.units);
    std::byte* part = packed + matrix_header_bytes + place.at(unit) + part_index * part_bytes(form);
    const int output = tile * static_cast<int>(tile_outputs) + part_index * 16 + lane / 4; // and + 8
    auto row = [&](int r) { return raw + static_cast<std::size_t>(output + 8 * r) * shape.row_bytes; };
    auto inside = [&](int r, int k) { return output + 8 * r < shape.outputs && first_input + k < shape.inputs; };

    if constexpr (form == Form::f16 || form == Form::f32) {
        constexpr int planes = form == Form::f32 ? 2 : 1;
        const float scale = reinterpret_cast<const MatrixHeader*>(packed)->scale;
        for (int i = 0; i < blocks * 4 * 4; ++i) { // block, step, pair
            const int block = i / 16, step = i / 4 % 4, j = i % 4;
            __half2 high{}, low{};
            for (int e = 0; e < 2; ++e) {
                const int k = input_of(lane, block, step, j) + e;
                const float w = inside(j % 2, k) ? float_at(row(j % 2), first_input + k, type) * scale : 0.0f;
                const __half h = __float2half_rn(fminf(fmaxf(w, -65504.0f), 65504.0f));
                (e ? high.y : high.x) = h;
                (e ? low.y : low.x) = __float2half_rn(w - __half2float(h));
            }
            auto* at = reinterpret_cast<__half2*>(
                part + static_cast<std::size_t>(((block * 4 + step) * planes * 32 + lane) * 16));
            at[j] = high;
            if (planes == 2) at[32 * 4 + j] = low;
        }
        return;
    }

    auto code = [&](int block, int step, int j, int e) -> std::uint32_t {
        const int k = input_of(lane, block, step, j) + e;
        return inside(j % 2, k) ? file_code<form>(row(j % 2), first_input + k) : 0;
    };
    auto at32 = [&](int offset) -> std::uint32_t& { return *reinterpret_cast<std::uint32_t*>(part + offset); };
    for (int block = 0; block < blocks; ++block) {
        std::uint32_t fifth = 0, twos[2] = {0, 0};
        for (int step = 0; step < 4; ++step) {
            std::uint32_t nibbles = 0, bytes[2] = {0, 0};
            for (int j = 0; j < 4; ++j)
                for (int e = 0; e < 2; ++e) {
                    const std::uint32_t c = code(block, step, j, e);
                    const bool table = form == Form::iq4_nl || form == Form::iq4_xs;
                    nibbles |= (c & 15) << (table ? 8 * j + 4 * e : 4 * j + 16 * e);
                    bytes[j / 2] |= c << (16 * (j % 2) + 8 * e);
                    fifth |= (form == Form::q3_k ? c >> 2 : c >> 4) << (one_bit_at(form, step, j) + 16 * e);
                    twos[step / 2] |= ((layout.bits4 >= 0 ? c >> 4 : c) & 3) << (two_bits_at(form, step, j) + 16 * e);
                }
            if (layout.bits4 >= 0) at32(layout.bits4 + (block * 32 + lane) * 16 + step * 4) = nibbles;
            if (layout.bytes >= 0)
                for (int i = 0; i < 2; ++i)
                    at32(layout.bytes + ((block * 2 + step / 2) * 32 + lane) * 16 + (step % 2) * 8 + i * 4) = bytes[i];
        }
        if (layout.bits1 >= 0) at32(layout.bits1 + (lane * blocks + block) * 4) = fifth;
        if (layout.bits2 >= 0)
            for (int i = 0; i < 2; ++i)
                at32(layout.bits2 + ((block / 2) * 32 + lane) * 16 + (block % 2) * 8 + i * 4) = twos[i];
    }

    auto scale_of = [&](int r, int block) -> std::uint32_t { // K types
        const int k = input_of(lane, block, 0, 0);
        return inside(r, k) ? file_scale<form>(row(r), first_input + k) : 0;
    };
    auto d_of = [&](int r, int k) -> std::uint32_t { return inside(r, k) ? file_d<form>(row(r), first_input + k) : 0; };
    if constexpr (form == Form::q4_k || form == Form::q5_k) {
        std::uint32_t low = 0, high = 0;
        for (int i = 0; i < 4; ++i) { // pair of blocks, output
            const std::uint32_t both = scale_of(i % 2, i / 2 * 2);
            low |= (both & 0x000f000f) << (4 * i);
            high |= (both >> 4 & 3) << (2 * i) | (both >> 20 & 3) << (8 + 2 * i);
        }
        at32(layout.scales + lane * 4) = low;
        *reinterpret_cast<std::uint16_t*>(part + layout.scales2 + lane * 2) = static_cast<std::uint16_t>(high);
    } else if constexpr (layout.d >= 0) {
        std::uint32_t low[2] = {0, 0}, high = 0;
        constexpr int count = form == Form::iq4_xs ? 2 : 4; // scales of an output
        for (int i = 0; i < count; ++i)
            for (int r = 0; r < 2; ++r) {
                const std::uint32_t both = scale_of(r, form == Form::iq4_xs ? 2 * i : i);
                if (form == Form::q6_k) low[i / 2] |= (both & 255) << (16 * (i % 2) + 8 * r);
                if (form == Form::q3_k)
                    low[0] |= (both & 15) << (4 * i + 16 * r), high |= (both >> 4 & 3) << (2 * i + 8 * r);
                if (form == Form::iq4_xs)
                    low[0] |= (both & 15) << (4 * i + 8 * r), high |= (both >> 4 & 3) << (2 * i + 4 * r);
                if (form == Form::q2_k)
                    low[0] |= (both & 15) << (4 * i + 16 * r), low[1] |= (both >> 16 & 15) << (4 * i + 16 * r);
            }
        if (layout.scale_bytes == 2)
            *reinterpret_cast<std::uint16_t*>(part + layout.scales + lane * 2) = static_cast<std::uint16_t>(low[0]);
        else
            for (int i = 0; i < layout.scale_bytes / 4; ++i)
                at32(layout.scales + lane * layout.scale_bytes + i * 4) = low[i];
        if (layout.scale2_bytes == 1) part[layout.scales2 + lane] = static_cast<std::byte>(high);
        if (layout.scale2_bytes == 2)
            *reinterpret_cast<std::uint16_t*>(part + layout.scales2 + lane * 2) = static_cast<std::uint16_t>(high);
    } else { // f16 scales of 32 inputs
        const std::uint32_t first = d_of(0, 32 * (lane & 3)), second = d_of(1, 32 * (lane & 3));
        if (layout.scale_bytes == 8)
            at32(layout.scales + lane * 8) = first, at32(layout.scales + lane * 8 + 4) = second;
        else
            at32(layout.scales + lane * 4) = (first & 0xffff) | second << 16;
    }
    if (layout.d_bytes > 0 && lane % 4 == 0)
        for (int r = 0; r < 2; ++r) {
            const std::uint32_t d = d_of(r, 0);
            std::byte* to = part + layout.d + (lane / 4 + 8 * r) * layout.d_bytes;
            if (layout.d_bytes == 4)
                *reinterpret_cast<std::uint32_t*>(to) = d;
            else
                *reinterpret_cast<std::uint16_t*>(to) = static_cast<std::uint16_t>(d);
        }
}

// One weight of a packed matrix, as exact as the file has it (F32: 22 bits).
template <Form form>
__device__ float weight_at(const std::byte* packed, int units, int tiles, int output, int k) {
    constexpr PartLayout layout = part_layout(form);
    const int within = k % unit_inputs(form);
    const TilePlace place = place_of_tile(form, output / 64, tiles, units);
    const std::byte* part =
        packed + matrix_header_bytes + place.at(k / unit_inputs(form)) + output % 64 / 16 * part_bytes(form);
    const int r = output % 16 / 8, lane = output % 8 * 4 + within % 128 / 32;
    const int block = within / 128 * 2 + within % 32 / 16, step = within % 16 / 4, j = within % 4 / 2 * 2 + r,
              e = within % 2;
    auto at32 = [&](int offset) { return *reinterpret_cast<const std::uint32_t*>(part + offset); };
    auto at16 = [&](int offset) -> std::uint32_t { return *reinterpret_cast<const std::uint16_t*>(part + offset); };
    if constexpr (form == Form::f16 || form == Form::f32) {
        constexpr int planes = form == Form::f32 ? 2 : 1;
        float sum = 0;
        for (int plane = 0; plane < planes; ++plane)
            sum += f16_value(at16((((block * 4 + step) * planes + plane) * 32 + lane) * 16 + j * 4 + e * 2));
        return sum * reinterpret_cast<const MatrixHeader*>(packed)->inverse;
    }
    constexpr int blocks = unit_inputs(form) / 64;
    std::uint32_t code = 0;
    constexpr bool table = form == Form::iq4_nl || form == Form::iq4_xs;
    if (layout.bits4 >= 0)
        code =
            at32(layout.bits4 + (block * 32 + lane) * 16 + step * 4) >> (table ? 8 * j + 4 * e : 4 * j + 16 * e) & 15;
    if (layout.bytes >= 0)
        code = static_cast<std::uint32_t>(
            part[layout.bytes + ((block * 2 + step / 2) * 32 + lane) * 16 + (step % 2) * 8 + j * 2 + e]);
    if (layout.bits2 >= 0)
        code |= (at32(layout.bits2 + ((block / 2) * 32 + lane) * 16 + (block % 2) * 8 + step / 2 * 4) >>
                     (two_bits_at(form, step, j) + 16 * e) &
                 3)
                << (layout.bits4 >= 0 ? 4 : 0);
    if (layout.bits1 >= 0)
        code |= (at32(layout.bits1 + (lane * blocks + block) * 4) >> (one_bit_at(form, step, j) + 16 * e) & 1)
                << (form == Form::q3_k ? 2 : 4);
    constexpr int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    constexpr int offset = form == Form::q4_0   ? 8
                           : form == Form::q5_0 ? 16
                           : form == Form::q8_0 ? 128
                           : form == Form::q3_k ? 4
                           : form == Form::q6_k ? 32
                                                : 0;
    const float value = static_cast<float>(table ? iq4[code & 15] : static_cast<int>(code) - offset);

    float scale = 0, min = 0;
    if constexpr (layout.d_bytes == 0) {
        if (layout.scale_bytes == 8)
            scale = f16_value(at16(layout.scales + lane * 8 + 4 * r)),
            min = f16_value(at16(layout.scales + lane * 8 + 4 * r + 2));
        else
            scale = f16_value(at16(layout.scales + lane * 4 + 2 * r));
    } else {
        const int at = layout.d + (output % 16) * layout.d_bytes;
        const float d = f16_value(at16(at)), dmin = layout.d_bytes == 4 ? f16_value(at16(at + 2)) : 0;
        if constexpr (form == Form::q4_k || form == Form::q5_k) {
            const int i = block / 2 * 2 + r;
            const std::uint32_t low = at32(layout.scales + lane * 4), high = at16(layout.scales2 + lane * 2);
            scale = d * static_cast<float>((low >> (4 * i) & 15) | (high >> (2 * i) & 3) << 4);
            min = -dmin * static_cast<float>((low >> (16 + 4 * i) & 15) | (high >> (8 + 2 * i) & 3) << 4);
        } else if constexpr (form == Form::q6_k) {
            scale = d * static_cast<float>(static_cast<std::int8_t>(part[layout.scales + lane * 8 + 2 * block + r]));
        } else if constexpr (form == Form::q3_k) {
            scale = d * static_cast<float>(
                            static_cast<int>((at32(layout.scales + lane * 4) >> (4 * block + 16 * r) & 15) |
                                             (at16(layout.scales2 + lane * 2) >> (2 * block + 8 * r) & 3) << 4) -
                            32);
        } else if constexpr (form == Form::iq4_xs) {
            scale = d * static_cast<float>(
                            static_cast<int>(
                                (at16(layout.scales + lane * 2) >> (4 * (block / 2) + 8 * r) & 15) |
                                (static_cast<std::uint32_t>(part[layout.scales2 + lane]) >> (2 * (block / 2) + 4 * r) &
                                 3) << 4) -
                            32);
        } else {
            scale = d * static_cast<float>(at32(layout.scales + lane * 8) >> (4 * block + 16 * r) & 15);
            min = -dmin * static_cast<float>(at32(layout.scales + lane * 8 + 4) >> (4 * block + 16 * r) & 15);
        }
    }
    return __fadd_rn(__fmul_rn(scale, value), min); // the product is exact
}

template <Form form>
__global__ void unpack_rows(const std::byte* packed, int units, int tiles, int inputs, int outputs, const std::byte* tokens,
                            std::size_t stride, float scale, float* out) {
    const int token = *reinterpret_cast<const std::int32_t*>(tokens + blockIdx.y * stride);
    const int k = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (k >= inputs) return;
    const float value = token >= 0 && token < outputs ? weight_at<form>(packed, units, tiles, token, k) : 0.0f;
    out[static_cast<std::size_t>(blockIdx.y) * inputs + k] = value * scale;
}

} // namespace lucebox::compute::cuda::packing
