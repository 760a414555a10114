#include "hub/gpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <dlfcn.h>
#include <fstream>
#include <memory>

namespace lucebox::hub {
namespace {

// The few functions of NVML that are used, as its documentation declares them. All return 0 for success.
using Device = void*;
struct NvmlMemory {
    unsigned long long total, free, used;
};
struct NvmlPci { // nvmlPciInfo_t of the _v3 functions
    char bus_id_legacy[16];
    unsigned int domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

class Nvml {
public:
    explicit Nvml(const std::string& library) : library_(::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) {
        if (library_ == nullptr) return;
        const auto init = function<int()>("nvmlInit_v2");
        ready_ = init != nullptr && init() == 0;
    }
    Nvml(const Nvml&) = delete;
    Nvml& operator=(const Nvml&) = delete;
    ~Nvml() {
        if (ready_) {
            if (const auto shutdown = function<int()>("nvmlShutdown")) shutdown();
        }
        if (library_ != nullptr) ::dlclose(library_);
    }

    bool ready() const { return ready_; }

    template <class Signature>
    Signature* function(const char* name) const {
        return reinterpret_cast<Signature*>(::dlsym(library_, name));
    }

    // Calls a function that is there; false if it is not, or fails.
    template <class... Parameters, class... Arguments>
    bool call(const char* name, int (*)(Parameters...), Arguments... arguments) const {
        const auto found = function<int(Parameters...)>(name);
        return found != nullptr && found(arguments...) == 0;
    }

    using OfText = int (*)(Device, char*, unsigned int);
    std::string text(const char* name, Device device) const {
        std::array<char, 128> buffer{};
        if (!call(name, OfText{}, device, buffer.data(), static_cast<unsigned int>(buffer.size()))) return "";
        buffer.back() = '\0';
        return buffer.data();
    }

private:
    void* library_;
    bool ready_ = false;
};

Gpu describe(const Nvml& nvml, Device device, unsigned int index) {
    Gpu gpu{.vendor = "nvidia", .name = nvml.text("nvmlDeviceGetName", device), .uuid = nvml.text("nvmlDeviceGetUUID", device)};
    gpu.index = index;
    using OfMemory = int (*)(Device, NvmlMemory*);
    if (NvmlMemory memory{}; nvml.call("nvmlDeviceGetMemoryInfo", OfMemory{}, device, &memory)) gpu.vram_mib = memory.total >> 20;
    using OfPci = int (*)(Device, NvmlPci*);
    if (NvmlPci pci{}; nvml.call("nvmlDeviceGetPciInfo_v3", OfPci{}, device, &pci)) {
        pci.bus_id[sizeof pci.bus_id - 1] = '\0';
        gpu.pci_bus_id = pci.bus_id;
    }
    using OfTwo = int (*)(Device, int*, int*);
    int major = 0, minor = 0;
    if (nvml.call("nvmlDeviceGetCudaComputeCapability", OfTwo{}, device, &major, &minor)) gpu.capability = fmt::format("{}.{}", major, minor);
    using OfFigure = int (*)(Device, unsigned int*);
    unsigned int milliwatts = 0;
    if (nvml.call("nvmlDeviceGetEnforcedPowerLimit", OfFigure{}, device, &milliwatts)) gpu.power_limit_w = (milliwatts + 500) / 1000;
    using OfClock = int (*)(Device, int, unsigned int*);
    constexpr int sm = 1, memory_kind = 2; // nvmlClockType_t
    unsigned int mhz = 0;
    if (nvml.call("nvmlDeviceGetClockInfo", OfClock{}, device, sm, &mhz)) gpu.sm_clock_mhz = mhz;
    if (nvml.call("nvmlDeviceGetClockInfo", OfClock{}, device, memory_kind, &mhz)) gpu.memory_clock_mhz = mhz;
    return gpu;
}

void add_nvidia(const std::string& library, GpuList& list) {
    const Nvml nvml(library);
    if (!nvml.ready()) return;
    std::array<char, 96> version{};
    using OfVersion = int (*)(char*, unsigned int);
    if (nvml.call("nvmlSystemGetDriverVersion", OfVersion{}, version.data(), static_cast<unsigned int>(version.size() - 1))) {
        list.driver_version = version.data();
    }
    unsigned int count = 0;
    using OfCount = int (*)(unsigned int*);
    if (!nvml.call("nvmlDeviceGetCount_v2", OfCount{}, &count)) return;
    for (unsigned int i = 0; i < count; ++i) {
        Device device = nullptr;
        using OfHandle = int (*)(unsigned int, Device*);
        if (nvml.call("nvmlDeviceGetHandleByIndex_v2", OfHandle{}, i, &device)) list.gpus.push_back(describe(nvml, device, i));
    }
}

std::string first_line(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// Any entries of a folder, sorted; none if it cannot be read.
std::vector<std::filesystem::path> entries(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> found;
    std::error_code error;
    for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) found.push_back(it->path());
    std::ranges::sort(found);
    return found;
}

bool is_card(const std::string& name) { // "card0", not its outputs "card0-DP-1"
    return name.starts_with("card") && name.size() > 4 && std::ranges::all_of(name.substr(4), [](char c) { return c >= '0' && c <= '9'; });
}

// amdgpu's files, as the kernel documents them: mem_info_vram_total in bytes.
void add_amd(const std::filesystem::path& root, GpuList& list) {
    std::int64_t index = 0;
    for (const auto& card : entries(root / "sys/class/drm")) {
        if (!is_card(card.filename().string())) continue;
        const std::string total = first_line(card / "device/mem_info_vram_total");
        if (total.empty() || total.size() > 18 || !std::ranges::all_of(total, [](char c) { return c >= '0' && c <= '9'; })) continue;
        Gpu gpu{.vendor = "amd", .name = first_line(card / "device/product_name")};
        gpu.index = index++;
        gpu.vram_mib = std::stoull(total) >> 20;
        std::error_code error;
        if (const auto device = std::filesystem::canonical(card / "device", error); !error) gpu.pci_bus_id = device.filename().string();
        list.gpus.push_back(std::move(gpu));
    }
}

} // namespace

GpuList find_gpus(const GpuSources& sources) {
    GpuList list;
    add_nvidia(sources.nvml, list);
    add_amd(sources.root, list);
    return list;
}

bool has_gpu_device_files(const std::filesystem::path& root) {
    std::error_code error;
    if (std::filesystem::exists(root / "dev/dxg", error)) return true; // WSL 2
    if (std::filesystem::exists(root / "dev/kfd", error)) return true; // AMD
    return std::ranges::any_of(entries(root / "dev"), [](const auto& path) {
        const std::string name = path.filename().string();
        return name.starts_with("nvidia") && name.size() > 6 && name[6] >= '0' && name[6] <= '9';
    });
}

} // namespace lucebox::hub
