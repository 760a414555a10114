// lucebox bench speculation: plain decoding, chains, trees and the governor on prompts of twelve kinds.
//
// Every shape writes the answer that plain decoding writes (or the command fails: that is the audit), greedily, and what is
// compared is tokens a second behind the first. Shapes of one task run one after the other and the whole is repeated, so that
// a machine that slows down slows all of them. Answers that ended in a loop are marked: loops are easy to guess.
#include "app/bench_speculation.h"

#include "app/bench_tasks.h"
#include "app/loaded_model.h"
#include "base/build_info.h"
#include "base/terminal.h"
#include "decode/continue_text.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t rows_per_step = 256;

struct Outcome { // of one shape on one task
    decode::ContinuedText text;
    std::vector<double> rates; // tokens a second, one for each repetition

    double rate() const {
        std::vector<double> sorted = rates;
        std::ranges::sort(sorted);
        return sorted.empty() ? 0 : sorted[sorted.size() / 2];
    }
};

// Whether the last tokens repeat with a short period.
bool loops(std::span<const model::TokenId> tokens) {
    constexpr std::size_t tail = 96, longest_period = 32;
    if (tokens.size() < tail) return false;
    const auto end = tokens.last(tail);
    for (std::size_t period = 1; period <= longest_period; ++period) {
        if (std::equal(end.begin() + static_cast<std::ptrdiff_t>(period), end.end(), end.begin())) return true;
    }
    return false;
}

class Comparison {
public:
    static Result<Comparison> load(const Options& options, const std::vector<BenchTask>& tasks) {
        LUCEBOX_TRY(const auto path, chosen_model(options));
        LUCEBOX_TRY(const auto file, gguf::ModelFile::open(path));
        LUCEBOX_TRY(auto tokenizer, text::Tokenizer::from_metadata(file));
        LUCEBOX_TRY(const auto source, file.get_string("tokenizer.chat_template"));
        std::vector<std::vector<model::TokenId>> prompts;
        std::size_t longest = 0;
        for (const BenchTask& task : tasks) {
            LUCEBOX_TRY(const std::string text, prompt_text(source, task.prompt));
            prompts.push_back(tokenizer->encode(text, {.add_special = true, .parse_special = true}));
            longest = std::max(longest, prompts.back().size() + task.max_tokens);
        }
        LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, longest, rows_per_step));
        LUCEBOX_TRY(LoadedDraft draft, LoadedDraft::load(options, model));
        return Comparison(std::move(model), std::move(tokenizer), std::move(prompts), std::move(draft));
    }

    Result<std::unique_ptr<decode::Speculator>> speculator(const decode::Speculation& shape) {
        auto made = std::make_unique<decode::Speculator>(shape, *model_.runner, draft_.runner.get());
        model_.runner->close(model_.sequence);
        LUCEBOX_CHECK(made->measure());
        LUCEBOX_TRY(model_.sequence, model_.runner->open());
        return made;
    }

    Result<decode::ContinuedText> run(std::size_t task, std::size_t max_tokens, decode::Speculator& speculator) {
        model_.runner->close(model_.sequence);
        LUCEBOX_TRY(model_.sequence, model_.runner->open());
        decode::ContinueOptions options;
        options.sampling.temperature = 0;
        options.max_tokens = max_tokens;
        options.ends = [&](model::TokenId token) { return tokenizer_->is_end_of_generation(token); };
        return decode::continue_text(*model_.runner, speculator, model_.sequence, prompts_[task], options);
    }

    const LoadedModel& model() const { return model_; }
    std::size_t prompt_tokens(std::size_t task) const { return prompts_[task].size(); }
    bool has_draft() const { return draft_.runner != nullptr; }
    Json draft_path() const { return has_draft() ? Json(draft_.file->path().string()) : Json(); }

private:
    Comparison(LoadedModel model, std::unique_ptr<text::Tokenizer> tokenizer, std::vector<std::vector<model::TokenId>> prompts,
               LoadedDraft draft)
        : model_(std::move(model)), tokenizer_(std::move(tokenizer)), prompts_(std::move(prompts)), draft_(std::move(draft)) {}

    static Result<std::string> prompt_text(const std::optional<std::string>& source, const std::string& prompt) {
        if (!source) return prompt + "\n\n";
        LUCEBOX_TRY(const auto parsed, text::ChatTemplate::parse(*source));
        Json variables;
        variables["messages"] = Json::array({Json{{"role", "user"}, {"content", prompt}}});
        variables["add_generation_prompt"] = true;
        variables["bos_token"] = "";
        variables["eos_token"] = "";
        return parsed.render(variables);
    }

    LoadedModel model_;
    std::unique_ptr<text::Tokenizer> tokenizer_;
    std::vector<std::vector<model::TokenId>> prompts_;
    LoadedDraft draft_;
};

} // namespace

