// Seconds of a clock that never goes back. One place, so that a test may let time pass as it likes.
#pragma once

#include <chrono>

namespace lucebox {

inline double steady_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

} // namespace lucebox
