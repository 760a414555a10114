#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_rounded_64(int tiles, bool whole, bool exact) { return flash_instance<Q8Kv, 64>(tiles, whole, exact); }

} // namespace lucebox::compute::cuda
