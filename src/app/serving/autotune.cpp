// lucebox autotune: what this machine's GPU can serve by its memory, and why.
#include "app/commands.h"
#include "hub/gpus.h"
#include "hub/host_facts.h"
#include "hub/tiers.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

// What this build can do. A row is added when the engine learns it.
constexpr std::array<std::string_view, 1> kv_types{"f16"};
constexpr hub::TierFeatures features{.kv_types = kv_types, .speculative = false};

} // namespace

Status autotune(const Invocation& invocation) {
    const hub::GpuList seen = hub::find_gpus();
    const hub::Gpu* gpu = seen.gpus.empty() ? nullptr : &seen.gpus.front();
    const hub::TierFacts facts{.vram_mib = gpu != nullptr ? gpu->vram_mib.value_or(0) : 0, .wsl = hub::runs_under_wsl2()};
    hub::Plan plan = hub::plan_for(facts, features);
    if (gpu == nullptr) plan.notes.insert(plan.notes.begin(), "no GPU is visible here");
    if (seen.gpus.size() > 1) plan.notes.push_back(fmt::format("{} GPUs are visible; the plan is for the first one", seen.gpus.size()));
    if (invocation.options.boolean("json")) {
        const Json json{{"gpu", gpu != nullptr ? Json(gpu->name) : Json()},
                        {"vram_mib", facts.vram_mib != 0 ? Json(facts.vram_mib) : Json()},
                        {"wsl", facts.wsl},
                        {"tier", plan.tier},
                        {"plan",
                         {{"context", plan.context},
                          {"kv_type", plan.kv_type.empty() ? Json() : Json(plan.kv_type)},
                          {"tree_budget", plan.tree_budget != 0 ? Json(plan.tree_budget) : Json()},
                          {"lazy_draft", plan.lazy_draft}}},
                        {"notes", plan.notes}};
        fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
        return Ok{};
    }
    fmt::print("gpu         {}\n", gpu != nullptr ? fmt::format("{}, {} MiB", gpu->name, facts.vram_mib) : "none");
    fmt::print("tier        {}\ncontext     {} tokens\n", plan.tier, plan.context);
    if (!plan.kv_type.empty()) fmt::print("keys/values {}\n", plan.kv_type);
    if (plan.tree_budget != 0) fmt::print("tree budget {}\n", plan.tree_budget);
    for (const std::string& note : plan.notes) fmt::print("  {}\n", note);
    return Ok{};
}

} // namespace lucebox::app
