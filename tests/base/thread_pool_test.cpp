#include "base/thread_pool.h"

#include <gtest/gtest.h>

namespace lucebox {
namespace {

TEST(ThreadPool, every_index_runs_exactly_once_in_every_loop) {
    ThreadPool pool(4);
    std::vector<std::atomic<int>> hits(1003);
    for (int loop = 1; loop <= 2000; ++loop) {
        pool.run(hits.size(), 17, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            EXPECT_LT(thread, pool.size());
            for (std::size_t i = begin; i < end; ++i) hits[i].fetch_add(1);
        });
        if (loop % 500 == 0) {
            for (const auto& hit : hits) ASSERT_EQ(hit.load(), loop);
        }
    }
}

// More threads than any machine has cores for: most are asleep or not scheduled when a loop begins and ends.
TEST(ThreadPool, loops_end_without_the_workers_that_come_late) {
    ThreadPool pool(32);
    std::vector<int> sums(64);
    for (int loop = 0; loop < 2000; ++loop) {
        const std::size_t count = static_cast<std::size_t>(loop) % sums.size();
        pool.run(count, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = begin; i < end; ++i) ++sums[i]; // no two threads may have the same index
        });
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
        int expected = 0;
        for (int loop = 0; loop < 2000; ++loop) expected += i < static_cast<std::size_t>(loop) % sums.size() ? 1 : 0;
        ASSERT_EQ(sums[i], expected) << i;
    }
}

TEST(ThreadPool, empty_loops_and_single_threads_work) {
    ThreadPool pool(1);
    int sum = 0;
    pool.run(0, 8, [&](std::size_t, std::size_t, std::size_t) { sum += 1000; });
    pool.run(10, 3, [&](std::size_t begin, std::size_t end, std::size_t) { sum += static_cast<int>(end - begin); });
    EXPECT_EQ(sum, 10);
}

} // namespace
} // namespace lucebox
