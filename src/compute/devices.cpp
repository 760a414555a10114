#include "compute/devices.h"

#include "compute/cpu/cpu_device.h"
#ifdef LUCEBOX_CUDA
#include "compute/cuda/cuda_device.h"
#endif

namespace lucebox::compute {
namespace {

#ifdef LUCEBOX_CUDA
Result<std::unique_ptr<Device>> make_cuda(std::size_t fail) { return cuda::make_device({.fail_allocation = fail}); }
Result<std::string> cuda_name() { return cuda::usable_card(); }
constexpr bool with_cuda = true;
#else
constexpr bool with_cuda = false;
Error no_cuda() {
    return {ErrorKind::unavailable, "this build computes on the CPU only: --device cuda is not available", "use --device cpu"};
}
Result<std::unique_ptr<Device>> make_cuda(std::size_t) { return no_cuda(); }
Result<std::string> cuda_name() { return no_cuda(); }
#endif

} // namespace

DeviceChoice device_choice(std::string_view name) {
    if (name == "auto") return DeviceChoice::automatic;
    return name == "cuda" ? DeviceChoice::cuda : DeviceChoice::cpu;
}

Result<std::unique_ptr<Device>> make_device(const DeviceOptions& options) {
    const bool automatic = options.choice == DeviceChoice::automatic && !options.reference_kernels;
    if (options.choice == DeviceChoice::cuda || (automatic && cuda_name())) {
        if (!options.reference_kernels) return make_cuda(options.fail_allocation);
        return Error{ErrorKind::usage, "the reference kernels run on the CPU only", "use --device cpu"};
    }
    return cpu::make_device({.threads = options.threads, .reference = options.reference_kernels});
}

std::vector<DeviceFacts> known_devices() {
    std::vector<DeviceFacts> devices{{"cpu", std::string(cpu::make_device()->name()), ""}};
#ifdef LUCEBOX_CUDA
    const auto card = cuda_name();
    devices.push_back({"cuda", card ? *card : "", card ? "" : card.error().message});
#endif
    return devices;
}

bool compiled_for_cuda() { return with_cuda; }

} // namespace lucebox::compute
