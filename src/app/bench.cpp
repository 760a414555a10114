// lucebox bench: how fast this machine reads prompts and writes answers, against how fast it reads memory.
//
// Prefill is the time for a prompt of --prompt-tokens; decode is the time per step for --decode-tokens behind it. Each is
// repeated; median, fastest and slowest are shown. A decode step must read every weight, the keys and values of its
// context and the recurrent state once: its bytes a second, as a share of what a kernel that only reads reaches on the
// same device, is how close to the machine's limit it runs. All times are the wall's, from call to result.
#include "app/bench_cycle.h"
#include "app/bench_explain.h"
#include "app/bench_measure.h"
#include "app/bench_speculation.h"
#include "app/report_file.h"
#include "base/build_info.h"
#include "base/terminal.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

std::string text(const Spread& rate) { return fmt::format("{:>9.1f} tok/s  ({:.1f} to {:.1f})", rate.median, rate.low, rate.high); }

struct Line {
    std::size_t size;
    Spread spread;
    std::size_t context = 0; // in the middle of what was measured
};

struct Figures {
    std::vector<Line> prompts, contexts, chains, trees; // the first prompt and context are the main ones
    std::optional<Explanation> explanation;             // of the main context

    double token_ms() const { return 1e3 / contexts.front().spread.median; }
};

Result<Figures> measure(Bench& bench, const Options& options) {
    LUCEBOX_TRY(const auto prompts, numbers(options, "prompts"));
    LUCEBOX_TRY(const auto contexts, numbers(options, "contexts"));
    LUCEBOX_TRY(const auto rows, numbers(options, "rows"));
    const auto prompt_tokens = static_cast<std::size_t>(options.integer("prompt-tokens"));
    const auto decode_tokens = static_cast<std::size_t>(options.integer("decode-tokens"));
    Figures figures;
    const bool explain = options.boolean("explain");
    ProgressBar progress("bench", 2 + prompts.size() + contexts.size() + 2 * rows.size() + (explain ? 1 : 0), ProgressUnit::steps);
    progress.update(0);
    std::size_t done = 0;
    const auto decoding = [&](std::size_t context) -> Status {
        const std::size_t before = bench.length();
        LUCEBOX_TRY(Spread spread, bench.decoding(decode_tokens));
        figures.contexts.push_back({context, spread, (before + bench.length()) / 2});
        progress.update(++done);
        return Ok{};
    };
    const auto prompt = [&](std::size_t tokens) -> Status {
        LUCEBOX_TRY(Spread spread, bench.prompt(tokens));
        figures.prompts.push_back({tokens, spread});
        progress.update(++done);
        return Ok{};
    };
    LUCEBOX_CHECK(prompt(prompt_tokens));
    for (const std::size_t count : rows) {
        for (const bool tree : {false, true}) {
            LUCEBOX_TRY(Spread spread, bench.step(count, tree));
            (tree ? figures.trees : figures.chains).push_back({count, spread});
            progress.update(++done);
        }
    }
    LUCEBOX_CHECK(decoding(prompt_tokens));
    for (const std::size_t context : contexts) {
        if (context > bench.length()) LUCEBOX_CHECK(bench.read_to(context));
        LUCEBOX_CHECK(decoding(context));
    }
    for (const std::size_t tokens : prompts) LUCEBOX_CHECK(prompt(tokens));
    if (explain) {
        LUCEBOX_TRY(figures.explanation, bench.explain(prompt_tokens, decode_tokens));
    }
    progress.finish();
    return figures;
}

// Tokens of the longest text that will be measured.
Result<std::size_t> longest(const Options& options) {
    const auto decode = static_cast<std::size_t>(options.integer("decode-tokens"));
    const auto repetitions = static_cast<std::size_t>(options.integer("repetitions"));
    LUCEBOX_TRY(const auto prompts, numbers(options, "prompts"));
    LUCEBOX_TRY(const auto contexts, numbers(options, "contexts"));
    std::size_t most = static_cast<std::size_t>(options.integer("prompt-tokens"));
    if (!contexts.empty()) most = std::max(most, contexts.back());
    most += decode * (repetitions + 1) * (1 + contexts.size());
    if (!prompts.empty()) most = std::max(most, prompts.back());
    LUCEBOX_TRY(const auto rows, numbers(options, "rows"));
    return rows.empty() ? most : std::max(most, rows.back());
}

