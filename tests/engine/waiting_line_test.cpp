// Whose turn it is.
#include "engine/waiting_line.h"

#include <gtest/gtest.h>

#include <map>

namespace lucebox::engine {
namespace {

using namespace std::chrono_literals;
using Line = WaitingLine<int>;

class WaitingLineTest : public testing::Test {
protected:
    std::map<std::uint64_t, std::size_t> running;
    int next(Line& line, Line::Clock::time_point now = {}) {
        const auto item = line.pop([this](std::uint64_t client) { return running[client]; }, now);
        return item ? *item : -1;
    }
};

TEST_F(WaitingLineTest, OneClientIsServedInOrder) {
    Line line;
    for (int i = 0; i < 3; ++i) line.push(i, 7, false);
    EXPECT_EQ(next(line), 0);
    EXPECT_EQ(next(line), 1);
    EXPECT_EQ(next(line), 2);
    EXPECT_EQ(next(line), -1);
}

TEST_F(WaitingLineTest, ClientsTakeTurnsHoweverManyRequestsOneHas) {
    Line line;
    for (int i = 0; i < 10; ++i) line.push(i, 1, false);
    line.push(100, 2, false);
    line.push(101, 2, false);
    std::vector<int> order;
    for (int i = 0; i < 5; ++i) order.push_back(next(line));
    EXPECT_EQ(order, (std::vector<int>{0, 100, 1, 101, 2}));
}

TEST_F(WaitingLineTest, WhoRunsLeastComesFirst) {
    Line line;
    running[1] = 3;
    line.push(0, 1, false);
    line.push(1, 2, false);
    EXPECT_EQ(next(line), 1);
}

TEST_F(WaitingLineTest, BackgroundYieldsButNotForEver) {
    Line line;
    const Line::Clock::time_point begin{};
    line.push(0, 1, true, begin);
    line.push(1, 1, false, begin);
    line.push(2, 1, false, begin);
    EXPECT_EQ(next(line, begin + 1s), 1);
    EXPECT_EQ(next(line, begin + Line::background_patience), 0);
    EXPECT_EQ(next(line, begin + Line::background_patience), 2);
}

TEST_F(WaitingLineTest, OneClientRunsAndWaitsNoMoreThanTheLimits) {
    Line line({8, 2, 1});
    line.push(0, 1, false);
    line.push(1, 1, false);
    EXPECT_EQ(line.check(1).error().kind, ErrorKind::unavailable);
    EXPECT_TRUE(line.check(2));
    EXPECT_EQ(next(line), 0);
    running[1] = 1;
    EXPECT_EQ(next(line), -1); // though it waits
    line.push(2, 2, false);
    EXPECT_EQ(next(line), 2);
    running[1] = 0;
    EXPECT_EQ(next(line), 1);
}

TEST_F(WaitingLineTest, WhoRunsAtOnceDoesNotWait) {
    const auto runs = [this](std::uint64_t client) { return running[client]; };
    Line line({1, 1, 2});
    EXPECT_TRUE(line.check(1, 3, runs)); // 0: runs
    line.push(0, 1, false);
    EXPECT_TRUE(line.check(1, 3, runs)); // 1: runs
    line.push(1, 1, false);
    EXPECT_TRUE(line.check(1, 3, runs)); // 2: waits, since two of its client run
    line.push(2, 1, false);
    EXPECT_FALSE(line.check(1, 3, runs));
    EXPECT_TRUE(line.check(2, 3, runs)); // another client has the third sequence
    EXPECT_FALSE(line.check(2, 2, runs));
    running[1] = 2;
    EXPECT_FALSE(line.check(2, 0, runs));
    Line none({0, SIZE_MAX, SIZE_MAX});
    EXPECT_TRUE(none.check(1, 1, runs));
    EXPECT_FALSE(none.check(1, 0, runs));
}

TEST_F(WaitingLineTest, TheWholeLineIsBounded) {
    Line line({1, SIZE_MAX, SIZE_MAX});
    line.push(0, 1, false);
    EXPECT_FALSE(line.check(2));
    EXPECT_EQ(line.remove_if([](int item) { return item == 0; }), std::vector<int>{0});
    EXPECT_TRUE(line.check(2));
}

} // namespace
} // namespace lucebox::engine
