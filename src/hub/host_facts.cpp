#include "hub/host_facts.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fstream>
#include <sys/utsname.h>
#include <thread>

namespace lucebox::hub {
namespace {

using Json = nlohmann::ordered_json;

std::string trimmed(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return std::string(text);
}

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(separator, begin), text.size());
        parts.push_back(trimmed(text.substr(begin, end - begin)));
        begin = end + 1;
    }
    return parts;
}

// What follows `key` and a separator in a file of lines "key : value" or KEY="value".
std::string value_in(const std::filesystem::path& path, std::string_view key, char separator) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const std::size_t at = line.find(separator);
        if (at == std::string::npos || trimmed(std::string_view(line).substr(0, at)) != key) continue;
        std::string value = trimmed(std::string_view(line).substr(at + 1));
        if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
        return value;
    }
    return "";
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

// "24", "175.00 W" as 24 and 175; anything else is null.
Json integer_or_null(const std::string& text) {
    double value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string unit = trimmed({rest, text.data() + text.size()});
    if (error != std::errc{} || !std::isfinite(value) || std::abs(value) > 1e15) return Json();
    if (!unit.empty() && unit != "W" && unit != "MiB") return Json();
    return Json(static_cast<std::int64_t>(std::llround(value)));
}

Json gibibytes(const Json& mib) { return mib.is_null() ? Json() : Json(mib.get<std::int64_t>() / 1024); }

Json gpu_json(const Json& index, const std::string& uuid, const std::string& bus, const std::string& name, const std::string& sm,
              const Json& mib, const Json& watts) {
    return {{"index", index},          {"uuid", text_or_null(uuid)}, {"pci_bus_id", text_or_null(bus)}, {"name", text_or_null(name)},
            {"sm", text_or_null(sm)},  {"vram_gb", gibibytes(mib)},  {"power_limit_w", watts}};
}

// Lines "index,uuid,bus,name,capability,memory,power" as the wrapper collects them.
Json gpus_from_csv(const std::string& csv) {
    Json gpus = Json::array();
    for (const std::string& line : split(csv, '\n')) {
        auto fields = split(line, ',');
        if (line.empty() || fields.size() < 4) continue;
        fields.resize(7);
        gpus.push_back(gpu_json(integer_or_null(fields[0]), fields[1], fields[2], fields[3], fields[4], integer_or_null(fields[5]),
                                integer_or_null(fields[6])));
    }
    return gpus;
}

Json gpus_seen(const GpuList& seen) {
    Json gpus = Json::array();
    for (const Gpu& gpu : seen.gpus) {
        gpus.push_back(gpu_json(gpu.index ? Json(*gpu.index) : Json(), gpu.uuid, gpu.pci_bus_id, gpu.name, gpu.capability,
                                gpu.vram_mib ? Json(*gpu.vram_mib) : Json(), gpu.power_limit_w ? Json(*gpu.power_limit_w) : Json()));
    }
    return gpus;
}

std::string kernel_release() {
    utsname names{};
    return ::uname(&names) == 0 ? names.release : "";
}

std::string wsl_version(const std::filesystem::path& root) {
    std::ifstream file(root / "proc/version");
    std::string text;
    std::getline(file, text);
    if (text.find("microsoft-standard-WSL2") != std::string::npos) return "wsl2";
    return text.find("icrosoft") != std::string::npos ? "wsl1" : "";
}

std::string ram_gb(const std::filesystem::path& root) {
    const std::string kilobytes = value_in(root / "proc/meminfo", "MemTotal", ':');
    double value = 0;
    if (std::from_chars(kilobytes.data(), kilobytes.data() + kilobytes.size(), value).ec != std::errc{}) return "";
    return fmt::format("{}", std::llround(value / 1048576));
}

} // namespace

std::string host_facts_json(const Environment& environment, const std::string& now, const HostSources& sources) {
    const auto told = [&](std::string_view name) {
        const auto found = environment.find(fmt::format("LUCEBOX_HOST_{}", name));
        return found == environment.end() ? std::string() : trimmed(found->second);
    };
    const bool wrapper = std::ranges::any_of(std::initializer_list<std::string_view>{"OS_PRETTY", "KERNEL", "GPU_LIST_CSV", "CPU_MODEL"},
                                             [&](auto name) { return !told(name).empty(); });
    const auto either = [&](std::string_view name, auto seen) {
        const std::string value = told(name);
        return value.empty() ? std::string(seen()) : value;
    };
    const GpuList seen = find_gpus({sources.nvml, sources.root});
    Json gpus = gpus_from_csv(told("GPU_LIST_CSV"));
    if (gpus.empty()) gpus = gpus_seen(seen);
    std::string visible = told("CUDA_VISIBLE_DEVICES");
    if (const auto own = environment.find("CUDA_VISIBLE_DEVICES"); visible.empty() && own != environment.end()) visible = own->second;

    Json json;
    json["os_pretty"] = text_or_null(either("OS_PRETTY", [&] { return value_in(sources.root / "etc/os-release", "PRETTY_NAME", '='); }));
    json["kernel"] = text_or_null(either("KERNEL", kernel_release));
    json["wsl_version"] = text_or_null(either("WSL_VERSION", [&] { return wsl_version(sources.root); }));
    json["docker_version"] = text_or_null(told("DOCKER_VERSION"));
    json["nvidia_driver"] = text_or_null(either("DRIVER_VERSION", [&] { return seen.driver_version; }));
    json["nvidia_ctk_version"] = text_or_null(told("NVIDIA_CTK_VERSION"));
    json["cpu_model"] = text_or_null(either("CPU_MODEL", [&] { return value_in(sources.root / "proc/cpuinfo", "model name", ':'); }));
    json["nproc"] = integer_or_null(either("NPROC", [] { return fmt::format("{}", std::thread::hardware_concurrency()); }));
    json["ram_gb"] = integer_or_null(either("RAM_GB", [&] { return ram_gb(sources.root); }));
    json["gpus"] = std::move(gpus);
    json["cuda_visible_devices"] = text_or_null(visible);
    json["source"] = wrapper ? "lucebox.sh" : "container";
    json["collector"] = "lucebox";
    json["collected_at"] = now;
    return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

std::filesystem::path host_info_path(const Environment& environment) {
    const auto variable = [&](const char* name) {
        const auto found = environment.find(name);
        return found == environment.end() ? std::string() : found->second;
    };
    for (const char* name : {"LUCEBOX_HOST_INFO", "DFLASH_HOST_INFO_PATH"}) {
        if (const std::string path = variable(name); !path.empty()) return path;
    }
    return "/opt/lucebox-hub/HOST_INFO"; // a place that only the image has: a file of the same name elsewhere is not believed
}

bool runs_under_wsl2(const std::filesystem::path& root) { return wsl_version(root) == "wsl2"; }

} // namespace lucebox::hub
