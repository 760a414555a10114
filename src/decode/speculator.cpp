#include "decode/speculator.h"

#include "base/clock.h"

#include <algorithm>
#include <cmath>

namespace lucebox::decode {
namespace {

using Mode = Speculation::Mode;

constexpr std::size_t draft_width = 8;          // candidates for each depth; as in the DDTree paper's trees of this size
constexpr double least_gain = 1.03;             // what a shape must promise over a plain step: estimates are noisy
// What a run of the draft must promise besides, for each plain step that it takes: one that runs seldom takes longer, and so do the
// steps behind it.
constexpr double least_draft_gain = 0.2;
constexpr double trying_share = 0.005;                      // of the time, that runs of a draft that promises less may take
constexpr double most_without_to_try = 1.2;                 // of plain steps' rate: where lookup does well, a draft is no trial
constexpr std::size_t unseen_for_long = 64;                 // steps without the draft
constexpr float newest_sureness = 0.2f;                     // its weight among the last ones
constexpr float usual_sureness = 0.7f, low_sureness = 0.4f; // where it is not known; that of a text which is hard to guess
constexpr double newest_better = 0.3, kept_better = 0.95;   // its weight; and what is left of it a step later
// Plain steps in a row that tell what plain decoding takes: behind other steps, which leave other things in the caches, the first are
// slower. After so many steps with guesses, then twice as many, and so on.
constexpr std::size_t plain_trial = 12, first_plain_trial = 16, last_plain_trial = 768;
constexpr double longest_measurement = 1;       // seconds
constexpr std::size_t short_step = 8;           // rows; longer ones cost the start most, and are measured once
constexpr int most_plain_runs = 64, enough_plain_runs = 8; // in all, and without getting faster

double since(double start) { return steady_seconds() - start; }

} // namespace

Speculator::Speculator(const Speculation& speculation, model::Runner& runner, model::DraftRunner* draft)
    : speculation_(speculation), runner_(runner), draft_(draft), states_(runner.options().sequences), plain_patience_(first_plain_trial) {}

Status Speculator::measure() {
    if (!automatic()) return Ok{};
    LUCEBOX_TRY(const model::SequenceId sequence, runner_.open());
    if (draft_) draft_->clear(sequence);
    const auto begin = steady_seconds();
    std::vector<model::Row> rows;
    std::array<double, StepCosts::sizes.size()> best{}; // of each size; 0: not measured
    const auto keep_best = [](double& least, double seconds) { least = least == 0 ? seconds : std::min(least, seconds); };
    const auto run = [&](std::size_t i) -> Status {
        rows.resize(std::min(rows.size(), StepCosts::sizes[i]));
        while (rows.size() < StepCosts::sizes[i]) rows.push_back({sequence, 0, static_cast<std::int32_t>(rows.size()) - 1, true, false});
        const auto start = steady_seconds();
        LUCEBOX_CHECK(runner_.step(rows, model::Commit::later));
        runner_.logits(0);
        keep_best(best[i], since(start));
        return Ok{};
    };
    const auto late = [&] { return since(begin) > longest_measurement; };
    // Steps that a draft would guess for, each behind a run of it, as they will follow each other.
    const std::size_t most = std::min<std::size_t>(compute::max_tree_rows, runner_.options().rows);
    const auto measure = [&](std::size_t least_rows, std::size_t most_rows, bool drafting) -> Status {
        for (std::size_t i = 1; i < best.size() && StepCosts::sizes[i] <= std::min(most, most_rows) && !late(); ++i) {
            if (StepCosts::sizes[i] < least_rows) continue;
            if (drafting && draft_) {
                const model::DraftRunner::Block block{sequence, 0};
                const auto start = steady_seconds();
                draft_->propose({&block, 1}, draft_->block() - 1, draft_width);
                keep_best(draft_seconds_, since(start));
            }
            LUCEBOX_CHECK(run(i));
        }
        return Ok{};
    };
    LUCEBOX_CHECK(measure(2, short_step, true));
    LUCEBOX_CHECK(measure(2, short_step, true));
    LUCEBOX_CHECK(measure(short_step + 1, most, false));
    if (since(begin) < longest_measurement / 4) LUCEBOX_CHECK(measure(short_step + 1, most, false)); // a GPU prepared the first ones
    // Plain ones at last, when clocks have risen, until the caches hold what they need.
    for (int runs = 0, no_faster = 0; runs < most_plain_runs && no_faster < enough_plain_runs && (runs < 2 || !late()); ++runs) {
        const double before = best[0];
        LUCEBOX_CHECK(run(0));
        no_faster = before != 0 && best[0] > 0.98 * before ? no_faster + 1 : 0;
    }
    for (std::size_t i = 0; i < best.size() && best[i] != 0; ++i) costs_.set(StepCosts::sizes[i], best[i]);
    draft_over_plain_ = draft_seconds_ / costs_.seconds(1);
    if (draft_) runner_.sureness(0); // what a device needs for it is there from now on
    runner_.close(sequence);
    return Ok{};
}

void Speculator::open(model::SequenceId sequence, std::span<const TokenId> prompt, std::size_t kept) {
    if (draft_) draft_->truncate(sequence, kept);
    State& s = state(sequence);
    s.index.clear();
    s.acceptance.clear();
    s.stats = {};
    s.tree.reset(0);
    s.situation = {};
    s.better = 0;
    if (speculation_.mode != Mode::off) s.index.add(prompt);
}

void Speculator::add(model::SequenceId sequence, TokenId token, float sureness) {
    if (speculation_.mode == Mode::off) return;
    State& s = state(sequence);
    s.index.add(token);
    float& lately = s.situation.sureness;
    lately = sureness < 0 || lately < 0 ? sureness : lately + newest_sureness * (sureness - lately);
}

// Fills the state's chains: what followed where the text read as it does now.
void Speculator::look_up(State& s, const Ask& ask) {
    const std::size_t most = std::min(ask.depth, speculation_.budget);
    s.index.find(speculation_.mode == Mode::chain ? 1 : most_chains, s.matches);
    s.chains.resize(s.matches.size());
    const auto text = s.index.text();
    for (std::size_t i = 0; i < s.matches.size(); ++i) {
        const LookupIndex::Match& match = s.matches[i];
        const std::uint8_t origin = match.length == 0 ? from_continuation : i == 0 ? from_best_match : from_other_match;
        std::vector<Candidate>& chain = s.chains[i];
        chain.clear();
        Form::Place place_in_form = ask.form ? ask.form->here() : Form::nowhere;
        for (std::size_t depth = 0; depth < most; ++depth) {
            // Behind the end of the text its repetition is assumed to go on.
            const std::size_t place = match.next + depth, period = text.size() - match.next;
            const TokenId token = place < text.size() ? text[place] : chain[depth - period].token;
            if (ask.form && (place_in_form = ask.form->after(place_in_form, token)) == Form::nowhere) break;
            const auto evidence = static_cast<float>(match.length + depth);
            const float logprob = s.acceptance.logprob(all_, origin, static_cast<std::int32_t>(depth) + 1, evidence);
            chain.push_back({token, logprob, origin, evidence});
        }
    }
}

// Tokens a second that the best number of the tree's nodes promises, in a step of `rows` rows besides.
double Speculator::best_rate(const DraftTree& tree, std::size_t rows, double overhead) const {
    double tokens = 1, best = tokens / (costs_.seconds(rows) + overhead);
    for (std::size_t node = 1; node < tree.nodes().size(); ++node) {
        tokens += std::exp(tree.nodes()[node].score);
        best = std::max(best, tokens / (costs_.seconds(rows + node) + overhead));
    }
    return best;
}

// Whether running the draft promises more than what is known without it. Now and then it runs anyway, to see.
bool Speculator::wants_draft(State& s, const Ask& ask, std::size_t rows) {
    if (!draft_ || ask.depth == 0 || draft_->length(ask.sequence) != runner_.length(ask.sequence)) return false;
    if (!automatic()) return true;
    grow(s, ask); // by lookup alone
    s.situation.without = best_rate(s.tree, rows, 0) * costs_.seconds(rows);
    s.tree.reset(ask.last);
    s.better *= kept_better;
    s.expected_gain = draft_worth_.gain(s.situation, guessed_gain(s.situation.sureness, rows) / s.situation.without) + s.better;
    if (s.expected_gain > least_gain_of_draft(rows)) return true;
    if (tries_ < draft_seconds_ || s.situation.without > most_without_to_try) return false;
    tries_ = 0;
    return true;
}

double Speculator::least_gain_of_draft(std::size_t rows) const {
    return least_gain + least_draft_gain * std::min(draft_seconds_ / costs_.seconds(rows), 1.0);
}

// Over plain steps. Before anything is known, a draft is thought to be right as often as the target is sure.
double Speculator::guessed_gain(float sureness, std::size_t rows) const {
    const double right = sureness < 0 ? usual_sureness : sureness;
    double tokens = 1, path = 1, best = 0;
    for (std::size_t depth = 1; depth < draft_->block(); ++depth) {
        path *= right;
        tokens += path;
        best = std::max(best, tokens / (costs_.seconds(rows + depth) + draft_seconds_));
    }
    return best * costs_.seconds(rows);
}

void Speculator::run_draft(std::span<const Ask> asks) {
    blocks_.clear();
    std::size_t deepest = 0;
    bool any_form = false; // which forbids some candidates: then more are asked for
    for (const Ask& ask : asks) {
        if (!state(ask.sequence).drafting) continue;
        any_form = any_form || ask.form;
        blocks_.push_back({ask.sequence, ask.last});
        deepest = std::max(deepest, std::min(ask.depth, speculation_.budget));
    }
    if (blocks_.empty()) return;
    const std::size_t depth = std::min(deepest, draft_->block() - 1);
    const bool wide = automatic() || (speculation_.mode == Mode::tree && speculation_.budget > draft_->block() - 1);
    const auto start = steady_seconds();
    draft_->propose(blocks_, depth, !wide ? 1 : any_form ? compute::max_top_k : draft_width);
    const double seconds = since(start);
    if (draft_seconds_ == 0) draft_seconds_ = seconds, draft_over_plain_ = seconds / costs_.seconds(1);
    const double newest = steps_without_draft_ < unseen_for_long ? 0.1 : 0.5;
    draft_seconds_ += newest * (std::clamp(seconds, draft_seconds_ / 2, draft_seconds_ * 2) - draft_seconds_); // more is a hiccup
    steps_without_draft_ = 0;
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
        State& s = state(blocks_[i].sequence);
        s.depths.resize(depth);
        for (std::size_t d = 1; d <= depth; ++d) {
            const auto tokens = draft_->tokens(i, d);
            const auto logprobs = draft_->logprobs(i, d);
            std::vector<Candidate>& candidates = s.depths[d - 1];
            candidates.clear();
            for (std::size_t rank = 0; rank < tokens.size(); ++rank) {
                const float logprob = automatic() ? s.acceptance.logprob(all_, from_draft, static_cast<std::int32_t>(d), logprobs[rank])
                                                  : logprobs[rank];
                candidates.push_back({tokens[rank], logprob, from_draft, logprobs[rank]});
            }
            std::ranges::stable_sort(candidates, std::greater{}, &Candidate::logprob);
        }
    }
}

