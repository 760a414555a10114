#include "compute/cuda/cuda_error.h"

#include <fmt/format.h>

namespace lucebox::compute::cuda {
namespace {

struct Explanation {
    cudaError_t code;
    ErrorKind kind;
    std::string_view hint;
};

constexpr std::string_view restart = "start the program again; the log of the driver (dmesg) may say more";

constexpr Explanation explanations[] = {
    {cudaErrorMemoryAllocation, ErrorKind::out_of_memory, "use a smaller --context, or a smaller quantisation"},
    {cudaErrorNoDevice, ErrorKind::unavailable, "no NVIDIA GPU is visible; use --device cpu"},
    {cudaErrorInsufficientDriver, ErrorKind::unavailable,
     "install an NVIDIA driver of version 525 or newer, or use --device cpu"},
    {cudaErrorNoKernelImageForDevice, ErrorKind::unavailable, "this build has no code for this GPU; use --device cpu"},
    {cudaErrorUnsupportedPtxVersion, ErrorKind::unavailable, "update the NVIDIA driver, or use --device cpu"},
    {cudaErrorDevicesUnavailable, ErrorKind::unavailable, "another program holds the GPU alone; end it, or use --device cpu"},
    {cudaErrorSystemNotReady, ErrorKind::unavailable, "the driver is still starting, or its fabric manager is not running"},
};

} // namespace

Error cuda_error(cudaError_t code, std::string_view purpose) {
    const std::string message = fmt::format("{} failed: {} ({})", purpose, cudaGetErrorString(code), cudaGetErrorName(code));
    for (const Explanation& known : explanations) {
        if (known.code == code) return {known.kind, message, std::string(known.hint)};
    }
    return {ErrorKind::unavailable, message, std::string(restart)};
}

} // namespace lucebox::compute::cuda
