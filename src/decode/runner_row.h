// A row of the last step's logits, which stays where the runner has it.
#pragma once

#include "decode/sampler.h"
#include "model/runner.h"

#include <algorithm>
#include <cmath>

namespace lucebox::decode {

class RunnerRow final : public RemoteRow {
public:
    RunnerRow(model::Runner& runner, std::size_t output) : runner_(runner), output_(output) {}

    std::size_t width() const override { return runner_.vocabulary(); }
    TokenId best() override { return runner_.best(output_); }
    // A first query without a mask may have been asked of the runner before, together with those of other rows.
    Summary summary(const compute::RowQuery& query, Mask mask) override {
        if (query.masked != 0 || !runner_.asked(output_)) runner_.ask(output_, query, mask);
        const auto [row, masses] = runner_.summary(output_);
        return {row, masses};
    }
    std::span<const compute::RowCandidate> more(std::size_t count) override { return runner_.more_candidates(output_, count); }
    std::span<const float> part(std::size_t first, std::size_t count) override { return runner_.logits(output_, first, count); }
    std::span<float> whole() override {
        const auto row = runner_.logits(output_);
        return {const_cast<float*>(row.data()), row.size()}; // nobody reads the runner's copy again
    }

private:
    model::Runner& runner_;
    std::size_t output_;
};

// How sure the model is of the token behind that row, once it was chosen: the probability of the best one among those that may be
// drawn; at temperature 0, among all.
inline float sureness(model::Runner& runner, std::size_t output, const SamplingParams& params) {
    if (params.temperature == 0 || !runner.asked(output)) return runner.sureness(output);
    const compute::RowQuery query = query_of(params, runner.vocabulary());
    const auto [row, masses] = runner.summary(output);
    double total = 0;
    if (query.count == 0) {
        for (const double mass : masses) total += mass;
    } else {
        for (std::size_t i = 0; i < std::min<std::size_t>(row->found, compute::RowSummary::near); ++i) {
            total += std::exp(double{row->candidate[i].logit - row->best} / query.temperature);
        }
    }
    return total >= 1 ? static_cast<float>(1 / total) : 0;
}

} // namespace lucebox::decode
