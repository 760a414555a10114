// Are the GPU's matrix products right, and how near to the memory's speed are they?
//
//   bench_cuda_matmul [check] [shapes [match=TEXT]] [chain] [prefill]        all of them if none is named
//
// check    every weight type, many shapes, against an f64 product of the file's weights; a row's bits alone and among
// others shapes   the matrices of a 27B model (Q4_K_M) at 1 .. 64 rows: distinct weights, one graph, dependent launch
// chain    all products of one of its tokens, 64 layers and the head
// prefill  its matrices at 128 to 4096 rows
// "read" is a kernel that only reads the same bytes; its rate is measured in the same run. Prints for people; exits
// with 1 if a check fails.
#include "compute/cuda/matmul/matmul.h"
#include "compute/cuda/matmul/operand.cuh"
#include "gguf/blocks.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace lucebox;
using namespace lucebox::compute;
using namespace lucebox::compute::cuda;
using gguf::TensorType;

namespace {

void check(cudaError_t error, int line) {
    if (error == cudaSuccess) return;
    std::printf("line %d: %s\n", line, cudaGetErrorString(error));
    std::exit(2);
}
#define CHECK(call) check(call, __LINE__)

template <class T>
class Allocation {
public:
    explicit Allocation(std::size_t count) : count_(count) {
        CHECK(cudaMalloc(&data_, std::max<std::size_t>(count, 1) * sizeof(T)));
        CHECK(cudaMemset(data_, 0, std::max<std::size_t>(count, 1) * sizeof(T)));
    }
    explicit Allocation(const std::vector<T>& from) : Allocation(from.size()) {
        CHECK(cudaMemcpy(data_, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
    }
    Allocation(const Allocation&) = delete;
    ~Allocation() { cudaFree(data_); }
    T* data() const { return data_; }
    std::vector<T> host() const {
        std::vector<T> to(count_);
        CHECK(cudaMemcpy(to.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
        return to;
    }

private:
    T* data_ = nullptr;
    std::size_t count_;
};

cudaStream_t stream;
std::mt19937_64 rng(1);

// Where a block of the type has its f16 scales, and how large they are here.
struct ScaleAt {
    std::size_t offset;
    float value;
};
std::vector<ScaleAt> scales_of(TensorType type) {
    switch (type) {
    case TensorType::q4_0: return {{0, 4e-3f}};
    case TensorType::q4_1: return {{0, 4e-3f}, {2, -3e-2f}};
    case TensorType::q5_0: return {{0, 2e-3f}};
    case TensorType::q5_1: return {{0, 2e-3f}, {2, -3e-2f}};
    case TensorType::q8_0: return {{0, 3e-4f}};
    case TensorType::iq4_nl: return {{0, 3e-4f}};
    case TensorType::q2_k: return {{80, 1e-3f}, {82, 2e-3f}};
    case TensorType::q3_k: return {{108, 4e-4f}};
    case TensorType::q4_k:
    case TensorType::q5_k: return {{0, 1e-4f}, {2, 7e-4f}};
    case TensorType::q6_k: return {{208, 2e-5f}};
    case TensorType::iq4_xs: return {{0, 1e-5f}};
    default: return {};
    }
}

// Random blocks whose weights are of the order of 0.02 to 0.1.
std::vector<std::byte> random_blocks(TensorType type, std::size_t blocks) {
    const gguf::BlockFormat& format = gguf::block_format(type);
    std::vector<std::byte> out(blocks * format.bytes);
    std::normal_distribution<float> normal(0, 0.05f);
    if (format.elements == 1) {
        for (std::size_t i = 0; i < blocks; ++i) {
            const float value = normal(rng);
            const std::uint16_t half = type == TensorType::bf16 ? gguf::f32_to_bf16(value) : gguf::f32_to_f16(value);
            std::memcpy(out.data() + i * format.bytes, format.bytes == 4 ? static_cast<const void*>(&value) : &half,
                        format.bytes);
        }
        return out;
    }
    for (std::size_t i = 0; i + 8 <= out.size(); i += 8) {
        const std::uint64_t bits = rng();
        std::memcpy(out.data() + i, &bits, 8);
    }
    std::uniform_real_distribution<float> near(0.5f, 1.5f);
    for (std::size_t i = 0; i < blocks; ++i)
        for (const ScaleAt& scale : scales_of(type)) {
            const std::uint16_t half = gguf::f32_to_f16(scale.value * near(rng));
            std::memcpy(out.data() + i * format.bytes + scale.offset, &half, 2);
        }
    return out;
}

// A matrix with its weights as f32 on the host and packed on the device.
struct TestMatrix {
    std::vector<float> weights; // [outputs, inputs]
    std::unique_ptr<Allocation<std::byte>> memory;
    std::unique_ptr<CudaMatrix> matrix;

    TestMatrix(TensorType type, std::size_t inputs, std::size_t outputs) : weights(inputs * outputs) {
        const std::vector<std::byte> raw = random_blocks(type, inputs / gguf::block_format(type).elements * outputs);
        gguf::dequantise_row(type, raw, weights);
        const Allocation<std::byte> file(raw);
        memory = std::make_unique<Allocation<std::byte>>(CudaMatrix::device_bytes(type, inputs, outputs));
        matrix = CudaMatrix::repack(type, inputs, outputs, file.data(), memory->data(), stream);
        CHECK(cudaStreamSynchronize(stream));
    }
};

// Activations that f16 holds exactly, a few of them large, so that only the product's own rounding is seen.
std::vector<float> random_activations(std::size_t rows, std::size_t width) {
    std::vector<float> x(rows * width);
    std::normal_distribution<float> normal(0, 1);
    for (float& v : x) {
        v = normal(rng) * (rng() % 97 == 0 ? 20.0f : 1.0f);
        v = gguf::f16_to_f32(gguf::f32_to_f16(v / 16)) * 16;
    }
    return x;
}

std::vector<float> rows_of(const std::vector<float>& x, std::size_t width, std::size_t first, std::size_t count) {
    return {x.begin() + static_cast<std::ptrdiff_t>(first * width),
            x.begin() + static_cast<std::ptrdiff_t>((first + count) * width)};
}

double dot(const float* w, const float* x, std::size_t width) {
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i)
        sum += static_cast<double>(w[i]) * static_cast<double>(x[i]);
    return sum;
}

struct Errors {
    double square = 0, reference = 0;
    void add(double got, double expected) {
        square += (got - expected) * (got - expected);
        reference += expected * expected;
    }
    double relative() const { return std::sqrt(square / std::max(reference, 1e-300)); }
};

bool all_good = true;
void verdict(bool good) {
    all_good &= good;
}

std::unique_ptr<Allocation<std::byte>> workspace;

struct Input {
    Allocation<float> x;
    Allocation<std::byte> operand;
    Input(const std::vector<float>& values, std::size_t rows, std::size_t width)
        : x(values), operand(operand_bytes(rows, width)) {
        to_operand(x.data(), rows, width, operand.data(), stream);
    }
};

std::vector<float> product(const CudaMatrix& matrix, const std::vector<float>& x, std::size_t rows) {
    const Input input(x, rows, matrix.inputs());
    const Allocation<float> out(rows * matrix.outputs());
    const MatmulTarget target{&matrix, nullptr, out.data(), false};
    matmul(input.operand.data(), rows, {&target, 1}, workspace->data(), stream);
    CHECK(cudaStreamSynchronize(stream));
    return out.host();
}

// What f16 weights may be off by. Types that need no rounding to f16 only meet the sums' rounding.
double tolerance(TensorType type) {
    switch (type) {
    case TensorType::f16:
    case TensorType::bf16:
    case TensorType::f32: return 2e-5;
    default: return 5e-4;
    }
}

void check_type(TensorType type, std::size_t outputs, std::size_t inputs) {
    const TestMatrix m(type, inputs, outputs);
    const std::vector<float> x = random_activations(64, inputs);
    const std::vector<float> all = product(*m.matrix, x, 64);

    Errors error;
    for (const std::size_t row : {0u, 7u, 13u, 38u, 63u})
        for (std::size_t o = 0; o < outputs; ++o)
            error.add(all[row * outputs + o], dot(m.weights.data() + o * inputs, x.data() + row * inputs, inputs));

    int runs = 0, other_bits = 0;
    for (const auto& [count, first] : {std::pair<std::size_t, std::size_t>{1, 0},
                                       {1, 63},
                                       {2, 5},
                                       {5, 30},
                                       {8, 11},
                                       {9, 3},
                                       {16, 20},
                                       {17, 2},
                                       {24, 40},
                                       {32, 9},
                                       {33, 31},
                                       {48, 7},
                                       {63, 1}}) {
        const std::vector<float> some = product(*m.matrix, rows_of(x, inputs, first, count), count);
        other_bits += std::memcmp(some.data(), all.data() + first * outputs, some.size() * sizeof(float)) != 0;
        ++runs;
    }

    Errors prefill;
    const std::size_t many = 300;
    const std::vector<float> y = random_activations(many, inputs);
    const std::vector<float> result = product(*m.matrix, y, many);
    for (const std::size_t row : {0u, 127u, 128u, 255u, 299u})
        for (std::size_t o = 0; o < outputs; ++o)
            prefill.add(result[row * outputs + o], dot(m.weights.data() + o * inputs, y.data() + row * inputs, inputs));

    // Columns of 128 and of 256 rows, and where a row lies in one, change nothing.
    for (const auto& [count, first] : {std::pair<std::size_t, std::size_t>{65, 37}, {128, 0}, {129, 100}, {200, 100}, {260, 3}}) {
        const std::vector<float> some = product(*m.matrix, rows_of(y, inputs, first, count), count);
        other_bits += std::memcmp(some.data(), result.data() + first * outputs, some.size() * sizeof(float)) != 0;
        ++runs;
    }

    // Embedding rows are the file's values.
    std::vector<std::int32_t> tokens;
    for (std::size_t o = 0; o < outputs; o += 7)
        tokens.push_back(static_cast<std::int32_t>(o));
    const Allocation<std::int32_t> device_tokens(tokens);
    const Allocation<float> rows(tokens.size() * inputs);
    m.matrix->embed(device_tokens.data(), 4, tokens.size(), 1, rows.data(), stream);
    CHECK(cudaStreamSynchronize(stream));
    const std::vector<float> embedded = rows.host();
    std::size_t different = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i)
        for (std::size_t k = 0; k < inputs; ++k) {
            const float expected = m.weights[static_cast<std::size_t>(tokens[i]) * inputs + k];
            different += type == TensorType::f32 ? std::fabs(embedded[i * inputs + k] - expected) > 1e-6f
                                                 : embedded[i * inputs + k] != expected;
        }

    const bool good =
        error.relative() < tolerance(type) && prefill.relative() < tolerance(type) && other_bits == 0 && different == 0;
    std::printf(
        "%-7s %5zu x %5zu  off %.1e  prefill off %.1e  other bits in %d of %d runs  embedding: %zu differ  %s\n",
        std::string(gguf::block_format(type).name).c_str(), outputs, inputs, error.relative(), prefill.relative(),
        other_bits, runs, different, good ? "ok" : "WRONG");
    std::fflush(stdout);
    verdict(good);
}

// Several targets in one launch, with bias and accumulation; a gate and an up projection of equal and of different
// types.
void check_groups() {
    const std::size_t inputs = 1024;
    for (const std::size_t rows : {1u, 5u, 16u, 33u, 64u, 200u}) {
        const TestMatrix a(TensorType::q5_k, inputs, 1100), b(TensorType::q4_k, inputs, 640),
            c(TensorType::q8_0, inputs, 48), d(TensorType::q8_0, inputs, 48);
        const std::vector<float> x = random_activations(rows, inputs);
        const Input input(x, rows, inputs);
        const std::vector<float> bias = random_activations(1, 1100), before = random_activations(rows, 640);
        const Allocation<float> device_bias(bias), out_a(rows * 1100), out_b(before), out_c(rows * 48),
            out_d(rows * 48);
        const MatmulTarget targets[] = {{a.matrix.get(), device_bias.data(), out_a.data(), false},
                                        {b.matrix.get(), nullptr, out_b.data(), true},
                                        {c.matrix.get(), nullptr, out_c.data(), false},
                                        {d.matrix.get(), nullptr, out_d.data(), false}};
        matmul(input.operand.data(), rows, targets, workspace->data(), stream);
        CHECK(cudaStreamSynchronize(stream));
        Errors error;
        const std::vector<float> ra = out_a.host(), rb = out_b.host(), rc = out_c.host(), rd = out_d.host();
        for (std::size_t r = 0; r < rows; ++r) {
            auto expected = [&](const TestMatrix& m, std::size_t o) {
                return dot(m.weights.data() + o * inputs, x.data() + r * inputs, inputs);
            };
            for (std::size_t o = 0; o < 1100; ++o)
                error.add(ra[r * 1100 + o] - static_cast<double>(bias[o]), expected(a, o));
            for (std::size_t o = 0; o < 640; ++o)
                error.add(rb[r * 640 + o] - static_cast<double>(before[r * 640 + o]), expected(b, o));
            for (std::size_t o = 0; o < 48; ++o)
                error.add(rc[r * 48 + o], expected(c, o)), error.add(rd[r * 48 + o], expected(d, o));
        }
        bool good = error.relative() < 5e-4;
        std::printf("group of four, %zu rows: off %.1e %s\n", rows, error.relative(), good ? "ok" : "WRONG");
        verdict(good);

        for (const TensorType up_type : {TensorType::q4_k, TensorType::q6_k}) {
            const std::size_t width = 1096;
            const TestMatrix gate(TensorType::q4_k, inputs, width), up(up_type, inputs, width),
                next(TensorType::f16, width, 96);
            const Allocation<std::byte> hidden(operand_bytes(rows, width));
            const CudaMatrix* both[] = {gate.matrix.get(), up.matrix.get()};
            const Allocation<std::byte> space(matmul_workspace_bytes(both, rows));
            gated_matmul(input.operand.data(), rows, *gate.matrix, *up.matrix, Activation::silu, hidden.data(),
                         space.data(), stream);
            const Allocation<float> out(rows * 96);
            const MatmulTarget target{next.matrix.get(), nullptr, out.data(), false};
            matmul(hidden.data(), rows, {&target, 1}, space.data(), stream);
            CHECK(cudaStreamSynchronize(stream));
            const std::vector<float> got = out.host();
            Errors off;
            for (std::size_t r = 0; r < rows; r += 3) {
                std::vector<float> h(width);
                for (std::size_t o = 0; o < width; ++o) {
                    const double g = dot(gate.weights.data() + o * inputs, x.data() + r * inputs, inputs),
                                 u = dot(up.weights.data() + o * inputs, x.data() + r * inputs, inputs);
                    h[o] = static_cast<float>(g / (1 + std::exp(-g)) * u);
                }
                for (std::size_t o = 0; o < 96; ++o)
                    off.add(got[r * 96 + o], dot(next.weights.data() + o * width, h.data(), width));
            }
            good = off.relative() < 2e-3;
            std::printf("gate Q4_K, up %s, %zu rows: off %.1e %s\n",
                        std::string(gguf::block_format(up_type).name).c_str(), rows, off.relative(),
                        good ? "ok" : "WRONG");
            verdict(good);
        }
    }
}

// A gated row is the same alone and among 64.
void check_gated_rows() {
    const std::size_t inputs = 512, width = 1096;
    const TestMatrix gate(TensorType::q4_k, inputs, width), up(TensorType::q4_k, inputs, width);
    const std::vector<float> x = random_activations(64, inputs);
    auto hidden = [&](std::size_t first, std::size_t rows, Activation activation) {
        const Input input(rows_of(x, inputs, first, rows), rows, inputs);
        const Allocation<std::byte> out(operand_bytes(rows, width));
        gated_matmul(input.operand.data(), rows, *gate.matrix, *up.matrix, activation, out.data(), workspace->data(),
                     stream);
        CHECK(cudaStreamSynchronize(stream));
        return out.host();
    };
    for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
        const std::vector<std::byte> all = hidden(0, 64, activation);
        int different = 0;
        for (const auto& [first, rows] :
             {std::pair<std::size_t, std::size_t>{0, 1}, {63, 1}, {9, 5}, {20, 16}, {3, 31}, {11, 50}}) {
            const std::vector<std::byte> some = hidden(first, rows, activation);
            for (std::uint32_t r = 0; r < rows; ++r)
                for (std::uint32_t k = 0; k < width; ++k) {
                    const std::size_t a = Operand{nullptr, static_cast<std::uint32_t>(rows)}.offset(r, k);
                    const std::size_t b = Operand{nullptr, 64}.offset(static_cast<std::uint32_t>(first) + r, k);
                    different += std::memcmp(some.data() + a, all.data() + b, 2) != 0;
                }
        }
        std::printf("gated rows alone and among 64: %d values differ %s\n", different, different == 0 ? "ok" : "WRONG");
        verdict(different == 0);
    }
}

void check_all() {
    using enum TensorType;
    for (const TensorType type :
         {q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, f16, bf16, f32}) {
        check_type(type, 328, 1024);
        const std::size_t elements = gguf::block_format(type).elements;
        if (elements < 256) check_type(type, 70, 192), check_type(type, 200, 576);
        if (elements == 1) check_type(type, 33, 75);
    }
    check_type(q4_k, 1096, 5120), check_type(q6_k, 80, 17408), check_type(q5_k, 520, 6144), check_type(q8_0, 48, 5120),
        check_type(q4_k, 5120, 512);
    check_groups();
    check_gated_rows();
}

// ------------------------------------------------------------------------------------------------------------ timing

__global__ void __launch_bounds__(512) read_only(const uint4* from, std::size_t count, std::uint32_t* out) {
    std::uint32_t sum = 0;
    const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x;
    for (; i + 3 * step < count; i += 4 * step) {
        uint4 v[4];
#pragma unroll
        for (int u = 0; u < 4; ++u)
            v[u] = __ldcs(from + i + static_cast<std::size_t>(u) * step);
#pragma unroll
        for (int u = 0; u < 4; ++u)
            sum ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
    }
    for (; i < count; i += step)
        sum ^= __ldcs(from + i).x;
    if (sum == 0x12345678) *out = sum;
}

// Microseconds of one replay of what `body` queues, as a graph: the best and the median of `repeats`.
struct Time {
    double best, median;
};
Time graph_time(const std::function<void()>& body, int repeats) {
    cudaGraph_t graph;
    cudaGraphExec_t run;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    body();
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&run, graph, 0));
    cudaEvent_t before, after;
    CHECK(cudaEventCreate(&before));
    CHECK(cudaEventCreate(&after));
    CHECK(cudaGraphLaunch(run, stream));
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
        float ms = 0;
        CHECK(cudaEventRecord(before, stream));
        CHECK(cudaGraphLaunch(run, stream));
        CHECK(cudaEventRecord(after, stream));
        CHECK(cudaEventSynchronize(after));
        CHECK(cudaEventElapsedTime(&ms, before, after));
        times.push_back(ms * 1e3);
    }
    std::sort(times.begin(), times.end());
    CHECK(cudaGraphExecDestroy(run));
    CHECK(cudaGraphDestroy(graph));
    return {times.front(), times[times.size() / 2]};
}

