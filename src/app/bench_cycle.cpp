// lucebox bench cycle: what a speculative step costs, whatever the texts are: the draft's block, the verification of so
// many rows, and committing so many of them, beside a plain step. What is accepted is a fixed number, not what the target
// would choose: so random weights can be timed, and the figures say what an acceptance would be worth.
#include "app/bench_cycle.h"

#include "app/bench_measure.h"
#include "app/loaded_model.h"
#include "app/report_file.h"
#include "base/build_info.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace lucebox::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t warm_up = 3, most_accepted = 10, usual_accepted = 6;

// The rows of a verified step and the path that is accepted of them.
struct Shape {
    std::size_t rows = 16;
    bool tree = false;

    std::string name() const { return fmt::format("{} of {}", tree ? "tree" : "chain", rows); }
    // Along the tree's spine.
    std::vector<std::int32_t> path(std::size_t accepted) const {
        std::vector<std::int32_t> path;
        for (std::size_t row = 0; row < rows && path.size() < accepted; row += tree && row > 0 ? 2 : 1) {
            path.push_back(static_cast<std::int32_t>(row));
        }
        return path;
    }
};

struct Cycle {
    std::vector<double> whole, draft, verify; // milliseconds
};

class CycleBench {
public:
    CycleBench(LoadedModel& model, model::DraftRunner& draft, std::size_t repetitions)
        : model_(model), draft_(draft), repetitions_(repetitions) {}

    Status read(std::size_t tokens) {
        std::vector<model::TokenId> text(tokens);
        for (std::size_t i = 0; i < tokens; ++i) text[i] = token(i);
        const std::size_t at_once = std::min<std::size_t>(model_.runner->options().rows, compute::max_tree_rows);
        for (std::size_t begin = 0; begin < tokens; begin += at_once) { // so that the draft sees every row
            const auto part = std::span(text).subspan(begin, std::min(at_once, tokens - begin));
            LUCEBOX_CHECK(model_.feed(part, false));
            std::vector<std::int32_t> rows(part.size());
            for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
            draft_.append(model_.sequence, rows);
        }
        return Ok{};
    }

    Result<Spread> plain() {
        std::vector<double> times;
        for (std::size_t i = 0; i < warm_up + repetitions_; ++i) {
            const auto start = Clock::now();
            const model::TokenId next = token(i);
            LUCEBOX_CHECK(model_.feed({&next, 1}, false));
            model_.runner->best(0);
            LUCEBOX_CHECK(model_.device->failure());
            if (i >= warm_up) times.push_back(1e3 * since(start));
            const std::array<std::int32_t, 1> row{0};
            draft_.append(model_.sequence, row);
        }
        return Spread(std::move(times));
    }

    Result<Cycle> cycle(const Shape& shape, std::size_t accepted) {
        std::vector<model::Row> rows;
        for (std::size_t i = 0; i < shape.rows; ++i) rows.push_back({model_.sequence, token(i), parent_row(i, shape.tree), true});
        const std::vector<std::int32_t> path = shape.path(accepted);
        Cycle cycle;
        for (std::size_t i = 0; i < warm_up + repetitions_; ++i) {
            const auto start = Clock::now();
            const std::array<model::DraftRunner::Block, 1> block{{{model_.sequence, token(i)}}};
            draft_.propose(block, draft_.block() - 1, shape.tree ? 8 : 1);
            for (std::size_t depth = 1; depth < draft_.block() && depth < rows.size(); ++depth) {
                rows[depth].token = draft_.tokens(0, depth)[0];
            }
            const double drafted = since(start);
            LUCEBOX_CHECK(model_.runner->step(rows, model::Commit::later));
            for (std::size_t row = 0; row < rows.size(); ++row) model_.runner->best(row);
            LUCEBOX_CHECK(model_.device->failure());
            const double verified = since(start);
            LUCEBOX_CHECK(model_.runner->commit(model_.sequence, path));
            draft_.append(model_.sequence, path);
            if (i < warm_up) continue;
            cycle.whole.push_back(1e3 * since(start));
            cycle.draft.push_back(1e3 * drafted);
            cycle.verify.push_back(1e3 * (verified - drafted));
        }
        return cycle;
    }

private:
    model::TokenId token(std::size_t i) const {
        return static_cast<model::TokenId>((i * 7919 + 13) % model_.runner->vocabulary());
    }

    LoadedModel& model_;
    model::DraftRunner& draft_;
    std::size_t repetitions_;
};

std::vector<Shape> shapes_of(const std::vector<std::size_t>& rows, std::size_t block) {
    std::vector<Shape> shapes;
    for (const std::size_t count : rows) {
        if (count <= block) shapes.push_back({count, false});
        if (count > 2) shapes.push_back({count, true});
    }
    return shapes;
}

} // namespace

