// What a grammar says, as a tree: the common form behind JSON Schema, GBNF and regular expressions.
//
// Trees are built by the readers and compiled into a Grammar at once; everything is charged to a meter, so that what a
// client sends costs bounded time and memory.
#pragma once

#include "base/result.h"
#include "text/grammar/meter.h"

#include <bitset>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lucebox::text {

using ByteSet = std::bitset<256>;
constexpr std::uint32_t unlimited = std::numeric_limits<std::uint32_t>::max();

struct Expression;
using ExpressionPointer = std::shared_ptr<const Expression>;

struct Expression {
    enum class Kind { literal, bytes, sequence, alternatives, repeat, rule, members };
    Kind kind = Kind::sequence;
    std::uint32_t depth = 0;               // of the tree below: whoever follows it recurses
    std::string text;                      // literal
    ByteSet bytes;                         // bytes: one of them
    std::vector<ExpressionPointer> parts;  // sequence, alternatives; repeat: one
    std::uint32_t least = 0, most = unlimited; // repeat
    std::uint32_t rule = 0;                // rule: its number

    // members: what stands between the braces of a JSON object, in any order, each at most once.
    struct Member {
        ExpressionPointer entry; // "key": value, white space included
        bool required = false;
    };
    std::vector<Member> members;
    ExpressionPointer other;     // an entry with any other key, any number of times; may be null
    ExpressionPointer separator; // the comma
};

// Builds trees and keeps the rules that they refer to. Throws GrammarTooLarge.
class ExpressionBuilder {
public:
    explicit ExpressionBuilder(const GrammarBudget& budget) : budget_(budget), meter_(budget) {}

    ExpressionPointer literal(std::string text);
    ExpressionPointer bytes(const ByteSet& set);
    ExpressionPointer sequence(std::vector<ExpressionPointer> parts);
    ExpressionPointer alternatives(std::vector<ExpressionPointer> parts); // none: nothing matches
    ExpressionPointer repeat(ExpressionPointer part, std::uint32_t least, std::uint32_t most);
    ExpressionPointer optional(ExpressionPointer part) { return repeat(std::move(part), 0, 1); }
    ExpressionPointer call(std::uint32_t rule);
    ExpressionPointer members(std::vector<Expression::Member> members, ExpressionPointer other, ExpressionPointer separator);
    // One character, in UTF-8, of these inclusive ranges of code points.
    ExpressionPointer characters(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& ranges);

    std::uint32_t new_rule(); // to be defined later
    void define(std::uint32_t rule, ExpressionPointer expression) { rules_[rule] = std::move(expression); }

    const std::vector<ExpressionPointer>& rules() const { return rules_; }
    const GrammarBudget& budget() const { return budget_; }
    GrammarMeter& meter() const { return meter_; }

private:
    ExpressionPointer make(Expression expression);

    const GrammarBudget budget_;
    mutable GrammarMeter meter_;
    std::size_t made_ = 0;
    std::vector<ExpressionPointer> rules_;
};

using CharacterRanges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;
CharacterRanges complement(CharacterRanges ranges); // among all Unicode scalar values

} // namespace lucebox::text
