#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_rounded_256(int tiles, bool whole) { return flash_instance<Q8Kv, 256>(tiles, whole); }

} // namespace lucebox::compute::cuda
