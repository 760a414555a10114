// Filters on single values, and the table of all filters.
#include "text/jinja/filters.h"

#include "text/jinja/table.h"
#include "text/jinja/text_functions.h"

#include <cmath>
#include <cstdio>

namespace lucebox::text::jinja {
namespace filters {
namespace {

// A float to an int, towards zero; NaN and infinities are for the caller to refuse.
std::int64_t to_whole(double value) {
    if (!(std::abs(value) < 9.2e18)) fail("an integer grew past 64 bits");
    return static_cast<std::int64_t>(value);
}

// Half to even at a decimal place, of the exact binary value: what Python's round() does, and correctly rounded
// printing, too.
double round_decimal(double value, std::int64_t places) {
    if (!std::isfinite(value) || places > 330) return value;
    if (places < -330) return std::copysign(0.0, value);
    if (places < 0) {
        const double unit = std::pow(10.0, static_cast<double>(-places));
        return std::nearbyint(value / unit) * unit;
    }
    std::string digits(static_cast<std::size_t>(places) + 330, '\0');
    const int size = std::snprintf(digits.data(), digits.size(), "%.*f", static_cast<int>(places), value);
    digits.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return parse_real(digits).value_or(value);
}

Value round_integer(std::int64_t value, std::int64_t places) {
    if (places >= 0) return Value::integer(value);
    if (places < -18) return Value::integer(0);
    std::int64_t unit = 1;
    for (; places < 0; ++places) unit *= 10;
    const std::int64_t rest = ((value % unit) + unit) % unit;
    const std::int64_t down = value - rest;
    const bool up = rest * 2 > unit || (rest * 2 == unit && (down / unit) % 2 != 0);
    std::int64_t result = down;
    if (up && __builtin_add_overflow(down, unit, &result)) fail("an integer grew past 64 bits");
    return Value::integer(result);
}

} // namespace

Value absolute(Runtime&, const Call& call) {
    const Value& value = call.receiver;
    if (!value.is_number()) fail_type("a number", value);
    if (value.is(Kind::real)) return Value::real(std::abs(value.as_real()));
    return value.as_integer() < 0 ? negate(value) : Value::integer(value.as_integer());
}

Value attribute(Runtime& runtime, const Call& call) {
    const Value name = Value::string(string_argument(call[0], "attr"));
    if (call.receiver.is(Kind::dict) && find_method(Kind::dict, name.text()) == nullptr) return Value::undefined();
    return own_attribute(runtime, call.receiver, name);
}

Value count(Runtime& runtime, const Call& call) {
    if (call.receiver.is_string()) runtime.meter().charge_bytes(call.receiver.text().size());
    if (call.receiver.is(Kind::loop)) return own_attribute(runtime, call.receiver, Value::string("length"));
    const auto size = length(call.receiver);
    if (!size) fail(std::string(type_name(call.receiver)) + " has no length");
    return Value::size(*size);
}

Value default_value(Runtime&, const Call& call) {
    const bool replaced = call.receiver.is_undefined() || (flag(call[1]) && !is_true(call.receiver));
    return replaced ? value_or(call[0], Value::string("")) : call.receiver;
}

Value integer(Runtime&, const Call& call) {
    const Value& value = call.receiver;
    const Value otherwise = value_or(call[0], Value::integer(0));
    if (value.is_undefined()) fail_undefined(value);
    if (value.is_whole()) return Value::integer(value.as_integer());
    if (value.is(Kind::real)) {
        if (std::isinf(value.as_real())) fail("infinity is no integer");
        return std::isnan(value.as_real()) ? otherwise : Value::integer(to_whole(value.as_real()));
    }
    if (!value.is_string()) return otherwise;
    const auto base = call.has(1) ? to_integer(call[1]) : 10;
    if (const auto whole = parse_integer(value.text(), static_cast<int>(std::clamp<std::int64_t>(base, -1, 99)))) {
        return Value::integer(*whole);
    }
    const auto real = parse_real(value.text());
    return real && std::isfinite(*real) ? Value::integer(to_whole(*real)) : otherwise;
}

Value floating(Runtime&, const Call& call) {
    const Value& value = call.receiver;
    if (value.is_undefined()) fail_undefined(value);
    if (value.is_number()) return Value::real(value.as_real());
    const auto real = value.is_string() ? parse_real(value.text()) : std::nullopt;
    return real ? Value::real(*real) : value_or(call[0], Value::real(0));
}

Value round(Runtime&, const Call& call) {
    const Value& value = call.receiver;
    if (!value.is_number()) fail_type("a number", value);
    const std::int64_t places = call.has(0) ? to_integer(call[0]) : 0;
    const std::string_view method = call.has(1) ? string_argument(call[1], "round") : "common";
    if (method == "common") {
        if (value.is_whole()) return round_integer(value.as_integer(), places);
        return Value::real(round_decimal(value.as_real(), places));
    }
    if (method != "ceil" && method != "floor") fail("'round' knows the methods common, ceil and floor");
    const double unit = std::pow(10.0, static_cast<double>(places));
    const double scaled = value.as_real() * unit;
    return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

} // namespace filters

namespace {

constexpr std::uint8_t variadic = Builtin::variadic;

constexpr Builtin table[] = {
    {"abs", filters::absolute, 0, 0, {}},
    {"attr", filters::attribute, 1, 1, {"name"}},
    {"batch", filters::batch, 1, 2, {"linecount", "fill_with"}},
    {"capitalize", filters::capitalize, 0, 0, {}},
    {"center", filters::center, 0, 1, {"width"}},
    {"count", filters::count, 0, 0, {}},
    {"d", filters::default_value, 0, 2, {"default_value", "boolean"}},
    {"default", filters::default_value, 0, 2, {"default_value", "boolean"}},
    {"dictsort", filters::dict_sort, 0, 3, {"case_sensitive", "by", "reverse"}},
    {"e", filters::escape, 0, 0, {}},
    {"escape", filters::escape, 0, 0, {}},
    {"first", filters::first, 0, 0, {}},
    {"float", filters::floating, 0, 1, {"default"}},
    {"forceescape", filters::force_escape, 0, 0, {}},
    {"format", filters::format, 0, variadic, {}},
    {"groupby", filters::group_by, 1, 3, {"attribute", "default", "case_sensitive"}},
    {"indent", filters::indent, 0, 3, {"width", "first", "blank"}},
    {"int", filters::integer, 0, 2, {"default", "base"}},
    {"items", filters::items, 0, 0, {}},
    {"join", filters::join, 0, 2, {"d", "attribute"}},
    {"last", filters::last, 0, 0, {}},
    {"length", filters::count, 0, 0, {}},
    {"list", filters::list, 0, 0, {}},
    {"lower", filters::lower, 0, 0, {}},
    {"map", filters::map, 0, variadic, {}},
    {"max", filters::maximum, 0, 2, {"case_sensitive", "attribute"}},
    {"min", filters::minimum, 0, 2, {"case_sensitive", "attribute"}},
    {"reject", filters::reject, 0, variadic, {}},
    {"rejectattr", filters::reject_attribute, 0, variadic, {}},
    {"replace", filters::replace, 2, 3, {"old", "new", "count"}},
    {"reverse", filters::reverse, 0, 0, {}},
    {"round", filters::round, 0, 2, {"precision", "method"}},
    {"safe", filters::safe, 0, 0, {}},
    {"select", filters::select, 0, variadic, {}},
    {"selectattr", filters::select_attribute, 0, variadic, {}},
    {"slice", filters::slice, 1, 2, {"slices", "fill_with"}},
    {"sort", filters::sort, 0, 3, {"reverse", "case_sensitive", "attribute"}},
    {"string", filters::string, 0, 0, {}},
    {"sum", filters::sum, 0, 2, {"attribute", "start"}},
    {"title", filters::title, 0, 0, {}},
    {"tojson", filters::to_json, 0, 4, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", filters::trim, 0, 1, {"chars"}},
    {"truncate", filters::truncate, 0, 4, {"length", "killwords", "end", "leeway"}},
    {"unique", filters::unique, 0, 2, {"case_sensitive", "attribute"}},
    {"upper", filters::upper, 0, 0, {}},
    {"urlencode", filters::urlencode, 0, 0, {}},
    {"wordcount", filters::word_count, 0, 0, {}},
};
static_assert(is_sorted_by_name(table));

} // namespace

const Builtin* find_filter(std::string_view name) { return find_by_name(table, name); }

} // namespace lucebox::text::jinja
