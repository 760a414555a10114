#include "text/grammar/matcher.h"

#include <algorithm>

namespace lucebox::text {
namespace {

// A grammar that needs more alternatives at once than this loses the rest: hostile ones only.
constexpr std::size_t most_places = 1024, closure_slots = 4 * most_places;
// Beyond these the kept states are forgotten and met anew: about 20 MB.
constexpr std::size_t most_states = 8192, most_frames = 200'000;
// Steps of work; see first_allowance.
constexpr std::size_t work_of_place = 2, work_of_frame = 15, work_of_state = 20;

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

GrammarMatcher::GrammarMatcher(Grammar::Pointer grammar, TokenTrie::Pointer trie, std::size_t sharers)
    : grammar_(std::move(grammar)), trie_(std::move(trie)), allowance_(first_allowance / sharers) {
    forget();
    add(grammar_->root(), 0);
    close();
    current_ = intern_state();
}

// Forgets all states; the frames of the two ends stay.
void GrammarMatcher::forget() {
    states_.clear();
    next_.clear();
    state_ids_.clear();
    masks_.clear();
    insides_.clear();
    frames_.assign(2, {});
    frames_[bottom_frame].kind = Frame::Kind::bottom;
    frame_ids_.clear();
    slots_.resize(closure_slots);
    path_.assign(trie_->most_bytes() + 2, dead);
}

GrammarMatcher::FrameId GrammarMatcher::intern(const Frame& frame) {
    const auto [at, is_new] = frame_ids_.try_emplace(frame, static_cast<FrameId>(frames_.size()));
    if (is_new) {
        frames_.push_back(frame);
        work_ += work_of_frame;
    }
    return at->second;
}

GrammarMatcher::State GrammarMatcher::intern_state() {
    std::sort(found_.begin(), found_.end());
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    auto& candidates = state_ids_[found_];
    for (const State state : candidates)
        if (states_[state].accepting == accepting_ && states_[state].leaves == leaves_ && states_[state].left == left_) return state;
    const auto state = static_cast<State>(states_.size());
    candidates.push_back(state);
    Known known;
    known.places = found_;
    known.accepting = accepting_;
    known.leaves = leaves_;
    known.left = left_;
    const std::size_t known_places = known.places.size();
    states_.push_back(std::move(known));
    next_.resize(next_.size() + 256, unknown);
    work_ += work_of_state + 3 * known_places; // which were sorted
    return state;
}

void GrammarMatcher::add(std::uint32_t node, FrameId frame) {
    const Place place{node, frame};
    if (visited_.size() >= most_places) return;
    for (std::size_t i = mix(node, frame);; ++i) {
        Slot& slot = slots_[i % closure_slots];
        if (slot.closure == closure_ && slot.place == place) return;
        if (slot.closure == closure_) continue;
        slot = {place, closure_};
        break;
    }
    visited_.push_back(place);
    work_ += work_of_place;
}

// Follows everything that takes no byte, from what add() collected.
void GrammarMatcher::close() {
    found_.clear();
    accepting_ = leaves_ = false;
    left_ = 0;
    for (std::size_t i = 0; i < visited_.size() && !gave_up(); ++i) expand(visited_[i]);
    visited_.clear();
    ++closure_;
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
    } else if (frame.kind == Frame::Kind::loop) {
        const auto iterations = static_cast<std::int32_t>(frame.a);
        left_ = leaves_ && left_ != iterations ? -1 : iterations;
        leaves_ = true;
        add(grammar_->nodes()[frame.node].target, intern({Frame::Kind::loop, frame.node, frame.a + 1, 0, frame.parent}));
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

std::int32_t GrammarMatcher::find_next(State state, std::uint8_t byte) {
    if (gave_up()) return dead;
    work_ += states_[state].places.size();
    for (const Place& place : states_[state].places) {
        const GrammarNode& node = grammar_->nodes()[place.node];
        if (grammar_->set(node)[byte]) add(node.next, place.frame);
    }
    close();
    const std::int32_t result =
        found_.empty() && !accepting_ && !leaves_ ? dead : static_cast<std::int32_t>(intern_state());
    next_[std::size_t{state} * 256 + byte] = result;
    return result;
}

std::optional<GrammarMatcher::State> GrammarMatcher::after(State state, TokenId token) {
    if (gave_up() || token < 0 || static_cast<std::size_t>(token) >= trie_->vocabulary_size()) return std::nullopt;
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
    allowance_ += allowance_of_a_token;
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
    left_ = 0;
    current_ = intern_state();
    return true;
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
    const auto reached = after_bytes(current_, bytes);
    if (reached) current_ = *reached;
    return reached.has_value();
}

} // namespace lucebox::text
