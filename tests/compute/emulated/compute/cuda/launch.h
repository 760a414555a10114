// Launching kernels on the emulator (tests/compute/cuda_emulator.h): block after block, each before the next.
#pragma once

#include <type_traits>
#include <utility>

namespace lucebox::compute::cuda {

inline bool launch_descending = false; // the order in which a block's threads are run

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t, cudaStream_t, Arguments&&... arguments) {
    emulator::launch(grid, block.x, launch_descending, [&] { kernel(static_cast<std::remove_cvref_t<Parameters>>(arguments)...); });
}
inline void wait_for_previous() {}
inline void allow_next() {}

} // namespace lucebox::compute::cuda
