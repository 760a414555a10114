#include "compute/cuda/matmul/wide.cuh"

namespace lucebox::compute::cuda {
WideKernel wide_kernel_128(Form form) {
    return wide_kernel_of<128>(form);
}
} // namespace lucebox::compute::cuda
