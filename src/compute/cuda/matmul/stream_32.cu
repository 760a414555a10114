#include "compute/cuda/matmul/stream.cuh"

namespace lucebox::compute::cuda {
Kernel stream_kernel_32(Form form) {
    return stream_kernel_of<32>(form);
}
} // namespace lucebox::compute::cuda
