#include "compute/cuda/matmul/wide.cuh"

namespace lucebox::compute::cuda {
WideKernel wide_kernel_256(Form form) {
    return wide_kernel_of<256>(form);
}
} // namespace lucebox::compute::cuda
