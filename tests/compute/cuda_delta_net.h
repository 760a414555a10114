// A DeltaNet layer on the GPU beside the oracle's, fed with the same random steps. For the test and the benchmark.
#pragma once

#include "compute/cpu/cpu_device.h"
#include "compute/cuda/delta_net/delta_net.h"
#include "compute/cuda/delta_net/walk.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

namespace lucebox::compute::cuda::testing {

inline bool has_gpu() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

inline void expect_ok(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Device memory of a test: zeroed, freed at the end.
template <class T> class Memory {
public:
    explicit Memory(std::size_t count = 0) : count_(count) {
        if (count == 0) return;
        expect_ok(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)), "cudaMalloc");
        expect_ok(cudaMemset(data_, 0, count * sizeof(T)), "cudaMemset");
    }
    explicit Memory(const std::vector<T>& values) : Memory(values.size()) { put(values); }
    Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    Memory& operator=(Memory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~Memory() { cudaFree(data_); }

    T* data() const { return data_; }
    std::size_t size() const { return count_; }
    void put(const std::vector<T>& values) {
        expect_ok(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "upload");
    }
    std::vector<T> get() const {
        std::vector<T> values(count_);
        expect_ok(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "download");
        return values;
    }

private:
    T* data_ = nullptr;
    std::size_t count_ = 0;
};

struct Shape {
    std::size_t key_heads = 2, value_heads = 4, dim = 16, conv_width = 4;
    std::size_t channels() const { return (2 * key_heads + value_heads) * dim; }
    std::size_t value_width() const { return value_heads * dim; }
};

// What rows bring: made once, so that a row can be fed again in other company.
struct Inputs {
    std::vector<float> qkv, z, alpha, beta;
    std::size_t rows = 0;

    Inputs(const Shape& shape, std::size_t count, std::mt19937& random)
        : qkv(count * shape.channels()), z(count * shape.value_width()), alpha(count * shape.value_heads),
          beta(count * shape.value_heads), rows(count) {
        std::normal_distribution<float> normal;
        for (auto* values : {&qkv, &z, &alpha, &beta}) {
            for (float& x : *values) x = normal(random);
        }
    }
    // The rows of these indices, in this order.
    Inputs(const Shape& shape, const Inputs& all, const std::vector<std::int32_t>& chosen) : rows(chosen.size()) {
        const auto take = [&](const std::vector<float>& from, std::vector<float>& to, std::size_t width) {
            for (const std::int32_t row : chosen) {
                const auto begin = from.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(row) * width);
                to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(width));
            }
        };
        take(all.qkv, qkv, shape.channels());
        take(all.z, z, shape.value_width());
        take(all.alpha, alpha, shape.value_heads);
        take(all.beta, beta, shape.value_heads);
    }
};

struct Weights {
    std::vector<float> conv, a, dt_bias, norm;

    Weights(const Shape& shape, std::mt19937& random)
        : conv(shape.channels() * shape.conv_width), a(shape.value_heads), dt_bias(shape.value_heads), norm(shape.dim) {
        std::normal_distribution<float> normal;
        for (float& x : conv) x = 0.5f * normal(random);
        for (float& x : a) x = -std::exp(normal(random)); // from hardly any decay to nearly all of it
        for (float& x : dt_bias) x = normal(random);
        for (float& x : norm) x = 1 + 0.2f * normal(random);
    }
};

// A path or tree below one slot's committed end.
struct Rows {
    std::int32_t slot = 0;
    std::vector<std::int32_t> parent;
    bool commit_now = false;
    std::vector<std::int32_t> pending;
    std::int32_t committed = 0;
};

inline StepPlan make_plan(const std::vector<Rows>& sequences) {
    StepPlan plan;
    for (const Rows& rows : sequences) {
        PlanSequence sequence;
        sequence.slot = rows.slot;
        sequence.first_row = static_cast<std::int32_t>(plan.rows.size());
        sequence.rows = static_cast<std::int32_t>(rows.parent.size());
        sequence.committed = rows.committed;
        sequence.commit_now = rows.commit_now;
        sequence.pending = rows.pending;
        for (std::size_t i = 0; i < rows.parent.size(); ++i) {
            PlanRow row;
            row.sequence = static_cast<std::int32_t>(plan.sequences.size());
            row.local = static_cast<std::int32_t>(i);
            row.parent = rows.parent[i];
            const std::size_t first = static_cast<std::size_t>(sequence.first_row);
            row.position = row.parent < 0 ? rows.committed : plan.rows[first + static_cast<std::size_t>(row.parent)].position + 1;
            sequence.path = sequence.path && row.parent == row.local - 1;
            plan.rows.push_back(row);
        }
        plan.sequences.push_back(std::move(sequence));
    }
    return plan;
}

// The plan as kernels read it, in device memory.
struct DevicePlan {
    Memory<StepRow> rows;
    Memory<StepSequence> sequences;
    Memory<StepState> state;

