// Truth, equality, order, membership, and arithmetic.
#include "text/jinja/operators.h"

#include "text/jinja/text_functions.h"

#include <cmath>
#include <limits>

namespace lucebox::text::jinja {

std::string_view type_name(const Value& value) {
    switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined: return "undefined";
    case Kind::none: return "None";
    case Kind::boolean: return "bool";
    case Kind::integer: return "int";
    case Kind::real: return "float";
    case Kind::string: return "str";
    case Kind::list: return "list";
    case Kind::tuple: return "tuple";
    case Kind::dict: return "dict";
    case Kind::dict_keys: return "dict_keys";
    case Kind::dict_values: return "dict_values";
    case Kind::dict_items: return "dict_items";
    case Kind::range: return "range";
    case Kind::name_space: return "namespace";
    case Kind::macro: return "macro";
    case Kind::function: return "function";
    case Kind::method: return "method";
    case Kind::loop: return "loop";
    case Kind::iterator: return "generator";
    }
    return "value";
}

void fail_undefined(const Value& value) {
    fail(value.text().empty() ? "an undefined value is used" : std::string(value.text()) + " is undefined");
}

void fail_type(std::string_view wanted, const Value& value) {
    if (value.is_undefined()) fail_undefined(value);
    fail("expected " + std::string(wanted) + ", got " + std::string(type_name(value)));
}

std::int64_t to_integer(const Value& value) {
    if (!value.is_whole()) fail_type("an integer", value);
    return value.as_integer();
}

bool is_true(const Value& value) {
    switch (value.kind()) {
    case Kind::none: return false;
    case Kind::boolean:
    case Kind::integer: return value.as_integer() != 0;
    case Kind::real: return value.as_real() != 0;
    case Kind::string: return !value.text().empty();
    default: break;
    }
    return length(value).value_or(1) != 0;
}

namespace {

[[noreturn]] void fail_operands(std::string_view operation, const Value& left, const Value& right) {
    if (left.is_undefined()) fail_undefined(left);
    if (right.is_undefined()) fail_undefined(right);
    fail("can't apply '" + std::string(operation) + "' to " + std::string(type_name(left)) + " and " +
         std::string(type_name(right)));
}

[[noreturn]] void fail_overflow() { fail("an integer grew past 64 bits"); }

std::string_view sign_of(Operator op) {
    switch (op) {
    case Operator::add: return "+";
    case Operator::sub: return "-";
    case Operator::mul: return "*";
    case Operator::div: return "/";
    case Operator::floor_div: return "//";
    case Operator::mod: return "%";
    case Operator::pow: return "**";
    case Operator::eq: return "==";
    case Operator::ne: return "!=";
    case Operator::lt: return "<";
    case Operator::le: return "<=";
    case Operator::gt: return ">";
    case Operator::ge: return ">=";
    case Operator::in: return "in";
    case Operator::not_in: return "not in";
    }
    return "?";
}

template <class T>
bool ordered(Operator op, const T& left, const T& right) {
    switch (op) {
    case Operator::lt: return left < right;
    case Operator::le: return left <= right;
    case Operator::gt: return left > right;
    case Operator::ge: return left >= right;
    case Operator::eq: return left == right;
    default: return left != right;
    }
}

// An int compares exactly with a float: long double holds every value of both.
static_assert(std::numeric_limits<long double>::digits >= 63);

bool compare_numbers(Operator op, const Value& left, const Value& right) {
    if (left.is_whole() && right.is_whole()) return ordered(op, left.as_integer(), right.as_integer());
    const auto exact = [](const Value& v) {
        return v.is_whole() ? static_cast<long double>(v.as_integer()) : static_cast<long double>(v.as_real());
    };
    return ordered(op, exact(left), exact(right));
}

bool equal_items(Runtime& runtime, std::span<const Value> left, std::span<const Value> right) {
    if (left.size() != right.size()) return false;
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (!equal(runtime, left[i], right[i])) return false;
    }
    return true;
}

bool equal_entries(Runtime& runtime, std::span<const Entry> left, std::span<const Entry> right) {
    if (left.size() != right.size()) return false;
    for (const Entry& entry : left) {
        const Value* other = find_key(runtime, right, entry.key);
        if (other == nullptr || !equal(runtime, entry.value, *other)) return false;
    }
    return true;
}

bool equal_ranges(const Range& left, const Range& right) {
    if (left.count != right.count) return false;
    if (left.count == 0) return true;
    return left.start == right.start && (left.count == 1 || left.step == right.step);
}

