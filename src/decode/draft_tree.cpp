#include "decode/draft_tree.h"

#include "decode/acceptance.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace lucebox::decode {
namespace {

constexpr std::int32_t chain_rank = 1 << 20; // behind every rank of a draft
constexpr std::int32_t draft_candidate = -1, suggestion = -2; // what an entry is that is of no chain

} // namespace

void DraftTree::reset(TokenId root) {
    nodes_.assign(1, DraftNode{root, -1, 0, 0, 0});
    branches_.assign(1, {});
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

std::int32_t DraftTree::find_or_add(std::int32_t parent, const Candidate& candidate, float score, Form* form) {
    const std::int32_t found = child(parent, candidate.token);
    if (found >= 0) return found;
    const auto above = static_cast<std::size_t>(parent);
    nodes_.push_back({candidate.token, parent, nodes_[above].depth + 1, score, candidate.origin});
    branches_.push_back({form ? form->after(branches_[above].place, candidate.token) : Form::nowhere});
    return static_cast<std::int32_t>(nodes_.size() - 1);
}

void DraftTree::restrict(Branch& branch, std::span<const Candidate> below, Form& form) {
    constexpr float least_left = 1e-3f; // where everything likely is forbidden
    constexpr float trust = 0.8f;       // in what the form suggests, of what the draft has lost
    float left = 1;
    for (std::size_t rank = 0; rank < below.size(); ++rank) {
        if (form.after(branch.place, below[rank].token) != Form::nowhere) continue;
        branch.forbidden |= std::uint64_t{1} << rank;
        left -= std::exp(below[rank].logprob);
    }
    left = below.empty() ? least_left : std::clamp(left, least_left, 1.0f);
    branch.first_suggestion = static_cast<std::uint32_t>(suggestions_.size());
    form.suggest(branch.place, suggestions_);
    std::erase_if(suggestions_, [&, i = std::uint32_t{0}](TokenId token) mutable { // what the draft knows better, and ends
        if (i++ < branch.first_suggestion) return false;
        return std::ranges::find(below, token, &Candidate::token) != below.end() || form.after(branch.place, token) == Form::nowhere;
    });
    branch.end_suggestion = static_cast<std::uint32_t>(suggestions_.size());
    const auto suggested = static_cast<float>(branch.end_suggestion - branch.first_suggestion);
    const float given = suggested > 0 ? trust * (1 - left) : 0;
    if (suggested > 0) branch.suggested = std::log(std::max(given, least_left) / suggested);
    branch.raise = std::log((1 - given) / left);
}

void DraftTree::grow(std::span<const std::span<const Candidate>> depths, std::span<const std::span<const Candidate>> chains,
                     std::size_t budget, bool chain_seed, Form* form) {
    budget = std::min(budget, most_draft_nodes);
    suggestions_.clear();
    if (form) branches_[0].place = form->here();
    const auto candidates_below = [&](std::int32_t node) { // of the draft; none behind its last depth
        const auto index = static_cast<std::size_t>(nodes_[static_cast<std::size_t>(node)].depth);
        const auto all = index < depths.size() ? depths[index] : std::span<const Candidate>{};
        return all.first(std::min<std::size_t>(all.size(), 64));
    };
    // The best candidate below a node from that rank on.
    const auto next_below = [&](std::int32_t node, std::int32_t rank) -> std::optional<Entry> {
        const auto here = candidates_below(node);
        const auto index = static_cast<std::size_t>(node);
        const Branch& branch = branches_[index];
        while (static_cast<std::size_t>(rank) < here.size() && (branch.forbidden >> rank & 1) != 0) ++rank;
        if (static_cast<std::size_t>(rank) >= here.size()) return std::nullopt;
        const float logprob = std::min(here[static_cast<std::size_t>(rank)].logprob + branch.raise, 0.0f);
        return Entry{nodes_[index].score + logprob, nodes_[index].depth + 1, node, rank, draft_candidate};
    };
    const auto push_if = [&](const std::optional<Entry>& entry) {
        if (entry) push(*entry);
    };
    // The best below a node that was not looked at yet; pushes the others.
    const auto first_below = [&](std::int32_t node) -> std::optional<Entry> {
        const auto index = static_cast<std::size_t>(node);
        if (branches_[index].expanded) return std::nullopt;
        branches_[index].expanded = true;
        if (form) restrict(branches_[index], candidates_below(node), *form);
        std::optional<Entry> best = next_below(node, 0);
        for (std::uint32_t i = branches_[index].first_suggestion; i < branches_[index].end_suggestion; ++i) {
            const Entry entry{nodes_[index].score + branches_[index].suggested, nodes_[index].depth + 1, node, static_cast<std::int32_t>(i), suggestion};
            if (best && !later(*best, entry)) {
                push(entry);
                continue;
            }
            push_if(best);
            best = entry;
        }
        return best;
    };
    const auto add = [&](const Entry& entry) {
        if (entry.chain == suggestion) {
            const Candidate candidate{suggestions_[static_cast<std::size_t>(entry.rank)], 0, from_form, 0};
            return find_or_add(entry.parent, candidate, entry.score, form);
        }
        push_if(next_below(entry.parent, entry.rank + 1));
        return find_or_add(entry.parent, candidates_below(entry.parent)[static_cast<std::size_t>(entry.rank)], entry.score, form);
    };
    std::int32_t last = 0;
    while (chain_seed && drafted() < budget) {
        const auto best = first_below(last);
        if (!best) break;
        last = add(*best);
    }
    push_if(first_below(last));
    for (std::size_t i = 0; i < chains.size(); ++i) {
        if (!chains[i].empty()) push({chains[i][0].logprob, 1, 0, chain_rank + static_cast<std::int32_t>(i), static_cast<std::int32_t>(i)});
    }
    while (!heap_.empty() && drafted() < budget) {
        std::ranges::pop_heap(heap_, later);
        const Entry entry = heap_.back();
        heap_.pop_back();
        std::int32_t node = 0;
        if (entry.chain >= 0) {
            const auto chain = chains[static_cast<std::size_t>(entry.chain)];
            node = find_or_add(entry.parent, chain[static_cast<std::size_t>(entry.depth - 1)], entry.score, form);
            const auto next = static_cast<std::size_t>(entry.depth);
            if (next < chain.size()) push({entry.score + chain[next].logprob, entry.depth + 1, node, entry.rank, entry.chain});
        } else {
            node = add(entry);
        }
        push_if(first_below(node));
    }
}

void DraftTree::truncate(std::size_t nodes) {
    if (nodes + 1 >= nodes_.size()) return;
    nodes_.resize(nodes + 1);
    branches_.resize(nodes + 1);
}

} // namespace lucebox::decode