void Speculator::grow(State& s, const Ask& ask) {
    depth_views_.clear();
    chain_views_.clear();
    for (std::size_t d = 0; d < std::min(s.depths.size(), ask.depth); ++d) depth_views_.push_back(s.depths[d]);
    // A fixed shape is the draft's own, where there is one: what it proposes can be compared with other programs.
    if (automatic() || !s.drafting) {
        for (const auto& chain : s.chains) chain_views_.push_back(chain);
    }
    s.tree.reset(ask.last);
    s.tree.grow(depth_views_, chain_views_, speculation_.budget, !automatic(), ask.form);
}

void Speculator::plan(std::span<const Ask> asks, std::size_t most_nodes) {
    const bool plain = automatic() && tries_plain();
    const std::size_t rows = std::max<std::size_t>(asks.size(), 1);
    // Where a draft pays whatever the target thinks, nobody asks.
    wants_sureness_ = draft_ && automatic() && guessed_gain(low_sureness, rows) < least_gain_of_draft(rows);
    runner_.expect_sureness(wants_sureness_);
    for (const Ask& ask : asks) {
        State& s = state(ask.sequence);
        s.tree.reset(ask.last);
        s.depths.clear();
        s.chains.clear();
        s.drafting = false;
        if (speculation_.mode == Mode::off || ask.depth == 0 || plain) continue;
        look_up(s, ask);
        s.drafting = wants_draft(s, ask, asks.size());
    }
    if (speculation_.mode == Mode::off) return;
    if (draft_) run_draft(asks);
    bool drafted = false;
    for (const Ask& ask : asks) {
        State& s = state(ask.sequence);
        if (ask.depth == 0) continue;
        grow(s, ask);
        if (!s.drafting) continue;
        drafted = true;
        if (!automatic()) continue;
        const double gain = best_rate(s.tree, asks.size(), draft_seconds_) * costs_.seconds(asks.size()) / s.situation.without;
        s.better += newest_better * (gain - s.expected_gain);
        draft_worth_.observe(s.situation, gain);
    }
    choose_sizes(asks, most_nodes, drafted ? draft_seconds_ : 0);
    const bool guessed = std::ranges::any_of(asks, [&](const Ask& ask) { return state(ask.sequence).tree.drafted() > 0; });
    plain_in_a_row_ = guessed ? 0 : plain_in_a_row_ + 1;
    if (guessed) ++guessing_steps_;
}

