// Packs GGUF tensors, and hands multiplications to the kernel of the machine.
#include "compute/cpu/packed_matrix.h"

#include "compute/cpu/kernels_quantised.h"
#include "compute/cpu/packed_unpack.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace lucebox::compute::cpu {
namespace {

// Memory as it comes; whole huge pages for large matrices, because a token reads all of it and 4 KB pages would miss the TLB.
class WeightMemory {
public:
    explicit WeightMemory(std::size_t bytes) {
        constexpr std::size_t huge_page = 2u << 20;
        const std::size_t alignment = bytes >= huge_page ? huge_page : 64;
        const std::size_t size = round_up(std::max<std::size_t>(bytes, 1), alignment);
        data_ = static_cast<std::byte*>(std::aligned_alloc(alignment, size));
        if (data_ == nullptr) throw std::bad_alloc();
#ifdef __linux__
        if (alignment == huge_page) madvise(data_, size, MADV_HUGEPAGE); // a hint: without it, only slower
#endif
    }
    WeightMemory(const WeightMemory&) = delete;
    WeightMemory& operator=(const WeightMemory&) = delete;
    ~WeightMemory() { std::free(data_); }

    std::byte* data() const { return data_; }

private:
    std::byte* data_ = nullptr;
};

class Packed : public PackedMatrix {
public:
    Packed(std::size_t inputs, std::size_t outputs, std::size_t group_size, bool quantised)
        : group_bytes_(group_size), memory_(round_up(outputs, group_outputs) / group_outputs * group_size) {
        inputs_ = inputs;
        outputs_ = outputs;
        bytes_ = round_up(outputs, group_outputs) / group_outputs * group_size;
        takes_quantised_ = quantised;
    }

    void multiply(const std::byte* x, std::size_t x_stride, std::size_t rows, std::size_t begin, std::size_t end,
                  float* out, std::size_t out_stride, bool accumulate) const override {
        assert(begin % output_group == 0 && end <= outputs_);
        if (rows == 0 || begin >= end) return;
        kernel_({memory_.data(), group_bytes_, inputs_, table_, x, x_stride, rows, begin, end, out, out_stride,
                 accumulate});
    }

protected:
    // Zeroes each group and calls function(its first output, its bytes); on all threads of the pool, if there is one.
    template <class Function>
    void fill_groups(ThreadPool* pool, Function&& function) {
        const auto fill = [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t group = begin; group < end; ++group) {
                std::byte* to = memory_.data() + group * group_bytes_;
                std::memset(to, 0, group_bytes_); // padding outputs weigh nothing
                function(group * group_outputs, to);
            }
        };
        const std::size_t groups = (outputs_ + group_outputs - 1) / group_outputs;
        if (pool) pool->run(groups, 4, fill);
        else fill(0, groups, 0);
    }

    std::size_t group_bytes_;
    WeightMemory memory_;
    MultiplyKernel kernel_ = nullptr;
    const CodeTable* table_ = nullptr;
};

// --- F32, F16, BF16: 16 outputs of input 0, 16 outputs of input 1, ...

class FloatMatrix final : public Packed {
public:
    FloatMatrix(const gguf::Tensor& tensor, FloatFormat format, Isa isa, ThreadPool* pool)
        : Packed(tensor.shape[0], tensor.rows(), tensor.shape[0] * group_outputs * value_bytes(format), false),
          format_(format) {
        kernel_ = float_kernel(format, isa);
        if (format == FloatFormat::f32) interleave<std::uint32_t>(tensor, pool);
        else interleave<std::uint16_t>(tensor, pool);
    }

    void dequantise_output(std::size_t output, std::span<float> out) const override {
        assert(output < outputs_ && out.size() == inputs_);
        const gguf::TensorType type = format_ == FloatFormat::f32   ? gguf::TensorType::f32
                                      : format_ == FloatFormat::f16 ? gguf::TensorType::f16
                                                                    : gguf::TensorType::bf16;
        for (std::size_t i = 0; i < inputs_; ++i)
            gguf::dequantise_row(type, {at(output, i), value_bytes(format_)}, out.subspan(i, 1));
    }

private:
    template <class Bits>
    void interleave(const gguf::Tensor& tensor, ThreadPool* pool) {
        fill_groups(pool, [&](std::size_t first, std::byte*) {
            for (std::size_t o = first; o < std::min(first + group_outputs, outputs_); ++o) {
                const std::byte* row = tensor.data.data() + o * inputs_ * sizeof(Bits);
                std::byte* to = at(o, 0);
                for (std::size_t i = 0; i < inputs_; ++i)
                    std::memcpy(to + i * group_outputs * sizeof(Bits), row + i * sizeof(Bits), sizeof(Bits));
            }
        });
    }

