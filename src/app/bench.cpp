// lucebox bench: how fast this machine reads prompts and writes answers, against how fast it reads memory.
//
// Prefill is the time for a prompt of --prompt-tokens; decode is the time per step for --decode-tokens behind it. Each is
// repeated; median, fastest and slowest are shown. A decode step must read every weight, the keys and values of its
// context and the recurrent state once: its bytes a second, as a share of what a kernel that only reads reaches on the
// same device, is how close to the machine's limit it runs. All times are the wall's, from call to result.
#include "app/bench_speculation.h"
#include "app/loaded_model.h"
#include "base/build_info.h"
#include "base/terminal.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>

namespace lucebox::app {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Spread {
    double median = 0, low = 0, high = 0;

    explicit Spread(std::vector<double> values) {
        std::ranges::sort(values);
        median = values[values.size() / 2];
        low = values.front();
        high = values.back();
    }
    Json json() const { return {{"median", median}, {"min", low}, {"max", high}}; }
    std::string text() const { return fmt::format("{:>9.1f} tok/s  ({:.1f} to {:.1f})", median, low, high); }
};

Result<std::vector<std::size_t>> numbers(const Options& options, std::string_view name) {
    std::vector<std::size_t> values;
    for (const std::string& text : options.list(name)) {
        std::size_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size() || value == 0) {
            return Error{ErrorKind::usage, fmt::format("--{}: '{}' is not a whole number above 0", name, text)};
        }
        values.push_back(value);
    }
    std::ranges::sort(values);
    return values;
}

// The measured model, with one sequence.
class Bench {
public:
    Bench(LoadedModel& model, std::size_t rows, std::size_t repetitions)
        : model_(model), rows_(rows), repetitions_(repetitions), text_(model.runner->options().context) {
        for (std::size_t i = 0; i < text_.size(); ++i) text_[i] = static_cast<model::TokenId>((i * 7919 + 13) % model.runner->vocabulary());
    }

    Status restart() {
        model_.runner->close(model_.sequence);
        LUCEBOX_TRY(model_.sequence, model_.runner->open());
        return Ok{};
    }

    // Feeds text up to `length` tokens and waits for the token behind; seconds.
    Result<double> read_to(std::size_t length) {
        const auto start = Clock::now();
        for (std::size_t begin = model_.runner->length(model_.sequence); begin < length; begin += rows_) {
            LUCEBOX_CHECK(model_.feed(std::span(text_).subspan(begin, std::min(rows_, length - begin)), false));
        }
        next_ = model_.runner->best(0);
        LUCEBOX_CHECK(model_.device->failure());
        return since(start);
    }

    // Decodes `count` tokens one by one; seconds.
    Result<double> decode(std::size_t count) {
        const auto start = Clock::now();
        for (std::size_t i = 0; i < count; ++i) {
            LUCEBOX_CHECK(model_.feed({&next_, 1}, false));
            next_ = model_.runner->best(0);
        }
        LUCEBOX_CHECK(model_.device->failure());
        return since(start);
    }

    Result<Spread> prompt(std::size_t tokens) {
        std::vector<double> rates;
        for (std::size_t i = 0; i <= repetitions_; ++i) { // the first one warms up
            LUCEBOX_CHECK(restart());
            LUCEBOX_TRY(const double seconds, read_to(tokens));
            if (i > 0) rates.push_back(static_cast<double>(tokens) / seconds);
        }
        return Spread(std::move(rates));
    }

    // Tokens a second behind the text read so far, `count` at a time.
    Result<Spread> decoding(std::size_t count) {
        std::vector<double> rates;
        for (std::size_t i = 0; i <= repetitions_; ++i) {
            LUCEBOX_TRY(const double seconds, decode(count));
            if (i > 0) rates.push_back(static_cast<double>(count) / seconds);
        }
        return Spread(std::move(rates));
    }

    // Milliseconds of a step of uncommitted rows with the best token of each: what verifying a draft takes.
    Result<Spread> step(std::size_t count, bool tree) {
        std::vector<model::Row> rows;
        for (std::size_t i = 0; i < count; ++i) {
            // A tree as drafts make them: a spine with a sibling beside every row.
            const auto at = static_cast<std::int32_t>(i);
            rows.push_back({model_.sequence, text_[i], tree && i % 2 == 1 && i > 1 ? at - 2 : at - 1, true});
        }
        std::vector<double> times;
        for (std::size_t i = 0; i < 2 + 10 * repetitions_; ++i) {
            const auto start = Clock::now();
            LUCEBOX_CHECK(model_.runner->step(rows, model::Commit::later));
            model_.runner->best(0);
            LUCEBOX_CHECK(model_.device->failure());
            if (i > 1) times.push_back(1e3 * since(start));
        }
        return Spread(std::move(times));
    }

    std::size_t length() const { return model_.runner->length(model_.sequence); }

