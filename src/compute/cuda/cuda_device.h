// An NVIDIA GPU as a Device.
//
// Operations are recorded and run when the step ends: a step of up to max_tree_rows rows as a CUDA graph, captured when its
// shape is first seen; a longer one kernel by kernel. Rows are padded to a few numbers, so that few graphs are enough.
// Everything is queued in one stream; download() waits.
//
// A CUDA error is kept (Device::failure) and ends the use of the device: its context is lost, and with it all memory.
#pragma once

#include "compute/device.h"

#include <memory>
#include <string>

namespace lucebox::compute::cuda {

struct CudaOptions {
    std::size_t fail_allocation = 0; // the how-manieth allocation is refused, for tests; 0: none
    bool graphs = true;              // off: kernels one by one, for tools that look at each
    bool step_kernel = true;         // off: each norm and product is a kernel of its own, as on cards without it
};

// The card that would be used, as text for people; ErrorKind::unavailable, with what to do, if there is none.
Result<std::string> usable_card();

Result<std::unique_ptr<Device>> make_device(const CudaOptions& options = {});

} // namespace lucebox::compute::cuda
