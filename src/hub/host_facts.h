// What machine answers requests: operating system, processor, GPUs, driver. Shown at /props.host.
//
// The host wrapper tells through LUCEBOX_HOST_* what a container cannot see; without it the facts are what this process
// sees itself. Every fact may be missing and is then null. Nothing here fails: a machine that cannot be described must
// still serve.
#pragma once

#include "base/options.h"
#include "base/result.h"
#include "hub/gpus.h"

#include <filesystem>
#include <string>

namespace lucebox::hub {

struct HostSources {
    std::filesystem::path root = "/"; // of /proc and /etc
    std::string nvml = "libnvidia-ml.so.1";
};

// One JSON object: os_pretty, kernel, wsl_version, docker_version, nvidia_driver, nvidia_ctk_version, cpu_model, nproc, ram_gb,
// gpus, cuda_visible_devices, source ("lucebox.sh" or "container"), collector, collected_at (`now`, UTC).
std::string host_facts_json(const Environment& environment, const std::string& now, const HostSources& sources = {});

std::string utc_now(); // "2026-06-01T12:00:00Z"

// Where the container's start leaves the facts: LUCEBOX_HOST_INFO or DFLASH_HOST_INFO_PATH, else where earlier images had them.
std::filesystem::path host_info_path(const Environment& environment);

bool runs_under_wsl2(const std::filesystem::path& root = "/");

} // namespace lucebox::hub