// Matrices with weights of their own, packed from one pool of random blocks.
class Pool {
public:
    const CudaMatrix* make(TensorType type, std::size_t outputs, std::size_t inputs) {
        const gguf::BlockFormat& format = gguf::block_format(type);
        const std::size_t bytes = inputs / format.elements * format.bytes * outputs;
        if (type != raw_type_ || raw_bytes_ < bytes) {
            const std::vector<std::byte> some = random_blocks(type, 20000);
            raw_ = std::make_unique<Allocation<std::byte>>(bytes + some.size());
            for (std::size_t at = 0; at < bytes; at += some.size())
                CHECK(cudaMemcpy(raw_->data() + at, some.data(), some.size(), cudaMemcpyHostToDevice));
            raw_type_ = type, raw_bytes_ = bytes;
        }
        memory_.push_back(std::make_unique<Allocation<std::byte>>(CudaMatrix::device_bytes(type, inputs, outputs)));
        matrices_.push_back(CudaMatrix::repack(type, inputs, outputs, raw_->data(), memory_.back()->data(), stream));
        CHECK(cudaStreamSynchronize(stream));
        return matrices_.back().get();
    }

private:
    std::unique_ptr<Allocation<std::byte>> raw_;
    TensorType raw_type_{};
    std::size_t raw_bytes_ = 0;
    std::vector<std::unique_ptr<Allocation<std::byte>>> memory_;
    std::vector<std::unique_ptr<CudaMatrix>> matrices_;
};