    static std::size_t value_bytes(FloatFormat format) { return format == FloatFormat::f32 ? 4 : 2; }

    std::byte* at(std::size_t output, std::size_t input) const {
        return memory_.data() + output / group_outputs * group_bytes_ +
               (input * group_outputs + output % group_outputs) * value_bytes(format_);
    }

    FloatFormat format_;
};

// --- Codes and scales, as packed_format.h lays them out

void put_codes(Codes kind, const UnitCodes* outputs, std::size_t block, std::byte* to) {
    using Line = std::array<std::uint32_t, group_outputs>; // a word is 4 codes of one output; all shifts stay in a byte
    std::array<Line, 8> vectors;
    for (std::size_t o = 0; o < group_outputs; ++o)
        for (std::size_t v = 0; v < vectors.size(); ++v)
            std::memcpy(&vectors[v][o], outputs[o].codes + block * block_inputs + 4 * v, 4);
    if (kind == Codes::u8) {
        std::memcpy(to, vectors.data(), sizeof vectors);
        return;
    }
    std::array<Line, 4> nibbles;
    std::array<Line, 2> high{};
    for (std::size_t v = 0; v < vectors.size(); v += 2)
        for (std::size_t o = 0; o < group_outputs; ++o)
            nibbles[v / 2][o] = (vectors[v][o] & 0x0F0F0F0Fu) | (vectors[v + 1][o] & 0x0F0F0F0Fu) << 4;
    std::memcpy(to, nibbles.data(), sizeof nibbles);
    for (std::size_t v = 0; v < vectors.size(); ++v) {
        for (std::size_t o = 0; o < group_outputs; ++o) {
            const std::uint32_t bits = vectors[v][o] >> 4;
            if (kind == Codes::u5) high[0][o] |= (bits & 0x01010101u) << v;
            if (kind == Codes::u6) high[v / 4][o] |= (bits & 0x03030303u) << (2 * (v % 4));
        }
    }
    std::memcpy(to + sizeof nibbles, high.data(), code_bytes(kind) - sizeof nibbles);
}

template <class T>
void put(std::byte* base, std::size_t index, T value) {
    std::memcpy(base + index * sizeof(T), &value, sizeof(T));
}

void put_unit(const Format& format, const UnitCodes* outputs, std::size_t blocks, std::byte* unit) {
    const UnitLayout layout = unit_layout(format, blocks);
    const std::size_t sub_blocks = blocks * block_inputs / static_cast<std::size_t>(format.sub_block);
    for (std::size_t o = 0; o < group_outputs; ++o) {
        const UnitCodes& from = outputs[o];
        if (format.scales == Scales::super) {
            put(unit, o, from.d);
            if (format.mins) put(unit, group_outputs + o, from.dmin);
        }
        for (std::size_t s = 0; s < sub_blocks; ++s) {
            const std::size_t index = s * group_outputs + o;
            switch (format.scales) {
            case Scales::f16: put(unit + layout.scales, index, from.f16_scale[s]); break;
            case Scales::f32: put(unit + layout.scales, index, from.f32_scale[s]); break;
            case Scales::super: put(unit + layout.scales, index, from.scale[s]); break;
            }
            if (!format.mins) continue;
            if (format.scales == Scales::super) put(unit + layout.mins, index, from.min[s]);
            else put(unit + layout.mins, index, from.f16_min[s]);
        }
    }
    for (std::size_t b = 0; b < blocks; ++b)
        put_codes(format.codes, outputs, b, unit + layout.codes + b * code_bytes(format.codes));
}

