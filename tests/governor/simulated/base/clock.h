// Time passes as the simulation says.
#pragma once

namespace lucebox {

inline double simulated_seconds = 0;
inline double steady_seconds() { return simulated_seconds; }

} // namespace lucebox
