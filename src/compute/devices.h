// Which devices this program was built for, which of them are here, and how to make one.
#pragma once

#include "compute/device.h"

#include <string>
#include <vector>

namespace lucebox::compute {

enum class DeviceChoice : std::uint8_t {
    automatic, // a usable GPU if there is one, else the CPU
    cpu,
    cuda,
};

struct DeviceOptions {
    DeviceChoice choice = DeviceChoice::automatic;
    std::size_t threads = 0;        // of the CPU; 0: one for each core
    bool reference_kernels = false; // the CPU's plain kernels
    std::size_t fail_allocation = 0; // of the GPU's memory, the how-manieth is refused, for tests; 0: none
};

// ErrorKind::unavailable, with what to do, if the GPU was asked for and cannot be used.
Result<std::unique_ptr<Device>> make_device(const DeviceOptions& options);

// Names the choice: "auto", "cpu", "cuda". Anything else is the CPU's: option tables check the value.
DeviceChoice device_choice(std::string_view name);

struct DeviceFacts {
    std::string kind;    // "cpu", "cuda"
    std::string name;    // as the device calls itself; empty if it cannot be used
    std::string problem; // why it cannot be used; empty if it can
};
std::vector<DeviceFacts> known_devices(); // those compiled in; the CPU first
bool compiled_for_cuda();                 // asks no driver

} // namespace lucebox::compute
