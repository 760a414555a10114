#include "text/grammar/json_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

namespace lucebox::text {
namespace {

ByteSet digits(char low, char high) {
    ByteSet set;
    for (char c = low; c <= high; ++c) set.set(static_cast<unsigned char>(c));
    return set;
}

// Non-negative decimals: whole digits without leading zeros, fraction digits without trailing ones.
struct Decimal {
    std::string whole = "0", fraction;
};

Decimal decimal_of(double value) {
    std::string text = fmt::format("{:.20f}", value);
    if (std::abs(value) < 1e15) {
        const std::string shortest = fmt::format("{}", value); // 0.1, not 0.1000000000000000055
        if (shortest.find('e') == std::string::npos) text = shortest;
    }
    Decimal result;
    const std::size_t point = text.find('.');
    result.whole = text.substr(0, point);
    if (point != std::string::npos) result.fraction = text.substr(point + 1);
    while (!result.fraction.empty() && result.fraction.back() == '0') result.fraction.pop_back();
    return result;
}

class Ranges {
public:
    explicit Ranges(ExpressionBuilder& builder) : b_(builder) {}

    ExpressionPointer any_digits(std::size_t count) {
        const auto n = static_cast<std::uint32_t>(count);
        return b_.repeat(b_.bytes(digits('0', '9')), n, n);
    }

    // Numbers of as many digits as both texts have, from `low` to `high`.
    ExpressionPointer same_length(std::string_view low, std::string_view high) {
        if (low.empty()) return b_.literal("");
        if (low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos) return any_digits(low.size());
        if (low[0] == high[0])
            return b_.sequence({b_.literal(std::string(low.substr(0, 1))), same_length(low.substr(1), high.substr(1))});
        std::vector<ExpressionPointer> parts;
        const std::string nines(low.size() - 1, '9'), zeros(low.size() - 1, '0');
        parts.push_back(b_.sequence({b_.literal(std::string(low.substr(0, 1))), same_length(low.substr(1), nines)}));
        if (low[0] + 1 < high[0])
            parts.push_back(b_.sequence({b_.bytes(digits(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1))), any_digits(low.size() - 1)}));
        parts.push_back(b_.sequence({b_.literal(std::string(high.substr(0, 1))), same_length(zeros, high.substr(1))}));
        return b_.alternatives(std::move(parts));
    }

    // Whole numbers from `low` to `high` (none: no end), without leading zeros. Null if low > high.
    ExpressionPointer wholes(std::string low, const std::optional<std::string>& high) {
        std::vector<ExpressionPointer> parts;
        const auto greater = [](const std::string& a, const std::string& b) { return a.size() != b.size() ? a.size() > b.size() : a > b; };
        if (high && greater(low, *high)) return nullptr;
        const std::size_t most = high ? high->size() : low.size();
        for (std::size_t size = low.size(); size <= most; ++size) {
            const std::string first = size == low.size() ? low : "1" + std::string(size - 1, '0');
            const std::string last = high && size == most ? *high : std::string(size, '9');
            parts.push_back(same_length(first, last));
        }
        if (!high) // longer ones
            parts.push_back(b_.sequence({b_.bytes(digits('1', '9')),
                                         b_.repeat(b_.bytes(digits('0', '9')), static_cast<std::uint32_t>(low.size()), unlimited)}));
        return b_.alternatives(std::move(parts));
    }

