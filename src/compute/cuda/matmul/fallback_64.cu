#include "compute/cuda/matmul/fallback.cuh"

namespace lucebox::compute::cuda {
Kernel fallback_kernel_64() {
    return fallback_kernel<64>;
}
} // namespace lucebox::compute::cuda
