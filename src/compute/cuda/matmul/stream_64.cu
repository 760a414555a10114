#include "compute/cuda/matmul/stream.cuh"

namespace lucebox::compute::cuda {
Kernel stream_kernel_64(Form form) {
    return stream_kernel_of<64>(form);
}
} // namespace lucebox::compute::cuda
