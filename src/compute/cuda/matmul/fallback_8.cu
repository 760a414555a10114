#include "compute/cuda/matmul/fallback.cuh"

namespace lucebox::compute::cuda {
Kernel fallback_kernel_8() {
    return fallback_kernel<8>;
}
} // namespace lucebox::compute::cuda
