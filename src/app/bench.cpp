// lucebox bench: how fast this machine reads prompts and writes answers, against how fast it reads memory.
//
// Prefill is the time for a prompt of --prompt-tokens; decode is the time per step for --decode-tokens behind it. Each is
// repeated; median, fastest and slowest are shown. A decode step must read every weight once: its bytes a second, as a
// share of what a plain sum over memory reaches with the same threads, is how close to the machine's limit it runs.
#include "app/bench_speculation.h"
#include "app/loaded_model.h"
#include "base/build_info.h"
#include "base/terminal.h"
#include "base/thread_pool.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace lucebox::app {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Spread {
    double median = 0, low = 0, high = 0;

    explicit Spread(std::vector<double> values) {
        std::ranges::sort(values);
        median = values[values.size() / 2];
        low = values.front();
        high = values.back();
    }
    nlohmann::ordered_json json() const { return {{"median", median}, {"min", low}, {"max", high}}; }
};

// Bytes a second that a sum over a block of this size reaches; the best of several passes.
double measure_bandwidth(std::size_t bytes, std::size_t threads) {
    constexpr std::size_t piece = 1 << 16; // words
    std::vector<std::uint64_t> memory(std::max(bytes / sizeof(std::uint64_t), piece), 1);
    ThreadPool pool(threads);
    std::vector<std::uint64_t> sums(pool.size() * 8);
    double best = 0;
    for (int pass = 0; pass < 10; ++pass) {
        const auto start = Clock::now();
        pool.run(memory.size(), piece, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            std::uint64_t lanes[32] = {};
            std::size_t i = begin;
            for (; i + 32 <= end; i += 32) {
                for (std::size_t lane = 0; lane < 32; ++lane) lanes[lane] += memory[i + lane];
            }
            sums[thread * 8] += std::accumulate(std::begin(lanes), std::end(lanes), std::uint64_t{0});
        });
        best = std::max(best, static_cast<double>(memory.size() * sizeof(std::uint64_t)) / since(start));
    }
    // The sum is used, so that it is computed.
    return std::accumulate(sums.begin(), sums.end(), std::uint64_t{0}) == 0 ? 0 : best;
}

struct Figures {
    std::vector<double> prefill, decode; // tokens a second, one value a repetition
};

Result<Figures> measure(LoadedModel& model, std::size_t prompt_tokens, std::size_t decode_tokens, std::size_t repetitions,
                        std::size_t rows) {
    std::vector<model::TokenId> prompt(prompt_tokens);
    for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<model::TokenId>((i * 7919 + 13) % model.runner->vocabulary());
    Figures figures;
    ProgressBar progress("bench", repetitions + 1);
    for (std::size_t repetition = 0; repetition <= repetitions; ++repetition) { // the first one warms up
        auto start = Clock::now();
        for (std::size_t begin = 0; begin < prompt.size(); begin += rows) {
            LUCEBOX_CHECK(model.feed(std::span(prompt).subspan(begin, std::min(rows, prompt.size() - begin)), false));
        }
        auto logits = model.runner->logits(0);
        const double prefill = since(start);
        start = Clock::now();
        for (std::size_t i = 0; i < decode_tokens; ++i) {
            const auto token = static_cast<model::TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
            LUCEBOX_CHECK(model.feed({&token, 1}, false));
            logits = model.runner->logits(0);
        }
        const double decode = since(start);
        model.runner->close(model.sequence);
        LUCEBOX_TRY(model.sequence, model.runner->open());
        progress.update(repetition + 1);
        if (repetition == 0) continue;
        figures.prefill.push_back(static_cast<double>(prompt_tokens) / prefill);
        figures.decode.push_back(static_cast<double>(decode_tokens) / decode);
    }
    progress.finish();
    return figures;
}

} // namespace

Status bench(const Invocation& invocation) {
    constexpr std::size_t rows = 256;
    const Options& options = invocation.options;
    if (!invocation.operands.empty()) {
        if (invocation.operands[0] == "speculation") return bench_speculation(options);
        return Error{ErrorKind::usage, fmt::format("bench has no part '{}'", invocation.operands[0]), "lucebox bench, or lucebox bench speculation"};
    }
    const auto prompt_tokens = static_cast<std::size_t>(options.integer("prompt-tokens"));
    const auto decode_tokens = static_cast<std::size_t>(options.integer("decode-tokens"));
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, prompt_tokens + decode_tokens, rows));
    LUCEBOX_TRY(const Figures figures, measure(model, prompt_tokens, decode_tokens,
                                               static_cast<std::size_t>(options.integer("repetitions")), rows));
    const Spread prefill(figures.prefill), decode(figures.decode);
    const auto weights = static_cast<double>(model.runner->model().weight_bytes());
    const double bandwidth =
        measure_bandwidth(model.runner->model().weight_bytes(), static_cast<std::size_t>(options.integer("threads")));
    const double reached = weights * decode.median, share = reached / bandwidth;
    if (options.boolean("json")) {
        const nlohmann::ordered_json json{{"model", model.file.path().string()},
                                          {"device", model.device->name()},
                                          {"git_sha", build_info().git_sha},
                                          {"prompt_tokens", prompt_tokens},
                                          {"decode_tokens", decode_tokens},
                                          {"prefill_tokens_per_second", prefill.json()},
                                          {"decode_tokens_per_second", decode.json()},
                                          {"weight_bytes", weights},
                                          {"decode_bytes_per_second", reached},
                                          {"memory_bytes_per_second", bandwidth},
                                          {"share_of_memory_bandwidth", share}};
        fmt::print("{}\n", json.dump(2));
        return Ok{};
    }
    fmt::print("{}\n{}\n\n", model.file.path().string(), model.device->name());
    fmt::print("prefill {:>6} tokens  {:>9.1f} tok/s  ({:.1f} to {:.1f})\n", prompt_tokens, prefill.median, prefill.low, prefill.high);
    fmt::print("decode  {:>6} tokens  {:>9.1f} tok/s  ({:.1f} to {:.1f})\n", decode_tokens, decode.median, decode.low, decode.high);
    fmt::print("weights read by decode  {:.1f} GB/s, {:.0f} % of the {:.1f} GB/s that a plain sum reads\n", reached / 1e9,
               100 * share, bandwidth / 1e9);
    return Ok{};
}

} // namespace lucebox::app
