// Regular expressions, as JSON Schema's `pattern` uses them (ECMA 262, without what needs backtracking), into expressions.
//
// No engine runs them: they become part of the grammar's automaton, whose time is linear in the text.
#pragma once

#include "text/grammar/expression.h"

#include <functional>
#include <string_view>

namespace lucebox::text {

// What stands for one character of these code points in the text: JSON strings escape some of them.
using CharacterWriter = std::function<ExpressionPointer(const CharacterRanges& ranges)>;

// A string of which some part matches: without ^ or $ anything may stand around it.
Result<ExpressionPointer> read_pattern(std::string_view pattern, ExpressionBuilder& builder, const CharacterWriter& write);

} // namespace lucebox::text
