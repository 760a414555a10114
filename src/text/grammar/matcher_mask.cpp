// Masks: which tokens of the whole vocabulary may come next.
#include "text/grammar/matcher.h"

#include <algorithm>
#include <numeric>

namespace lucebox::text {
namespace {

constexpr std::size_t most_insides = 64, most_masks = 256;
constexpr std::size_t few_iterations = 12, many_tokens = 4096; // of a loop: below these a mask is put together token by token
constexpr std::size_t most_shared_nodes = 128; // of a rule that is looked for among those of other grammars; the text of a string has about fifty
// Places where hardly any token fits (the letters of thirty names, say) are followed together rather than kept apart.
constexpr std::size_t narrow_bytes = 16, many_narrow = 4;

// Stable, in one pass over the items and one over the keys.
template <class Item, class Key>
void sort_by(std::vector<Item>& items, Key key) {
    std::vector<std::uint32_t> place;
    for (const Item& item : items) {
        if (key(item) + 2u > place.size()) place.resize(key(item) + 2u);
        ++place[key(item) + 1u];
    }
    std::partial_sum(place.begin(), place.end(), place.begin());
    std::vector<Item> sorted(items.size());
    for (const Item& item : items) sorted[place[key(item)]++] = item;
    items = std::move(sorted);
}

} // namespace

// Runs over trie nodes [begin, end), whose parent is at `depth` and in state `from`.
template <class Visit>
void GrammarMatcher::walk(State from, std::size_t begin, std::size_t end, std::size_t depth, Visit&& visit) {
    const auto nodes = trie_->nodes();
    path_[depth] = static_cast<std::int32_t>(from);
    for (std::size_t i = begin; i < end && !gave_up();) {
        ++work_;
        const TokenTrie::Node& node = nodes[i];
        const std::int32_t reached = next(static_cast<State>(path_[node.depth - 1u]), node.byte);
        if (reached < 0) {
            i = node.subtree_end;
            continue;
        }
        path_[node.depth] = reached;
        visit(i, static_cast<State>(reached));
        ++i;
    }
}

GrammarMatcher::State GrammarMatcher::state_of(std::vector<Place> places) {
    found_ = std::move(places);
    accepting_ = leaves_ = false;
    left_ = 0;
    return intern_state();
}

void GrammarMatcher::add_tokens_at(std::size_t node, std::vector<std::uint64_t>& mask) const {
    for (TokenId token = trie_->nodes()[node].token; token >= 0; token = trie_->twin(token))
        mask[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
}

// The frames above the innermost call, on the bottom; or a loop in place of a repetition. `behind`: what follows their end;
// node 0: nothing.
GrammarMatcher::FrameId GrammarMatcher::localise(FrameId frame, Place& behind, Group& group) {
    const Frame innermost = frames_[frame];
    if (frame > bottom_frame && innermost.kind == Frame::Kind::repeat) {
        behind = {grammar_->nodes()[innermost.node].next, innermost.parent};
        group.counted = true;
        group.least = innermost.a;
        group.most = innermost.b == unlimited ? UINT64_MAX : innermost.b;
        return intern({Frame::Kind::loop, innermost.node, 1, 0, bottom_frame});
    }
    std::vector<Frame> above;
    while (frame != 0 && frames_[frame].kind != Frame::Kind::call && frames_[frame].kind != Frame::Kind::bottom) {
        above.push_back(frames_[frame]);
        frame = frames_[frame].parent;
    }
    if (frame != 0) behind = {frames_[frame].node, frames_[frame].parent};
    FrameId local = frame == 0 ? 0 : bottom_frame;
    for (auto copy = above.rbegin(); copy != above.rend(); ++copy) {
        copy->parent = local;
        local = intern(*copy);
    }
    return local;
}

// All that tokens inside the rule can reach from a place whose frames are local, so that equal texts mean equal automata:
// nodes are numbered as they are met. Nothing for what is too large, and for objects, which hardly recur.
std::optional<std::string> GrammarMatcher::structure(Place place) const {
    std::string text;
    std::vector<std::uint32_t> met;
    const auto number = [&](std::uint64_t value) { text.append(reinterpret_cast<const char*>(&value), sizeof value); };
    const auto meet = [&](std::uint32_t node) {
        const auto at = std::find(met.begin(), met.end(), node);
        number(static_cast<std::uint64_t>(at - met.begin()));
        if (at == met.end()) met.push_back(node);
    };
    meet(place.node);
    const Frame& frame = frames_[place.frame];
    const bool loops = frame.kind == Frame::Kind::loop;
    if (place.frame > bottom_frame && !loops) return std::nullopt;
    number(UINT64_MAX - (loops ? 2 : place.frame)); // an iteration's end, the rule's, or that of everything
    if (loops) meet(grammar_->nodes()[frame.node].target);
    for (std::size_t i = 0; i < met.size(); ++i) {
        if (met.size() > most_shared_nodes) return std::nullopt;
        const GrammarNode& node = grammar_->nodes()[met[i]];
        text += static_cast<char>(node.kind);
        switch (node.kind) {
        case GrammarNode::Kind::bytes:
            text.append(reinterpret_cast<const char*>(&grammar_->set(node)), sizeof(ByteSet));
            meet(node.next);
            break;
        case GrammarNode::Kind::split:
            number(grammar_->targets(node).size());
            for (const std::uint32_t target : grammar_->targets(node)) meet(target);
            break;
        case GrammarNode::Kind::repeat:
            number(node.least);
            number(node.most);
            meet(node.target);
            meet(node.next);
            break;
        case GrammarNode::Kind::call:
            meet(node.target);
            meet(node.next);
            break;
        case GrammarNode::Kind::end: break;
        default: return std::nullopt;
        }
    }
    return text;
}

// Iterations that a loop has begun when a token ends in this state.
std::int32_t GrammarMatcher::begun(State state) {
    Known& known = states_[state];
    if (known.begun != unknown) return known.begun;
    known.begun = known.left; // its next iteration has taken nothing yet
    for (const Place& place : known.places) {
        FrameId frame = place.frame;
        while (frames_[frame].kind != Frame::Kind::loop) frame = frames_[frame].parent;
        const auto iteration = static_cast<std::int32_t>(frames_[frame].a);
        if (known.begun == 0) known.begun = iteration;
        else if (iteration != known.begun && (known.left == 0 || iteration != known.left + 1)) known.begun = -1;
        if (known.begun < 0) break;
    }
    return known.begun;
}

const TokensInside& GrammarMatcher::inside(State local, Place place) {
    if (const auto known = insides_.find(local); known != insides_.end()) return *known->second;
    if (insides_.size() >= most_insides) insides_.clear();
    const auto key = structure(place);
    if (key) {
        if (auto known = trie_->insides().find(*key)) return *insides_.emplace(local, std::move(known)).first->second;
    }
    TokensInside result;
    result.mask.assign((trie_->vocabulary_size() + 63) / 64, 0);
    const bool loops = frames_[place.frame].kind == Frame::Kind::loop;
    const auto nodes = trie_->nodes();
    std::vector<std::pair<std::uint32_t, std::uint16_t>> exits;
    walk(local, 0, nodes.size(), 0, [&](std::size_t i, State reached) {
        add_tokens_at(i, result.mask);
        const std::int32_t iterations = loops ? begun(reached) : 0;
        result.ambiguous = result.ambiguous || iterations < 0;
        if (loops)
            for (TokenId token = nodes[i].token; token >= 0; token = trie_->twin(token)) result.begun.emplace_back(static_cast<std::uint16_t>(iterations), token);
        if (!states_[reached].leaves) return;
        for (std::uint32_t child = static_cast<std::uint32_t>(i) + 1; child < nodes[i].subtree_end; child = nodes[child].subtree_end)
            exits.emplace_back(child, static_cast<std::uint16_t>(states_[reached].left));
    });
    sort_by(result.begun, [](const auto& one) { return one.first; });
    if (result.begun.size() > many_tokens) {
        std::vector<std::uint64_t> up_to_here(result.mask.size(), 0);
        for (auto next = result.begun.begin(); result.few.size() <= few_iterations; result.few.push_back(up_to_here)) {
            for (; next != result.begun.end() && next->first <= result.few.size(); ++next)
                up_to_here[static_cast<std::size_t>(next->second) / 64] |= std::uint64_t{1} << (next->second % 64);
        }
    }
    sort_by(exits, [&](const auto& one) { return nodes[one.first].byte; });
    for (const auto& [exit, left] : exits) {
        ++result.exits_of[nodes[exit].byte + 1u];
        result.exits.push_back(exit);
        if (loops) result.left.push_back(left);
    }
    std::partial_sum(result.exits_of.begin(), result.exits_of.end(), result.exits_of.begin());
    auto kept = std::make_shared<const TokensInside>(std::move(result));
    if (key && !gave_up()) trie_->insides().keep(*key, kept);
    return *insides_.emplace(local, std::move(kept)).first->second;
}

void GrammarMatcher::add_inside(const TokensInside& inside, std::uint64_t most, std::vector<std::uint64_t>& mask) {
    const auto bit = [](TokenId token) { return std::uint64_t{1} << (token % 64); };
    const auto word = [](TokenId token) { return static_cast<std::size_t>(token) / 64; };
    const auto too_many = std::upper_bound(inside.begun.begin(), inside.begun.end(), most, [](std::uint64_t count, const auto& one) { return count < one.first; });
    const std::span fitting(inside.begun.begin(), too_many), others(too_many, inside.begun.end());
    work_ += mask.size() / 16 + std::min(fitting.size(), others.size()) / 8;
    const auto add_all = [&](std::span<const std::uint64_t> tokens) {
        for (std::size_t i = 0; i < mask.size(); ++i) mask[i] |= tokens[i];
    };
    if (most < inside.few.size()) return add_all(inside.few[most]);
    // The shortest way: all at once, one by one, or all but some.
    if (others.empty() && (fitting.empty() || fitting.size() > mask.size())) return add_all(inside.mask);
    if (fitting.size() <= std::max(others.size(), mask.size())) {
        for (const auto& [iterations, token] : fitting) mask[word(token)] |= bit(token);
        return;
    }
    std::vector<std::uint64_t> allowed = inside.mask;
    for (const auto& [iterations, token] : others) allowed[word(token)] &= ~bit(token);
    add_all(allowed);
}

// Adds the tokens that may come at the places of a group.
void GrammarMatcher::add_group(const Group& group, std::vector<std::uint64_t>& mask) {
    const auto nodes = trie_->nodes();
    const auto visit = [&](std::size_t i, State) { add_tokens_at(i, mask); };
    const TokensInside& local = inside(group.local, group.local_place);
    if (local.ambiguous) return walk(state_of(group.places), 0, nodes.size(), 0, visit);
    add_inside(local, group.most, mask);
    if (local.exits.empty() || group.behind.empty()) return;
    for (const Place& place : group.behind) add(place.node, place.frame);
    close();
    const State follows = intern_state();
    for (std::size_t byte = 0; byte < 256; ++byte) {
        if (local.exits_of[byte] == local.exits_of[byte + 1] || next(follows, static_cast<std::uint8_t>(byte)) < 0) continue;
        for (std::uint32_t at = local.exits_of[byte]; at < local.exits_of[byte + 1]; ++at) {
            if (!local.left.empty() && (local.left[at] < group.least || local.left[at] > group.most)) continue;
            const std::uint32_t exit = local.exits[at];
            walk(follows, exit, nodes[exit].subtree_end, nodes[exit].depth - 1u, visit);
        }
    }
}

// Places that are alike within their rules, whatever called these.
std::vector<GrammarMatcher::Group> GrammarMatcher::groups_of(State state) {
    std::vector<Group> groups;
    const std::vector<Place> places = states_[state].places;
    for (const Place& place : places) {
        Group found;
        Place behind{};
        found.local_place = {place.node, localise(place.frame, behind, found)};
        found.local = state_of({found.local_place});
        const auto same = [&](const Group& other) { return other.local == found.local && other.least == found.least && other.most == found.most; };
        auto group = std::find_if(groups.begin(), groups.end(), same);
        if (group == groups.end()) group = groups.insert(group, std::move(found));
        group->places.push_back(place);
        if (behind.node != 0) group->behind.push_back(behind);
        work_ += groups.size() / 8;
    }
    return groups;
}

std::span<const std::uint64_t> GrammarMatcher::mask(State state) {
    if (gave_up()) return {};
    if (states_[state].mask >= 0) return masks_[static_cast<std::size_t>(states_[state].mask)];
    if (masks_.size() >= most_masks) {
        masks_.clear();
        for (Known& known : states_) known.mask = -1;
    }
    std::vector<std::uint64_t> result((trie_->vocabulary_size() + 63) / 64, 0);
    const auto groups = groups_of(state);
    const auto is_narrow = [&](const Group& group) {
        return !group.counted && group.places.size() == 1 && grammar_->set(grammar_->nodes()[group.local_place.node]).count() <= narrow_bytes;
    };
    const bool together = static_cast<std::size_t>(std::count_if(groups.begin(), groups.end(), is_narrow)) >= many_narrow;
    std::vector<Place> narrow;
    for (const Group& group : groups) {
        if (gave_up()) return {};
        if (together && is_narrow(group)) narrow.insert(narrow.end(), group.places.begin(), group.places.end());
        else add_group(group, result);
    }
    if (together) walk(state_of(std::move(narrow)), 0, trie_->nodes().size(), 0, [&](std::size_t i, State) { add_tokens_at(i, result); });
    if (gave_up()) return {};
    if (states_[state].accepting) {
        for (const TokenId token : trie_->end_of_generation())
            result[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
    }
    states_[state].mask = static_cast<std::int32_t>(masks_.size());
    masks_.push_back(std::move(result));
    return masks_.back();
}

} // namespace lucebox::text