    // Bytes that a step behind `context` tokens must read.
    double bytes_to_read(std::size_t context) const {
        const model::Runner& runner = *model_.runner;
        const auto& cache = runner.cache();
        const double kv = static_cast<double>(cache.kv_bytes()) / static_cast<double>(cache.options().capacity);
        double state = 0;
        for (const auto& layer : runner.model().layers()) {
            if (const auto* r = std::get_if<cache::RecurrentShape>(&layer)) {
                state += static_cast<double>(r->value_heads * r->dim * r->dim * sizeof(float));
            }
        }
        return static_cast<double>(runner.model().weight_bytes() - runner.model().vocabulary().bytes_not_read()) +
               kv * static_cast<double>(context) + state;
    }

private:
    LoadedModel& model_;
    std::size_t rows_, repetitions_;
    std::vector<model::TokenId> text_;
    model::TokenId next_ = 0;
};

struct Line {
    std::size_t size;
    Spread spread;
    std::size_t context = 0; // in the middle of what was measured
};

struct Figures {
    std::vector<Line> prompts, contexts, chains, trees; // the first prompt and context are the main ones
};

Result<Figures> measure(Bench& bench, const Options& options) {
    LUCEBOX_TRY(const auto prompts, numbers(options, "prompts"));
    LUCEBOX_TRY(const auto contexts, numbers(options, "contexts"));
    LUCEBOX_TRY(const auto rows, numbers(options, "rows"));
    const auto prompt_tokens = static_cast<std::size_t>(options.integer("prompt-tokens"));
    const auto decode_tokens = static_cast<std::size_t>(options.integer("decode-tokens"));
    Figures figures;
    ProgressBar progress("bench", 2 + prompts.size() + contexts.size() + 2 * rows.size());
    std::size_t done = 0;
    const auto decoding = [&](std::size_t context) -> Status {
        const std::size_t before = bench.length();
        LUCEBOX_TRY(Spread spread, bench.decoding(decode_tokens));
        figures.contexts.push_back({context, std::move(spread), (before + bench.length()) / 2});
        progress.update(++done);
        return Ok{};
    };
    const auto prompt = [&](std::size_t tokens) -> Status {
        LUCEBOX_TRY(Spread spread, bench.prompt(tokens));
        figures.prompts.push_back({tokens, std::move(spread)});
        progress.update(++done);
        return Ok{};
    };
    LUCEBOX_CHECK(prompt(prompt_tokens));
    for (const std::size_t count : rows) {
        for (const bool tree : {false, true}) {
            LUCEBOX_TRY(Spread spread, bench.step(count, tree));
            (tree ? figures.trees : figures.chains).push_back({count, std::move(spread)});
            progress.update(++done);
        }
    }
    LUCEBOX_CHECK(decoding(prompt_tokens));
    for (const std::size_t context : contexts) {
        if (context > bench.length()) LUCEBOX_CHECK(bench.read_to(context));
        LUCEBOX_CHECK(decoding(context));
    }
    for (const std::size_t tokens : prompts) LUCEBOX_CHECK(prompt(tokens));
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
    return most;
}

void print(const Figures& figures, const Bench& bench, double rate) {
    for (const Line& line : figures.prompts) fmt::print("prefill {:>6} tokens  {}\n", line.size, line.spread.text());
    for (const Line& line : figures.contexts) {
        const double reached = bench.bytes_to_read(line.context) * line.spread.median;
        fmt::print("decode behind {:>6}  {}  {:.1f} GB/s, {:.0f} % of pure reading\n", line.size, line.spread.text(), reached / 1e9,
                   100 * reached / rate);
    }
    for (std::size_t i = 0; i < figures.chains.size(); ++i) {
        const Line &chain = figures.chains[i], &tree = figures.trees[i];
        fmt::print("step of {:>3} rows  chain {:>8.3f} ms ({:.3f} to {:.3f})  tree {:>8.3f} ms  {:.2f} of the first\n", chain.size,
                   chain.spread.median, chain.spread.low, chain.spread.high, tree.spread.median,
                   chain.spread.median / figures.chains[0].spread.median);
    }
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
        if (invocation.operands[0] == "speculation") return bench_speculation(options);
        return Error{ErrorKind::usage, fmt::format("bench has no part '{}'", invocation.operands[0]), "lucebox bench, or lucebox bench speculation"};
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
    if (options.boolean("json")) {
        const Json json{{"model", model.file.path().string()},
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
        fmt::print("{}\n", json.dump(2));
        return Ok{};
    }
    fmt::print("{}\n{}\n\n", model.file.path().string(), model.device->name());
    fmt::print("loaded in {:.2f} s; {:.2f} GB of weights", load_seconds, weights / 1e9);
    if (model.device->memory_held() > 0) fmt::print(", {:.2f} GB of its memory held", static_cast<double>(model.device->memory_held()) / 1e9);
    fmt::print("; pure reading {:.1f} GB/s\n", rate / 1e9);
    print(figures, bench, rate);
    return Ok{};
}

} // namespace lucebox::app