bool compare_items(Runtime& runtime, Operator op, std::span<const Value> left, std::span<const Value> right) {
    const std::size_t common = std::min(left.size(), right.size());
    for (std::size_t i = 0; i < common; ++i) {
        if (!equal(runtime, left[i], right[i])) return compare(runtime, op, left[i], right[i]);
    }
    return ordered(op, left.size(), right.size());
}

} // namespace

bool equal(Runtime& runtime, const Value& left, const Value& right) {
    const Nesting nesting(runtime.meter());
    runtime.meter().charge(1);
    if (left.is_number() && right.is_number()) return compare_numbers(Operator::eq, left, right);
    if (left.kind() != right.kind()) return false;
    switch (left.kind()) {
    case Kind::missing:
    case Kind::undefined:
    case Kind::none: return true;
    case Kind::string:
        runtime.meter().charge_bytes(std::min(left.text().size(), right.text().size()));
        return left.text() == right.text();
    case Kind::list:
    case Kind::tuple: return equal_items(runtime, left.items(), right.items());
    case Kind::dict: return equal_entries(runtime, left.entries(), right.entries());
    case Kind::range: return equal_ranges(left.as_range(), right.as_range());
    case Kind::method: {
        const Method& a = left.as_method();
        const Method& b = right.as_method();
        return a.builtin == b.builtin && a.receiver.identity() == b.receiver.identity();
    }
    default: return left.identity() == right.identity();
    }
}

bool compare(Runtime& runtime, Operator op, const Value& left, const Value& right) {
    if (op == Operator::eq) return equal(runtime, left, right);
    if (op == Operator::ne) return !equal(runtime, left, right);
    const Nesting nesting(runtime.meter());
    runtime.meter().charge(1);
    if (left.is_number() && right.is_number()) return compare_numbers(op, left, right);
    if (left.is_string() && right.is_string()) {
        // The order of UTF-8 bytes is the order of code points.
        runtime.meter().charge_bytes(std::min(left.text().size(), right.text().size()));
        return ordered(op, left.text(), right.text());
    }
    if (left.kind() == right.kind() && left.is_list_or_tuple()) {
        return compare_items(runtime, op, left.items(), right.items());
    }
    fail_operands(sign_of(op), left, right);
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
    switch (container.kind()) {
    case Kind::string:
        if (!item.is_string()) fail_operands("in", item, container);
        return find_text(runtime, container.text(), item.text()) != std::string_view::npos;
    case Kind::dict:
    case Kind::dict_keys: return find_key(runtime, container.entries(), item) != nullptr;
    default: break;
    }
    Iterator* it = iterate(runtime, container);
    if (it == nullptr) fail_operands("in", item, container);
    Value candidate;
    while (runtime.next(*it, candidate)) {
        if (equal(runtime, candidate, item)) return true;
    }
    return false;
}

bool is_hashable(const Value& value) {
    if (value.is(Kind::list) || value.has_entries()) return false;
    if (!value.is(Kind::tuple)) return true;
    for (const Value& item : value.items()) {
        // A nested tuple is a key in theory; nobody's template has one, and its depth is unbounded.
        if (!is_hashable(item) || item.is(Kind::tuple)) return false;
    }
    return true;
}

const Value* find_key(Runtime& runtime, std::span<const Entry> entries, const Value& key) {
    if (key.is_string()) {
        const std::string_view text = key.text();
        runtime.meter().charge(1 + entries.size() / 16);
        for (const Entry& entry : entries) {
            if (entry.key.is_string() && entry.key.text() == text) return &entry.value;
        }
        return nullptr;
    }
    if (!is_hashable(key)) fail(std::string(type_name(key)) + " can't be a key");
    for (const Entry& entry : entries) {
        if (equal(runtime, entry.key, key)) return &entry.value;
    }
    return nullptr;
}

