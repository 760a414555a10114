// Where a text stands in its grammar, and which tokens may come next.
//
// One matcher follows one sequence; one thread. States are numbers that stay valid until the next accept(), so that a tree
// of drafts can be followed with after() before its accepted path is taken with accept().
//
// What it may cost is counted: a grammar that takes more than a fixed amount of work, and what its text has earned token by
// token, is given up, and from then on forbids everything.
//
// A state is a set of places of the automaton, each with its stack. States and what leads from one to the next are kept
// as they are met, so that text of a kind met before costs one table look-up a byte. A mask is put together from two
// parts: which tokens stay inside the innermost rule (kept for that rule, whatever called it, and with the vocabulary for all
// grammars that have such a rule), and for the few that leave it, what comes behind. For a counted repetition this is found
// once for all counts: each token is kept with the repetitions that it begins, each way out with those it leaves behind.
#pragma once

#include "text/grammar/grammar.h"
#include "text/grammar/token_trie.h"

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace lucebox::text {

class GrammarMatcher {
public:
    // `sharers`: how many matchers of one request divide the first allowance among them.
    GrammarMatcher(Grammar::Pointer grammar, TokenTrie::Pointer trie, std::size_t sharers = 1);

    using State = std::uint32_t;
    State state() const { return current_; }
    bool allows(TokenId token) { return after(current_, token).has_value(); }
    // The state behind a token; nothing if the grammar forbids it. End-of-generation tokens leave it as it is.
    std::optional<State> after(State state, TokenId token);
    std::optional<State> after_bytes(State state, std::string_view bytes);
    // Bit `id % 64` of word `id / 64`: the token may come next. Valid until the next call of anything here.
    std::span<const std::uint64_t> mask(State state);
    std::span<const std::uint64_t> mask() { return mask(current_); }
    // Moves on; false (and nothing happens) if the token is forbidden. Invalidates all states.
    bool accept(TokenId token);
    bool accept_bytes(std::string_view bytes);
    // Where the grammar leaves little open: for each of the few bytes that may come, the longest token that it allows, as far as
    // it leaves nothing open. White space that may be left out leaves something open only behind punctuation, where it is usual.
    // Appended to `tokens`: most_suggested at most.
    void suggest(State state, std::vector<TokenId>& tokens);
    static constexpr std::size_t most_suggested = 4;
    bool may_end() const { return states_[current_].accepting; } // the text is complete as it is
    bool must_end() const { return must_end(current_); }
    bool must_end(State state) const { return states_[state].places.empty(); }

    std::size_t states_kept() const { return states_.size(); }
    bool gave_up() const { return work_ > allowance_; }

    // Steps of about 10 ns, where they are dear: a node of the vocabulary's tree, or a part of following a place of the automaton.
    static constexpr std::size_t first_allowance = 4'000'000, allowance_of_a_token = 5'000;

private:
    using FrameId = std::uint32_t;
    struct Frame {
        enum class Kind : std::uint8_t { call, repeat, members, loop, bottom };
        Kind kind = Kind::call;
        std::uint32_t node = 0;       // call: where to go on; repeat, members: the node itself
        // repeat: iterations at least and at most to come; members: those that are there; loop, which stands for a repeat of any
        // counts in what is kept for all: the iterations begun
        std::uint64_t a = 0, b = 0;
        FrameId parent = 0;
        bool operator==(const Frame&) const = default;
    };
    struct Place {
        std::uint32_t node;
        FrameId frame;
        auto operator<=>(const Place&) const = default;
    };
    struct Known {
        std::vector<Place> places; // of bytes nodes, sorted
        bool accepting = false;    // the whole text may end here
        bool leaves = false;       // the frame at the bottom may end here
        std::int32_t left = 0;     // then: the iterations that a loop there has behind it; 0: no loop; -1: it may be several
        std::int32_t begun = -2;   // iterations of that loop; -1: it may be several; -2: not known yet
        std::int32_t mask = -1;    // index of masks_
    };
    struct Hash {
        std::size_t operator()(const Frame& frame) const;
        std::size_t operator()(const std::vector<Place>& places) const;
    };

    struct Group { // of places, for a mask
        State local = 0;
        Place local_place{};
        std::vector<Place> places, behind;
        bool counted = false; // a loop stands for the innermost repetition, of which these are to come:
        std::uint64_t least = 0, most = UINT64_MAX;
    };

    static constexpr FrameId bottom_frame = 1;
    static constexpr std::int32_t dead = -1, unknown = -2;

    FrameId intern(const Frame& frame);
    State intern_state();
    void add(std::uint32_t node, FrameId frame);
    void expand(Place place);
    void enter_repeat(std::uint32_t node, std::uint64_t least, std::uint64_t most, FrameId parent);
    void add_entries(const GrammarObject& object, FrameId frame);
    void entry_ended(const GrammarNode& node, FrameId frame);
    void close();
    std::int32_t next(State state, std::uint8_t byte) {
        const std::int32_t kept = next_[std::size_t{state} * 256 + byte];
        return kept != unknown ? kept : find_next(state, byte);
    }
    std::int32_t find_next(State state, std::uint8_t byte);
    std::int32_t begun(State state);
    ByteSet bytes_ahead(State state, bool with_space) const;
    State state_of(std::vector<Place> places);
    const TokensInside& inside(State local, Place place);
    std::optional<std::string> structure(Place place) const;
    void add_inside(const TokensInside& inside, std::uint64_t most, std::vector<std::uint64_t>& mask);
    std::vector<Group> groups_of(State state);
    void add_group(const Group& group, std::vector<std::uint64_t>& mask);
    void add_tokens_at(std::size_t node, std::vector<std::uint64_t>& mask) const;
    template <class Visit> void walk(State from, std::size_t begin, std::size_t end, std::size_t depth, Visit&& visit);
    FrameId localise(FrameId frame, Place& behind, Group& group);
    void forget();

    const Grammar::Pointer grammar_;
    const TokenTrie::Pointer trie_;
    std::vector<Frame> frames_;
    std::unordered_map<Frame, FrameId, Hash> frame_ids_;
    std::vector<Known> states_;
    std::vector<std::int32_t> next_; // [states, 256]
    std::unordered_map<std::vector<Place>, std::vector<State>, Hash> state_ids_;
    std::vector<std::vector<std::uint64_t>> masks_;
    std::unordered_map<State, InsideCache::Pointer> insides_;
    std::vector<std::int32_t> path_; // of a walk, by depth
    State current_ = 0;
    std::size_t work_ = 0, allowance_ = 0;

    // Of the closure that is being computed.
    std::vector<Place> found_, visited_;
    struct Slot {
        Place place{};
        std::uint32_t closure = 0;
    };
    std::vector<Slot> slots_;    // a hash table of visited_: what bears the number of this closure
    std::uint32_t closure_ = 1;
    bool accepting_ = false, leaves_ = false;
    std::int32_t left_ = 0;
};

} // namespace lucebox::text
