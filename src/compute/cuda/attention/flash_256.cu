#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_256(int tiles, bool whole, bool exact) { return flash_instance<F16Kv, 256>(tiles, whole, exact); }

} // namespace lucebox::compute::cuda
