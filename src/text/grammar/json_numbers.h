// Decimal numbers between bounds, as expressions. Private to text/grammar.
#pragma once

#include "text/grammar/expression.h"

#include <cstdint>
#include <optional>

namespace lucebox::text {

struct NumberBounds {
    std::optional<double> low, high;
    bool low_open = false, high_open = false; // the bound itself is out
    bool any() const { return low || high; }
};

// Integers without leading zeros. Null if no integer lies between the bounds.
ExpressionPointer integers_between(const NumberBounds& bounds, ExpressionBuilder& builder);
// Decimals with or without a fraction and without exponent. Null if there is none.
ExpressionPointer decimals_between(const NumberBounds& bounds, ExpressionBuilder& builder);
// Integers that `divisor` divides.
ExpressionPointer multiples_of(std::uint32_t divisor, ExpressionBuilder& builder);
// Any JSON integer, any JSON number.
ExpressionPointer any_integer(ExpressionBuilder& builder);
ExpressionPointer any_number(ExpressionBuilder& builder);

} // namespace lucebox::text
