// A device that computes nothing and takes no memory: a model bound to it says what it would take on a real one, which
// need not be here.
#pragma once

#include "compute/device.h"

#include <memory>

namespace lucebox::compute {

// Counts as `like` would. None: as a GPU does, whose weights keep the bits of the file and whose keys and values lie
// plainly. `like` must outlive what is returned. prepared_bytes() looks at rows and context alone, and adds the matrices
// loaded and the layers run since.
std::unique_ptr<Device> make_planning_device(const Device* like = nullptr);

} // namespace lucebox::compute
