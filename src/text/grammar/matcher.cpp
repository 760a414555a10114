#include "text/grammar/matcher.h"

#include <algorithm>
#include <numeric>

namespace lucebox::text {
namespace {

// A grammar that needs more alternatives at once than this loses the rest: hostile ones only.
constexpr std::size_t most_places = 1024;
// Beyond these the kept states are forgotten and met anew: about 20 MB.
constexpr std::size_t most_states = 8192, most_frames = 200'000, most_masks = 256;
constexpr std::size_t most_insides = 64;
constexpr std::size_t most_shared_nodes = 48; // of a rule that is looked for among those of other grammars; the text of a string has about twenty

constexpr std::int32_t dead = -1, unknown = -2;

std::size_t mix(std::size_t hash, std::uint64_t value) {
    hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
    return hash * 0xBF58476D1CE4E5B9u;
}

bool has(std::uint64_t a, std::uint64_t b, std::size_t member) {
    return ((member < 64 ? a >> member : b >> (member - 64)) & 1) != 0;
}

} // namespace

std::size_t GrammarMatcher::Hash::operator()(const Frame& frame) const {
    std::size_t hash = mix(static_cast<std::size_t>(frame.kind), frame.node);
    return mix(mix(mix(hash, frame.a), frame.b), frame.parent);
}
std::size_t GrammarMatcher::Hash::operator()(const std::vector<Place>& places) const {
    std::size_t hash = places.size();
    for (const Place& place : places) hash = mix(hash, std::uint64_t{place.node} << 32 | place.frame);
    return hash;
}

GrammarMatcher::GrammarMatcher(Grammar::Pointer grammar, TokenTrie::Pointer trie)
    : grammar_(std::move(grammar)), trie_(std::move(trie)) {
    forget();
    add(grammar_->root(), 0);
    close();
    current_ = intern_state();
}

// Forgets all states; the frames of the two ends stay.
void GrammarMatcher::forget() {
    states_.clear();
    state_ids_.clear();
    masks_.clear();
    insides_.clear();
    frames_.assign(2, {});
    frames_[bottom_frame].kind = Frame::Kind::bottom;
    frame_ids_.clear();
    path_.assign(trie_->most_bytes() + 2, dead);
}

GrammarMatcher::FrameId GrammarMatcher::intern(const Frame& frame) {
    const auto [at, is_new] = frame_ids_.try_emplace(frame, static_cast<FrameId>(frames_.size()));
    if (is_new) frames_.push_back(frame);
    return at->second;
}

GrammarMatcher::State GrammarMatcher::intern_state() {
    std::sort(found_.begin(), found_.end());
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    auto& candidates = state_ids_[found_];
    for (const State state : candidates)
        if (states_[state].accepting == accepting_ && states_[state].leaves == leaves_) return state;
    const auto state = static_cast<State>(states_.size());
    candidates.push_back(state);
    Known known;
    known.places = found_;
    known.accepting = accepting_;
    known.leaves = leaves_;
    states_.push_back(std::move(known));
    return state;
}

void GrammarMatcher::add(std::uint32_t node, FrameId frame) {
    const Place place{node, frame};
    if (visited_.size() >= most_places || std::find(visited_.begin(), visited_.end(), place) != visited_.end()) return;
    visited_.push_back(place);
}

// Follows everything that takes no byte, from what add() collected.
void GrammarMatcher::close() {
    found_.clear();
    accepting_ = leaves_ = false;
    for (std::size_t i = 0; i < visited_.size(); ++i) expand(visited_[i]);
    visited_.clear();
}

void GrammarMatcher::expand(Place place) {
    const GrammarNode& node = grammar_->nodes()[place.node];
    switch (node.kind) {
    case GrammarNode::Kind::bytes: found_.push_back(place); return;
    case GrammarNode::Kind::split:
        for (const std::uint32_t target : grammar_->targets(node)) add(target, place.frame);
        return;
    case GrammarNode::Kind::call:
        // What ends right behind the call need not come back here.
        if (grammar_->nodes()[node.next].kind == GrammarNode::Kind::end) return add(node.target, place.frame);
        return add(node.target, intern({Frame::Kind::call, node.next, 0, 0, place.frame}));
    case GrammarNode::Kind::repeat: return enter_repeat(place.node, node.least, node.most, place.frame);
    case GrammarNode::Kind::members: {
        const GrammarObject& object = grammar_->object(node);
        if (object.required[0] == 0 && object.required[1] == 0) add(object.next, place.frame);
        return add_entries(object, intern({Frame::Kind::members, place.node, 0, 0, place.frame}));
    }
    case GrammarNode::Kind::entries: return add_entries(grammar_->object(node), place.frame);
    case GrammarNode::Kind::entry_end: return entry_ended(node, place.frame);
    case GrammarNode::Kind::end: break;
    }
    if (place.frame == 0) {
        accepting_ = true;
        return;
    }
    const Frame frame = frames_[place.frame];
    if (frame.kind == Frame::Kind::bottom) {
        leaves_ = true;
    } else if (frame.kind == Frame::Kind::call) {
        add(frame.node, frame.parent);
    } else if (frame.kind == Frame::Kind::repeat) {
        enter_repeat(frame.node, frame.a > 0 ? frame.a - 1 : 0, frame.b == unlimited ? frame.b : frame.b - 1, frame.parent);
    }
}

void GrammarMatcher::enter_repeat(std::uint32_t node, std::uint64_t least, std::uint64_t most, FrameId parent) {
    const GrammarNode& repeat = grammar_->nodes()[node];
    if (least == 0) add(repeat.next, parent);
    if (most > 0) add(repeat.target, intern({Frame::Kind::repeat, node, least, most, parent}));
}

void GrammarMatcher::add_entries(const GrammarObject& object, FrameId frame) {
    const std::uint64_t a = frames_[frame].a, b = frames_[frame].b;
    for (std::size_t i = 0; i < object.entries.size(); ++i)
        if (object.entries[i] != 0 && !has(a, b, i)) add(object.entries[i], frame);
    if (object.other != 0) add(object.other, frame);
}

void GrammarMatcher::entry_ended(const GrammarNode& node, FrameId frame_id) {
    const GrammarObject& object = grammar_->object(node);
    Frame frame = frames_[frame_id];
    if (node.least < 64) frame.a |= std::uint64_t{1} << node.least;
    else if (node.least < GrammarObject::most_members) frame.b |= std::uint64_t{1} << (node.least - 64);
    if ((object.required[0] & ~frame.a) == 0 && (object.required[1] & ~frame.b) == 0) add(object.next, frame.parent);
    bool more = object.other != 0;
    for (std::size_t i = 0; i < object.entries.size() && !more; ++i)
        more = object.entries[i] != 0 && !has(frame.a, frame.b, i);
    if (more) add(object.separator, intern(frame));
}

std::int32_t GrammarMatcher::next(State state, std::uint8_t byte) {
    if (!states_[state].next) {
        states_[state].next = std::make_unique<std::array<std::int32_t, 256>>();
        states_[state].next->fill(unknown);
    }
    if (const std::int32_t kept = (*states_[state].next)[byte]; kept != unknown) return kept;
    for (const Place& place : states_[state].places) {
        const GrammarNode& node = grammar_->nodes()[place.node];
        if (grammar_->set(node)[byte]) add(node.next, place.frame);
    }
    close();
    const std::int32_t result =
        found_.empty() && !accepting_ && !leaves_ ? dead : static_cast<std::int32_t>(intern_state());
    (*states_[state].next)[byte] = result;
    return result;
}

std::optional<GrammarMatcher::State> GrammarMatcher::after(State state, TokenId token) {
    if (token < 0 || static_cast<std::size_t>(token) >= trie_->vocabulary_size()) return std::nullopt;
    if (trie_->is_end(token)) return states_[state].accepting ? std::optional(state) : std::nullopt;
    const std::string_view bytes = trie_->bytes(token);
    return bytes.empty() ? std::nullopt : after_bytes(state, bytes);
}

std::optional<GrammarMatcher::State> GrammarMatcher::after_bytes(State state, std::string_view bytes) {
    for (const char byte : bytes) {
        const std::int32_t reached = next(state, static_cast<std::uint8_t>(byte));
        if (reached < 0) return std::nullopt;
        state = static_cast<State>(reached);
    }
    return state;
}

bool GrammarMatcher::accept(TokenId token) {
    const auto reached = after(current_, token);
    if (!reached) return false;
    current_ = *reached;
    if (states_.size() <= most_states && frames_.size() <= most_frames) return true;
    // Meet the current state anew, with frames of its own.
    const Known now = std::move(states_[current_]);
    const std::vector<Frame> old = std::move(frames_);
    forget();
    std::unordered_map<FrameId, FrameId> moved{{0, 0}, {bottom_frame, bottom_frame}};
    found_.clear();
    for (const Place& place : now.places) {
        std::vector<FrameId> chain;
        for (FrameId frame = place.frame; !moved.contains(frame); frame = old[frame].parent) chain.push_back(frame);
        for (auto frame = chain.rbegin(); frame != chain.rend(); ++frame) {
            Frame copy = old[*frame];
            copy.parent = moved.at(copy.parent);
            moved[*frame] = intern(copy);
        }
        found_.push_back({place.node, moved.at(place.frame)});
    }
    accepting_ = now.accepting;
    leaves_ = false;
    current_ = intern_state();
    return true;
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
    const auto reached = after_bytes(current_, bytes);
    if (reached) current_ = *reached;
    return reached.has_value();
}

// Runs over trie nodes [begin, end), whose parent is at `depth` and in state `from`.
template <class Visit>
void GrammarMatcher::walk(State from, std::size_t begin, std::size_t end, std::size_t depth, Visit&& visit) {
    const auto nodes = trie_->nodes();
    path_[depth] = static_cast<std::int32_t>(from);
    for (std::size_t i = begin; i < end;) {
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

// Copies the frames above the innermost call onto the bottom, with counts that no token can reach made equal.
GrammarMatcher::FrameId GrammarMatcher::localise(FrameId frame, FrameId& caller) {
    std::vector<Frame> above;
    while (frame != 0 && frames_[frame].kind != Frame::Kind::call && frames_[frame].kind != Frame::Kind::bottom) {
        above.push_back(frames_[frame]);
        frame = frames_[frame].parent;
    }
    caller = frame;
    FrameId local = frame == 0 ? 0 : bottom_frame;
    const std::uint64_t enough = trie_->most_bytes() + 1;
    for (auto copy = above.rbegin(); copy != above.rend(); ++copy) {
        copy->parent = local;
        if (copy->kind == Frame::Kind::repeat) {
            copy->a = std::min(copy->a, enough);
            if (copy->b > enough) copy->b = unlimited;
        }
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
    FrameId frame = place.frame;
    for (; frame > bottom_frame; frame = frames_[frame].parent) {
        if (frames_[frame].kind != Frame::Kind::repeat) return std::nullopt;
        meet(frames_[frame].node);
        number(frames_[frame].a);
        number(frames_[frame].b);
    }
    number(UINT64_MAX - frame); // the end of the rule, or of everything
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

const TokensInside& GrammarMatcher::inside(State local, Place place) {
    if (const auto known = insides_.find(local); known != insides_.end()) return *known->second;
    if (insides_.size() >= most_insides) insides_.clear();
    const auto key = structure(place);
    if (key) {
        if (auto known = trie_->insides().find(*key)) return *insides_.emplace(local, std::move(known)).first->second;
    }
    TokensInside result;
    result.mask.assign((trie_->vocabulary_size() + 63) / 64, 0);
    const auto nodes = trie_->nodes();
    std::vector<std::uint32_t> exits;
    walk(local, 0, nodes.size(), 0, [&](std::size_t i, State reached) {
        const TokenTrie::Node& node = nodes[i];
        for (TokenId token = node.token; token >= 0; token = trie_->twin(token))
            result.mask[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
        if (!states_[reached].leaves) return;
        for (std::uint32_t child = static_cast<std::uint32_t>(i) + 1; child < node.subtree_end; child = nodes[child].subtree_end) exits.push_back(child);
    });
    for (const std::uint32_t exit : exits) ++result.exits_of[nodes[exit].byte + 1u];
    std::partial_sum(result.exits_of.begin(), result.exits_of.end(), result.exits_of.begin());
    auto place_of = result.exits_of;
    result.exits.resize(exits.size());
    for (const std::uint32_t exit : exits) result.exits[place_of[nodes[exit].byte]++] = exit;
    auto kept = std::make_shared<const TokensInside>(std::move(result));
    if (key) trie_->insides().keep(*key, kept);
    return *insides_.emplace(local, std::move(kept)).first->second;
}

std::span<const std::uint64_t> GrammarMatcher::mask(State state) {
    if (states_[state].mask >= 0) return masks_[static_cast<std::size_t>(states_[state].mask)];
    if (masks_.size() >= most_masks) {
        masks_.clear();
        for (Known& known : states_) known.mask = -1;
    }
    std::vector<std::uint64_t> result((trie_->vocabulary_size() + 63) / 64, 0);
    const auto nodes = trie_->nodes();
    const std::vector<Place> places = states_[state].places;
    for (const Place& place : places) {
        FrameId caller = 0;
        const FrameId local_frame = localise(place.frame, caller);
        found_ = {{place.node, local_frame}};
        accepting_ = leaves_ = false;
        const TokensInside& local = inside(intern_state(), {place.node, local_frame});
        for (std::size_t word = 0; word < result.size(); ++word) result[word] |= local.mask[word];
        if (local.exits.empty() || caller == 0) continue;
        add(frames_[caller].node, frames_[caller].parent);
        close();
        const State behind = intern_state();
        for (std::size_t byte = 0; byte < 256; ++byte) {
            if (local.exits_of[byte] == local.exits_of[byte + 1] || next(behind, static_cast<std::uint8_t>(byte)) < 0) continue;
            for (std::uint32_t at = local.exits_of[byte]; at < local.exits_of[byte + 1]; ++at) {
                const std::uint32_t exit = local.exits[at];
                walk(behind, exit, nodes[exit].subtree_end, nodes[exit].depth - 1u, [&](std::size_t i, State) {
                    for (TokenId token = nodes[i].token; token >= 0; token = trie_->twin(token))
                        result[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
                });
            }
        }
    }
    if (states_[state].accepting) {
        for (const TokenId token : trie_->end_of_generation())
            result[static_cast<std::size_t>(token) / 64] |= std::uint64_t{1} << (token % 64);
    }
    states_[state].mask = static_cast<std::int32_t>(masks_.size());
    masks_.push_back(std::move(result));
    return masks_.back();
}

} // namespace lucebox::text
