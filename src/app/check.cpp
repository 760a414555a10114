// lucebox check: what a model file is, whether it can run here, and how much memory that takes.
#include "app/commands.h"
#include "base/terminal.h"
#include "compute/cpu/cpu_device.h"
#include "compute/devices.h"
#include "compute/gpu_memory.h"
#include "engine/memory_plan.h"
#include "gguf/model_file.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t default_context = 8192;

// The device to plan for: a card of --vram GiB that need not be here, else what this machine has.
struct Target {
    std::unique_ptr<compute::Device> device; // none: a card by its size
    std::uint64_t budget = 0;
    std::string name;
    std::size_t prompt_rows = compute::gpu_prompt_rows;
};

Target target_of(const Options& options) {
    if (options.is_set("vram")) {
        const double size = options.number("vram");
        return {nullptr, engine::usable_card_bytes(size), fmt::format("a card of {:g} GiB", size)};
    }
    auto device = compute::make_device({});
    if (!device) device = compute::cpu::make_device({.threads = 1, .reference = false});
    const std::uint64_t budget = (*device)->memory().available;
    const std::size_t prompt_rows = (*device)->prompt_rows();
    return {std::move(*device), budget, "this machine", prompt_rows};
}

struct Plan {
    engine::MemoryPlan memory;
    std::size_t trained_context = 0;
    Status fits = Ok{};
};

Result<Plan> plan_memory(const gguf::ModelFile& file, const Options& options, std::optional<compute::DType> kv_type, const Target& target) {
    model::RunnerOptions runner;
    runner.kv_type = kv_type;
    runner.sequences = static_cast<std::size_t>(options.integer("sequences"));
    runner.rows = std::max<std::size_t>({target.prompt_rows, compute::max_tree_rows, runner.sequences});
    LUCEBOX_TRY(const auto planner, engine::MemoryPlanner::create(file, target.device.get(), runner));
    Plan plan;
    plan.trained_context = planner.trained_context();
    std::size_t context = static_cast<std::size_t>(options.integer("context"));
    if (context == 0) context = std::min(plan.trained_context, default_context);
    LUCEBOX_TRY(plan.memory, planner.plan(context));
    plan.fits = planner.check(plan.memory, target.budget);
    if (plan.fits || kv_type || !planner.keeps(compute::DType::q8_0)) return plan;
    LUCEBOX_TRY(plan.memory, planner.plan(context, 0, compute::DType::q8_0)); // as a server would choose
    plan.fits = planner.check(plan.memory, target.budget);
    return plan;
}

nlohmann::ordered_json to_json(const engine::MemoryPlan& plan, std::uint64_t budget) {
    return {{"context", plan.context},       {"sequences", plan.sequences}, {"weights_bytes", plan.weights},
            {"kv_bytes", plan.kv},           {"kv_type", compute::dtype_name(plan.kv_type)},
            {"recurrent_bytes", plan.recurrent},
            {"scratch_bytes", plan.scratch}, {"draft_bytes", plan.draft},   {"total_bytes", plan.total()},
            {"available_bytes", budget}};
}

// One line of the report: a name, what was found, and whether it is fine.
struct Finding {
    std::string name, value;
    bool fine = true;
};

std::string tensor_types(const gguf::ModelFile& file) {
    std::map<std::string_view, std::uint64_t> bytes;
    for (const gguf::Tensor& tensor : file.tensors()) bytes[gguf::block_format(tensor.type).name] += tensor.data.size();
    std::vector<std::pair<std::string_view, std::uint64_t>> sorted(bytes.begin(), bytes.end());
    std::ranges::sort(sorted, std::greater{}, [](const auto& entry) { return entry.second; });
    std::string text;
    for (const auto& [name, size] : sorted) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, human_bytes(size));
    return text;
}

template <class T> Finding found(std::string name, const Result<T>& result, std::string value) {
    return {std::move(name), result ? std::move(value) : result.error().message, static_cast<bool>(result)};
}

} // namespace

Status check(const Invocation& invocation) {
    if (invocation.operands.empty()) return check_this_machine(invocation);
    if (invocation.operands.size() != 1) return Error{ErrorKind::usage, "check needs one file", "lucebox check MODEL.gguf"};
    LUCEBOX_TRY(const auto kv_type, chosen_kv_type(invocation.options));
    LUCEBOX_TRY(const auto file, gguf::ModelFile::open(invocation.operands[0]));
    std::uint64_t parameters = 0;
    for (const gguf::Tensor& tensor : file.tensors()) parameters += tensor.elements();
    LUCEBOX_TRY(const auto name, file.get_string("general.name"));
    LUCEBOX_TRY(const auto architecture, file.get_string("general.architecture"));
    LUCEBOX_TRY(const auto chat_template, file.get_string("tokenizer.chat_template"));

    std::vector<Finding> findings{
        {"file", fmt::format("{} ({})", file.path().string(), human_bytes(file.file_bytes()))},
        {"name", name.value_or("(none)")},
        {"parameters", fmt::format("{:.1f} million", static_cast<double>(parameters) / 1e6)},
        {"tensors", fmt::format("{}: {}", file.tensors().size(), tensor_types(file))},
    };
    const Target target = target_of(invocation.options);
    const auto plan = plan_memory(file, invocation.options, kv_type, target);
    findings.push_back(found("architecture", plan, architecture.value_or("")));
    const auto tokenizer = text::Tokenizer::from_metadata(file);
    findings.push_back(found("tokenizer", tokenizer, tokenizer ? fmt::format("{} tokens", (*tokenizer)->vocabulary_size()) : ""));
    if (chat_template) {
        findings.push_back(found("chat template", text::ChatTemplate::parse(*chat_template), "present"));
    } else {
        findings.push_back({"chat template", "none: only plain completions will work"});
    }
    if (plan) {
        findings.push_back({"context", fmt::format("{} tokens (trained for {})", plan->memory.context, plan->trained_context)});
        findings.push_back({"memory", fmt::format("{:.2f} GiB of the {:.2f} that {} has", engine::in_gib(plan->memory.total()),
                                                  engine::in_gib(target.budget), target.name), static_cast<bool>(plan->fits)});
    }
    const bool fine = std::ranges::all_of(findings, &Finding::fine);
    if (invocation.options.boolean("json")) {
        Json json{{"ok", fine}};
        for (const Finding& finding : findings) json["checks"].push_back({{"name", finding.name}, {"value", finding.value}, {"ok", finding.fine}});
        if (plan) json["memory"] = to_json(plan->memory, target.budget);
        fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
        for (const Finding& f : findings) fmt::print("{} {:<14} {}\n", f.fine ? "✓" : "✗", f.name, f.value);
        if (plan) fmt::print("\n{}", plan->memory.table(target.budget));
    }
    if (fine) return Ok{};
    if (!plan) return plan.error();
    if (!plan->fits) return plan->fits.error();
    return Error{ErrorKind::invalid_data, "the model cannot be served as it is", "see the lines marked ✗"};
}

} // namespace lucebox::app
