// The methods of Python's str.
#include "text/jinja/table.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace lucebox::text::jinja {
namespace {

std::string_view self(const Call& call) { return call.receiver.text(); }

Value result(Runtime& runtime, const Call& call, std::string_view text) {
    return runtime.text(text, call.receiver.is_markup());
}

std::int64_t integer_or(const Value& value, std::int64_t otherwise) {
    return value.is_missing() ? otherwise : to_integer(value);
}

Value list_of(Runtime& runtime, const Call& call, const std::vector<std::string_view>& parts) {
    ListBuilder list(runtime);
    for (const std::string_view part : parts) list.push(part_of(call.receiver, part));
    return list.list();
}

// A part of the text between two character positions (parameters 1 and 2), as find() and startswith() take them.
struct Window {
    Value text;
    std::int64_t begin; // characters before it
    bool valid;         // false: it begins behind the end of the text, where not even "" is found
};

Window window(Runtime& runtime, const Call& call) {
    if (!call.has(1) && !call.has(2)) return {call.receiver, 0, true};
    const auto bound = [&](std::size_t i) { return call.has(i) ? call[i] : Value::none(); };
    runtime.meter().charge_bytes(self(call).size());
    const auto size = static_cast<std::int64_t>(*length(call.receiver));
    std::int64_t begin = bound(1).is(Kind::none) ? 0 : to_integer(bound(1));
    if (begin < 0) begin = std::max<std::int64_t>(begin + size, 0);
    std::int64_t end = bound(2).is(Kind::none) ? size : to_integer(bound(2));
    if (end < 0) end = std::max<std::int64_t>(end + size, 0);
    return {slice(runtime, call.receiver, bound(1), bound(2), Value::none()), begin, begin <= std::min(end, size)};
}

template <bool Start>
Value starts_or_ends(Runtime& runtime, const Call& call) {
    const Window part = window(runtime, call);
    const auto matches = [&](const Value& affix) {
        const std::string_view text = string_argument(affix, "startswith' or 'endswith");
        runtime.meter().charge_bytes(text.size());
        if (!part.valid) return false;
        return Start ? part.text.text().starts_with(text) : part.text.text().ends_with(text);
    };
    if (!call[0].is(Kind::tuple)) return Value::boolean(matches(call[0]));
    for (const Value& affix : call[0].items()) {
        if (matches(affix)) return Value::boolean(true);
    }
    return Value::boolean(false);
}

std::int64_t find_position(Runtime& runtime, const Call& call, bool last) {
    const std::string_view needle = string_argument(call[0], "find' or 'index");
    const Window part = window(runtime, call);
    if (!part.valid) return -1;
    const std::string_view text = part.text.text();
    const std::size_t at = last ? find_last_text(runtime, text, needle) : find_text(runtime, text, needle);
    if (at == std::string_view::npos) return -1;
    return part.begin + static_cast<std::int64_t>(count_characters(text.substr(0, at)));
}

template <bool Last>
Value find(Runtime& runtime, const Call& call) {
    return Value::integer(find_position(runtime, call, Last));
}

template <bool Last>
Value index(Runtime& runtime, const Call& call) {
    const std::int64_t at = find_position(runtime, call, Last);
    if (at < 0) fail("the text to find is not there");
    return Value::integer(at);
}

Value count(Runtime& runtime, const Call& call) {
    const std::string_view needle = string_argument(call[0], "count");
    const Window part = window(runtime, call);
    if (!part.valid) return Value::integer(0);
    const std::string_view text = part.text.text();
    if (needle.empty()) return Value::size(count_characters(text) + 1);
    std::int64_t found = 0;
    for (std::size_t at = find_text(runtime, text, needle); at != std::string_view::npos;
         at = find_text(runtime, text, needle, at + needle.size())) {
        ++found;
    }
    return Value::integer(found);
}

template <Sides S>
Value strip_method(Runtime& runtime, const Call& call) {
    return part_of(call.receiver, strip(runtime, self(call), call[0], S));
}

template <Sides S>
Value pad_method(Runtime& runtime, const Call& call) {
    const std::string_view fill = call.has(1) ? text_for(runtime, call.receiver, call[1], "a fill character") : " ";
    return result(runtime, call, pad(runtime, call.receiver, to_integer(call[0]), fill, S));
}

Value zfill(Runtime& runtime, const Call& call) {
    const std::string_view text = self(call);
    const bool sign = text.starts_with('-') || text.starts_with('+');
    const Value digits = part_of(call.receiver, text.substr(sign ? 1 : 0));
    const std::int64_t width = to_integer(call[0]) - (sign ? 1 : 0);
    return result(runtime, call, std::string(text.substr(0, sign ? 1 : 0)) + pad(runtime, digits, width, "0", Sides::left));
}

template <std::vector<std::string_view> (*Split)(Runtime&, std::string_view, const Value&, std::int64_t)>
Value split_method(Runtime& runtime, const Call& call) {
    return list_of(runtime, call, Split(runtime, self(call), call[0], integer_or(call[1], -1)));
}

Value splitlines(Runtime& runtime, const Call& call) {
    return list_of(runtime, call, split_lines(runtime, self(call), call.has(0) && is_true(call[0])));
}

template <bool Last>
Value partition(Runtime& runtime, const Call& call) {
    const std::string_view needle = string_argument(call[0], "partition");
    if (needle.empty()) fail("the separator is empty");
    const std::string_view text = self(call);
    const std::size_t at = Last ? find_last_text(runtime, text, needle) : find_text(runtime, text, needle);
    const Value empty = part_of(call.receiver, {});
    if (at == std::string_view::npos) {
        const Value none_found[] = {Last ? empty : call.receiver, empty, Last ? call.receiver : empty};
        return runtime.tuple(none_found);
    }
    const Value parts[] = {part_of(call.receiver, text.substr(0, at)),
                           part_of(call.receiver, text.substr(at, needle.size())),
                           part_of(call.receiver, text.substr(at + needle.size()))};
    return runtime.tuple(parts);
}

Value replace_method(Runtime& runtime, const Call& call) {
    const std::string_view from = string_argument(call[0], "replace");
    const std::string_view to = text_for(runtime, call.receiver, call[1], "replace");
    return result(runtime, call, replace(runtime, self(call), from, to, integer_or(call[2], -1)));
}

Value join(Runtime& runtime, const Call& call) {
    Iterator& it = iterate_or_fail(runtime, call[0]);
    std::string out;
    Value item;
    for (bool first = true; runtime.next(it, item); first = false) {
        const std::string_view text = text_for(runtime, call.receiver, item, "join");
        runtime.meter().charge_bytes(text.size() + self(call).size());
        runtime.meter().check_size(out.size() + text.size() + self(call).size());
        if (!first) out += self(call);
        out += text;
    }
    return result(runtime, call, out);
}

template <bool Suffix>
Value remove_affix(Runtime&, const Call& call) {
    std::string_view text = self(call);
    const std::string_view affix = string_argument(call[0], "removeprefix' or 'removesuffix");
    if (!Suffix && text.starts_with(affix)) text.remove_prefix(affix.size());
    if (Suffix && text.ends_with(affix)) text.remove_suffix(affix.size());
    return part_of(call.receiver, text);
}

template <std::string (*Map)(std::string_view)>
Value mapped(Runtime& runtime, const Call& call) {
    runtime.meter().charge_characters(self(call).size());
    return result(runtime, call, Map(self(call)));
}

std::string swap_case(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = character_size(text, i);
        const std::string_view character = text.substr(i, size);
        out += is_upper(decode(character)) ? to_lower(character) : to_upper(character);
        i += size;
    }
    return out;
}

