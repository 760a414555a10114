#include "compute/cuda/step/step.cuh"

namespace lucebox::compute::cuda::step {
Kernel kernel_32() {
    return step_kernel<32>;
}
} // namespace lucebox::compute::cuda::step
