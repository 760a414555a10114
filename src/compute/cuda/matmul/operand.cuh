// Operand form: activations as a matrix product reads them, and the device functions that write it.
//
// x [rows, width] f32 becomes f16 of x / 16. An f16 ends at 65504, which the hidden values of an MLP can pass; a
// sixteenth of them ends at a million, and the product multiplies by 16 again. Powers of two cost no bits: values down
// to 1e-3 keep all 11, smaller ones are rounded to multiples of 1e-6, which is nothing beside values of order 1 in the
// same row. Values beyond the range saturate and a NaN becomes a number, because an operand must never hold anything
// but numbers: padding and rows that a later step leaves alone are multiplied (by zero weights, or into results nobody
// reads).
//
// Layout: blocks of 64 inputs, [width/64][rows][128 bytes]. A row's 128 bytes are 8 pieces of 16 bytes whose index is
// exclusive-ored with row % 8: the 128-byte swizzle of shared memory, so that a block is copied as it is and tensor
// cores read it without bank conflicts. Blocks come in pairs of 128 inputs. In a pair, input k = 32 t + 4 s + 2 h + e
// lies in block s / 4, piece 2 (s % 4) + h, at byte 4 t + 2 e: then lane t of a tensor core's four reads only the
// weights of one sub-block of 32, whose scale it unpacks once.
//
// The width is padded to a multiple of 128. The memory of an operand is zeroed once by its owner and afterwards holds
// operands only (of any shape), so that padding is always finite.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

namespace lucebox::compute::cuda {

inline constexpr float operand_scale = 1.0f / 16;
inline constexpr float operand_largest = 65504.0f;

// Where the values of one operand are written. Passed to kernels by value.
struct Operand {
    std::byte* data = nullptr;
    std::uint32_t rows = 0;

    // Byte offset of input k of a row.
    __host__ __device__ std::size_t offset(std::uint32_t row, std::uint32_t k) const {
        const std::uint32_t block = (k >> 7) * 2 + ((k >> 4) & 1);
        const std::uint32_t piece = (k >> 1) & 7;
        const std::uint32_t byte = ((k >> 5) & 3) * 4 + (k & 1) * 2;
        return (static_cast<std::size_t>(block) * rows + row) * 128 + ((piece ^ (row & 7)) << 4) + byte;
    }

    // One value. Two neighbours in one store are cheaper: store2.
    __device__ void store(std::uint32_t row, std::uint32_t k, float value) const {
        *reinterpret_cast<__half*>(data + offset(row, k)) = __float2half_rn(saturated(value));
    }
    // Inputs k and k + 1; k is even.
    __device__ void store2(std::uint32_t row, std::uint32_t k, float first, float second) const {
        *reinterpret_cast<__half2*>(data + offset(row, k)) = __floats2half2_rn(saturated(first), saturated(second));
    }
    // Inputs k .. k + 3; k is a multiple of 4.
    __device__ void store4(std::uint32_t row, std::uint32_t k, float4 values) const {
        store2(row, k, values.x, values.y);
        store2(row, k + 2, values.z, values.w);
    }
    // The value as a product will see it; for tests and for kernels that need their own output again.
    __device__ float load(std::uint32_t row, std::uint32_t k) const {
        return __half2float(*reinterpret_cast<const __half*>(data + offset(row, k))) * (1 / operand_scale);
    }

    __device__ static float saturated(float value) {
        return fminf(fmaxf(value * operand_scale, -operand_largest), operand_largest); // fmaxf drops a NaN
    }
};

} // namespace lucebox::compute::cuda