namespace {

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
    const std::int64_t quotient = a / b;
    return a % b != 0 && (a % b < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_modulo(std::int64_t a, std::int64_t b) {
    const std::int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_modulo(double a, double b) {
    const double rest = std::fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest == 0 ? std::copysign(0.0, b) : rest;
}

double floor_divide(double a, double b) {
    const double rest = std::fmod(a, b);
    double quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(0.0, a / b);
    const double floored = std::floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
    std::int64_t result = 1;
    while (true) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
        exponent >>= 1;
        if (exponent == 0) return result;
        if (__builtin_mul_overflow(base, base, &base)) {
            // Only a result of +-1 or 0 survives a base that overflows, and those bases never do.
            fail_overflow();
        }
    }
}

Value integer_arithmetic(Operator op, std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    switch (op) {
    case Operator::add:
        if (__builtin_add_overflow(a, b, &result)) fail_overflow();
        return Value::integer(result);
    case Operator::sub:
        if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
        return Value::integer(result);
    case Operator::mul:
        if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
        return Value::integer(result);
    case Operator::div:
        if (b == 0) fail("division by zero");
        return Value::real(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Operator::floor_div:
    case Operator::mod:
        if (b == 0) fail("division by zero");
        if (b == -1) { // the machine's division overflows for the smallest integer
            if (op == Operator::mod) return Value::integer(0);
            return integer_arithmetic(Operator::sub, 0, a);
        }
        return Value::integer(op == Operator::mod ? floor_modulo(a, b) : floor_divide(a, b));
    default:
        if (b >= 0) return Value::integer(integer_power(a, b));
        if (a == 0) fail("division by zero");
        return Value::real(std::pow(static_cast<double>(a), static_cast<double>(b)));
    }
}

Value real_arithmetic(Operator op, double a, double b) {
    switch (op) {
    case Operator::add: return Value::real(a + b);
    case Operator::sub: return Value::real(a - b);
    case Operator::mul: return Value::real(a * b);
    case Operator::div:
    case Operator::floor_div:
    case Operator::mod:
        if (b == 0) fail("division by zero");
        if (op == Operator::div) return Value::real(a / b);
        return Value::real(op == Operator::mod ? floor_modulo(a, b) : floor_divide(a, b));
    default: {
        if (a == 0 && b < 0) fail("division by zero");
        const double power = std::pow(a, b);
        if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) fail("a power that is no real number");
        if (std::isinf(power) && !std::isinf(a) && !std::isinf(b)) fail("a power too large for a float");
        return Value::real(power);
    }
    }
}

Value add_strings(Runtime& runtime, Value left, Value right) {
    const bool markup = left.is_markup() || right.is_markup();
    if (markup) { // what isn't marked safe is escaped on its way into what is
        left = escape_html(runtime, left);
        right = escape_html(runtime, right);
    }
    return Value::string(runtime.heap().concatenate(left.text(), right.text()), left.is_ascii() && right.is_ascii(),
                         markup);
}

Value add_lists(Runtime& runtime, const Value& left, const Value& right) {
    const auto a = left.items();
    const auto b = right.items();
    runtime.meter().check_size((a.size() + b.size()) * sizeof(Value));
    const auto sum = runtime.heap().make_array<Value>(a.size() + b.size());
    std::copy(a.begin(), a.end(), sum.begin());
    std::copy(b.begin(), b.end(), sum.begin() + static_cast<std::ptrdiff_t>(a.size()));
    return left.is(Kind::list) ? Value::list(sum) : Value::tuple(sum);
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t times) {
    const std::size_t size = value.is_string() ? value.text().size() : value.items().size() * sizeof(Value);
    const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
    if (size > 0 && count > std::numeric_limits<std::size_t>::max() / size) fail("repeated too often");
    runtime.meter().check_size(size * count);
    if (value.is_string()) {
        runtime.meter().charge_bytes(size * count);
        std::string out;
        out.reserve(size * count);
        for (std::size_t i = 0; i < count && size > 0; ++i) out += value.text();
        return Value::string(runtime.heap().copy(out), value.is_ascii(), value.is_markup());
    }
    const auto items = value.items();
    const auto out = runtime.heap().make_array<Value>(items.size() * count);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = items[i % items.size()];
    return value.is(Kind::list) ? Value::list(out) : Value::tuple(out);
}

bool is_sequence(const Value& value) { return value.is_string() || value.is_list_or_tuple(); }

} // namespace

Value arithmetic(Runtime& runtime, Operator op, const Value& left, const Value& right) {
    if (left.is_whole() && right.is_whole()) return integer_arithmetic(op, left.as_integer(), right.as_integer());
    if (left.is_number() && right.is_number()) return real_arithmetic(op, left.as_real(), right.as_real());
    if (op == Operator::add && left.kind() == right.kind()) {
        if (left.is_string()) return add_strings(runtime, left, right);
        if (left.is_list_or_tuple()) return add_lists(runtime, left, right);
    }
    if (op == Operator::mul && is_sequence(left) && right.is_whole()) return repeat(runtime, left, right.as_integer());
    if (op == Operator::mul && left.is_whole() && is_sequence(right)) return repeat(runtime, right, left.as_integer());
    if (op == Operator::mod && left.is_string()) return format_percent(runtime, left, right);
    fail_operands(sign_of(op), left, right);
}

Value negate(const Value& value) {
    if (value.is_whole()) return integer_arithmetic(Operator::sub, 0, value.as_integer());
    if (value.is(Kind::real)) return Value::real(-value.as_real());
    fail_type("a number", value);
}

Value plus(const Value& value) {
    if (value.is_whole()) return Value::integer(value.as_integer());
    if (value.is(Kind::real)) return value;
    fail_type("a number", value);
}

} // namespace lucebox::text::jinja