// Whether this step is to be a plain one, whatever is promised.
bool Speculator::tries_plain() {
    if (plain_in_a_row_ >= plain_trial) guessing_steps_ = 0; // known
    if (guessing_steps_ < plain_patience_) return false;
    if (plain_in_a_row_ + 1 == plain_trial) plain_patience_ = std::min(2 * plain_patience_, last_plain_trial);
    return true;
}

// Cuts the trees to the number of nodes, over all sequences, that promises most.
void Speculator::choose_sizes(std::span<const Ask> asks, std::size_t most_nodes, double draft_seconds) {
    choices_.clear();
    for (std::size_t i = 0; i < asks.size(); ++i) {
        const auto nodes = state(asks[i].sequence).tree.nodes();
        for (std::size_t node = 1; node < nodes.size(); ++node) {
            choices_.push_back({nodes[node].score, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(node)});
        }
    }
    std::size_t keep = std::min(choices_.size(), most_nodes);
    if (automatic()) {
        // Scores never rise along a tree's nodes here, so the best of all sequences are a head of each.
        std::ranges::stable_sort(choices_, [](const Choice& a, const Choice& b) { return a.score > b.score; });
        double tokens = static_cast<double>(asks.size());
        double best = tokens / (costs_.seconds(asks.size()) + draft_seconds) * least_gain;
        const std::size_t most = keep;
        keep = 0;
        for (std::size_t n = 1; n <= most; ++n) {
            tokens += std::exp(choices_[n - 1].score);
            const double rate = tokens / (costs_.seconds(asks.size() + n) + draft_seconds);
            if (rate <= best) continue;
            best = rate;
            keep = n;
        }
    } else { // by node, so that all sequences get their share
        std::ranges::stable_sort(choices_, [](const Choice& a, const Choice& b) { return a.node < b.node; });
    }
    for (std::size_t i = 0; i < asks.size(); ++i) {
        const auto mine = std::ranges::count_if(choices_.begin(), choices_.begin() + static_cast<std::ptrdiff_t>(keep),
                                                [&](const Choice& choice) { return choice.ask == i; });
        state(asks[i].sequence).tree.truncate(static_cast<std::size_t>(mine));
    }
}

