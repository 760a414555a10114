#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_rounded_128(int tiles, bool whole, bool exact) { return flash_instance<Q8Kv, 128>(tiles, whole, exact); }

} // namespace lucebox::compute::cuda
