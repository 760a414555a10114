// Whether this machine is ready to serve, from facts alone: what `lucebox check` says without a file. The host wrapper has a check of its
// own, which also looks at docker; this one is for whoever runs the program, or the image, without it.
#pragma once

#include "app/commands.h"
#include "hub/gpus.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lucebox::app {

struct MachineFacts {
    bool gpu_build = false;   // the program has code for GPUs
    bool gpu_wanted = true;   // nobody chose the CPU
    std::string gpu_problem;  // why the device cannot be used, as it says itself; empty: it can
    hub::GpuList seen;
    std::string cpu;          // as the device calls itself
    std::uint64_t ram_bytes = 0, free_disk_bytes = 0; // 0: not known
    std::string models_folder;
    std::size_t models = 0; // that are here
};

enum class Verdict { ok, warn, fail };

struct MachineRow {
    std::string name;
    Verdict verdict = Verdict::ok;
    std::string text, hint;
};

std::vector<MachineRow> check_machine(const MachineFacts& facts);

} // namespace lucebox::app
