// What the language's operators do with values: Python's rules, in Python's order of precedence over types.
// Every function throws Failure where Python raises, and pays for the work it does.
#pragma once

#include "text/jinja/runtime.h"
#include "text/jinja/syntax.h"

#include <optional>
#include <string>

namespace lucebox::text::jinja {

// The name of a value's type, for error messages.
std::string_view type_name(const Value& value);
// An operation met an undefined value: says what was looked for.
[[noreturn]] void fail_undefined(const Value& value);
[[noreturn]] void fail_type(std::string_view wanted, const Value& value);

bool is_true(const Value& value);
bool equal(Runtime& runtime, const Value& left, const Value& right);
bool compare(Runtime& runtime, Operator op, const Value& left, const Value& right); // eq ... ge
bool contains(Runtime& runtime, const Value& container, const Value& item);
Value arithmetic(Runtime& runtime, Operator op, const Value& left, const Value& right);
Value negate(const Value& value);
Value plus(const Value& value);

// None: the type has no length. Linear for a string that isn't ASCII; the caller pays for that.
std::optional<std::size_t> length(const Value& value);
// The items in order; null if the value can't be iterated over.
Iterator* iterate(Runtime& runtime, const Value& value);
Iterator& iterate_or_fail(Runtime& runtime, const Value& value);
Value to_list(Runtime& runtime, const Value& value);
// Null if the value has no order to reverse.
Iterator* iterate_reversed(Runtime& runtime, const Value& value);

// x.name and x[key]: each falls back to the other's meaning, then to undefined.
Value attribute(Runtime& runtime, const Value& object, const Value& name);
Value item(Runtime& runtime, const Value& object, const Value& key);
// The methods and properties alone; undefined if there is none of that name.
Value own_attribute(Runtime& runtime, const Value& object, const Value& name);
Value slice(Runtime& runtime, const Value& object, const Value& from, const Value& to, const Value& step);
// Null if there is no such key; throws if `key` can't be one.
const Value* find_key(Runtime& runtime, std::span<const Entry> entries, const Value& key);
bool is_hashable(const Value& value);

// str() and repr().
std::string_view to_text(Runtime& runtime, const Value& value);
Value to_string(Runtime& runtime, const Value& value); // the value itself if it is a string
void append_text(Runtime& runtime, std::string& out, const Value& value);
void append_repr(Runtime& runtime, std::string& out, const Value& value);
std::string real_repr(double value);
// & < > " ' as HTML entities, unless `value` is marked safe; the result is.
Value escape_html(Runtime& runtime, const Value& value);

// An integer argument: integers and booleans only.
std::int64_t to_integer(const Value& value);

// "%s of %d" % values, and "{} of {}".format(values).
Value format_percent(Runtime& runtime, const Value& format, const Value& arguments);
Value format_braces(Runtime& runtime, const Value& format, const CallArguments& arguments);

struct JsonStyle {
    bool ensure_ascii = false;
    bool sort_keys = false;
    std::optional<std::string> indent; // one level; none: all on one line
    std::string item_separator = ", ";
    std::string key_separator = ": ";
};
Value to_json(Runtime& runtime, const Value& value, const JsonStyle& style);

} // namespace lucebox::text::jinja
