#include "decode/draft_tree.h"

#include <algorithm>

namespace lucebox::decode {
namespace {

constexpr std::int32_t chain_rank = 1 << 20; // behind every rank of a draft

} // namespace

void DraftTree::reset(TokenId root) {
    nodes_.assign(1, DraftNode{root, -1, 0, 0, 0});
    expanded_.assign(1, false);
    heap_.clear();
}

bool DraftTree::later(const Entry& a, const Entry& b) {
    if (a.score != b.score) return a.score < b.score;
    if (a.depth != b.depth) return a.depth > b.depth;
    if (a.parent != b.parent) return a.parent > b.parent;
    return a.rank > b.rank;
}

void DraftTree::push(const Entry& entry) {
    heap_.push_back(entry);
    std::ranges::push_heap(heap_, later);
}

std::int32_t DraftTree::child(std::int32_t node, TokenId token) const {
    for (std::size_t i = static_cast<std::size_t>(node) + 1; i < nodes_.size(); ++i) {
        if (nodes_[i].parent == node && nodes_[i].token == token) return static_cast<std::int32_t>(i);
    }
    return -1;
}

std::int32_t DraftTree::find_or_add(std::int32_t parent, const Candidate& candidate, float score) {
    const std::int32_t found = child(parent, candidate.token);
    if (found >= 0) return found;
    nodes_.push_back({candidate.token, parent, nodes_[static_cast<std::size_t>(parent)].depth + 1, score, candidate.origin});
    expanded_.push_back(false);
    return static_cast<std::int32_t>(nodes_.size() - 1);
}

void DraftTree::grow(std::span<const std::span<const Candidate>> depths, std::span<const std::span<const Candidate>> chains,
                     std::size_t budget, bool chain_seed) {
    budget = std::min(budget, most_draft_nodes);
    const auto candidates = [&](std::int32_t depth) { // of that depth; empty behind the last
        const auto index = static_cast<std::size_t>(depth - 1);
        return index < depths.size() ? depths[index] : std::span<const Candidate>{};
    };
    const auto expand = [&](std::int32_t node) { // the draft's best child
        const auto index = static_cast<std::size_t>(node);
        const auto next = candidates(nodes_[index].depth + 1);
        if (expanded_[index] || next.empty()) return;
        expanded_[index] = true;
        push({nodes_[index].score + next[0].logprob, nodes_[index].depth + 1, node, 0, -1});
    };
    if (chain_seed) {
        std::int32_t last = 0;
        for (std::int32_t depth = 1; static_cast<std::size_t>(depth) <= std::min(depths.size(), budget); ++depth) {
            const auto here = candidates(depth);
            if (here.empty()) break;
            const float before = nodes_[static_cast<std::size_t>(last)].score;
            expanded_[static_cast<std::size_t>(last)] = true;
            if (here.size() > 1) push({before + here[1].logprob, depth, last, 1, -1});
            last = find_or_add(last, here[0], before + here[0].logprob);
        }
    } else {
        expand(0);
    }
    for (std::size_t i = 0; i < chains.size(); ++i) {
        if (!chains[i].empty()) push({chains[i][0].logprob, 1, 0, chain_rank + static_cast<std::int32_t>(i), static_cast<std::int32_t>(i)});
    }
    while (!heap_.empty() && drafted() < budget) {
        std::ranges::pop_heap(heap_, later);
        const Entry entry = heap_.back();
        heap_.pop_back();
        if (entry.chain >= 0) {
            const auto chain = chains[static_cast<std::size_t>(entry.chain)];
            const std::int32_t node = find_or_add(entry.parent, chain[static_cast<std::size_t>(entry.depth - 1)], entry.score);
            const auto next = static_cast<std::size_t>(entry.depth);
            if (next < chain.size()) push({entry.score + chain[next].logprob, entry.depth + 1, node, entry.rank, entry.chain});
            expand(node);
            continue;
        }
        const auto here = candidates(entry.depth);
        const auto rank = static_cast<std::size_t>(entry.rank);
        const std::int32_t node = find_or_add(entry.parent, here[rank], entry.score);
        if (rank + 1 < here.size()) {
            push({entry.score - here[rank].logprob + here[rank + 1].logprob, entry.depth, entry.parent, entry.rank + 1, -1});
        }
        expand(node);
    }
}

void DraftTree::truncate(std::size_t nodes) {
    if (nodes + 1 >= nodes_.size()) return;
    nodes_.resize(nodes + 1);
    expanded_.resize(nodes + 1);
}

} // namespace lucebox::decode
