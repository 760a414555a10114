// lucebox autotune: what this machine's GPU can serve by its memory and the model, and why; with --sweep, which settings
// decode fastest on it, measured, and kept in the configuration file.
#include "app/chosen_draft.h"
#include "app/commands.h"
#include "app/config_file.h"
#include "app/report_file.h"
#include "app/serving/api_keys.h"
#include "app/serving/sweep.h"
#include "app/serving/sweep_memory.h"
#include "app/serving/tuning.h"
#include "base/build_info.h"
#include "base/shown_path.h"
#include "compute/gpu_memory.h"
#include "engine/choose_shape.h"
#include "engine/memory_plan.h"
#include "hub/discover.h"
#include "hub/gpus.h"
#include "hub/host_facts.h"
#include "hub/hub.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <optional>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

struct Card {
    std::string name; // empty: none
    std::uint64_t vram_mib = 0;
    std::size_t count = 0;
};

Card card_here(const Options& options) {
    if (options.is_set("vram")) return {fmt::format("a card of {:g} GiB", options.number("vram")), static_cast<std::uint64_t>(options.number("vram") * 1024), 1};
    const hub::GpuList seen = hub::find_gpus();
    if (seen.gpus.empty()) return {};
    return {seen.gpus.front().name, seen.gpus.front().vram_mib.value_or(0), seen.gpus.size()};
}

// The model that would be served, if it is here: a plan is no reason to fetch one.
std::optional<std::filesystem::path> model_here(const Options& options) {
    hub::HubSettings settings = hub::hub_settings(process_environment());
    if (options.is_set("models")) settings.folders = hub::split_folders(options.text("models"));
    const std::string& name = options.text("model");
    std::error_code ignored;
    if (std::filesystem::is_regular_file(name, ignored)) return name;
    if (name.empty()) {
        if (const auto found = hub::discover_model(settings.folders, hub::known_models().front().file); found && *found) return **found;
    }
    const hub::Model* known = hub::find_model(name.empty() ? hub::default_model() : std::string_view(name));
    for (const hub::ModelEntry& entry : hub::list_models(settings)) {
        if (entry.path && (known != nullptr ? entry.name == known->name : entry.name == name || entry.path->filename() == name)) return entry.path;
    }
    return std::nullopt;
}

struct Fit {
    engine::Shape shape;
    MemoryVariants variants; // of it, that fit as well
};

bool is_open(const Options& options, std::string_view name) { return options.entry(name).origin == OptionOrigin::default_value; }

// What the card's plan becomes with this model, by the planner's arithmetic.
Result<Fit> refine(const Options& options, const std::filesystem::path& model, const hub::Plan& plan, const Card& card) {
    LUCEBOX_TRY(const auto file, gguf::ModelFile::open(model));
    model::RunnerOptions runner;
    runner.sequences = engine::default_sequences;
    runner.rows = compute::gpu_prompt_rows; // as a server loads it
    LUCEBOX_TRY(const auto planner, engine::MemoryPlanner::create(file, nullptr, runner));
    const std::uint64_t bytes = card.vram_mib << 20;
    const engine::Wish wish = wish_of(plan, bytes);
    const auto wanted = engine::wanted_shape({}, wish, planner.trained_context());
    const engine::Room room{engine::usable_card_bytes(static_cast<double>(bytes) / (1 << 30)), wish.spare};
    Fit fit;
    LUCEBOX_TRY(fit.shape, engine::fitting_shape(planner, {}, wanted, room));
    const bool kv_open = is_open(options, "cache-type-k") && is_open(options, "cache-type-v");
    LUCEBOX_TRY(fit.variants, memory_variants(planner, fit.shape, room, kv_open, is_open(options, "context") && !plan.wsl));
    return fit;
}

struct Findings {
    Card card;
    bool wsl = false;
    hub::Plan plan;
    std::optional<std::filesystem::path> model;
    std::vector<engine::Choice> choices; // with the model
    MemoryVariants variants;
};

