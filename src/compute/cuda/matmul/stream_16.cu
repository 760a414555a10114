#include "compute/cuda/matmul/stream.cuh"

namespace lucebox::compute::cuda {
Kernel stream_kernel_16(Form form) {
    return stream_kernel_of<16>(form);
}
} // namespace lucebox::compute::cuda
