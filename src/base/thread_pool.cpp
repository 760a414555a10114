#include "base/thread_pool.h"

#include <algorithm>
#include <sched.h>

namespace lucebox {
namespace {

// About 50 us on current cores: longer than the gap between two loops of a step, shorter than a person notices as heat.
constexpr int spins_before_sleep = 2000;

// Fields of the door.
constexpr std::uint64_t open_bit = 1u << 31, inside_mask = open_bit - 1;
constexpr std::uint64_t door_of(std::uint32_t generation) { return std::uint64_t{generation} << 32; }

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

std::size_t available_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<std::size_t>(std::max(1, CPU_COUNT(&set)));
    return std::max(1u, std::thread::hardware_concurrency());
}

} // namespace

ThreadPool::ThreadPool(std::size_t threads) {
    if (threads == 0) threads = available_cores();
    workers_.reserve(threads - 1);
    for (std::size_t thread = 1; thread < threads; ++thread) {
        workers_.emplace_back([this, thread] { work(thread); });
    }
}

ThreadPool::~ThreadPool() {
    stop_.store(true, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (auto& worker : workers_) worker.join();
}

void ThreadPool::drain(std::size_t thread) {
    for (;;) {
        const std::size_t begin = next_.fetch_add(loop_.grain, std::memory_order_relaxed);
        if (begin >= loop_.count) return;
        loop_.call(loop_.context, begin, std::min(begin + loop_.grain, loop_.count), thread);
    }
}

void ThreadPool::dispatch(const Loop& loop) {
    if (loop.count == 0) return;
    if (workers_.empty() || loop.count <= loop.grain) {
        for (std::size_t begin = 0; begin < loop.count; begin += loop.grain) {
            loop.call(loop.context, begin, std::min(begin + loop.grain, loop.count), 0);
        }
        return;
    }
    loop_ = loop;
    next_.store(0, std::memory_order_relaxed);
    const std::uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
    door_.store(door_of(generation) | open_bit, std::memory_order_release);
    generation_.store(generation, std::memory_order_release);
    generation_.notify_all();
    drain(0);
    // Every index is taken: who is not inside yet has nothing left to do.
    door_.fetch_and(~open_bit, std::memory_order_relaxed);
    for (int spin = 0; (door_.load(std::memory_order_acquire) & inside_mask) != 0; ++spin) {
        if (spin < spins_before_sleep) relax();
        else std::this_thread::yield();
    }
}

// Enters the loop of this generation, if it still takes workers.
bool ThreadPool::join(std::uint32_t generation) {
    std::uint64_t door = door_.load(std::memory_order_relaxed);
    while (door >> 32 == generation && (door & open_bit) != 0) {
        if (door_.compare_exchange_weak(door, door + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
}

void ThreadPool::work(std::size_t thread) {
    std::uint32_t seen = 0;
    for (;;) {
        std::uint32_t generation = generation_.load(std::memory_order_acquire);
        for (int spin = 0; generation == seen; ++spin) {
            if (spin < spins_before_sleep) relax();
            else generation_.wait(seen, std::memory_order_acquire);
            generation = generation_.load(std::memory_order_acquire);
        }
        seen = generation;
        if (stop_.load(std::memory_order_relaxed)) return;
        if (!join(generation)) continue;
        drain(thread);
        door_.fetch_sub(1, std::memory_order_release);
    }
}

} // namespace lucebox