// One launch of the model.
struct Step {
    std::string name;
    std::vector<const CudaMatrix*> targets;
    bool gated = false;
    double bytes() const {
        double sum = 0;
        for (const CudaMatrix* m : targets)
            sum += static_cast<double>(m->bytes());
        return sum;
    }
    double flops() const {
        double sum = 0;
        for (const CudaMatrix* m : targets)
            sum += 2.0 * static_cast<double>(m->inputs()) * static_cast<double>(m->outputs());
        return sum;
    }
};

class Model {
public:
    explicit Model(std::size_t layers) {
        using enum TensorType;
        auto more = [](std::size_t i) { return i < 8 || i >= 56 || (i - 8) % 3 == 2; };
        // Type by type, since the pool packs from blocks of one type at a time.
        std::vector<const CudaMatrix*> q5, q4, q8, q6;
        for (std::size_t i = 0; i < layers; ++i) {
            const bool attention = i % 4 == 3;
            steps.push_back(
                {attention ? "q k v 12288+1024+1024 x 5120" : "qkv z a b 10240+6144+48+48 x 5120", {}, false});
            steps.push_back({attention ? "attention out 5120 x 6144" : "delta out 5120 x 6144", {}, false});
            steps.push_back({"gate up 17408+17408 x 5120", {}, true});
            steps.push_back({more(i) ? "down 5120 x 17408 Q6_K" : "down 5120 x 17408 Q4_K", {}, false});
        }
        for (const TensorType type : {q5_k, q4_k, q8_0, q6_k})
            for (std::size_t i = 0; i < layers; ++i) {
                const bool attention = i % 4 == 3;
                auto add = [&](std::size_t step, TensorType t, std::size_t outputs, std::size_t inputs) {
                    if (t == type) steps[4 * i + step].targets.push_back(pool.make(t, outputs, inputs));
                };
                if (attention)
                    add(0, q4_k, 12288, 5120), add(0, q4_k, 1024, 5120), add(0, more(i) ? q6_k : q4_k, 1024, 5120),
                        add(1, q4_k, 5120, 6144);
                else
                    add(0, q5_k, 10240, 5120), add(0, q4_k, 6144, 5120), add(0, q8_0, 48, 5120), add(0, q8_0, 48, 5120),
                        add(1, q5_k, 5120, 6144);
                add(2, q4_k, 17408, 5120), add(2, q4_k, 17408, 5120), add(3, more(i) ? q6_k : q4_k, 5120, 17408);
            }
        steps.push_back({"head 248320 x 5120 Q6_K", {pool.make(q6_k, 248320, 5120)}, false});
    }
    double bytes() const {
        double sum = 0;
        for (const Step& s : steps)
            sum += s.bytes();
        return sum;
    }
    std::vector<Step> steps;
    Pool pool;
};

