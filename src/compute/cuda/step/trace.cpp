#include "compute/cuda/step/trace.h"

#ifdef LUCEBOX_STEP_TRACE

#include "compute/cuda/cuda_error.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lucebox::compute::cuda {
namespace {

constexpr std::size_t most_segments = 2000, most_blocks = 256;

struct Sum {
    double body = 0, least = 0, most = 0, border = 0; // clocks
    int launches = 0;
};

std::string name_of(const StepSegment& segment, const Record& record) {
    constexpr const char* works[]{"multiply", "finish", "gate", "convert", "replay", "heads", "finish_row", "norm", "add_norm"};
    return fmt::format("{:>2} rows  {:<10}{:>7} outputs{:>5} units  form {:>2}{}", segment.rows,
                       works[static_cast<int>(record.work)], record.outputs, record.units,
                       static_cast<int>(record.form), record.sync ? "  border" : "");
}

} // namespace

int step_tuning(const char* name, int value) {
    const char* const given = std::getenv(name);
    return given ? std::atoi(given) : value;
}

Status StepTrace::open(Memory& memory) {
    LUCEBOX_TRY(clocks_, memory.allocate(most_segments * most_blocks * trace_points * sizeof(long long), true));
    return cuda_status(cudaMemset(clocks_->data(), 0, clocks_->bytes()), "preparing a trace");
}

void StepTrace::attach(StepSegment& segment, int blocks) {
    if (segments_.size() == most_segments) return;
    blocks_ = blocks;
    segment.trace = reinterpret_cast<long long*>(clocks_->data()) + segments_.size() * most_blocks * trace_points;
    segments_.push_back(segment);
}

StepTrace::~StepTrace() {
    if (segments_.empty()) return;
    cudaDeviceSynchronize();
    std::vector<long long> clocks(segments_.size() * most_blocks * trace_points);
    cudaMemcpy(clocks.data(), clocks_->data(), clocks.size() * sizeof(long long), cudaMemcpyDeviceToHost);
    // When launches ran, as their blocks saw it: nanoseconds.
    double before = 0;
    for (std::size_t l = 0; l < segments_.size(); ++l) {
        double first = 1e30, last_first = 0, first_end = 1e30, end = 0;
        for (int block = 0; block < blocks_; ++block) {
            const long long* const at = &clocks[(l * most_blocks + static_cast<std::size_t>(block)) * trace_points + 2 * most_records + 1];
            first = std::min(first, static_cast<double>(at[0])), last_first = std::max(last_first, static_cast<double>(at[0]));
            first_end = std::min(first_end, static_cast<double>(at[1])), end = std::max(end, static_cast<double>(at[1]));
        }
        fmt::print(stderr, "launch {:>3}  {:>2} rows {:>3} records  begins {:>8.1f} us behind the one before (blocks within {:.1f}), takes {:>8.1f} us (blocks end within {:.1f})\n",
                   l, segments_[l].rows, segments_[l].count, (first - before) / 1e3, (last_first - first) / 1e3, (end - first) / 1e3, (end - first_end) / 1e3);
        before = end;
    }
    std::map<std::string, Sum> sums;
    for (std::size_t l = 0; l < segments_.size(); ++l) {
        const StepSegment& segment = segments_[l];
        auto at = [&](int block, int point) {
            return static_cast<double>(clocks[(l * most_blocks + static_cast<std::size_t>(block)) * trace_points +
                                              static_cast<std::size_t>(point)]);
        };
        std::vector<int> from(static_cast<std::size_t>(blocks_), 0); // where a block's last record ended
        for (int i = 0; i < segment.count; ++i) {
            const int done = 1 + 2 * i;
            double least = 1e18, most = 0, body_of_all = 0, border_of_all = 0;
            int seats = 0; // blocks without any of it, and a run of rows but for its last record, tell nothing
            for (int block = 0; block < blocks_; ++block) {
                if (at(block, done) == 0) continue;
                const double body = at(block, done) - at(block, std::exchange(from[static_cast<std::size_t>(block)], done + 1));
                body_of_all += body, border_of_all += at(block, done + 1) - at(block, done);
                least = std::min(least, body), most = std::max(most, body);
                ++seats;
            }
            if (seats == 0) continue;
            Sum& sum = sums[name_of(segment, segment.record[i])];
            sum.body += body_of_all / seats, sum.border += border_of_all / seats;
            sum.least += least, sum.most += most, ++sum.launches;
        }
    }
    for (const auto& [name, sum] : sums) {
        const double n = sum.launches;
        fmt::print(stderr, "{:<58} {:>4} times  body {:>7.0f} ({:.0f} to {:.0f})  border {:>6.0f}\n", name,
                   sum.launches, sum.body / n, sum.least / n, sum.most / n, sum.border / n);
    }
}

} // namespace lucebox::compute::cuda

#else

namespace lucebox::compute::cuda {

int step_tuning(const char*, int value) {
    return value;
}
StepTrace::~StepTrace() = default;
Status StepTrace::open(Memory&) {
    return Ok{};
}
void StepTrace::attach(StepSegment&, int) {}

} // namespace lucebox::compute::cuda

#endif