Status bench_cycle(const Options& options) {
    LUCEBOX_TRY(std::vector<std::size_t> rows, numbers(options, "rows"));
    for (const std::size_t count : rows) {
        if (count < 2 || count > static_cast<std::size_t>(compute::max_tree_rows)) {
            return Error{ErrorKind::usage, fmt::format("--rows: bench cycle verifies 2 to {} rows, not '{}'", compute::max_tree_rows, count)};
        }
    }
    const auto prompt = static_cast<std::size_t>(options.integer("prompt-tokens"));
    const auto repetitions = 4 * static_cast<std::size_t>(options.integer("repetitions"));
    const std::size_t cycles = (1 + 2 * std::max<std::size_t>(rows.size(), 2) + most_accepted) * (warm_up + repetitions);
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, prompt + cycles * most_accepted + compute::max_tree_rows, 0));
    const std::size_t taken_before = model.device->memory_taken();
    LUCEBOX_TRY(LoadedDraft draft, LoadedDraft::load(options, model));
    if (!draft.runner) return Error{ErrorKind::usage, "bench cycle needs a draft, and none was found for the model", "name one by --draft"};
    const std::size_t block = draft.runner->block();
    if (rows.empty()) rows = {block, 2 * block};
    CycleBench bench(model, *draft.runner, repetitions);
    LUCEBOX_CHECK(bench.read(prompt));
    LUCEBOX_TRY(const Spread plain, bench.plain());

    Json report{{"model", model.file.path().string()}, {"device", model.device->name()}, {"git_sha", build_info().git_sha},
                {"context", prompt}, {"draft_block", block}, {"plain_step_ms", plain.json()}};
    std::string lines = fmt::format("{:<24}{:>9.3f} ms ({:.3f} to {:.3f})\n", "plain step", plain.median, plain.low, plain.high);
    const std::vector<Shape> shapes = shapes_of(rows, block);
    for (const Shape& shape : shapes) {
        LUCEBOX_TRY(Cycle cycle, bench.cycle(shape, usual_accepted));
        const Spread whole(std::move(cycle.whole)), drafted(std::move(cycle.draft)), verified(std::move(cycle.verify));
        lines += fmt::format("{:<24}{:>9.3f} ms ({:.3f} to {:.3f})  {:.2f} plain steps: draft {:.3f} ms ({:.2f}), the rest {:.3f} ms ({:.2f})\n",
                             "cycle, " + shape.name(), whole.median, whole.low, whole.high, whole.median / plain.median, drafted.median,
                             drafted.median / plain.median, verified.median, verified.median / plain.median);
        report["cycles"].push_back({{"shape", shape.name()}, {"accepted", shape.path(usual_accepted).size()}, {"ms", whole.json()},
                                    {"over_plain", whole.median / plain.median}, {"draft_ms", drafted.json()},
                                    {"draft_over_plain", drafted.median / plain.median}, {"verify_ms", verified.json()}});
    }
    for (std::size_t accepted = 2; accepted <= most_accepted && !shapes.empty(); ++accepted) {
        const Shape& shape = shapes.front();
        if (shape.path(accepted).size() < accepted) break;
        LUCEBOX_TRY(Cycle cycle, bench.cycle(shape, accepted));
        const double rate = 1e3 * static_cast<double>(accepted) / Spread(std::move(cycle.whole)).median;
        lines += fmt::format("{:<24}{:>9.1f} tok/s, {:.2f} times plain\n", fmt::format("{}, {} stay", shape.name(), accepted), rate,
                             rate * plain.median / 1e3);
        report["accepted"].push_back({{"shape", shape.name()}, {"tokens", accepted}, {"tokens_per_second", rate}});
    }
    const auto& kv = draft.runner->cache();
    const std::size_t taken = model.device->memory_taken();
    if (taken > 0) { // a GPU's
        const double beside = static_cast<double>(taken) - static_cast<double>(taken_before) -
                              static_cast<double>(draft.runner->weight_bytes()) - static_cast<double>(kv.kv_bytes());
        lines += fmt::format("{:<24}{:>9.1f} MB beside the draft's weights and cache\n", "memory", beside / 1e6);
        report["bytes_beside_draft"] = beside;
    }
    LUCEBOX_CHECK(write_report(options, report));
    if (options.boolean("json")) {
        fmt::print("{}\n", report.dump(2));
        return Ok{};
    }
    fmt::print("{}\n{}\n\n{}", model.file.path().string(), model.device->name(), lines);
    return Ok{};
}

} // namespace lucebox::app
