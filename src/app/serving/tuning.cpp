#include "app/serving/tuning.h"

#include "base/log.h"
#include "hub/gpus.h"
#include "hub/host_facts.h"

#include <fmt/format.h>

#include <array>

namespace lucebox::app {
namespace {

// What this build can do. A row is added when the engine learns it.
constexpr std::array<std::string_view, 2> kv_types{"q8_0", "f16"}; // smallest first
constexpr hub::TierFeatures features{.kv_types = kv_types, .speculative = true};

// What a plan does not count: the device's workspace, graphs of kernels, what a desktop takes later. A gigabyte on a card of 16.
std::uint64_t spare_bytes(std::uint64_t vram_bytes) { return (std::uint64_t{512} << 20) + vram_bytes / 32; }

} // namespace

hub::Plan plan_for_card(std::uint64_t vram_mib, bool wsl) {
    return hub::plan_for({.vram_mib = vram_mib, .wsl = wsl}, features);
}

engine::Wish wish_of(const hub::Plan& plan, std::uint64_t vram_bytes) {
    engine::Wish wish;
    wish.context = static_cast<std::size_t>(plan.context);
    wish.why = fmt::format("cards of {}{}", plan.tier, plan.wsl ? ", under WSL 2" : "");
    wish.spare = spare_bytes(vram_bytes);
    // Elsewhere the speculator measures which trees pay on this very card, and needs no limit.
    if (plan.wsl) wish.tree_budget = static_cast<std::size_t>(plan.tree_budget);
    const std::string card = plan.gb != 0 ? fmt::format("a card of {} GB", plan.gb) : "a card of unknown memory";
    wish.choices.push_back({"tier", plan.tier, plan.notes.empty() ? card : fmt::format("{}; {}", card, fmt::join(plan.notes, "; "))});
    return wish;
}

void tune(engine::Options& engine_options, const Options& options) {
    if (options.entry("sequences").origin == OptionOrigin::default_value) engine_options.sequences = 0;
    // A budget alone asks for a tree, where a draft can grow one. Guesses from the text itself come as chains, and their
    // length is better measured.
    if (options.entry("speculation").where.ends_with("_BUDGET") && engine_options.draft.empty()) {
        log_info("{} has no effect without a draft", options.entry("speculation").where);
        engine_options.speculation = *decode::parse_speculation("auto");
    }
    engine_options.wish = [](std::string_view device, const compute::DeviceMemory& memory) {
        if (device.starts_with("CPU")) return engine::Wish{};
        std::uint64_t bytes = memory.total;
        const hub::GpuList seen = hub::find_gpus();
        if (bytes == 0 && !seen.gpus.empty()) bytes = seen.gpus.front().vram_mib.value_or(0) << 20; // the driver may still tell
        if (seen.gpus.size() > 1) log_warning("{} GPUs are visible, and one is used; CUDA_VISIBLE_DEVICES, or lucebox serve --gpus N on the host, chooses", seen.gpus.size());
        return wish_of(plan_for_card(bytes >> 20, hub::runs_under_wsl2()), bytes);
    };
}

} // namespace lucebox::app
