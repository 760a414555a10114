// A grammar compiled to an automaton over bytes, with a stack for what nests.
//
// Immutable once compiled; any thread. What a client sends costs bounded time and memory: a grammar beyond its budget, or
// one that nothing can satisfy, is refused with a sentence that says why.
#pragma once

#include "base/result.h"
#include "text/chat_template.h"
#include "text/grammar/expression.h"

#include <memory>
#include <string_view>
#include <vector>

namespace lucebox::text {

// One place of the automaton.
struct GrammarNode {
    enum class Kind : std::uint8_t {
        bytes,   // one byte of the set, then `next`
        split,   // any of `targets`
        call,    // `target`, and when that ends, `next`
        repeat,  // `target` from least to most times, then `next`
        members, // of a JSON object: entries in any order, then `next`
        entries, // inside members, behind a comma: an entry that is not there yet
        entry_end, // an entry of members is complete
        end,     // of a rule or a repeated part
    };
    Kind kind = Kind::end;
    std::uint32_t next = 0, target = 0;
    std::uint32_t least = 0, most = 0; // repeat; entry_end: `least` is the member's number
    std::uint32_t set = 0;             // bytes: index of the set; split: of targets; members, entries: of the object
};

struct GrammarObject {
    static constexpr std::size_t most_members = 127;
    std::vector<std::uint32_t> entries;    // node of each member's entry
    std::uint64_t required[2] = {0, 0};    // bits of those that must come
    std::uint32_t other = 0;               // node of an entry with another key; 0: not allowed
    std::uint32_t separator = 0;           // node of the comma, which leads to `entries`
    std::uint32_t next = 0;
};

class Grammar {
public:
    using Pointer = std::shared_ptr<const Grammar>;

    // The subset of JSON Schema 2020-12 described in docs/structured-output.md. What it does not know is refused by name.
    static Result<Pointer> from_json_schema(const Json& schema, const GrammarBudget& budget = {});
    static Result<Pointer> any_json_object(); // "json_object"
    // GBNF: name ::= "literal" [class] (group)* {2,3} other | alternative; the rule `root` is the grammar.
    static Result<Pointer> from_gbnf(std::string_view source, const GrammarBudget& budget = {});
    // All that a builder's rule `root` matches. Throws GrammarTooLarge.
    static Result<Pointer> compile(const ExpressionBuilder& builder, std::uint32_t root);

    const std::vector<GrammarNode>& nodes() const { return nodes_; }
    const ByteSet& set(const GrammarNode& node) const { return sets_[node.set]; }
    const std::vector<std::uint32_t>& targets(const GrammarNode& node) const { return targets_[node.set]; }
    const GrammarObject& object(const GrammarNode& node) const { return objects_[node.set]; }
    std::uint32_t root() const { return root_; }

private:
    friend class GrammarCompiler;
    std::vector<GrammarNode> nodes_;
    std::vector<ByteSet> sets_;
    std::vector<std::vector<std::uint32_t>> targets_;
    std::vector<GrammarObject> objects_;
    std::uint32_t root_ = 0;
};

// What a reader says when its meter runs out.
inline Error too_large(std::string_view what) {
    return {ErrorKind::unsupported, std::string(what) + " is too large.", "Use fewer properties, alternatives or shorter texts and counts."};
}

} // namespace lucebox::text
