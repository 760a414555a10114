// What `lucebox bench` measures: prompts, decoding behind a context, steps of several rows. Times and rates only; what they
// mean beside the device's bandwidth is worked out by bench.cpp.
#pragma once

#include "app/loaded_model.h"
#include "compute/step_times.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <vector>

namespace lucebox::app {

using Clock = std::chrono::steady_clock;
inline double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Spread {
    double median = 0, low = 0, high = 0;

    explicit Spread(std::vector<double> values); // at least one
    nlohmann::ordered_json json() const { return {{"median", median}, {"min", low}, {"max", high}}; }
};

// Where the time of decoded tokens went, and what they took by the wall.
struct Explanation {
    compute::StepTimes times;
    double seconds = 0;
    std::size_t tokens = 0;
};

// The sizes that a list option names, ascending.
Result<std::vector<std::size_t>> numbers(const Options& options, std::string_view name);

// The row that a row of a step follows, -1 the first. A tree as drafts make them: a spine with a sibling beside every row.
inline std::int32_t parent_row(std::size_t row, bool tree) {
    return static_cast<std::int32_t>(row) - (tree && row % 2 == 1 && row > 1 ? 2 : 1);
}

// The measured model, with one sequence. `rows`: of a step of a prompt.
class Bench {
public:
    Bench(LoadedModel& model, std::size_t rows, std::size_t repetitions);

    // Tokens a second of a prompt, from an empty sequence to the token behind.
    Result<Spread> prompt(std::size_t tokens);
    // Tokens a second behind the text read so far, `count` at a time.
    Result<Spread> decoding(std::size_t count);
    // The same tokens as the first decoding() behind a text of `length`, by families of kernels.
    Result<Explanation> explain(std::size_t length, std::size_t count);
    // Milliseconds of a step of uncommitted rows with the best token of each: what verifying a draft takes.
    Result<Spread> step(std::size_t count, bool tree);

    // Feeds text up to `length` tokens and waits for the token behind; seconds.
    Result<double> read_to(std::size_t length);
    std::size_t length() const { return model_.runner->length(model_.sequence); }

    // Bytes that a step behind `context` tokens must read.
    double bytes_to_read(std::size_t context) const;

private:
    Status restart();
    Result<double> decode(std::size_t count); // tokens, one by one; seconds

    LoadedModel& model_;
    std::size_t rows_, repetitions_;
    std::vector<model::TokenId> text_;
    model::TokenId next_ = 0;
};

} // namespace lucebox::app
