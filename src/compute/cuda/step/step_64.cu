#include "compute/cuda/step/step.cuh"

namespace lucebox::compute::cuda::step {
Kernel kernel_64() {
    return step_kernel<64>;
}
} // namespace lucebox::compute::cuda::step
