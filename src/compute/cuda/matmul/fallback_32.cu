#include "compute/cuda/matmul/fallback.cuh"

namespace lucebox::compute::cuda {
Kernel fallback_kernel_32() {
    return fallback_kernel<32>;
}
} // namespace lucebox::compute::cuda
