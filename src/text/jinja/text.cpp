// str() and repr() of values.
#include "text/jinja/operators.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace lucebox::text::jinja {
namespace {

void append_integer(std::string& out, std::int64_t value) {
    char buffer[24];
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
    out.append(buffer, end);
}

void append_hex(std::string& out, char letter, CodePoint code, int digits) {
    static constexpr char hex[] = "0123456789abcdef";
    out += '\\';
    out += letter;
    for (int i = digits - 1; i >= 0; --i) out += hex[(code >> (4 * i)) & 15u];
}

void append_string_repr(std::string& out, std::string_view text) {
    const bool single = text.find('\'') != std::string_view::npos;
    const char quote = single && text.find('"') == std::string_view::npos ? '"' : '\'';
    out += quote;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = character_size(text, i);
        const std::string_view character = text.substr(i, size);
        const CodePoint c = decode(character);
        i += size;
        if (character[0] == quote || c == '\\') {
            out += '\\';
            out += character;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (c == '\t') {
            out += "\\t";
        } else if (is_printable(c)) {
            out += character;
        } else if (c < 0x100) {
            append_hex(out, 'x', c, 2);
        } else if (c < 0x10000) {
            append_hex(out, 'u', c, 4);
        } else {
            append_hex(out, 'U', c, 8);
        }
    }
    out += quote;
}

void append_items(Runtime& runtime, std::string& out, std::span<const Value> items) {
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += ", ";
        append_repr(runtime, out, items[i]);
    }
}

void append_entries(Runtime& runtime, std::string& out, std::span<const Entry> entries, Kind kind) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (i > 0) out += ", ";
        if (kind == Kind::dict_items) out += '(';
        if (kind != Kind::dict_values) append_repr(runtime, out, entries[i].key);
        if (kind == Kind::dict) out += ": ";
        if (kind == Kind::dict_items) out += ", ";
        if (kind != Kind::dict_keys) append_repr(runtime, out, entries[i].value);
        if (kind == Kind::dict_items) out += ')';
    }
}

} // namespace

std::string real_repr(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char buffer[40];
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
    // d.ddde+XX, the shortest digits that read back as the same number; Python writes exponents -4..15 as plain
    // decimals.
    const std::size_t e = text.find('e');
    std::string mantissa(text.substr(0, e));
    int exponent = 0;
    std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
    if (exponent < -4 || exponent >= 16) return std::string(text);
    std::string sign;
    if (mantissa[0] == '-') {
        sign = "-";
        mantissa.erase(0, 1);
    }
    std::erase(mantissa, '.');
    if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + mantissa;
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (mantissa.size() <= whole) return sign + mantissa + std::string(whole - mantissa.size(), '0') + ".0";
    return sign + mantissa.substr(0, whole) + "." + mantissa.substr(whole);
}

void append_repr(Runtime& runtime, std::string& out, const Value& value) {
    const Nesting nesting(runtime.meter());
    const std::size_t before = out.size();
    switch (value.kind()) {
    case Kind::string:
        if (value.is_markup()) out += "Markup(";
        append_string_repr(out, value.text());
        if (value.is_markup()) out += ')';
        break;
    case Kind::undefined: out += "Undefined"; break;
    case Kind::list:
        out += '[';
        append_items(runtime, out, value.items());
        out += ']';
        break;
    case Kind::tuple:
        out += '(';
        append_items(runtime, out, value.items());
        out += value.items().size() == 1 ? ",)" : ")";
        break;
    case Kind::dict:
        out += '{';
        append_entries(runtime, out, value.entries(), Kind::dict);
        out += '}';
        break;
    case Kind::dict_keys:
    case Kind::dict_values:
    case Kind::dict_items:
        out += type_name(value);
        out += "([";
        append_entries(runtime, out, value.entries(), value.kind());
        out += "])";
        break;
    case Kind::name_space: {
        const Namespace& ns = value.as_namespace();
        out += "<Namespace {";
        append_entries(runtime, out, {ns.entries, ns.size}, Kind::dict);
        out += "}>";
        break;
    }
    default: append_text(runtime, out, value); return;
    }
    runtime.meter().charge_bytes(out.size() - before);
    runtime.meter().check_size(out.size());
}

void append_text(Runtime& runtime, std::string& out, const Value& value) {
    switch (value.kind()) {
    case Kind::missing:
    case Kind::undefined: return;
    case Kind::none: out += "None"; return;
    case Kind::boolean: out += value.as_boolean() ? "True" : "False"; return;
    case Kind::integer: append_integer(out, value.as_integer()); break;
    case Kind::real: out += real_repr(value.as_real()); break;
    case Kind::string:
        runtime.meter().charge_bytes(value.text().size());
        runtime.meter().check_size(out.size() + value.text().size());
        out += value.text();
        return;
    case Kind::range: {
        const Range& range = value.as_range();
        out += "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
        out += range.step == 1 ? ")" : ", " + std::to_string(range.step) + ")";
        break;
    }
    case Kind::list:
    case Kind::tuple:
    case Kind::dict:
    case Kind::dict_keys:
    case Kind::dict_values:
    case Kind::dict_items:
    case Kind::name_space: append_repr(runtime, out, value); return;
    case Kind::macro:
    case Kind::function:
    case Kind::method:
    case Kind::loop:
    case Kind::iterator: out += "<" + std::string(type_name(value)) + ">"; break;
    }
    runtime.meter().check_size(out.size());
}

std::string_view to_text(Runtime& runtime, const Value& value) {
    if (value.is_string()) return value.text();
    std::string out;
    append_text(runtime, out, value);
    return runtime.heap().copy(out);
}

Value to_string(Runtime& runtime, const Value& value) {
    return value.is_string() ? value : Value::string(to_text(runtime, value));
}

Value escape_html(Runtime& runtime, const Value& value) {
    if (value.is_string() && value.is_markup()) return value;
    const std::string_view text = to_text(runtime, value);
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        runtime.meter().charge_character_at(i, text.size());
        switch (const char c = text[i]; c) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&#34;"; break;
        case '\'': out += "&#39;"; break;
        default: out += c;
        }
    }
    return runtime.text(out, true);
}

Value Value::string(std::string_view text) { return string(text, jinja::is_ascii(text)); }

Value Runtime::text(std::string_view text, bool markup) {
    meter_.check_size(text.size());
    return Value::string(heap_.copy(text), is_ascii(text), markup);
}

std::span<const Value> Runtime::copy(std::span<const Value> items) {
    const auto copied = heap_.make_array<Value>(items.size());
    std::copy(items.begin(), items.end(), copied.begin());
    return copied;
}

} // namespace lucebox::text::jinja