Findings look(const Options& options) {
    Findings found{card_here(options), hub::runs_under_wsl2(), {}, model_here(options), {}, {}};
    found.plan = plan_for_card(found.card.vram_mib, found.wsl);
    if (found.card.count == 0) { // a server computes on the CPU, and takes the defaults
        found.plan.tier = "no GPU";
        found.plan.context = static_cast<std::int64_t>(engine::default_context);
        found.plan.notes = {"no GPU is visible here: a server computes on the CPU, with the defaults; --vram N plans for a card of N GiB"};
    }
    if (found.card.count > 1) found.plan.notes.push_back(fmt::format("{} GPUs are visible; the plan is for the first one", found.card.count));
    if (found.model && found.card.vram_mib != 0) {
        if (auto fit = refine(options, *found.model, found.plan, found.card)) {
            found.choices = std::move(fit->shape.choices);
            found.variants = fit->variants;
        } else {
            found.plan.notes.push_back(fmt::format("{}: {}", found.model->filename().string(), fit.error().message));
        }
    }
    return found;
}

Json json_of(const Findings& found) {
    const auto& plan = found.plan;
    Json choices = Json::array();
    for (const engine::Choice& choice : found.choices) choices.push_back({{"setting", choice.setting}, {"value", choice.value}, {"why", choice.why}});
    return {{"gpu", found.card.count != 0 ? Json(found.card.name) : Json()},
            {"vram_mib", found.card.vram_mib != 0 ? Json(found.card.vram_mib) : Json()},
            {"wsl", found.wsl},
            {"tier", plan.tier},
            {"plan",
             {{"context", plan.context},
              {"kv_type", plan.kv_type.empty() ? Json() : Json(plan.kv_type)},
              {"tree_budget", plan.tree_budget != 0 ? Json(plan.tree_budget) : Json()},
              {"lazy_draft", plan.lazy_draft}}},
            {"model", found.model ? Json(shown_path(*found.model)) : Json()},
            {"with_model", choices},
            {"notes", plan.notes}};
}

void print(const Findings& found) {
    fmt::print("gpu         {}\n", found.card.count != 0 ? fmt::format("{}, {} MiB", found.card.name, found.card.vram_mib) : "none");
    fmt::print("tier        {}\ncontext     {} tokens\n", found.plan.tier, found.plan.context);
    if (!found.plan.kv_type.empty()) fmt::print("keys/values {}\n", found.plan.kv_type);
    if (found.plan.tree_budget != 0) fmt::print("tree budget {}\n", found.plan.tree_budget);
    for (const std::string& note : found.plan.notes) fmt::print("  {}\n", note);
    if (!found.choices.empty()) fmt::print("with {}\n", found.model->filename().string());
    for (const engine::Choice& choice : found.choices) fmt::print("  {} {} ({})\n", choice.setting, choice.value, choice.why);
}

std::atomic<int> interrupted = 0;

Json json_of(const std::vector<Measured>& measured, std::size_t long_from) {
    Json list = Json::array();
    for (const Measured& each : measured) {
        Json entry{{"candidate", name_of(each.candidate)}, {"prompt", list.size() < long_from ? "short" : "long"}};
        const auto clocks = Json{{"sm", each.sm_clock_mhz ? Json(*each.sm_clock_mhz) : Json()}, {"memory", each.memory_clock_mhz ? Json(*each.memory_clock_mhz) : Json()}};
        if (each.problem.empty()) entry.update(Json{{"decode_tokens_per_second", {{"median", each.median}, {"min", each.low}, {"max", each.high}}}, {"tokens", each.tokens}, {"gpu_clocks_mhz", clocks}, {"problem", nullptr}});
        else entry.update(Json{{"decode_tokens_per_second", nullptr}, {"tokens", nullptr}, {"gpu_clocks_mhz", clocks}, {"problem", each.problem}});
        list.push_back(std::move(entry));
    }
    return list;
}

// A name that is no setting of a server would make every candidate fail; one set elsewhere would win over the file.
Status check_candidates(const std::vector<Candidate>& candidates, const Options& options) {
    for (const Candidate& candidate : candidates) {
        for (const auto& [name, value] : candidate) {
            const auto spec = std::ranges::find(option_table(), name, &OptionSpec::name);
            if (spec == option_table().end()) return Error{ErrorKind::usage, fmt::format("--candidates: there is no setting {}", name), "`lucebox config` lists them"};
            LUCEBOX_TRY(const auto parsed, parse_option({&*spec, value, OptionOrigin::flag, "--candidates"}));
            const Options::Entry& entry = options.entry(name);
            if (entry.origin == OptionOrigin::environment) {
                return Error{ErrorKind::usage, fmt::format("{} sets {}, so that what is found would have no effect", entry.where, name), fmt::format("unset {}", entry.where)};
            }
        }
    }
    return Ok{};
}

