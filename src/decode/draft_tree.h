// A tree of guessed tokens below the last chosen one, to be verified in one step of the target.
//
// Node 0 is the root: the token that is chosen already. A parent comes before its children; siblings differ in token. A
// node's score is the logarithm of the probability that the path down to it is accepted, as far as anybody knows.
//
// grow() is the DDTree algorithm (arXiv 2604.12989): a draft gives an independent distribution for every depth, so the score
// of a path is the sum of its log-probabilities and a heap yields paths in exact order of score. Ties are broken by depth,
// parent, rank, so that the same candidates give the same tree everywhere. Continuations found elsewhere (lookup) join the
// same heap; where they agree with the draft they share its nodes.
//
// Under a form no node is a token that it forbids there. The draft knows nothing of it, so the probability of what is
// forbidden below a node is shared out among the draft's other candidates there, and what the form itself suggests.
#pragma once

#include "decode/form.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lucebox::decode {

inline constexpr std::size_t most_draft_nodes = 63; // with the root, a row for each bit of the ancestor masks

struct DraftNode {
    TokenId token = 0;
    std::int32_t parent = -1;
    std::int32_t depth = 0;
    float score = 0;
    std::uint8_t origin = 0; // of the candidate that made it
};

// One guess for a token, given that all before it were right.
struct Candidate {
    TokenId token = 0;
    float logprob = 0;       // of being right, at most 0
    std::uint8_t origin = 0; // how the guess was made, and on what grounds: see acceptance.h
    float evidence = 0;
};

class DraftTree {
public:
    explicit DraftTree(TokenId root = 0) { reset(root); }

    void reset(TokenId root);
    // `depths[d]`: candidates for depth d + 1 under any path, best first. `chains`: continuations from the root, element i for
    // depth i + 1. Adds up to `budget` nodes. With `chain_seed` the best candidate of every depth comes first, whatever its
    // score: where confidences are unreliable, depth is worth more than siblings. `form`: null if everything is allowed; it
    // must allow the chains. Of a depth's candidates the first 64 count.
    void grow(std::span<const std::span<const Candidate>> depths, std::span<const std::span<const Candidate>> chains,
              std::size_t budget, bool chain_seed, Form* form = nullptr);
    void truncate(std::size_t nodes); // keeps the root and the first `nodes` others

    std::span<const DraftNode> nodes() const { return nodes_; } // the root included
    std::size_t drafted() const { return nodes_.size() - 1; }
    // The child of `node` with this token, or -1.
    std::int32_t child(std::int32_t node, TokenId token) const;
    // Whether the form forbade some of the draft's candidates below `node`.
    bool restricted(std::int32_t node) const { return branches_[static_cast<std::size_t>(node)].forbidden != 0; }

private:
    struct Branch { // what growing knows of a node
        Form::Place place = Form::nowhere;
        bool expanded = false;       // its best child among the draft's candidates was pushed
        std::uint64_t forbidden = 0; // their ranks
        float raise = 0;             // of the others' log-probabilities
        float suggested = 0;         // log-probability of each of those that the form suggests
        std::uint32_t first_suggestion = 0, end_suggestion = 0;
    };
    struct Entry {
        float score;
        std::int32_t depth, parent;
        std::int32_t rank;  // in depths[depth - 1]; or of a chain: ranks behind all of those
        std::int32_t chain; // -1: a draft's candidate; -2: a suggestion of the form, rank in suggestions_
    };
    static bool later(const Entry& a, const Entry& b); // heap order

    std::int32_t find_or_add(std::int32_t parent, const Candidate& candidate, float score, Form* form);
    void restrict(Branch& branch, std::span<const Candidate> below, Form& form);
    void push(const Entry& entry);

    std::vector<DraftNode> nodes_;
    std::vector<Branch> branches_; // of the nodes
    std::vector<Entry> heap_;
    std::vector<TokenId> suggestions_; // of the nodes' form
};

} // namespace lucebox::decode
