// Filters that make text.
#include "text/jinja/filters.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace lucebox::text::jinja::filters {
namespace {

Value mapped(Runtime& runtime, const Call& call, std::string (*map)(std::string_view)) {
    const Value text = jinja::to_string(runtime, call.receiver);
    runtime.meter().charge_characters(text.text().size());
    return runtime.text(map(text.text()), text.is_markup());
}

// Like str.title, but a word begins only behind one of these characters: "they're" has one capital.
std::string title_words(std::string_view text) {
    std::string out;
    bool begins = true;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = character_size(text, i);
        const std::string_view character = text.substr(i, size);
        const CodePoint c = decode(character);
        const bool separates = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
        out += separates ? std::string(character) : begins ? to_upper(character) : to_lower(character);
        begins = separates;
        i += size;
    }
    return out;
}

std::int64_t integer_or(const Value& value, std::int64_t otherwise) {
    return value.is_missing() ? otherwise : to_integer(value);
}

std::int64_t limit_of(const Value& value) {
    return value.is_missing() || value.is(Kind::none) ? -1 : to_integer(value);
}

} // namespace

Value capitalize(Runtime& runtime, const Call& call) { return mapped(runtime, call, jinja::capitalize); }
Value lower(Runtime& runtime, const Call& call) { return mapped(runtime, call, to_lower); }
Value upper(Runtime& runtime, const Call& call) { return mapped(runtime, call, to_upper); }
Value title(Runtime& runtime, const Call& call) { return mapped(runtime, call, title_words); }

Value string(Runtime& runtime, const Call& call) { return to_string(runtime, call.receiver); }

Value safe(Runtime& runtime, const Call& call) {
    const Value text = to_string(runtime, call.receiver);
    return Value::string(text.text(), text.is_ascii(), true);
}

Value escape(Runtime& runtime, const Call& call) { return escape_html(runtime, call.receiver); }

Value force_escape(Runtime& runtime, const Call& call) {
    const Value text = to_string(runtime, call.receiver);
    return escape_html(runtime, Value::string(text.text(), text.is_ascii()));
}

Value trim(Runtime& runtime, const Call& call) {
    const Value text = to_string(runtime, call.receiver);
    return part_of(text, strip(runtime, text.text(), call[0], Sides::both));
}

Value center(Runtime& runtime, const Call& call) {
    const Value text = to_string(runtime, call.receiver);
    return runtime.text(pad(runtime, text, integer_or(call[0], 80), " ", Sides::both), text.is_markup());
}

Value replace(Runtime& runtime, const Call& call) {
    const Value text = to_string(runtime, call.receiver);
    const std::string_view from = to_text(runtime, call[0]);
    const std::string_view to = text.is_markup() ? escape_html(runtime, call[1]).text() : to_text(runtime, call[1]);
    return runtime.text(jinja::replace(runtime, text.text(), from, to, limit_of(call[2])), text.is_markup());
}

Value format(Runtime& runtime, const Call& call) {
    const Value text = to_string(runtime, call.receiver);
    if (call.raw.named.empty()) return format_percent(runtime, text, Value::tuple(call.raw.positional));
    if (!call.raw.positional.empty()) fail("'format' takes positional or named arguments, not both");
    return format_percent(runtime, text, Value::dict(call.raw.named));
}

Value indent(Runtime& runtime, const Call& call) {
    const std::string_view text = string_argument(call.receiver, "indent");
    const Value width = value_or(call[0], Value::integer(4));
    const Value indentation =
        width.is_string() ? width : arithmetic(runtime, Operator::mul, Value::string(" "), width);
    if (!width.is_string()) to_integer(width);
    const bool blank = flag(call[2]);
    std::string out;
    const auto put = [&](std::string_view piece) {
        runtime.meter().charge_bytes(piece.size());
        runtime.meter().check_size(out.size() + piece.size());
        out += piece;
    };
    // A line end at the very end of the text begins one more, empty line.
    std::vector<std::string_view> lines = split_lines(runtime, text, false);
    const std::vector<std::string_view> whole = split_lines(runtime, text, true);
    if (lines.empty() || (lines.back().size() != whole.back().size() && !text.ends_with('\r'))) lines.push_back({});
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (i > 0) put("\n");
        const bool indented = i == 0 ? flag(call[1]) : blank || !lines[i].empty();
        if (indented) put(indentation.text());
        put(lines[i]);
    }
    return runtime.text(out, call.receiver.is_markup());
}

