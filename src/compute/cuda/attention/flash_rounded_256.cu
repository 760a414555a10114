#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_rounded_256(int tiles, bool whole, bool exact) { return flash_instance<Q8Kv, 256>(tiles, whole, exact); }

} // namespace lucebox::compute::cuda
