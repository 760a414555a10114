// A device with tensors, weights and a step, for tests of one operation at a time.
#pragma once

#include "compute/cpu/cpu_device.h"
#include "gguf/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <random>
#include <vector>

namespace lucebox::compute::testing {

// Values of a [rows, width] tensor in the host's memory. On the CPU device that is the device's memory.
struct Values {
    std::size_t rows = 0, width = 0;
    std::vector<float> at;

    Values(std::size_t row_count, std::size_t row_width) : rows(row_count), width(row_width), at(row_count * row_width) {}
    Tensor tensor() { return {at.data(), rows, width}; }
    float operator()(std::size_t row, std::size_t column) const { return at[row * width + column]; }
};

class DeviceRig {
public:
    explicit DeviceRig(bool reference) : device(cpu::make_device({.threads = 3, .reference = reference})) {}

    std::unique_ptr<Device> device;
    std::mt19937 random{7};

    float any() { return std::normal_distribution<float>()(random); }

    Values values(std::size_t rows, std::size_t width) {
        Values values(rows, width);
        for (float& value : values.at) value = any();
        return values;
    }

    // An F32 weight that lives as long as the rig.
    const gguf::Tensor& tensor(std::size_t inputs, std::size_t outputs, float scale = 1) {
        auto& data = weights_.emplace_back(inputs * outputs);
        for (float& value : data) value = any() * scale;
        return tensors_.emplace_back(
            gguf::Tensor{"test", gguf::TensorType::f32, {inputs, outputs, 1, 1}, std::as_bytes(std::span(data))});
    }
    static std::span<const float> floats(const gguf::Tensor& tensor) {
        return {reinterpret_cast<const float*>(tensor.data.data()), tensor.elements()};
    }
    Vector vector(const gguf::Tensor& tensor) {
        auto vector = device->load_vector(tensor);
        EXPECT_TRUE(vector);
        return std::move(*vector);
    }
    std::unique_ptr<Matrix> matrix(const gguf::Tensor& tensor) {
        auto matrix = device->load_matrix(tensor);
        EXPECT_TRUE(matrix);
        return std::move(*matrix);
    }

    std::byte* memory(std::size_t bytes) {
        auto buffer = device->allocate(bytes);
        EXPECT_TRUE(buffer);
        return buffers_.emplace_back(std::move(*buffer))->data();
    }

private:
    std::deque<std::vector<float>> weights_;
    std::deque<gguf::Tensor> tensors_;
    std::deque<std::unique_ptr<Buffer>> buffers_;
};

// Adds `rows` rows of a sequence to a plan, as the runner would. `parents` are local; empty: a path.
inline void add_sequence(StepPlan& plan, std::int32_t slot, std::int32_t committed, std::int32_t rows, bool commit_now,
                         const std::vector<std::int32_t>& parents = {}) {
    PlanSequence sequence;
    sequence.slot = slot;
    sequence.first_row = static_cast<std::int32_t>(plan.rows.size());
    sequence.rows = rows;
    sequence.committed = committed;
    sequence.commit_now = commit_now;
    for (std::int32_t local = 0; local < rows; ++local) {
        PlanRow row;
        row.sequence = static_cast<std::int32_t>(plan.sequences.size());
        row.local = local;
        row.parent = parents.empty() ? local - 1 : parents[static_cast<std::size_t>(local)];
        if (row.parent != local - 1) sequence.path = false;
        const PlanRow* parent = row.parent < 0 ? nullptr : &plan.rows[static_cast<std::size_t>(sequence.first_row + row.parent)];
        row.position = parent ? parent->position + 1 : committed;
        row.ancestors = (parent ? parent->ancestors : 0) | (local < max_tree_rows ? std::uint64_t{1} << local : 0);
        plan.rows.push_back(row);
    }
    plan.sequences.push_back(sequence);
}

// A tree of `rows` rows, each hanging on the committed end or an earlier row.
inline std::vector<std::int32_t> random_parents(std::mt19937& random, std::int32_t rows) {
    std::vector<std::int32_t> parents;
    for (std::int32_t local = 0; local < rows; ++local) {
        parents.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(local + 1)) - 1);
    }
    return parents;
}

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

} // namespace lucebox::compute::testing
