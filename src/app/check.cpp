// lucebox check: what a model file is, whether it can run here, and how much memory that takes.
#include "app/commands.h"
#include "base/terminal.h"
#include "compute/cpu/cpu_device.h"
#include "gguf/model_file.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <unistd.h>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

std::uint64_t machine_memory() {
    return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGE_SIZE));
}

// Counts bytes and loads nothing: enough of a device for an architecture to bind its names and shapes.
class PlanningDevice final : public compute::Device {
public:
    explicit PlanningDevice(compute::Device& real) : real_(real) {}

    std::string_view name() const override { return "plan"; }
    Result<std::unique_ptr<compute::Buffer>> allocate(std::size_t) override { return std::make_unique<compute::Buffer>(); }
    void upload(std::byte*, std::span<const std::byte>) override {}
    void download(std::span<std::byte> to, const std::byte*) override { std::ranges::fill(to, std::byte{0}); }
    void copy(std::byte*, const std::byte*, std::size_t) override {}
    void zero(std::byte*, std::size_t) override {}
    compute::KvBytes kv_bytes(const compute::KvView& shape) const override { return real_.kv_bytes(shape); }
    void move_tokens(const compute::KvView&, std::size_t, std::size_t, std::span<const std::int32_t>) override {}
    Result<std::unique_ptr<compute::Matrix>> load_matrix(const gguf::Tensor& tensor) override {
        struct Planned final : compute::Matrix {
            explicit Planned(const gguf::Tensor& t) {
                inputs_ = t.shape[0];
                outputs_ = t.rows();
                bytes_ = t.data.size();
            }
        };
        return std::unique_ptr<compute::Matrix>(std::make_unique<Planned>(tensor));
    }
    Result<compute::Vector> load_vector(const gguf::Tensor& tensor) override { return real_.load_vector(tensor); }
    Status prepare(std::size_t, std::size_t) override { return Ok{}; }
    void begin_step(const compute::StepPlan&) override {}
    void end_step() override {}
    void embed(const compute::Matrix&, float, compute::Tensor) override {}
    void rms_norm(compute::Tensor, const compute::Vector&, float, compute::Tensor) override {}
    void add_rms_norm(compute::Tensor, const compute::Vector&, float, compute::Tensor) override {}
    void project(compute::Tensor, std::span<const compute::Projection>) override {}
    void gated_project(compute::Tensor, const compute::Matrix&, const compute::Matrix&, compute::Activation,
                       compute::Tensor) override {}
    void attention(const compute::AttentionArgs&) override {}
    void store_kv(const compute::AttentionArgs&) override {}
    void delta_net(const compute::DeltaNetArgs&) override {}
    void gather_outputs(compute::Tensor, compute::Tensor) override {}
    void store_columns(compute::Tensor, compute::Tensor, std::size_t) override {}
    void top_k(compute::Tensor, std::size_t, std::int32_t*, float*) override {}
    void best_tokens(compute::Tensor, std::int32_t*) override {}
    double measure_read_rate(std::size_t) override { return 0; }

private:
    compute::Device& real_;
};

struct Plan {
    std::uint64_t weights = 0, cache_per_sequence = 0;
    std::size_t context = 0, trained_context = 0;
};

Result<Plan> plan_memory(const gguf::ModelFile& file) {
    constexpr std::size_t default_context = 8192;
    const auto cpu = compute::cpu::make_device({.threads = 1, .reference = true});
    PlanningDevice device(*cpu);
    LUCEBOX_TRY(const auto model, model::Model::load(file, device));
    Plan plan;
    plan.weights = model->weight_bytes();
    plan.trained_context = model->trained_context();
    plan.context = std::min(plan.trained_context, default_context);
    cache::CacheOptions options;
    options.capacity = plan.context + compute::max_tree_rows;
    LUCEBOX_TRY(const auto cache, cache::Cache::create(device, model->layers(), options));
    plan.cache_per_sequence = cache.kv_bytes() + cache.recurrent_bytes();
    return plan;
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
    if (invocation.operands.size() != 1) return Error{ErrorKind::usage, "check needs one file", "lucebox check MODEL.gguf"};
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
    const auto plan = plan_memory(file);
    findings.push_back(found("architecture", plan, architecture.value_or("")));
    const auto tokenizer = text::Tokenizer::from_metadata(file);
    findings.push_back(found("tokenizer", tokenizer, tokenizer ? fmt::format("{} tokens", (*tokenizer)->vocabulary_size()) : ""));
    if (chat_template) {
        findings.push_back(found("chat template", text::ChatTemplate::parse(*chat_template), "present"));
    } else {
        findings.push_back({"chat template", "none: only plain completions will work"});
    }
    bool fits = false;
    if (plan) {
        const std::uint64_t need = plan->weights + plan->cache_per_sequence, have = machine_memory();
        fits = need < have;
        findings.push_back({"context", fmt::format("{} tokens (trained for {})", plan->context, plan->trained_context)});
        findings.push_back({"memory", fmt::format("{} weights + {} a sequence; this machine has {}", human_bytes(plan->weights),
                                                  human_bytes(plan->cache_per_sequence), human_bytes(have)), fits});
    }
    const bool fine = std::ranges::all_of(findings, &Finding::fine);
    if (invocation.options.boolean("json")) {
        Json json{{"ok", fine}};
        for (const Finding& finding : findings) json["checks"].push_back({{"name", finding.name}, {"value", finding.value}, {"ok", finding.fine}});
        fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
    } else {
        for (const Finding& f : findings) fmt::print("{} {:<14} {}\n", f.fine ? "✓" : "✗", f.name, f.value);
    }
    if (fine) return Ok{};
    if (!plan) return plan.error();
    if (!fits) return Error{ErrorKind::out_of_memory, "the model does not fit this machine's memory", "choose a smaller quantisation"};
    return Error{ErrorKind::invalid_data, "the model cannot be served as it is", "see the lines marked ✗"};
}

} // namespace lucebox::app
