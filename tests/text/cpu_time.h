// Processor time of this thread: what a test of linear time may hold, however busy the machine is.
#pragma once

#include "base/cpu_time.h"

#include <cstddef>

namespace lucebox {

// Under sanitizers time is not judged as strictly (many small allocations take 5 times as long on one machine, 30 times on another),
// and long texts, which only time needs, are shorter.
#ifdef LUCEBOX_SANITIZED
constexpr double sanitizers_slow_down = 20;
constexpr std::size_t sanitizers_shorten = 8;
#else
constexpr double sanitizers_slow_down = 1;
constexpr std::size_t sanitizers_shorten = 1;
#endif

inline double cpu_seconds() {
    return std::chrono::duration<double>(thread_cpu_time()).count();
}

} // namespace lucebox
