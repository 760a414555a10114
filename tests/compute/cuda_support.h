// The GPU beside the CPU's plain kernels: the same tensors on both, the same operation on both, the results compared.
#pragma once

#include "compute/devices.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

namespace lucebox::compute::testing {

inline bool gpu_is_here() {
    for (const auto& device : known_devices()) {
        if (device.kind == "cuda" && device.problem.empty()) return true;
    }
    return false;
}

inline std::unique_ptr<Device> must_make(const DeviceOptions& options) {
    auto device = make_device(options);
    if (!device) throw std::runtime_error(device.error().message);
    return std::move(*device);
}

// Memory of one device that a test fills and reads.
class Held {
public:
    Held(Device& device, std::size_t rows, std::size_t width) : device_(device), rows_(rows), width_(width) {
        auto buffer = device.allocate(std::max<std::size_t>(rows * width, 1) * sizeof(float));
        if (!buffer) throw std::runtime_error(buffer.error().message);
        buffer_ = std::move(*buffer);
    }
    Tensor tensor() const { return {reinterpret_cast<float*>(buffer_->data()), rows_, width_}; }
    void set(std::span<const float> values) { device_.upload(buffer_->data(), std::as_bytes(values)); }
    std::vector<float> get(std::size_t rows) const {
        std::vector<float> values(rows * width_);
        device_.download(std::as_writable_bytes(std::span(values)), buffer_->data());
        return values;
    }
    std::byte* data() const { return buffer_->data(); }

private:
    Device& device_;
    std::size_t rows_, width_;
    std::unique_ptr<Buffer> buffer_;
};

inline std::vector<float> random_values(std::size_t count, std::mt19937& random, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
}

inline Vector vector_of(Device& device, std::span<const float> values) {
    Vector vector;
    vector.size = values.size();
    auto buffer = device.allocate(values.size_bytes());
    if (!buffer) throw std::runtime_error(buffer.error().message);
    vector.buffer = std::move(*buffer);
    device.upload(vector.buffer->data(), std::as_bytes(values));
    return vector;
}

// A step of one sequence whose rows hang on `parents` (-1: the committed end).
inline StepPlan plan_of(std::int32_t committed, std::span<const std::int32_t> parents, std::int32_t slot = 0,
                        bool commit_now = false) {
    StepPlan plan;
    PlanSequence sequence;
    sequence.slot = slot;
    sequence.rows = static_cast<std::int32_t>(parents.size());
    sequence.committed = committed;
    sequence.commit_now = commit_now;
    for (std::size_t i = 0; i < parents.size(); ++i) {
        PlanRow row;
        row.local = static_cast<std::int32_t>(i);
        row.parent = parents[i];
        const PlanRow* parent = row.parent < 0 ? nullptr : &plan.rows[static_cast<std::size_t>(row.parent)];
        row.position = parent ? parent->position + 1 : committed;
        if (i < static_cast<std::size_t>(max_tree_rows)) row.ancestors = (std::uint64_t{1} << i) | (parent ? parent->ancestors : 0);
        sequence.path = sequence.path && row.parent == row.local - 1;
        plan.rows.push_back(row);
    }
    plan.sequences.push_back(sequence);
    return plan;
}

inline std::vector<std::int32_t> chain(std::size_t rows) {
    std::vector<std::int32_t> parents(rows);
    for (std::size_t i = 0; i < rows; ++i) parents[i] = static_cast<std::int32_t>(i) - 1;
    return parents;
}

inline std::vector<std::int32_t> random_tree(std::size_t rows, std::mt19937& random) {
    std::vector<std::int32_t> parents(rows);
    for (std::size_t i = 0; i < rows; ++i) {
        const bool deep = i > 0 && random() % 3 != 0;
        parents[i] = deep ? static_cast<std::int32_t>(i) - 1 : static_cast<std::int32_t>(random() % (i + 1)) - 1;
    }
    return parents;
}

// Largest difference, relative to the largest expected value.
inline double difference(std::span<const float> got, std::span<const float> expected) {
    double worst = 0, largest = 1e-30;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (!std::isfinite(got[i])) return 1e30;
        worst = std::max(worst, std::abs(double{got[i]} - expected[i]));
        largest = std::max(largest, std::abs(double{expected[i]}));
    }
    return worst / largest;
}

} // namespace lucebox::compute::testing