struct Buffers {
    Allocation<std::byte> operand, hidden;
    Allocation<float> out;
    explicit Buffers(std::size_t rows)
        : operand(operand_bytes(rows, 17408)), hidden(operand_bytes(rows, 17408)),
          out(std::max<std::size_t>(rows * 20480, std::min<std::size_t>(rows, 64) * 248320)) {
        // 64 random rows, again and again: zeros would need less power than numbers do.
        const std::vector<float> x = random_activations(std::min<std::size_t>(rows, 64), 17408);
        const Allocation<float> device_x(x);
        const std::size_t at_once = operand_bytes(std::min<std::size_t>(rows, 64), 17408);
        for (std::size_t at = 0; at + at_once <= operand_bytes(rows, 17408); at += at_once)
            to_operand(device_x.data(), std::min<std::size_t>(rows, 64), 17408, operand.data() + at, stream);
        CHECK(cudaStreamSynchronize(stream));
    }
    void queue(const Step& step, std::size_t rows) const {
        if (step.gated)
            return gated_matmul(operand.data(), rows, *step.targets[0], *step.targets[1], Activation::silu,
                                hidden.data(), workspace->data(), stream);
        std::vector<MatmulTarget> targets;
        float* at = out.data();
        for (const CudaMatrix* m : step.targets)
            targets.push_back({m, nullptr, at, false}), at += rows * m->outputs();
        matmul(operand.data(), rows, targets, workspace->data(), stream);
    }
};