// True if the text isn't empty and every character passes.
template <bool (*Test)(CodePoint)>
Value all_characters(Runtime& runtime, const Call& call) {
    const std::string_view text = self(call);
    runtime.meter().charge_characters(text.size());
    for (std::size_t i = 0; i < text.size(); i += character_size(text, i)) {
        if (!Test(decode(text.substr(i, character_size(text, i))))) return Value::boolean(false);
    }
    return Value::boolean(!text.empty());
}

// True if there are cased letters and all of them are of that case.
template <bool Upper>
Value is_case(Runtime& runtime, const Call& call) {
    const std::string_view text = self(call);
    runtime.meter().charge_characters(text.size());
    bool found = false;
    for (std::size_t i = 0; i < text.size(); i += character_size(text, i)) {
        const CodePoint c = decode(text.substr(i, character_size(text, i)));
        if (Upper ? is_lower(c) : is_upper(c)) return Value::boolean(false);
        found = found || (Upper ? is_upper(c) : is_lower(c));
    }
    return Value::boolean(found);
}

Value isascii(Runtime& runtime, const Call& call) {
    runtime.meter().charge_bytes(self(call).size());
    return Value::boolean(is_ascii(self(call)));
}

Value isprintable(Runtime& runtime, const Call& call) {
    return self(call).empty() ? Value::boolean(true) : all_characters<is_printable>(runtime, call);
}

