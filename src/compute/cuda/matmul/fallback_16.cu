#include "compute/cuda/matmul/fallback.cuh"

namespace lucebox::compute::cuda {
Kernel fallback_kernel_16() {
    return fallback_kernel<16>;
}
} // namespace lucebox::compute::cuda