double read_rate = 0; // bytes a second
std::string match;    // shapes whose name contains it

void measure_read() {
    const std::size_t bytes = std::size_t{3} << 30;
    const Allocation<std::byte> memory(bytes);
    const Allocation<std::uint32_t> out(1);
    int processors = 0;
    CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
    for (const int blocks : {2, 4}) {
        const Time time = graph_time(
            [&] {
                read_only<<<processors * blocks, 512, 0, stream>>>(reinterpret_cast<const uint4*>(memory.data()),
                                                                   bytes / 16, out.data());
            },
            10);
        read_rate = std::max(read_rate, static_cast<double>(bytes) / time.best * 1e6);
    }
    std::printf("read %.3f TB/s\n", read_rate * 1e-12);
}

void time_shapes(const Model& model) {
    const Buffers buffers(64);
    std::vector<std::string> names;
    for (const Step& s : model.steps)
        if (s.name.find(match) != std::string::npos && std::find(names.begin(), names.end(), s.name) == names.end())
            names.push_back(s.name);
    std::printf("%-36s %9s %8s | us, TB/s, share of read, ratio to one row\n", "shape", "MB", "read us");
    for (const std::string& name : names) {
        std::vector<const Step*> same;
        for (const Step& s : model.steps)
            if (s.name == name && same.size() < 24) same.push_back(&s);
        const double bytes = same[0]->bytes(), count = static_cast<double>(same.size());
        std::printf("%-36s %9.2f %8.2f |", name.c_str(), bytes * 1e-6, bytes / read_rate * 1e6);
        double one = 0;
        for (const std::size_t rows : {1u, 8u, 16u, 32u, 64u}) {
            const double us = graph_time(
                                  [&] {
                                      for (const Step* s : same)
                                          buffers.queue(*s, rows);
                                  },
                                  7)
                                  .median /
                              count;
            if (rows == 1) one = us;
            std::printf("  %zu: %.2f %.2f %.0f%% %.2f", rows, us, bytes / us * 1e-6, 100 * bytes / read_rate * 1e6 / us,
                        us / one);
            std::fflush(stdout);
        }
        std::printf("\n");
    }
}

