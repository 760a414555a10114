#include "decode/continue_text.h"

#include "decode/runner_row.h"

#include <chrono>
#include <numeric>

namespace lucebox::decode {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Status feed_prompt(model::Runner& runner, Speculator& speculator, model::SequenceId sequence, std::span<const TokenId> prompt,
                   std::size_t rows_per_step) {
    std::vector<model::Row> rows;
    std::vector<std::int32_t> path;
    for (std::size_t begin = 0; begin < prompt.size(); begin += rows_per_step) {
        const auto piece = prompt.subspan(begin, std::min(rows_per_step, prompt.size() - begin));
        rows.clear();
        for (std::size_t i = 0; i < piece.size(); ++i) {
            rows.push_back({sequence, piece[i], static_cast<std::int32_t>(i) - 1, i + 1 == piece.size(), true});
        }
        LUCEBOX_CHECK(runner.step(rows, model::Commit::all));
        path.resize(piece.size());
        std::iota(path.begin(), path.end(), 0);
        speculator.committed(sequence, path);
    }
    return Ok{};
}

} // namespace

Result<ContinuedText> continue_text(model::Runner& runner, Speculator& speculator, model::SequenceId sequence,
                                    std::span<const TokenId> prompt, const ContinueOptions& options) {
    const auto started = Clock::now();
    speculator.open(sequence, prompt);
    LUCEBOX_CHECK(feed_prompt(runner, speculator, sequence, prompt, options.rows));
    TokenHistory history;
    history.add_prompt(prompt);
    Sampler sampler;
    const bool stays = leaves_the_row(options.sampling);
    ContinuedText text;
    // The target's choice behind a row; false when the text is complete.
    const auto choose = [&](std::size_t output, TokenId& token) {
        const std::size_t position = prompt.size() + text.tokens.size();
        RunnerRow row(runner, output);
        token = stays ? sampler.sample(row, options.sampling, position) : sampler.sample(row.whole(), options.sampling, history, position).token;
        text.ended = options.ends && options.ends(token);
        if (text.ended) return false;
        text.tokens.push_back(token);
        history.add_generated(token);
        speculator.add(sequence, token, speculator.wants_sureness() ? sureness(runner, output, options.sampling) : DraftWorth::unknown);
        return text.tokens.size() < options.max_tokens;
    };

    TokenId last = 0;
    bool going = choose(0, last);
    text.prompt_seconds = since(started);
    const auto first_token = Clock::now();
    std::vector<model::Row> rows;
    std::vector<std::int32_t> path;
    while (going) {
        const Speculator::Ask ask{sequence, last, options.max_tokens - text.tokens.size() - 1};
        speculator.plan({&ask, 1}, most_draft_nodes);
        const DraftTree& tree = speculator.tree(sequence);
        const auto begin = Clock::now();
        rows.clear();
        for (const DraftNode& node : tree.nodes()) rows.push_back({sequence, node.token, node.parent, true, tree.drafted() == 0});
        const std::size_t start = runner.length(sequence);
        LUCEBOX_CHECK(runner.step(rows, model::Commit::later));
        path.assign(1, 0);
        TokenId next = -1;
        while ((going = choose(static_cast<std::size_t>(path.back()), next))) {
            const std::int32_t child = tree.child(path.back(), next);
            if (child < 0) break;
            path.push_back(child);
        }
        last = next;
        if (tree.drafted() > 0) LUCEBOX_CHECK(runner.commit(sequence, path));
        speculator.observe(rows.size(), since(begin));
        if (options.keep_steps) {
            text.steps.push_back({start, {tree.nodes().begin() + 1, tree.nodes().end()}, path.size() - 1});
        }
        speculator.verified(sequence, path, text.ended ? -1 : next);
        speculator.committed(sequence, path);
    }
    text.stats = speculator.stats(sequence);
    text.seconds = since(first_token);
    return text;
}

} // namespace lucebox::decode
