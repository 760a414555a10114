// The GPUs that this process can see, without a CUDA runtime: NVIDIA's through NVML, AMD's through sysfs.
//
// The driver's library is opened when asked and closed again; where there is none the list is empty. A value that the
// driver does not give is absent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lucebox::hub {

struct Gpu {
    std::string vendor = {}; // "nvidia", "amd"
    std::string name = {}, uuid = {}, pci_bus_id = {};
    std::string capability = {}; // NVIDIA: "8.6"
    std::optional<std::int64_t> index = {};
    std::optional<std::uint64_t> vram_mib = {};
    std::optional<std::int64_t> power_limit_w = {};
    std::optional<std::int64_t> sm_clock_mhz = {}, memory_clock_mhz = {}; // at this moment
};

struct GpuSources {
    std::string nvml = "libnvidia-ml.so.1";
    std::filesystem::path root = "/"; // of /sys and /dev
};

struct GpuList {
    std::vector<Gpu> gpus;
    std::string driver_version; // NVIDIA's
};

GpuList find_gpus(const GpuSources& sources = {});

// Whether device files of a GPU are there: what a container that was given one has, even if its driver then fails.
bool has_gpu_device_files(const std::filesystem::path& root = "/");

} // namespace lucebox::hub
