// Decides, for every step, which guesses the target shall verify, and learns from what became of them.
//
// Guesses come from a draft model, if there is one, and from looking up the text itself. They only ever save steps: what is
// accepted is what the target chose. One step with it:
//
//     plan(asks)                 trees of guesses, one for each sequence (maybe of the root alone)
//     runner.step(rows)          rows of the trees' nodes
//     walk: the target's choice behind node 0; if that is a child of it, the choice behind the child; and so on
//     verified(), committed()    what the walk found, and the rows that stay
//     observe(rows, seconds)     what the step took
//
// In automatic mode a step has as many guesses as raise the expected tokens a second, by measured step costs and by how often
// guesses of each kind were right lately; when none do, it is a plain step. Now and then it is one anyway: what is never seen
// would never be found to be cheaper than it seemed at start. The draft runs where its guesses promise more than they cost,
// which is told from how sure the target was of the last tokens (draft_worth.h). One thread, the one that runs steps.
#pragma once

#include "decode/acceptance.h"
#include "decode/draft_tree.h"
#include "decode/draft_worth.h"
#include "decode/lookup.h"
#include "decode/speculation.h"
#include "decode/step_costs.h"
#include "model/draft_runner.h"

#include <vector>

namespace lucebox::decode {

class Speculator {
public:
    // `draft` may be null. Both must outlive the speculator.
    Speculator(const Speculation& speculation, model::Runner& runner, model::DraftRunner* draft);

    // Automatic mode: runs a few steps of each size on a sequence of its own, for a second at most.
    Status measure();

    // A sequence of the runner that begins a new text, with its whole prompt, of which the sequence holds `kept` tokens from
    // an earlier text; the rest has still to be computed.
    void open(model::SequenceId sequence, std::span<const TokenId> prompt, std::size_t kept = 0);
    // Each token that was chosen, before the next plan(). `sureness`: the probability that the target gave its best token there; it is of
    // use only if wants_sureness(), as decided by plan().
    void add(model::SequenceId sequence, TokenId token, float sureness = DraftWorth::unknown);
    bool wants_sureness() const { return wants_sureness_; }

    struct Ask {
        model::SequenceId sequence = 0;
        TokenId last = 0;      // the chosen token that the step will feed
        std::size_t depth = 0; // guesses that could be of use in a row: what the answer may still grow by, less one
        Form* form = nullptr;  // what the answer has to keep to; null: nothing
    };
    // At most `most_nodes` guesses over all sequences.
    void plan(std::span<const Ask> asks, std::size_t most_nodes);
    const DraftTree& tree(model::SequenceId sequence) const { return state(sequence).tree; }

    // The walk took these nodes (the root first) and the target chose `next` behind the last; -1: the text ended before.
    void verified(model::SequenceId sequence, std::span<const std::int32_t> nodes, TokenId next);
    // Rows of the runner's last step that were committed, in order: of prompts as of answers.
    void committed(model::SequenceId sequence, std::span<const std::int32_t> rows);
    void observe(std::size_t rows, double seconds);

    const Speculation& speculation() const { return speculation_; }
    const SpeculationStats& stats(model::SequenceId sequence) const { return state(sequence).stats; }
    const StepCosts& costs() const { return costs_; }

private:
    static constexpr std::size_t most_chains = 3;

    struct State { // of one sequence
        LookupIndex index;
        std::vector<LookupIndex::Match> matches;
        std::vector<std::vector<Candidate>> chains; // continuations found, one for each match
        std::vector<std::vector<Candidate>> depths; // the draft's candidates, if it ran
        Acceptance acceptance;
        DraftTree tree;
        SpeculationStats stats;
        DraftWorth::Situation situation; // of this step, for the draft
        double expected_gain = 1;        // by it
        double better = 0;               // what the draft gained lately beyond what was expected: of this text
        bool drafting = false; // in this step
    };

    const State& state(model::SequenceId sequence) const { return states_[static_cast<std::size_t>(sequence)]; }
    State& state(model::SequenceId sequence) { return states_[static_cast<std::size_t>(sequence)]; }
    bool automatic() const { return speculation_.mode == Speculation::Mode::automatic; }

    void look_up(State& state, const Ask& ask);
    bool tries_plain();
    bool wants_draft(State& state, const Ask& ask, std::size_t rows);
    double least_gain_of_draft(std::size_t rows) const;
    double guessed_gain(float sureness, std::size_t rows) const;
    void run_draft(std::span<const Ask> asks);
    void grow(State& state, const Ask& ask);
    double best_rate(const DraftTree& tree, std::size_t rows, double overhead) const;
    void choose_sizes(std::span<const Ask> asks, std::size_t most_nodes, double draft_seconds);

    Speculation speculation_;
    model::Runner& runner_;
    model::DraftRunner* draft_;
    std::vector<State> states_;
    Acceptance all_; // over all sequences
    StepCosts costs_;
    double draft_seconds_ = 0;    // of one run, lately
    double draft_over_plain_ = 0; // in plain steps, as measured at start
    std::size_t steps_without_draft_ = 0;
    DraftWorth draft_worth_;
    bool wants_sureness_ = false;
    double tries_ = 0; // seconds that runs of a draft that promises nothing may take
    std::size_t guessing_steps_ = 0, plain_in_a_row_ = 0, plain_patience_;
    // Reused between steps.
    std::vector<model::DraftRunner::Block> blocks_;
    std::vector<std::span<const Candidate>> depth_views_, chain_views_;
    struct Choice {
        float score;
        std::uint32_t ask, node;
    };
    std::vector<Choice> choices_;
};

} // namespace lucebox::decode