    // Fraction digits (the point included, or nothing at all) at least `low`, and at most `high` if given.
    // `tight_low`, `tight_high`: whether the digits so far equal those of the bound.
    ExpressionPointer fraction(const std::string& low, bool low_open, const std::optional<std::string>& high, bool high_open) {
        std::vector<ExpressionPointer> parts;
        const bool zero_is_in = (low.empty() && !low_open) && (!high || !high->empty() || !high_open);
        if (zero_is_in) parts.push_back(b_.literal(""));
        if (auto rest = fraction_digits(low, true, low_open, high.value_or(""), high.has_value(), high_open, true))
            parts.push_back(b_.sequence({b_.literal("."), std::move(rest)}));
        return parts.empty() ? nullptr : b_.alternatives(std::move(parts));
    }

private:
    // What may follow; `first`: at least one digit must. Null: nothing can.
    ExpressionPointer fraction_digits(std::string_view low, bool tight_low, bool low_open, std::string_view high, bool tight_high,
                                      bool high_open, bool first) {
        auto any = b_.repeat(b_.bytes(digits('0', '9')), first ? 1 : 0, unlimited);
        if (tight_low && low.empty() && !low_open) tight_low = false; // whatever follows is enough
        if (!tight_low && !tight_high) return any;
        if (tight_low && low.empty() && !tight_high) // more than what is written already
            return b_.sequence({b_.repeat(b_.literal("0"), 0, unlimited), b_.bytes(digits('1', '9')), b_.repeat(b_.bytes(digits('0', '9')), 0, unlimited)});
        std::vector<ExpressionPointer> parts;
        // Ending here: the digits so far are the value.
        if (!first && !(tight_low && (!low.empty() || low_open)) && !(tight_high && high.empty() && high_open))
            parts.push_back(b_.literal(""));
        if (tight_high && high.empty()) { // only zeros keep the value from growing
            const bool may_stay = !high_open && !(tight_low && (!low.empty() || low_open));
            if (may_stay) parts.push_back(b_.repeat(b_.literal("0"), first ? 1 : 0, unlimited));
            return parts.empty() ? nullptr : b_.alternatives(std::move(parts));
        }
        const char least = tight_low && !low.empty() ? low[0] : '0', most = tight_high ? high[0] : '9';
        if (least > most) return parts.empty() ? nullptr : b_.alternatives(std::move(parts));
        const std::string_view low_rest = low.empty() ? low : low.substr(1), high_rest = high.empty() ? high : high.substr(1);
        const auto add = [&](char from, char to, bool at_low, bool at_high) {
            if (from > to) return;
            if (auto rest = fraction_digits(at_low ? low_rest : "", at_low, low_open, at_high ? high_rest : "", at_high, high_open, false))
                parts.push_back(b_.sequence({b_.bytes(digits(from, to)), std::move(rest)}));
        };
        const bool at_low = tight_low, at_high = tight_high;
        if (least == most) {
            add(least, most, at_low, at_high);
        } else {
            const char from = static_cast<char>(at_low ? least + 1 : least), to = static_cast<char>(at_high ? most - 1 : most);
            if (at_low) add(least, least, true, false);
            add(from, to, false, false);
            if (at_high) add(most, most, false, true);
        }
        return parts.empty() ? nullptr : b_.alternatives(std::move(parts));
    }

