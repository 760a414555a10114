// How fast plain code on all threads of a pool reads this machine's memory.
#pragma once

#include "base/thread_pool.h"

#include <cstddef>

namespace lucebox::compute::cpu {

// Bytes a second of a sum over a block of `bytes`; the best of several passes.
double measure_read_rate(std::size_t bytes, ThreadPool& pool);

} // namespace lucebox::compute::cpu
