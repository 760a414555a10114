#include "compute/cuda/step/step.cuh"

namespace lucebox::compute::cuda::step {
Kernel kernel_8() {
    return step_kernel<8>;
}
} // namespace lucebox::compute::cuda::step
