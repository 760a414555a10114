// The CPU as a Device: packed matrices, the row kernels of this machine's vector units, and one thread pool.
#pragma once

#include "compute/device.h"

#include <cstddef>
#include <memory>

namespace lucebox::compute::cpu {

struct CpuOptions {
    std::size_t threads = 0; // 0: one for each core this process may use
    bool reference = false;  // the oracle: plain loops in double on dequantised weights
};

std::unique_ptr<Device> make_device(const CpuOptions& options = {});

} // namespace lucebox::compute::cpu