    ExpressionBuilder& b_;
};

std::string plus_one(std::string whole) {
    for (std::size_t i = whole.size(); i-- > 0;) {
        if (whole[i] != '9') {
            ++whole[i];
            return whole;
        }
        whole[i] = '0';
    }
    return "1" + whole;
}
std::optional<std::string> minus_one(std::string whole) {
    if (whole == "0") return std::nullopt;
    for (std::size_t i = whole.size(); i-- > 0;) {
        if (whole[i] != '0') {
            --whole[i];
            break;
        }
        whole[i] = '9';
    }
    if (whole.size() > 1 && whole[0] == '0') whole.erase(0, 1);
    return whole;
}

// Magnitudes from low to high (none: no end).
ExpressionPointer magnitudes(double low, bool low_open, std::optional<double> high, bool high_open, bool integers, ExpressionBuilder& builder) {
    Ranges ranges(builder);
    Decimal least = decimal_of(low);
    std::optional<Decimal> most;
    if (high) most = decimal_of(*high);
    if (integers) {
        if (!least.fraction.empty() || low_open) least.whole = plus_one(least.whole);
        std::optional<std::string> last;
        if (most) {
            last = most->whole;
            if (most->fraction.empty() && high_open) last = minus_one(most->whole);
            if (!last) return nullptr;
        }
        return ranges.wholes(least.whole, last);
    }
    if (high && (*high < low || (*high == low && (low_open || high_open)))) return nullptr;
    std::vector<ExpressionPointer> parts;
    const auto add = [&](ExpressionPointer whole, ExpressionPointer fraction) {
        if (whole && fraction) parts.push_back(builder.sequence({std::move(whole), std::move(fraction)}));
    };
    if (most && most->whole == least.whole) {
        add(builder.literal(least.whole), ranges.fraction(least.fraction, low_open, most->fraction, high_open));
    } else {
        add(builder.literal(least.whole), ranges.fraction(least.fraction, low_open, std::nullopt, false));
        const auto last = most ? minus_one(most->whole) : std::nullopt;
        if (!most || last) add(ranges.wholes(plus_one(least.whole), last), ranges.fraction("", false, std::nullopt, false));
        if (most) add(builder.literal(most->whole), ranges.fraction("", false, most->fraction, high_open));
    }
    return parts.empty() ? nullptr : builder.alternatives(std::move(parts));
}

ExpressionPointer numbers_between(const NumberBounds& bounds, bool integers, ExpressionBuilder& builder) {
    std::vector<ExpressionPointer> parts;
    const bool may_be_positive = !bounds.high || *bounds.high > 0 || (*bounds.high == 0 && !bounds.high_open);
    if (may_be_positive) {
        const bool has_low = bounds.low && *bounds.low >= 0;
        if (auto part = magnitudes(has_low ? *bounds.low : 0, has_low && bounds.low_open, bounds.high, bounds.high_open, integers, builder))
            parts.push_back(std::move(part));
    }
    if (!bounds.low || *bounds.low < 0) {
        const bool has_high = bounds.high && *bounds.high <= 0;
        std::optional<double> most;
        if (bounds.low) most.emplace(-*bounds.low);
        // A magnitude of zero with a sign is zero too, and belongs where zero does.
        auto part = magnitudes(has_high ? -*bounds.high : 0, has_high && bounds.high_open, most, bounds.low_open, integers, builder);
        if (part) parts.push_back(builder.sequence({builder.literal("-"), std::move(part)}));
    }
    return parts.empty() ? nullptr : builder.alternatives(std::move(parts));
}

} // namespace

ExpressionPointer integers_between(const NumberBounds& bounds, ExpressionBuilder& builder) {
    return numbers_between(bounds, true, builder);
}
ExpressionPointer decimals_between(const NumberBounds& bounds, ExpressionBuilder& builder) {
    return numbers_between(bounds, false, builder);
}

// One rule for each remainder: reading a digit d leads from r to (10 r + d) mod divisor.
ExpressionPointer multiples_of(std::uint32_t divisor, ExpressionBuilder& builder) {
    std::vector<std::uint32_t> rules;
    for (std::uint32_t r = 0; r < divisor; ++r) rules.push_back(builder.new_rule());
    const auto step = [&](std::uint32_t r, char first) {
        std::vector<ExpressionPointer> parts;
        for (char c = first; c <= '9'; ++c)
            parts.push_back(builder.sequence({builder.literal(std::string(1, c)), builder.call(rules[(10 * r + static_cast<std::uint32_t>(c - '0')) % divisor])}));
        return parts;
    };
    for (std::uint32_t r = 0; r < divisor; ++r) {
        auto parts = step(r, '0');
        if (r == 0) parts.push_back(builder.literal(""));
        builder.define(rules[r], builder.alternatives(std::move(parts)));
    }
    return builder.alternatives({builder.literal("0"), builder.sequence({builder.optional(builder.literal("-")), builder.alternatives(step(0, '1'))})});
}

ExpressionPointer any_integer(ExpressionBuilder& b) {
    return b.sequence({b.optional(b.literal("-")),
                       b.alternatives({b.literal("0"), b.sequence({b.bytes(digits('1', '9')), b.repeat(b.bytes(digits('0', '9')), 0, unlimited)})})});
}

ExpressionPointer any_number(ExpressionBuilder& b) {
    const auto more = [&] { return b.repeat(b.bytes(digits('0', '9')), 1, unlimited); };
    ByteSet e, sign;
    e.set('e').set('E');
    sign.set('+').set('-');
    return b.sequence({any_integer(b), b.optional(b.sequence({b.literal("."), more()})),
                       b.optional(b.sequence({b.bytes(e), b.optional(b.bytes(sign)), b.repeat(b.bytes(digits('0', '9')), 1, 3)}))});
}

} // namespace lucebox::text
