// The filters, spread over three files by what they work on; filters.cpp has the table of all.
#pragma once

#include "text/jinja/operators.h"

namespace lucebox::text::jinja {

// A parameter that may be missing.
inline Value value_or(const Value& value, const Value& otherwise) { return value.is_missing() ? otherwise : value; }
inline bool flag(const Value& value) { return !value.is_missing() && is_true(value); }

namespace filters {

using Filter = Value(Runtime& runtime, const Call& call);

// filters_text.cpp
Filter capitalize, center, escape, force_escape, format, indent, lower, replace, safe, string, title, to_json, trim,
    truncate, upper, urlencode, word_count;
// filters_sequence.cpp
Filter batch, dict_sort, first, group_by, items, join, last, list, maximum, minimum, reverse, slice, sort, sum, unique;
// filters_lazy.cpp
Filter map, reject, reject_attribute, select, select_attribute;
// filters.cpp
Filter absolute, attribute, count, default_value, floating, integer, round;

} // namespace filters

// The value at a path such as "function.name" or 0, as attribute= arguments give it.
class AttributePath {
public:
    // `path`: missing or none for the value itself.
    AttributePath(Runtime& runtime, const Value& path);
    // `otherwise` replaces what is undefined on the way; missing: nothing does.
    Value get(Runtime& runtime, Value value, const Value& otherwise = Value::missing()) const;

private:
    std::span<const Value> parts_;
};

// Strings in lower case, everything else as it is: how sorting and comparing filters look at values by default.
Value fold_case(Runtime& runtime, const Value& value);

} // namespace lucebox::text::jinja