    explicit DevicePlan(const StepPlan& plan) {
        std::vector<StepRow> device_rows;
        for (const PlanRow& row : plan.rows) {
            const PlanSequence& sequence = plan.sequences[static_cast<std::size_t>(row.sequence)];
            device_rows.push_back({row.token, row.position, row.sequence, sequence.slot, row.local, row.parent, row.ancestors});
        }
        std::vector<StepSequence> device_sequences;
        for (const PlanSequence& from : plan.sequences) {
            StepSequence to;
            to.slot = from.slot;
            to.first_row = from.first_row;
            to.rows = from.rows;
            to.committed = from.committed;
            to.path = from.path;
            to.commit_now = from.commit_now;
            to.pending_count = static_cast<std::int32_t>(from.pending.size());
            for (std::size_t i = 0; i < from.pending.size(); ++i) to.pending[i] = static_cast<std::uint8_t>(from.pending[i]);
            if (!from.path) {
                std::vector<std::int32_t> parent;
                for (std::int32_t i = 0; i < from.rows; ++i) {
                    parent.push_back(plan.rows[static_cast<std::size_t>(from.first_row + i)].parent);
                }
                plan_walk(parent, to);
            }
            device_sequences.push_back(to);
        }
        rows = Memory<StepRow>(device_rows);
        sequences = Memory<StepSequence>(device_sequences);
        StepState step;
        step.rows = static_cast<std::int32_t>(plan.rows.size());
        step.sequences = static_cast<std::int32_t>(plan.sequences.size());
        step.row = rows.data();
        step.sequence = sequences.data();
        state = Memory<StepState>(std::vector<StepState>{step});
    }
};

class DeviceVector final : public Buffer {
public:
    explicit DeviceVector(const std::vector<float>& values) : memory_(values) {
        data_ = reinterpret_cast<std::byte*>(memory_.data());
        bytes_ = values.size() * sizeof(float);
    }

private:
    Memory<float> memory_;
};

class Layer {
public:
    Layer(const Shape& shape, const Weights& weights, std::size_t slots, std::size_t most_rows)
        : shape_(shape), state_(slots * shape.value_heads * shape.dim * shape.dim),
          conv_(slots * (shape.conv_width - 1) * shape.channels()), scratch_(slots * 64 * RecurrentView::scratch_width(shape.channels(), shape.value_heads)),
          workspace_(delta_net_workspace_bytes(most_rows, slots, shape.key_heads, shape.value_heads, shape.dim)) {
        const auto vector = [](const std::vector<float>& values) {
            Vector out;
            out.size = values.size();
            out.buffer = std::make_unique<DeviceVector>(values);
            return out;
        };
        conv_weight_ = vector(weights.conv);
        a_ = vector(weights.a);
        dt_bias_ = vector(weights.dt_bias);
        norm_ = vector(weights.norm);
    }

    DeltaNetArgs args(const Memory<float>& qkv, const Memory<float>& z, const Memory<float>& alpha, const Memory<float>& beta,
                      const Memory<float>& out, std::size_t rows) const {
        DeltaNetArgs args;
        args.qkv = {qkv.data(), rows, shape_.channels()};
        args.z = {z.data(), rows, shape_.value_width()};
        args.alpha = {alpha.data(), rows, shape_.value_heads};
        args.beta = {beta.data(), rows, shape_.value_heads};
        args.out = {out.data(), rows, shape_.value_width()};
        args.conv = &conv_weight_;
        args.a = &a_;
        args.dt_bias = &dt_bias_;
        args.norm = &norm_;
        args.epsilon = 1e-6f;
        args.key_heads = shape_.key_heads;
        args.value_heads = shape_.value_heads;
        args.dim = shape_.dim;
        args.conv_width = shape_.conv_width;
        args.cache = {state_.data(), conv_.data(), scratch_.data()};
        return args;
    }

    // The outputs of one step. `bucket`: rows and sequences that the launch is made for, at least those of the step.
    std::vector<float> run(const std::vector<Rows>& sequences, const Inputs& inputs, std::size_t spare_sequences = 0) {
        const StepPlan plan = make_plan(sequences);
        const DevicePlan device(plan);
        const Memory<float> qkv(inputs.qkv), z(inputs.z), alpha(inputs.alpha), beta(inputs.beta);
        const Memory<float> out(inputs.rows * shape_.value_width());
        DeltaNetLaunch launch;
        launch.step = device.state.data();
        launch.sequence = device.sequences.data();
        launch.row = device.rows.data();
        launch.sequences = sequences.size() + spare_sequences;
        launch.rows = inputs.rows;
        launch.without_cluster = without_cluster;
        launch.workspace = workspace_.data();
        delta_net(args(qkv, z, alpha, beta, out, inputs.rows), launch);
        expect_ok(cudaGetLastError(), "launch");
        expect_ok(cudaDeviceSynchronize(), "delta_net");
        return out.get();
    }

    // As [slots, value_heads, dim (key), dim (value)].
    std::vector<float> state() const {
        const std::vector<float> tiled = state_.get();
        std::vector<float> plain(tiled.size());
        const std::size_t dim = shape_.dim;
        for (std::size_t head = 0; head < tiled.size() / (dim * dim); ++head) {
            for (std::size_t i = 0; i < dim; ++i) {
                for (std::size_t j = 0; j < dim; ++j) {
                    plain[head * dim * dim + i * dim + j] =
                        tiled[head * dim * dim + (j / 4 * (dim / 4) + i / 4) * 16 + j % 4 * 4 + i % 4];
                }
            }
        }
        return plain;
    }
    std::vector<float> conv() const { return conv_.get(); }
    std::byte* workspace() const { return workspace_.data(); }

    bool without_cluster = false;

private:
    Shape shape_;
    Memory<float> state_, conv_, scratch_;
    Memory<std::byte> workspace_;
    Vector conv_weight_, a_, dt_bias_, norm_;
};

} // namespace lucebox::compute::cuda::testing
