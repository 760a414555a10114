// Processor time of this thread: what a test of linear time may hold, however busy the machine is.
#pragma once

#include <ctime>

namespace lucebox {

inline double cpu_seconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

} // namespace lucebox
