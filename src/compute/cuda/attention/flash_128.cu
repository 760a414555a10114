#include "compute/cuda/attention/flash.cuh"

namespace lucebox::compute::cuda {

FlashInstance flash_128(int tiles, bool whole) { return flash_instance<F16Kv, 128>(tiles, whole); }

} // namespace lucebox::compute::cuda
