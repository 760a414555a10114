#include "compute/cuda/matmul/stream.cuh"

namespace lucebox::compute::cuda {
Kernel stream_kernel_128(Form form) {
    return stream_kernel_of<128>(form);
}
} // namespace lucebox::compute::cuda
