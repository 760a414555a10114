#include "compute/cuda/card.h"

#include "compute/cuda/cuda_error.h"

#include <fmt/format.h>

namespace lucebox::compute::cuda {
namespace {

constexpr int oldest = 75; // tensor cores with f16 and integers: Turing

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

Error no_card(cudaError_t code) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) {
        return {ErrorKind::unavailable, "no NVIDIA driver is installed here, so no GPU can be used",
                "install the driver (in a container: run it with --gpus all), or use --device cpu"};
    }
    if (code == cudaErrorInsufficientDriver) {
        return {ErrorKind::unavailable,
                fmt::format("the NVIDIA driver is too old: it supports CUDA {}, and this program needs {}", version_text(driver),
                            version_text(runtime)),
                "update the driver, or use --device cpu"};
    }
    return cuda_error(code, "looking for a GPU");
}

} // namespace

std::string Card::describe() const { return fmt::format("{}, {} GB, sm_{}{}", name, memory >> 30, major, minor); }

Result<Card> choose_card() {
    int count = 0;
    if (const cudaError_t code = cudaGetDeviceCount(&count); code != cudaSuccess) {
        cudaGetLastError();
        return no_card(code);
    }
    Card best;
    std::string refused;
    for (int index = 0; index < count; ++index) {
        cudaDeviceProp properties{};
        LUCEBOX_CHECK(cuda_status(cudaGetDeviceProperties(&properties, index), "asking a GPU for its properties"));
        Card card{index,
                  properties.name,
                  properties.totalGlobalMem,
                  properties.major,
                  properties.minor,
                  properties.multiProcessorCount,
                  static_cast<int>(properties.sharedMemPerBlockOptin)};
        if (card.major * 10 + card.minor < oldest) refused = card.describe();
        else if (card.memory > best.memory) best = card;
    }
    if (best.memory > 0) return best;
    if (refused.empty()) return no_card(cudaErrorNoDevice);
    return Error{ErrorKind::unavailable, fmt::format("{} is too old: sm_{} or newer is needed", refused, oldest), "use --device cpu"};
}

} // namespace lucebox::compute::cuda