// As `config set` takes them.
std::string settings_of(const Candidate& candidate) {
    std::string words;
    for (const auto& [name, value] : candidate) words += fmt::format("{}{}={}", words.empty() ? "" : " ", name, value);
    return words;
}

Status run_sweep(const Options& options, const Findings& found) {
    const bool has_draft = found.model && !chosen_draft(options, *found.model).path.empty();
    std::vector<Candidate> candidates = candidates_for(found.plan, has_draft);
    if (options.is_set("candidates")) {
        LUCEBOX_TRY(candidates, parse_candidates(options.list("candidates")));
    }
    LUCEBOX_CHECK(check_candidates(candidates, options));
    if (candidates.empty()) return Error{ErrorKind::usage, "there is no candidate to measure"};
    if (!found.model) return Error{ErrorKind::not_found, "the model is not here", "lucebox models download"};
    const Environment environment = process_environment();
    LUCEBOX_CHECK(check_config_writable(environment));
    const bool json = options.boolean("json");
    SweepSettings settings;
    settings.tokens = static_cast<std::size_t>(options.integer("decode-tokens"));
    settings.arguments = {"--model", found.model->string()};
    if (options.entry("draft").origin == OptionOrigin::flag) settings.arguments.insert(settings.arguments.end(), {"--draft", options.text("draft")});
    LUCEBOX_TRY(const std::vector<std::string> keys, api_keys(options));
    if (!keys.empty()) settings.key = keys.front();
    std::size_t long_from = SIZE_MAX; // of what was measured: from here on with a long prompt
    settings.say = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
    settings.keep_going = [] { return interrupted == 0; };
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) std::signal(signal, [](int number) { interrupted = number; });
    LUCEBOX_TRY(std::vector<Measured> measured, sweep(candidates, settings));
    const Measured* first = fastest(measured);
    std::optional<Measured> best;
    if (first != nullptr) best = *first;
    // Candidates that somebody names are all that he wants to know.
    if (best && !options.is_set("candidates") && found.variants.any()) {
        settings.prompt_lines = found.variants.prompt_lines;
        settings.say(fmt::format("and, with a prompt of {} lines, what else fits", settings.prompt_lines));
        LUCEBOX_TRY(const std::vector<Measured> variants, sweep(candidates_of(found.variants, best->candidate), settings));
        best->candidate = with_variants(found.variants, variants);
        long_from = measured.size();
        measured.insert(measured.end(), variants.begin(), variants.end());
    }
    Json report = json_of(found);
    report["sweep"] = json_of(measured, long_from);
    report["fastest"] = best ? Json(name_of(best->candidate)) : Json();
    report["git_sha"] = build_info().git_sha;
    report["measured_at"] = hub::utc_now();
    LUCEBOX_CHECK(write_report(options, report));
    if (json) fmt::print("{}\n", report.dump(2, ' ', false, Json::error_handler_t::replace));
    if (!best) return Error{ErrorKind::unavailable, "no candidate could be measured; the configuration is as it was", measured.front().problem};
    if (interrupted != 0) return Error{ErrorKind::cancelled, "the sweep was stopped; the configuration is as it was"};
    const std::string name = name_of(best->candidate), path = shown_path(config_path(environment), environment);
    const auto changed = set_config(best->candidate, environment);
    if (!changed) return Error{changed.error().kind, fmt::format("{} decodes fastest, but could not be kept: {}; the configuration is as it was", name, changed.error().message), "lucebox config set " + settings_of(best->candidate)};
    fmt::print(stderr, "{} decodes fastest, {:.1f} tok/s; {}\n", name, best->median,
               *changed ? fmt::format("it is in {} (`lucebox config restore` brings back what was there)", path) : fmt::format("{} says so already", path));
    return Ok{};
}

} // namespace

Status autotune(const Invocation& invocation) {
    const Options& options = invocation.options;
    const Findings found = look(options);
    if (options.boolean("sweep")) return run_sweep(options, found);
    if (options.boolean("json")) fmt::print("{}\n", json_of(found).dump(2, ' ', false, Json::error_handler_t::replace));
    else print(found);
    return Ok{};
}

} // namespace lucebox::app
