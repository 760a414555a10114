#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_256(int tiles, bool whole) { return flash_instance<F16Kv, 256>(tiles, whole); }

} // namespace lucebox::compute::cuda