Status bench_speculation(const Options& options) {
    std::vector<BenchTask> tasks = bench_tasks();
    if (const auto lines = options.integer("rewrite-lines"); lines > 0) tasks = {rewrite_task(static_cast<std::size_t>(lines))};
    LUCEBOX_TRY(Comparison comparison, Comparison::load(options, tasks));
    std::vector<decode::Speculation> shapes{{}, {decode::Speculation::Mode::automatic, decode::most_draft_nodes}};
    if (comparison.has_draft()) {
        shapes.push_back({decode::Speculation::Mode::chain, 7});
        shapes.push_back({decode::Speculation::Mode::tree, 22});
    }
    std::vector<std::unique_ptr<decode::Speculator>> speculators;
    for (const auto& shape : shapes) {
        LUCEBOX_TRY(auto made, comparison.speculator(shape));
        speculators.push_back(std::move(made));
    }
    const auto repetitions = static_cast<std::size_t>(options.integer("repetitions"));
    const bool json = options.boolean("json");
    Json report{{"model", comparison.model().file.path().string()}, {"device", comparison.model().device->name()},
                {"git_sha", build_info().git_sha}, {"draft", comparison.draft_path()}};
    if (!json) {
        fmt::print("{}\n{}\n\n{:<18} {:>6} {:>11}", comparison.model().file.path().string(), comparison.model().device->name(), "task",
                   "tokens", "plain tok/s");
        for (std::size_t i = 1; i < shapes.size(); ++i) fmt::print("   {:>9} a step", shapes[i].name());
        fmt::print("\n");
    }
    double worst = 1e9;
    for (std::size_t task = 0; task < tasks.size(); ++task) {
        std::vector<Outcome> results(shapes.size());
        for (std::size_t repetition = 0; repetition < repetitions; ++repetition) {
            for (std::size_t i = 0; i < shapes.size(); ++i) {
                LUCEBOX_TRY(results[i].text, comparison.run(task, tasks[task].max_tokens, *speculators[i]));
                const decode::ContinuedText& text = results[i].text;
                if (text.tokens != results[0].text.tokens) {
                    return Error{ErrorKind::internal, fmt::format("{} wrote another text than plain decoding ({})", shapes[i].name(), tasks[task].family)};
                }
                results[i].rates.push_back(static_cast<double>(text.tokens.size() - 1) / std::max(text.seconds, 1e-9));
            }
        }
        const bool looped = loops(results[0].text.tokens);
        Json entry{{"task", tasks[task].family}, {"prompt_tokens", comparison.prompt_tokens(task)},
                   {"tokens", results[0].text.tokens.size()}, {"loops", looped}};
        for (std::size_t i = 0; i < shapes.size(); ++i) {
            const auto& stats = results[i].text.stats;
            entry["shapes"].push_back({{"shape", shapes[i].name()}, {"tokens_per_second", results[i].rate()},
                                       {"over_plain", results[i].rate() / results[0].rate()}, {"drafted", stats.drafted},
                                       {"accepted", stats.accepted},
                                       {"tokens_per_step", static_cast<double>(stats.tokens) / static_cast<double>(std::max<std::uint64_t>(stats.steps, 1))}});
        }
        worst = std::min(worst, results[1].rate() / results[0].rate());
        if (!json) {
            fmt::print("{:<18} {:>6} {:>11.1f}", tasks[task].family, results[0].text.tokens.size(), results[0].rate());
            for (std::size_t i = 1; i < shapes.size(); ++i) {
                fmt::print("   {:>8.2f}x {:>6.2f}", results[i].rate() / results[0].rate(), entry["shapes"][i]["tokens_per_step"].get<double>());
            }
            fmt::print("{}\n", looped ? "   (loops)" : "");
            std::fflush(stdout);
        }
        report["tasks"].push_back(std::move(entry));
    }
    report["worst_over_plain"] = worst;
    if (json) fmt::print("{}\n", report.dump(2));
    else fmt::print("\nworst task with auto: {:.2f}x plain. All texts are those of plain decoding.\n", worst);
    return Ok{};
}

} // namespace lucebox::app
