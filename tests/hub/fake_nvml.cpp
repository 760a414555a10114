// Plays NVIDIA's management library for two cards, the second of which keeps some things to itself.
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {
void* const first = reinterpret_cast<void*>(std::intptr_t{1});
struct Memory {
    unsigned long long total, free, used;
};
struct Pci {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};
} // namespace

extern "C" {
int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
int nvmlSystemGetDriverVersion(char* out, unsigned int size) { return std::snprintf(out, size, "580.65.06") > 0 ? 0 : 1; }
int nvmlDeviceGetCount_v2(unsigned int* count) {
    *count = 2;
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void** device) {
    *device = reinterpret_cast<void*>(static_cast<std::intptr_t>(index) + 1);
    return 0;
}
int nvmlDeviceGetName(void* device, char* out, unsigned int size) {
    return std::snprintf(out, size, "%s", device == first ? "NVIDIA GeForce RTX 4090" : "NVIDIA GB10") > 0 ? 0 : 1;
}
int nvmlDeviceGetUUID(void*, char* out, unsigned int size) { return std::snprintf(out, size, "GPU-1234") > 0 ? 0 : 1; }
int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
    if (device != first) return 3; // not supported: unified memory
    memory->total = 24564ull << 20;
    return 0;
}
int nvmlDeviceGetPciInfo_v3(void*, Pci* pci) {
    std::strcpy(pci->bus_id, "00000000:01:00.0");
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void* device, int* major, int* minor) {
    *major = device == first ? 8 : 12;
    *minor = device == first ? 9 : 1;
    return 0;
}
int nvmlDeviceGetClockInfo(void* device, int kind, unsigned int* mhz) {
    *mhz = kind == 1 ? 2520 : 10501;
    return device == first ? 0 : 3;
}
int nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned int* milliwatts) {
    *milliwatts = 449'600;
    return device == first ? 0 : 3;
}
}