void print(const Figures& figures, const Bench& bench, double rate) {
    for (const Line& line : figures.prompts) fmt::print("prefill {:>6} tokens  {}\n", line.size, text(line.spread));
    for (const Line& line : figures.contexts) {
        const double reached = bench.bytes_to_read(line.context) * line.spread.median;
        fmt::print("decode behind {:>6}  {}  {:.1f} GB/s, {:.0f} % of pure reading\n", line.size, text(line.spread), reached / 1e9,
                   100 * reached / rate);
    }
    for (std::size_t i = 0; i < figures.chains.size(); ++i) {
        const Line &chain = figures.chains[i], &tree = figures.trees[i];
        fmt::print("step of {:>3} rows  chain {:>8.3f} ms ({:.3f} to {:.3f})  tree {:>8.3f} ms  {:.2f} of the first\n", chain.size,
                   chain.spread.median, chain.spread.low, chain.spread.high, tree.spread.median,
                   chain.spread.median / figures.chains[0].spread.median);
    }
    if (figures.explanation) fmt::print("{}", explanation_table(*figures.explanation, figures.token_ms()));
}

Json json_of(const std::vector<Line>& lines) {
    Json list = Json::array();
    for (const Line& line : lines) {
        Json entry{{"size", line.size}};
        entry.update(line.spread.json());
        list.push_back(std::move(entry));
    }
    return list;
}

} // namespace

Status bench(const Invocation& invocation) {
    const Options& options = invocation.options;
    if (!invocation.operands.empty()) {
        if (options.boolean("explain")) {
            return Error{ErrorKind::usage, fmt::format("--explain looks at plain decoding, not at bench {}", invocation.operands[0]),
                         "lucebox bench --explain"};
        }
        if (invocation.operands[0] == "speculation") return bench_speculation(options);
        if (invocation.operands[0] == "cycle") return bench_cycle(options);
        return Error{ErrorKind::usage, fmt::format("bench has no part '{}'", invocation.operands[0]),
                     "lucebox bench, lucebox bench speculation, or lucebox bench cycle"};
    }
    const auto begin = Clock::now();
    LUCEBOX_TRY(const std::size_t context, longest(options));
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, context, 0));
    const double load_seconds = since(begin);
    const std::size_t rows = model.runner->options().rows;
    Bench bench(model, rows, static_cast<std::size_t>(options.integer("repetitions")));
    LUCEBOX_TRY(const Figures figures, measure(bench, options));
    const auto weights = static_cast<double>(model.runner->model().weight_bytes());
    const double rate = model.device->measure_read_rate(model.runner->model().weight_bytes());
    const Line& main = figures.contexts.front();
    const double reached = bench.bytes_to_read(main.context) * main.spread.median;
    if (options.boolean("json") || options.is_set("report")) {
        Json json{{"model", model.file.path().string()},
                  {"device", model.device->name()},
                  {"git_sha", build_info().git_sha},
                  {"prompt_tokens", figures.prompts.front().size},
                  {"decode_tokens", options.integer("decode-tokens")},
                  {"load_seconds", load_seconds},
                  {"prefill_tokens_per_second", figures.prompts.front().spread.json()},
                  {"decode_tokens_per_second", main.spread.json()},
                  {"weight_bytes", weights},
                  {"device_bytes_held", model.device->memory_held()},
                  {"decode_bytes_per_second", reached},
                  {"memory_bytes_per_second", rate},
                  {"share_of_memory_bandwidth", reached / rate},
                  {"prefill", json_of(figures.prompts)},
                  {"decode", json_of(figures.contexts)},
                  {"chain_step_ms", json_of(figures.chains)},
                  {"tree_step_ms", json_of(figures.trees)}};
        if (figures.explanation) json["explain"] = explanation_json(*figures.explanation, figures.token_ms());
        LUCEBOX_CHECK(write_report(options, json));
        if (options.boolean("json")) {
            fmt::print("{}\n", json.dump(2));
            return Ok{};
        }
    }
    fmt::print("{}\n{}\n\n", model.file.path().string(), model.device->name());
    fmt::print("loaded in {:.2f} s; {:.2f} GB of weights", load_seconds, weights / 1e9);
    if (model.device->memory_held() > 0) fmt::print(", {:.2f} GB of its memory held", static_cast<double>(model.device->memory_held()) / 1e9);
    fmt::print("; pure reading {:.1f} GB/s\n", rate / 1e9);
    print(figures, bench, rate);
    return Ok{};
}

} // namespace lucebox::app
