#include "compute/cpu/read_rate.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <vector>

namespace lucebox::compute::cpu {

double measure_read_rate(std::size_t bytes, ThreadPool& pool) {
    using Clock = std::chrono::steady_clock;
    constexpr std::size_t piece = 1 << 16; // words
    std::vector<std::uint64_t> memory(std::max(bytes / sizeof(std::uint64_t), piece), 1);
    std::vector<std::uint64_t> sums(pool.size() * 8); // a cache line for each thread
    double best = 0;
    for (int pass = 0; pass < 10; ++pass) {
        const auto start = Clock::now();
        pool.run(memory.size(), piece, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            std::uint64_t lanes[32] = {};
            std::size_t i = begin;
            for (; i + 32 <= end; i += 32) {
                for (std::size_t lane = 0; lane < 32; ++lane) lanes[lane] += memory[i + lane];
            }
            sums[thread * 8] += std::accumulate(std::begin(lanes), std::end(lanes), std::uint64_t{0});
        });
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        best = std::max(best, static_cast<double>(memory.size() * sizeof(std::uint64_t)) / seconds);
    }
    // The sum is used, so that it is computed.
    return std::accumulate(sums.begin(), sums.end(), std::uint64_t{0}) == 0 ? 0 : best;
}

} // namespace lucebox::compute::cpu
