#include "engine/memory_plan.h"

#include "compute/planning_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace lucebox::engine {
namespace {

constexpr std::size_t context_step = 256;
// A CUDA context takes 300 to 500 MB, a card's own bookkeeping about two percent of it.
constexpr double context_bytes = 512.0 * 1024 * 1024, card_share = 0.98;

} // namespace

std::uint64_t usable_card_bytes(double size) {
    return static_cast<std::uint64_t>(std::max(0.0, size * gib * card_share - context_bytes));
}

std::string MemoryPlan::table(std::uint64_t budget) const {
    std::string text = fmt::format("memory in GiB, {} sequence{} of {} tokens\n", sequences, sequences == 1 ? "" : "s", context);
    const std::pair<const char*, std::uint64_t> parts[] = {
        {"weights", weights}, {"keys and values", kv}, {"recurrent state", recurrent}, {"scratch", scratch}, {"draft model", draft}};
    for (const auto& [name, bytes] : parts) {
        if (bytes == 0) continue;
        text += fmt::format("  {:<16} {:>8.2f}{}\n", name, in_gib(bytes), &bytes == &parts[1].second ? fmt::format("  {}", compute::dtype_name(kv_type)) : "");
    }
    text += fmt::format("  {:<16} {:>8.2f}", "total", in_gib(total()));
    if (budget > 0) text += fmt::format(" of {:.2f}", in_gib(budget));
    return text + "\n";
}

Result<MemoryPlanner> MemoryPlanner::create(const gguf::ModelFile& file, const compute::Device* like,
                                            const model::RunnerOptions& options, const model::DflashFile* draft, std::size_t draft_head) {
    auto device = compute::make_planning_device(like);
    LUCEBOX_TRY(auto runner, model::Runner::load(file, *device, options));
    MemoryPlanner planner(std::move(device), std::move(runner));
    if (draft) {
        LUCEBOX_TRY(planner.draft_, model::DraftRunner::load(*draft, *planner.device_, *planner.runner_, draft_head));
        LUCEBOX_TRY(const model::SequenceId sequence, planner.runner_->open());
        const model::DraftRunner::Block block{sequence, 0};
        planner.draft_->propose({&block, 1}, 1, 1); // so that the device has seen its attention, too
        planner.runner_->close(sequence);
    }
    return planner;
}

Result<MemoryPlan> MemoryPlanner::plan(std::size_t context, std::size_t sequences, std::optional<compute::DType> kv_type) const {
    cache::CacheOptions options = runner_->cache().options();
    options.capacity = context + compute::max_tree_rows;
    options.kv_type = kv_type.value_or(options.kv_type);
    if (sequences != 0) options.slots = sequences;
    LUCEBOX_TRY(const auto cache, cache::Cache::create(*device_, runner_->model().layers(), options));
    MemoryPlan plan;
    plan.weights = runner_->model().weight_bytes();
    plan.kv = cache.kv_bytes();
    plan.recurrent = cache.recurrent_bytes();
    compute::StepShapes shapes;
    shapes.rows = runner_->options().rows;
    shapes.context = options.capacity;
    plan.scratch = runner_->scratch_bytes() + device_->prepared_bytes(shapes);
    plan.context = context;
    plan.sequences = options.slots;
    plan.kv_type = options.kv_type;
    if (draft_) {
        options.kv_type = draft_->cache().options().kv_type;
        LUCEBOX_TRY(const auto draft_cache, cache::Cache::create(*device_, draft_->draft().layers(), options));
        plan.draft = draft_->weight_bytes() + draft_cache.kv_bytes() + draft_->scratch_bytes();
    }
    return plan;
}

Result<std::size_t> MemoryPlanner::largest_context(std::size_t most, std::uint64_t budget, std::size_t sequences,
                                                   std::optional<compute::DType> kv_type) const {
    const auto fits = [&](std::size_t context) -> Result<bool> {
        LUCEBOX_TRY(const MemoryPlan planned, plan(context, sequences, kv_type));
        return planned.total() <= budget;
    };
    LUCEBOX_TRY(const bool all, fits(most));
    if (all) return most;
    std::size_t low = 0, high = most / context_step + 1; // in steps: low fits (or is nothing), high does not
    while (high - low > 1) {
        const std::size_t middle = (low + high) / 2;
        LUCEBOX_TRY(const bool some, fits(middle * context_step));
        (some ? low : high) = middle;
    }
    return low * context_step;
}

Status MemoryPlanner::check(const MemoryPlan& plan, std::uint64_t budget) const {
    if (plan.total() <= budget) return Ok{};
    LUCEBOX_TRY(const std::size_t largest, largest_context(plan.context, budget, plan.sequences, plan.kv_type));
    const std::string message = fmt::format("{} sequence{} of {} tokens need {:.2f} GiB; {:.2f} are there", plan.sequences,
                                            plan.sequences == 1 ? "" : "s", plan.context, in_gib(plan.total()), in_gib(budget));
    if (plan.kv_type != compute::DType::q8_0 && keeps(compute::DType::q8_0)) {
        LUCEBOX_TRY(const std::size_t rounded, largest_context(plan.context, budget, plan.sequences, compute::DType::q8_0));
        if (rounded == plan.context) return Error{ErrorKind::out_of_memory, message, "use --cache-type-k q8_0, which fits"};
    }
    if (largest > 0) return Error{ErrorKind::out_of_memory, message, fmt::format("use --context {} or less", largest)};
    if (plan.sequences > 1) return Error{ErrorKind::out_of_memory, message, "use fewer --sequences, or a smaller quantisation"};
    return Error{ErrorKind::out_of_memory, message, "choose a smaller quantisation"};
}

} // namespace lucebox::engine