void Speculator::verified(model::SequenceId sequence, std::span<const std::int32_t> nodes, TokenId next) {
    State& s = state(sequence);
    const auto all_nodes = s.tree.nodes();
    SpeculationStats& stats = s.stats;
    ++stats.steps;
    stats.drafted += s.tree.drafted();
    stats.accepted += nodes.size() - 1;
    stats.tokens += nodes.size() - 1 + (next >= 0 ? 1 : 0);
    for (std::size_t i = 0; i < nodes.size(); ++i) { // was there anything below this node, and was it taken?
        const std::size_t position = std::min(i, SpeculationStats::positions - 1);
        const bool taken = i + 1 < nodes.size();
        if (!taken && next < 0) break;
        if (std::ranges::find(all_nodes, nodes[i], &DraftNode::parent) == all_nodes.end()) continue;
        ++stats.tried_at[position];
        if (taken) ++stats.accepted_at[position];
    }
    for (std::size_t i = 1; i < nodes.size(); ++i) {
        stats.accepted_from_lookup += all_nodes[static_cast<std::size_t>(nodes[i])].origin != from_draft && all_nodes[static_cast<std::size_t>(nodes[i])].origin != from_form ? 1 : 0;
    }
    if (speculation_.mode == Mode::off) return;

    // Every guess is judged by what the text became, also those that were not verified.
    const std::size_t known = nodes.size() - 1 + (next >= 0 ? 1 : 0);
    const auto actual = [&](std::size_t depth) { // from 1
        return depth < nodes.size() ? all_nodes[static_cast<std::size_t>(nodes[depth])].token : next;
    };
    const auto judge = [&](const Candidate& candidate, std::size_t depth) {
        const bool right = candidate.token == actual(depth);
        all_.observe(candidate.origin, static_cast<std::int32_t>(depth), candidate.evidence, right);
        s.acceptance.observe(candidate.origin, static_cast<std::int32_t>(depth), candidate.evidence, right);
        return right;
    };
    for (const auto& chain : s.chains) {
        for (std::size_t depth = 1; depth <= std::min(chain.size(), known); ++depth) {
            if (!judge(chain[depth - 1], depth)) break;
        }
    }
    for (std::size_t depth = 1; depth <= std::min(s.depths.size(), known); ++depth) {
        if (s.tree.restricted(nodes[depth - 1])) continue; // a choice among fewer says nothing of free guesses
        for (const Candidate& candidate : s.depths[depth - 1]) judge(candidate, depth);
    }
}

void Speculator::committed(model::SequenceId sequence, std::span<const std::int32_t> rows) {
    if (draft_ && speculation_.mode != Mode::off) draft_->append(sequence, rows);
}

void Speculator::observe(std::size_t rows, double seconds) {
    costs_.observe(rows, seconds);
    // As step costs that were not seen for long.
    if (++steps_without_draft_ >= unseen_for_long) draft_seconds_ += 0.01 * (draft_over_plain_ * costs_.seconds(1) - draft_seconds_);
    tries_ = std::min(tries_ + trying_share * seconds, draft_seconds_);
}

} // namespace lucebox::decode
