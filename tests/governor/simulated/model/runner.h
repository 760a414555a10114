// Stands for the runner of a model: steps only take time.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "compute/device.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace lucebox::model {

using SequenceId = std::int32_t;
using TokenId = std::int32_t;

struct Row {
    SequenceId sequence = 0;
    TokenId token = 0;
    std::int32_t parent = -1;
    bool logits = false, stays = false;
};
enum class Commit { all, later };
struct RunnerOptions {
    std::size_t sequences = 1, rows = 256;
};

class Runner {
public:
    std::function<double(std::size_t rows)> step_seconds;
    std::size_t committed = 0; // of the one sequence

    const RunnerOptions& options() const { return options_; }
    Result<SequenceId> open() { return SequenceId{0}; }
    void close(SequenceId) {}
    std::size_t length(SequenceId) const { return committed; }
    Status step(std::span<const Row> rows, Commit) {
        simulated_seconds += step_seconds(rows.size());
        return Ok{};
    }
    std::span<const float> logits(std::size_t) const { return {}; }
    void expect_sureness(bool) {}
    float sureness(std::size_t) const { return 0; }

private:
    RunnerOptions options_;
};

} // namespace lucebox::model
