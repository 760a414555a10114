#include "app/serving/check_machine.h"

#include "base/build_info.h"
#include "base/shown_path.h"
#include "base/terminal.h"
#include "hub/hub.h"
#include "hub/tiers.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <unistd.h>

namespace lucebox::app {
namespace {

// As the wrapper has them (host/parts/40-check.sh, where the reasons are).
constexpr int oldest_driver = 525, oldest_blackwell_driver = 570, full_driver = 570;
constexpr int oldest_capability = 75, blackwell = 120;
constexpr int small_card_gb = 12, large_card_gb = 22;
constexpr std::uint64_t little_ram = std::uint64_t{15} << 30; // of a machine sold with 16 GB the kernel keeps some
constexpr std::uint64_t large_model = 20'000'000'000;

int number_in(std::string_view text) {
    int value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// "8.6" is 86; 0: not known.
int capability_of(const hub::Gpu& gpu) {
    const std::size_t dot = gpu.capability.find('.');
    return dot == std::string::npos ? 0 : number_in(gpu.capability) * 10 + number_in(std::string_view(gpu.capability).substr(dot + 1));
}

MachineRow driver_row(const std::string& version, int capability) {
    const int major = number_in(version);
    if (major == 0) return {"driver", Verdict::warn, "its version is not known", ""};
    if (major < oldest_driver) return {"driver", Verdict::fail, fmt::format("{} is too old; CUDA 12 needs {} or newer", version, oldest_driver), "update the driver"};
    if (capability >= blackwell && major < oldest_blackwell_driver) {
        return {"driver", Verdict::fail, fmt::format("{} does not know this GPU; it needs {} or newer", version, oldest_blackwell_driver), "update the driver"};
    }
    if (major < full_driver) return {"driver", Verdict::warn, fmt::format("{} is older than CUDA 12.8", version), fmt::format("update to {} or newer", full_driver)};
    return {"driver", Verdict::ok, version, ""};
}

void add_gpu_rows(const MachineFacts& facts, std::vector<MachineRow>& rows) {
    if (!facts.gpu_build) return rows.push_back({"gpu", Verdict::ok, "not used: this build computes on the CPU", ""});
    if (!facts.gpu_wanted) return rows.push_back({"gpu", Verdict::ok, "not used: device = cpu", ""});
    if (facts.seen.gpus.empty()) {
        return rows.push_back({"gpu", Verdict::fail, facts.gpu_problem.empty() ? "none is visible here" : facts.gpu_problem,
                               "in a container: docker run --gpus all, with the NVIDIA Container Toolkit on the host; to compute on the CPU: LUCEBOX_DEVICE=cpu"});
    }
    const hub::Gpu& gpu = facts.seen.gpus.front();
    const int capability = capability_of(gpu), gb = gpu.vram_mib ? hub::label_gb(*gpu.vram_mib) : 0;
    const std::string text = fmt::format("{} × {}{}{}", gpu.name, facts.seen.gpus.size(), capability != 0 ? fmt::format(", sm_{}", capability) : "", gb != 0 ? fmt::format(", {} GB", gb) : "");
    if (capability != 0 && capability < oldest_capability) {
        rows.push_back({"gpu", Verdict::fail, fmt::format("{}: older than the oldest card supported (sm_{})", text, oldest_capability), "LUCEBOX_DEVICE=cpu computes without it"});
    } else if (!facts.gpu_problem.empty()) {
        rows.push_back({"gpu", Verdict::fail, fmt::format("{}: {}", text, facts.gpu_problem), "LUCEBOX_DEVICE=cpu computes without it"});
    } else {
        rows.push_back({"gpu", Verdict::ok, text, facts.seen.gpus.size() > 1 ? "one is used; CUDA_VISIBLE_DEVICES chooses" : ""});
    }
    if (gpu.vendor == "nvidia") rows.push_back(driver_row(facts.seen.driver_version, capability));
    if (gb == 0) rows.push_back({"vram", Verdict::warn, "not known", ""});
    else if (gb < small_card_gb) rows.push_back({"vram", Verdict::warn, fmt::format("{} GB: only small models fit", gb), ""});
    else if (gb < large_card_gb) rows.push_back({"vram", Verdict::warn, fmt::format("{} GB: a 27B model does not fit; others get contexts of about 32K", gb), "lucebox autotune tells what a model gets"});
}

MachineFacts facts_of(const Options& options) {
    MachineFacts facts;
    const Environment environment = process_environment();
    const auto device = environment.find("LUCEBOX_DEVICE");
    facts.gpu_build = compute::compiled_for_cuda();
    facts.gpu_wanted = device == environment.end() || device->second != "cpu";
    facts.seen = hub::find_gpus();
    for (const compute::DeviceFacts& found : compute::known_devices()) {
        if (found.kind == "cpu") facts.cpu = found.name;
        else facts.gpu_problem = found.problem;
    }
    const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) facts.ram_bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
    hub::HubSettings settings = hub::hub_settings(environment);
    if (options.is_set("models")) settings.folders = hub::split_folders(options.text("models"));
    for (const hub::ModelEntry& entry : hub::list_models(settings)) facts.models += entry.path ? 1 : 0;
    facts.models_folder = shown_path(settings.cache, environment);
    std::error_code error;
    std::filesystem::path folder = settings.cache;
    while (!std::filesystem::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
    const auto space = std::filesystem::space(folder, error);
    if (!error) facts.free_disk_bytes = space.available;
    return facts;
}

std::string_view name_of(Verdict verdict) { return verdict == Verdict::ok ? "ok" : verdict == Verdict::warn ? "warn" : "fail"; }

} // namespace

std::vector<MachineRow> check_machine(const MachineFacts& facts) {
    std::vector<MachineRow> rows;
    rows.push_back({"cpu", Verdict::ok, facts.cpu, ""});
    if (facts.ram_bytes != 0) {
        const bool little = facts.ram_bytes < little_ram;
        rows.push_back({"ram", little ? Verdict::warn : Verdict::ok, fmt::format("{:.0f} GB", static_cast<double>(facts.ram_bytes) / (1 << 30)), little ? "loading a large model may be slow" : ""});
    }
    add_gpu_rows(facts, rows);
    rows.push_back({"models", Verdict::ok, facts.models != 0 ? fmt::format("{} here", facts.models) : "none here yet", facts.models != 0 ? "" : "lucebox models download fetches the default one"});
    if (facts.free_disk_bytes != 0) {
        const bool little = facts.models == 0 && facts.free_disk_bytes < large_model;
        rows.push_back({"disk", little ? Verdict::warn : Verdict::ok, fmt::format("{} free in {}", human_bytes(facts.free_disk_bytes), facts.models_folder),
                        little ? "a 27B model needs about 20 GB; LUCEBOX_CACHE names another folder" : ""});
    }
    return rows;
}

Status check_this_machine(const Invocation& invocation) {
    const auto rows = check_machine(facts_of(invocation.options));
    const bool ready = std::ranges::none_of(rows, [](const MachineRow& row) { return row.verdict == Verdict::fail; });
    if (invocation.options.boolean("json")) {
        nlohmann::ordered_json list = nlohmann::ordered_json::array();
        for (const MachineRow& row : rows) list.push_back({{"name", row.name}, {"state", name_of(row.verdict)}, {"text", row.text}, {"hints", row.hint.empty() ? nlohmann::ordered_json::array() : nlohmann::ordered_json{row.hint}}});
        fmt::print("{}\n", nlohmann::ordered_json{{"ok", ready}, {"rows", list}}.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    } else {
        for (const MachineRow& row : rows) {
            fmt::print("{} {:<8} {}\n", row.verdict == Verdict::ok ? "✓" : row.verdict == Verdict::warn ? "!" : "✗", row.name, row.text);
            if (!row.hint.empty()) fmt::print("{:<10} {}\n", "", row.hint);
        }
    }
    if (ready) return Ok{};
    return Error{ErrorKind::unavailable, "this machine is not ready", "see the lines marked ✗"};
}

} // namespace lucebox::app
