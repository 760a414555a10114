#include "compute/cuda/matmul/stream.cuh"

namespace lucebox::compute::cuda {
Kernel stream_kernel_8(Form form) {
    return stream_kernel_of<8>(form);
}
} // namespace lucebox::compute::cuda