void time_chain(const Model& model) {
    const Buffers buffers(64);
    const double floor = model.bytes() / read_rate * 1e6;
    std::printf("chain: %zu launches, %.3f GB, %.0f us at the rate of a pure read\n", model.steps.size(),
                model.bytes() * 1e-9, floor);
    double one = 0;
    for (const std::size_t rows : {1u, 2u, 4u, 8u, 16u, 24u, 32u, 48u, 64u}) {
        const Time time = graph_time(
            [&] {
                for (const Step& s : model.steps)
                    buffers.queue(s, rows);
            },
            7);
        if (rows == 1) one = time.median;
        std::printf("  %2zu rows: %.0f us (best %.0f), %.1f %% of read, %.2f of one row\n", rows, time.median,
                    time.best, 100 * floor / time.median, time.median / one);
        std::fflush(stdout);
    }
}

void time_prefill(const Model& model) {
    const Buffers buffers(4096);
    for (const std::size_t rows : {128u, 512u, 1024u, 2048u, 4096u}) {
        double flops = 0, us = 0;
        std::printf("prefill %zu rows:", rows);
        for (const std::size_t i : {0u, 1u, 2u, 3u, 12u, 13u, 15u, 35u}) {
            const Step& s = model.steps[i];
            if (s.name.find(match) == std::string::npos) continue;
            const double time = graph_time(
                                    [&] {
                                        for (int r = 0; r < 4; ++r)
                                            buffers.queue(s, rows);
                                    },
                                    3)
                                    .median /
                                4;
            std::printf("  %s %.0f us %.0f TFLOP/s;", s.name.c_str(), time,
                        s.flops() * static_cast<double>(rows) / time * 1e-6);
            if (i < 4) flops += s.flops() * static_cast<double>(rows), us += time;
        }
        std::printf("  a DeltaNet layer: %.0f TFLOP/s\n", flops / us * 1e-6);
        std::fflush(stdout);
    }
}

} // namespace

