// What the server counts, as Prometheus text.
//
// Names follow the field's conventions: _total counters, seconds as histograms. Any thread.
#pragma once

#include "engine/engine.h"

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace lucebox::server {

class Histogram {
public:
    void observe(double seconds);
    // Appends the samples of one histogram: buckets, sum and count.
    void append(std::string& text, std::string_view name) const;

private:
    // From a cached prompt's first token to a long CPU prefill.
    static constexpr std::array kBounds{0.01, 0.025, 0.05, 0.1,  0.25, 0.5,   1.0,
                                        2.5,  5.0,   10.0, 30.0, 60.0, 120.0, 300.0};
    std::array<std::uint64_t, kBounds.size() + 1> counts_{};
    double sum_ = 0;
};

class Metrics {
public:
    // `route`: one of a fixed set, so that clients cannot invent time series.
    void add_request(std::string_view route, int status);
    void add_embedding(std::size_t prompt_tokens);
    void add_generation(const engine::Finished& finished, std::optional<double> first_token);

    // `stats`: null while no model is loaded.
    std::string text(const engine::Stats* stats, std::string_view git_sha, std::string_view image_tag) const;

private:
    mutable std::mutex mutex_;
    std::map<std::pair<std::string, int>, std::uint64_t> requests_;
    Histogram prefill_, decode_, first_token_;
    std::uint64_t prompt_tokens_ = 0, completion_tokens_ = 0, prefix_hits_ = 0, prefix_misses_ = 0;
};

} // namespace lucebox::server