Value istitle(Runtime& runtime, const Call& call) {
    runtime.meter().charge_characters(self(call).size());
    const std::string titled = title_case(self(call));
    return Value::boolean(titled == self(call) && to_lower(titled) != to_upper(titled));
}

Value format(Runtime& runtime, const Call& call) { return format_braces(runtime, call.receiver, call.raw); }

constexpr Builtin methods[] = {
    {"capitalize", mapped<capitalize>, 0, 0, {}},
    {"casefold", mapped<to_lower>, 0, 0, {}},
    {"center", pad_method<Sides::both>, 1, 2, {}},
    {"count", count, 1, 3, {}},
    {"endswith", starts_or_ends<false>, 1, 3, {}},
    {"find", find<false>, 1, 3, {}},
    {"format", format, 0, Builtin::variadic, {}},
    {"index", index<false>, 1, 3, {}},
    {"isalnum", all_characters<is_alphanumeric>, 0, 0, {}},
    {"isalpha", all_characters<is_alpha>, 0, 0, {}},
    {"isascii", isascii, 0, 0, {}},
    {"isdecimal", all_characters<is_digit>, 0, 0, {}},
    {"isdigit", all_characters<is_digit>, 0, 0, {}},
    {"islower", is_case<false>, 0, 0, {}},
    {"isnumeric", all_characters<is_digit>, 0, 0, {}},
    {"isprintable", isprintable, 0, 0, {}},
    {"isspace", all_characters<is_space>, 0, 0, {}},
    {"istitle", istitle, 0, 0, {}},
    {"isupper", is_case<true>, 0, 0, {}},
    {"join", join, 1, 1, {}},
    {"ljust", pad_method<Sides::right>, 1, 2, {}},
    {"lower", mapped<to_lower>, 0, 0, {}},
    {"lstrip", strip_method<Sides::left>, 0, 1, {}},
    {"partition", partition<false>, 1, 1, {}},
    {"removeprefix", remove_affix<false>, 1, 1, {}},
    {"removesuffix", remove_affix<true>, 1, 1, {}},
    {"replace", replace_method, 2, 3, {}},
    {"rfind", find<true>, 1, 3, {}},
    {"rindex", index<true>, 1, 3, {}},
    {"rjust", pad_method<Sides::left>, 1, 2, {}},
    {"rpartition", partition<true>, 1, 1, {}},
    {"rsplit", split_method<split_from_right>, 0, 2, {"sep", "maxsplit"}},
    {"rstrip", strip_method<Sides::right>, 0, 1, {}},
    {"split", split_method<split>, 0, 2, {"sep", "maxsplit"}},
    {"splitlines", splitlines, 0, 1, {"keepends"}},
    {"startswith", starts_or_ends<true>, 1, 3, {}},
    {"strip", strip_method<Sides::both>, 0, 1, {}},
    {"swapcase", mapped<swap_case>, 0, 0, {}},
    {"title", mapped<title_case>, 0, 0, {}},
    {"upper", mapped<to_upper>, 0, 0, {}},
    {"zfill", zfill, 1, 1, {}},
};
static_assert(is_sorted_by_name(methods));

} // namespace

const Builtin* find_string_method(std::string_view name) { return find_by_name(methods, name); }

} // namespace lucebox::text::jinja