Value truncate(Runtime& runtime, const Call& call) {
    const Value text = call.receiver;
    const Value end = to_string(runtime, value_or(call[2], Value::string("...")));
    if (!length(text)) fail_type("a text to truncate", text);
    runtime.meter().charge_bytes((text.is_string() ? text.text().size() : 0) + end.text().size());
    const std::int64_t limit = integer_or(call[0], 255);
    const bool no_leeway = call[3].is_missing() || call[3].is(Kind::none);
    const std::int64_t leeway = no_leeway ? 5 : to_integer(call[3]);
    const auto end_size = static_cast<std::int64_t>(*length(end));
    if (limit < end_size || leeway < 0) fail("the length to truncate to is too small");
    const auto size = static_cast<std::int64_t>(*length(text));
    if (size - leeway <= limit) return text;
    string_argument(text, "truncate"); // what is short passes whatever it is
    const std::string_view head = text.text().substr(0, byte_offset(text.text(), static_cast<std::size_t>(limit - end_size)));
    const std::size_t space = flag(call[1]) ? std::string_view::npos : find_last_text(runtime, head, " ");
    return runtime.text(std::string(head.substr(0, space)) + std::string(end.text()), text.is_markup());
}

namespace {

// `in_query`: for a name or a value of a query, where a slash is escaped and a blank is a plus sign.
std::string percent_encode(Runtime& runtime, const Value& value, bool in_query) {
    static constexpr char hex[] = "0123456789ABCDEF";
    const std::string_view text = to_text(runtime, value);
    const std::string_view plain = in_query ? "_.-~" : "_.-~/";
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        runtime.meter().charge_character_at(i, text.size());
        const char c = text[i];
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x80 && (is_alphanumeric(byte) || plain.find(c) != std::string_view::npos)) {
            out += c;
        } else if (in_query && c == ' ') {
            out += '+';
        } else {
            out += '%';
            out += hex[byte >> 4];
            out += hex[byte & 15u];
        }
    }
    return out;
}

} // namespace

Value urlencode(Runtime& runtime, const Call& call) {
    const Value pairs = call.receiver.is(Kind::dict) ? Value::dict(call.receiver.entries(), Kind::dict_items)
                                                     : call.receiver;
    Iterator* it = pairs.is_string() ? nullptr : iterate(runtime, pairs);
    if (it == nullptr) return runtime.text(percent_encode(runtime, call.receiver, false));
    std::string out;
    Value pair;
    for (bool first = true; runtime.next(*it, pair); first = false) {
        const auto parts = jinja::to_list(runtime, pair).items();
        if (parts.size() != 2) fail("expected pairs of a name and a value");
        out += (first ? "" : "&") + percent_encode(runtime, parts[0], true) + "=";
        out += percent_encode(runtime, parts[1], true);
        runtime.meter().check_size(out.size());
    }
    return runtime.text(out);
}

Value word_count(Runtime& runtime, const Call& call) {
    const std::string_view text = to_text(runtime, call.receiver);
    runtime.meter().charge_characters(text.size());
    std::int64_t words = 0;
    bool inside = false;
    for (std::size_t i = 0; i < text.size(); i += character_size(text, i)) {
        const CodePoint c = decode(text.substr(i, character_size(text, i)));
        const bool part = is_alphanumeric(c) || c == '_';
        words += part && !inside ? 1 : 0;
        inside = part;
    }
    return Value::integer(words);
}

Value to_json(Runtime& runtime, const Call& call) {
    JsonStyle style;
    style.ensure_ascii = flag(call[0]);
    style.sort_keys = flag(call[3]);
    if (call.has(1) && !call[1].is(Kind::none)) {
        const Value unit = call[1].is_string()
                               ? call[1]
                               : arithmetic(runtime, Operator::mul, Value::string(" "), Value::integer(to_integer(call[1])));
        style.indent = std::string(unit.text());
        style.item_separator = ",";
    }
    if (call.has(2) && !call[2].is(Kind::none)) {
        const auto separators = to_list(runtime, call[2]).items();
        if (separators.size() != 2) fail("expected two separators, between items and behind keys");
        style.item_separator = string_argument(separators[0], "separators");
        style.key_separator = string_argument(separators[1], "separators");
    }
    return jinja::to_json(runtime, call.receiver, style);
}

} // namespace lucebox::text::jinja::filters