class QuantisedMatrix final : public Packed {
public:
    QuantisedMatrix(const gguf::Tensor& tensor, const Format& format, Isa isa, ThreadPool* pool)
        : Packed(tensor.shape[0], tensor.rows(), cpu::group_bytes(format, tensor.shape[0]), true), format_(format) {
        kernel_ = quantised_kernel(format, isa);
        table_ = code_table(tensor.type);
        const gguf::BlockFormat& file = gguf::block_format(tensor.type);
        const std::size_t row_bytes = inputs_ / file.elements * file.bytes;
        fill_groups(pool, [&](std::size_t o, std::byte* unit) {
            std::array<UnitCodes, group_outputs> rows{};
            for (std::size_t i = 0; i < inputs_; i += unit_blocks * block_inputs) {
                const std::size_t count = std::min(inputs_ - i, unit_blocks * block_inputs);
                for (std::size_t j = 0; j < group_outputs && o + j < outputs_; ++j) {
                    const std::byte* row = tensor.data.data() + (o + j) * row_bytes;
                    read_unit(tensor.type, row + i / file.elements * file.bytes, count, rows[j]);
                }
                put_unit(format, rows.data(), count / block_inputs, unit);
                unit += unit_layout(format, count / block_inputs).bytes;
            }
        });
    }

    void dequantise_output(std::size_t output, std::span<float> out) const override {
        assert(output < outputs_ && out.size() == inputs_);
        const std::byte* unit = memory_.data() + output / group_outputs * group_bytes_;
        const std::size_t o = output % group_outputs;
        BlockCodes codes;
        for (std::size_t i = 0; i < inputs_;) {
            const std::size_t blocks = std::min(unit_blocks, (inputs_ - i) / block_inputs);
            const UnitLayout layout = unit_layout(format_, blocks);
            for (std::size_t j = 0; j < blocks * block_inputs; ++j) {
                const std::size_t block = j / block_inputs;
                if (j % block_inputs == 0)
                    read_codes(format_.codes, unit + layout.codes + block * code_bytes(format_.codes), codes);
                const std::size_t s = j / static_cast<std::size_t>(format_.sub_block);
                const std::uint8_t code = codes.codes[j % block_inputs][o];
                const int value = (table_ == nullptr ? code : (*table_)[code]) - format_.offset;
                const float product = unit_scale(format_, unit, blocks, s, o) * static_cast<float>(value);
                out[i + j] = format_.mins ? product + unit_min(format_, unit, blocks, s, o) : product;
            }
            i += blocks * block_inputs;
            unit += layout.bytes;
        }
    }

private:
    Format format_;
};

} // namespace

std::unique_ptr<PackedMatrix> PackedMatrix::pack(const gguf::Tensor& tensor, Isa isa, ThreadPool* pool) {
    switch (tensor.type) {
    case gguf::TensorType::f32: return std::make_unique<FloatMatrix>(tensor, FloatFormat::f32, isa, pool);
    case gguf::TensorType::f16: return std::make_unique<FloatMatrix>(tensor, FloatFormat::f16, isa, pool);
    case gguf::TensorType::bf16: return std::make_unique<FloatMatrix>(tensor, FloatFormat::bf16, isa, pool);
    default: break;
    }
    const std::optional<Format> format = packed_format(tensor.type);
    assert(format && "only dequantisable types are packed");
    if (!format) return nullptr;
    return std::make_unique<QuantisedMatrix>(tensor, *format, isa, pool);
}

std::size_t quantised_row_bytes(std::size_t inputs) {
    const std::size_t blocks = round_up(inputs, block_inputs) / block_inputs;
    // An odd number of cache lines, so that the same block of several rows doesn't fall into the same cache set.
    return (blocks | 1) * sizeof(ActivationBlock);
}

void quantise_row(std::span<const float> x, std::byte* out, Isa isa) {
    auto* blocks = reinterpret_cast<ActivationBlock*>(out);
    switch (isa) {
#if defined(__x86_64__)
    case Isa::avx512: return quantise_row_avx512(x, blocks);
    case Isa::avx2: return quantise_row_avx2(x, blocks);
#endif
    default: return quantise_row_portable(x, blocks);
    }
}

} // namespace lucebox::compute::cpu
