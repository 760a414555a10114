// Processor time of the calling thread: a machine that is busy elsewhere does not count.
#pragma once

#include <chrono>
#include <ctime>

namespace lucebox {

inline std::chrono::nanoseconds thread_cpu_time() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

} // namespace lucebox
