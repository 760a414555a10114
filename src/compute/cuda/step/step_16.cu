#include "compute/cuda/step/step.cuh"

namespace lucebox::compute::cuda::step {
Kernel kernel_16() {
    return step_kernel<16>;
}
} // namespace lucebox::compute::cuda::step