int main(int argc, char** argv) {
    auto wanted = [&](std::string_view name) {
        for (int i = 1; i < argc; ++i)
            if (name == argv[i]) return true;
        return argc == 1;
    };
    for (int i = 1; i < argc; ++i)
        if (std::strncmp(argv[i], "match=", 6) == 0) match = argv[i] + 6;
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        std::printf("skipped: no GPU\n");
        return 0;
    }
    cudaDeviceProp properties{};
    CHECK(cudaGetDeviceProperties(&properties, 0));
    std::printf("%s, %d multiprocessors\n", properties.name, properties.multiProcessorCount);
    CHECK(cudaStreamCreate(&stream));
    workspace = std::make_unique<Allocation<std::byte>>(matmul_workspace_bytes({}, 64));
    if (wanted("check")) check_all();
    if (argc > 1 && wanted("profile")) { // for ncu: each launch of a layer at 1, 32 and 2048 rows
        const Model model(4);
        const Buffers buffers(2048);
        for (const std::size_t rows : {1u, 32u, 2048u})
            for (std::size_t i = 0; i < 4; ++i)
                if (model.steps[i].name.find(match) != std::string::npos) buffers.queue(model.steps[i], rows);
        CHECK(cudaStreamSynchronize(stream));
    }
    if (wanted("shapes") || wanted("chain") || wanted("prefill")) {
        measure_read();
        const Model model(64);
        if (wanted("chain")) time_chain(model);
        if (wanted("shapes")) time_shapes(model);
        if (wanted("prefill")) time_prefill(model);
    }
    std::printf("%s\n", all_good ? "all good" : "SOMETHING IS WRONG");
    return all_good ? 0 : 1;
}
