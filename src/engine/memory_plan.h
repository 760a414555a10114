// What a model takes on a device, before anything is loaded: weights, caches and scratch for so many sequences of so many
// tokens; and the longest context that fits.
//
// The numbers are those of the code that allocates: the model is bound to a device that only counts.
#pragma once

#include "compute/device.h"
#include "gguf/model_file.h"
#include "model/draft_runner.h"
#include "model/runner.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace lucebox::engine {

inline constexpr double gib = 1024.0 * 1024 * 1024;
inline double in_gib(std::uint64_t bytes) { return static_cast<double>(bytes) / gib; }

struct MemoryPlan { // bytes
    std::uint64_t weights = 0;
    std::uint64_t kv = 0;        // keys and values of all sequences
    std::uint64_t recurrent = 0; // states, convolution tails, inputs of uncommitted rows
    std::uint64_t scratch = 0;   // activations of one step, logits, workspace of the device
    std::uint64_t draft = 0;     // of a draft model: weights, keys and values, activations
    std::size_t context = 0, sequences = 0;
    compute::DType kv_type = compute::DType::f16; // of the model's; a draft's may be another

    std::uint64_t total() const { return weights + kv + recurrent + scratch + draft; }
    // A line for each part and one for the sum, "of" the budget if there is one (not 0).
    std::string table(std::uint64_t budget) const;
};

class MemoryPlanner {
public:
    // `like`: the device planned for, or none for a GPU that is not here. `options.context` plays no role. `draft`: of the
    // model, or none. All must outlive the planner.
    static Result<MemoryPlanner> create(const gguf::ModelFile& file, const compute::Device* like,
                                        const model::RunnerOptions& options, const model::DflashFile* draft = nullptr,
                                        std::size_t draft_head = 0);

    std::size_t trained_context() const { return runner_->model().trained_context(); }
    std::size_t sequences() const { return runner_->options().sequences; } // as `options` said
    compute::DType kv_type() const { return runner_->cache().options().kv_type; } // as `options` said, or the model's own
    bool keeps(compute::DType kv_type) const { return device_->supports_kv(kv_type); }
    // `sequences`: 0: as many as `options` said; at most those. `kv_type`: none: kv_type().
    Result<MemoryPlan> plan(std::size_t context, std::size_t sequences = 0, std::optional<compute::DType> kv_type = {}) const;
    // The largest context up to `most` that fits `budget` bytes, in steps of 256 tokens; 0: not even the smallest.
    Result<std::size_t> largest_context(std::size_t most, std::uint64_t budget, std::size_t sequences = 0,
                                        std::optional<compute::DType> kv_type = {}) const;
    // ErrorKind::out_of_memory, naming what is needed, what is there, and what would fit.
    Status check(const MemoryPlan& plan, std::uint64_t budget) const;

private:
    MemoryPlanner(std::unique_ptr<compute::Device> device, std::unique_ptr<model::Runner> runner)
        : device_(std::move(device)), runner_(std::move(runner)) {}

    std::unique_ptr<compute::Device> device_;
    std::unique_ptr<model::Runner> runner_;
    std::unique_ptr<model::DraftRunner> draft_;
};

// What of a card's nominal memory, in GiB, a program can have: the driver, its context and the desktop keep the rest.
std::uint64_t usable_card_bytes(double size);

} // namespace lucebox::engine
