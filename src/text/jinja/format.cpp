// Python's two ways to fill values into a text: "%s of %d" % values, and "{} of {:>5}".format(values).
#include "text/jinja/operators.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lucebox::text::jinja {
namespace {

// Of one field: [[fill]align][sign][#][0][width][grouping][.precision][type]
struct Spec {
    std::string fill = " ";
    char align = '\0'; // < > ^ = or none given
    char sign = '-';
    bool alternate = false;
    char grouping = '\0'; // , _ or none
    std::size_t width = 0;
    std::optional<int> precision;
    char type = '\0';
};

constexpr std::size_t max_width = 1u << 20;
constexpr int max_precision = 1000;

std::string digits_of(std::uint64_t value, unsigned base) {
    std::string out;
    do {
        out += "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    return {out.rbegin(), out.rend()};
}

void group_digits(std::string& digits, char separator, std::size_t every) {
    const std::size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
    for (std::size_t at = end; at > every;) {
        at -= every;
        digits.insert(at, 1, separator);
    }
}

// sign and prefix ("-", "+0x") stay in front of the padding where the alignment is '='.
std::string pad_field(Runtime& runtime, const Spec& spec, std::string_view prefix, std::string_view body,
                      char default_align) {
    const std::size_t size = count_characters(prefix) + count_characters(body);
    runtime.meter().charge_bytes(size + spec.width);
    const std::size_t missing = spec.width > size ? spec.width - size : 0;
    const char align = spec.align == '\0' ? default_align : spec.align;
    const std::size_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    std::string out;
    const auto fill = [&](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) out += spec.fill;
    };
    if (align == '=') out += prefix;
    fill(before);
    if (align != '=') out += prefix;
    out += body;
    fill(missing - before);
    return out;
}

std::string sign_of(bool negative, const Spec& spec) {
    return negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_integer(Runtime& runtime, const Spec& spec, std::int64_t value, bool percent) {
    const bool upper = spec.type == 'X';
    const unsigned base = spec.type == 'b' ? 2 : spec.type == 'o' ? 8 : spec.type == 'x' || upper ? 16 : 10;
    const auto magnitude = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
    std::string digits = digits_of(magnitude, base);
    if (percent && spec.precision && digits.size() < static_cast<std::size_t>(*spec.precision)) {
        digits.insert(0, static_cast<std::size_t>(*spec.precision) - digits.size(), '0');
    }
    if (upper) digits = to_upper(digits);
    if (spec.grouping != '\0') group_digits(digits, spec.grouping, base == 10 ? 3 : 4);
    std::string prefix = sign_of(value < 0, spec);
    if (spec.alternate && base != 10) {
        prefix += '0';
        prefix += base == 2 ? 'b' : base == 8 ? 'o' : spec.type;
    }
    return pad_field(runtime, spec, prefix, digits, '>');
}

std::string print_real(const char* format, int precision, double value) {
    char buffer[1500]; // 309 digits before the point, max_precision behind it
    const int size = std::snprintf(buffer, sizeof buffer, format, precision, value);
    return {buffer, static_cast<std::size_t>(std::clamp(size, 0, static_cast<int>(sizeof buffer) - 1))};
}

// No type: like repr, or like g with as many digits but never without a decimal point.
std::string general_digits(double value, std::optional<int> precision) {
    if (!precision) return real_repr(value);
    const int digits = std::max(*precision, 1);
    std::string text = print_real("%.*g", digits, value);
    if (text.find('e') != std::string::npos) return text;
    const int exponent = value == 0 ? 0 : static_cast<int>(std::floor(std::log10(value)));
    if (exponent >= digits - 1 && exponent > 0) {
        text = print_real("%.*e", digits - 1, value);
        if (digits > 1) { // g drops zeros at the end of the mantissa
            const std::size_t e = text.find('e');
            std::size_t end = text.find_last_not_of('0', e - 1) + 1;
            if (text[end - 1] == '.') --end;
            text.erase(end, e - end);
        }
        return text;
    }
    return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string format_real(Runtime& runtime, const Spec& spec, double value) {
    const bool negative = std::signbit(value) && !std::isnan(value);
    const double magnitude = std::abs(value);
    std::string digits;
    const int precision = spec.precision.value_or(6);
    if (!std::isfinite(magnitude)) {
        digits = std::isnan(magnitude) ? "nan" : "inf";
    } else {
        switch (spec.type) {
        case 'f':
        case 'F': digits = print_real(spec.alternate ? "%#.*f" : "%.*f", precision, magnitude); break;
        case 'e':
        case 'E': digits = print_real(spec.alternate ? "%#.*e" : "%.*e", precision, magnitude); break;
        case 'g':
        case 'G':
        case 'n': digits = print_real(spec.alternate ? "%#.*g" : "%.*g", precision, magnitude); break;
        case '%': digits = print_real("%.*f", precision, magnitude * 100) + "%"; break;
        case '\0': digits = general_digits(magnitude, spec.precision); break;
        default: fail(std::string("a float has no format '") + spec.type + "'");
        }
    }
    if (spec.type == 'E' || spec.type == 'G' || spec.type == 'F') digits = to_upper(digits);
    if (spec.grouping != '\0') group_digits(digits, spec.grouping, 3);
    return pad_field(runtime, spec, sign_of(negative, spec), digits, '>');
}

std::string format_text(Runtime& runtime, const Spec& spec, std::string_view text, char default_align) {
    if (spec.precision) text = text.substr(0, byte_offset(text, static_cast<std::size_t>(*spec.precision)));
    return pad_field(runtime, spec, "", text, default_align);
}

std::string character_of(std::int64_t code) {
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) fail("no character has this number");
    std::string out;
    append_utf8(out, static_cast<CodePoint>(code));
    return out;
}

std::string repr_of(Runtime& runtime, const Value& value) {
    std::string out;
    append_repr(runtime, out, value);
    return out;
}

// --- "%..." % arguments

class PercentFormatter {
public:
    PercentFormatter(Runtime& runtime, const Value& format, const Value& arguments)
        : runtime_(runtime), text_(format.text()), markup_(format.is_markup()), arguments_(arguments) {
        if (arguments.is(Kind::tuple)) {
            queue_ = arguments.items();
        } else {
            queue_ = {&arguments_, 1};
            // What has elements counts as a mapping, whose elements may go unused.
            mapping_ = arguments.is(Kind::dict) || arguments.is(Kind::list) || arguments.is(Kind::range) ||
                       arguments.is_undefined();
        }
    }

    Value run() {
        while (at_ < text_.size()) {
            const std::size_t percent = std::min(text_.find('%', at_), text_.size());
            put(text_.substr(at_, percent - at_));
            at_ = percent;
            if (at_ < text_.size()) field();
        }
        if (used_ < queue_.size() && !mapping_) fail("not all arguments were used by the format");
        return runtime_.text(out_, markup_);
    }

private:
    void put(std::string_view piece) {
        runtime_.meter().charge_bytes(piece.size());
        runtime_.meter().check_size(out_.size() + piece.size());
        out_ += piece;
    }

    char take() {
        if (at_ >= text_.size()) fail("the format ends inside a '%'");
        return text_[at_++];
    }

    Value next_argument() {
        if (used_ >= queue_.size()) fail("not enough arguments for the format");
        return queue_[used_++];
    }

    std::optional<std::int64_t> number() {
        if (at_ < text_.size() && text_[at_] == '*') {
            ++at_;
            return to_integer(next_argument());
        }
        const std::size_t begin = at_;
        while (at_ < text_.size() && is_digit(static_cast<unsigned char>(text_[at_]))) ++at_;
        if (at_ == begin) return std::nullopt;
        return parse_integer(text_.substr(begin, at_ - begin), 10);
    }

    void field() {
        ++at_;
        std::optional<Value> named;
        if (at_ < text_.size() && text_[at_] == '(') {
            const std::size_t close = text_.find(')', at_);
            if (close == std::string_view::npos) fail("the format ends inside a '%('");
            if (!arguments_.is(Kind::dict)) fail_type("a dict for the names in the format", arguments_);
            const Value key = Value::string(text_.substr(at_ + 1, close - at_ - 1));
            const Value* found = find_key(runtime_, arguments_.entries(), key);
            if (found == nullptr) fail("the format names '" + std::string(key.text()) + "', which is not given");
            named = *found;
            at_ = close + 1;
        }
        Spec spec;
        bool zero = false;
        for (; at_ < text_.size() && std::string_view("-+ #0").find(text_[at_]) != std::string_view::npos; ++at_) {
            const char flag = text_[at_];
            if (flag == '-') spec.align = '<';
            if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
            spec.alternate |= flag == '#';
            zero |= flag == '0';
        }
        sizes(spec);
        while (at_ < text_.size() && std::string_view("hlL").find(text_[at_]) != std::string_view::npos) ++at_;
        spec.type = take();
        if (spec.type == '%') return put("%");
        const Value value = named ? *named : next_argument();
        const bool numeric = std::string_view("diuoxXeEfFgG").find(spec.type) != std::string_view::npos;
        if (zero && numeric && spec.align == '\0') {
            spec.fill = "0";
            spec.align = '=';
        }
        put(convert(spec, value));
    }

    void sizes(Spec& spec) {
        if (const auto width = number()) {
            if (*width < 0) spec.align = '<';
            if (*width > static_cast<std::int64_t>(max_width) || *width < -static_cast<std::int64_t>(max_width)) {
                fail("the format asks for too wide a field");
            }
            spec.width = static_cast<std::size_t>(*width < 0 ? -*width : *width);
        }
        if (at_ < text_.size() && text_[at_] == '.') {
            ++at_;
            const std::int64_t precision = number().value_or(0);
            if (precision > max_precision) fail("the format asks for too many digits");
            spec.precision = static_cast<int>(std::max<std::int64_t>(precision, 0));
        }
    }

    std::string convert(Spec& spec, const Value& value) {
        switch (spec.type) {
        case 's':
        case 'r':
        case 'a': {
            const std::string text = spec.type == 's' ? std::string(to_text(runtime_, value)) : repr_of(runtime_, value);
            const bool escaped = markup_ && !(value.is_string() && value.is_markup() && spec.type == 's');
            return format_text(runtime_, spec, escaped ? escape_html(runtime_, Value::string(text)).text() : text, '>');
        }
        case 'c':
            if (value.is_whole()) return format_text(runtime_, spec, character_of(value.as_integer()), '>');
            if (count_characters(string_argument(value, "%c")) != 1) fail("'%c' takes one character");
            return format_text(runtime_, spec, value.text(), '>');
        case 'd':
        case 'i':
        case 'u':
            spec.type = 'd';
            if (value.is(Kind::real)) {
                if (!(std::abs(value.as_real()) < 9.2e18)) fail("an integer grew past 64 bits");
                return format_integer(runtime_, spec, static_cast<std::int64_t>(value.as_real()), true);
            }
            [[fallthrough]];
        case 'o':
        case 'x':
        case 'X': return format_integer(runtime_, spec, to_integer(value), true);
        case 'e':
        case 'E':
        case 'f':
        case 'F':
        case 'g':
        case 'G':
            if (!value.is_number()) fail_type("a number", value);
            return format_real(runtime_, spec, value.as_real());
        default: fail(std::string("the format has no '%") + spec.type + "'");
        }
    }

    Runtime& runtime_;
    std::string_view text_;
    bool markup_;
    Value arguments_;
    std::span<const Value> queue_;
    bool mapping_ = false;
    std::size_t used_ = 0, at_ = 0;
    std::string out_;
};

// --- "{...}".format(arguments)

Spec parse_spec(std::string_view text) {
    Spec spec;
    std::size_t at = 0;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const auto number = [&]() -> std::optional<std::int64_t> {
        const std::size_t begin = at;
        while (at < text.size() && is_digit(static_cast<unsigned char>(text[at]))) ++at;
        return at == begin ? std::nullopt : parse_integer(text.substr(begin, at - begin), 10);
    };
    if (!text.empty()) {
        const std::size_t first = character_size(text, 0);
        if (first < text.size() && is_align(text[first])) {
            spec.fill = std::string(text.substr(0, first));
            spec.align = text[first];
            at = first + 1;
        } else if (is_align(text[0])) {
            spec.align = text[0];
            at = 1;
        }
    }
    const auto skip = [&](char c) { return at < text.size() && text[at] == c ? ++at, true : false; };
    if (at < text.size() && std::string_view("+- ").find(text[at]) != std::string_view::npos) spec.sign = text[at++];
    spec.alternate = skip('#');
    if (skip('0') && spec.align == '\0') {
        spec.fill = "0";
        spec.align = '=';
    }
    const std::int64_t width = number().value_or(0);
    if (width > static_cast<std::int64_t>(max_width)) fail("the format asks for too wide a field");
    spec.width = static_cast<std::size_t>(width);
    if (skip(',')) spec.grouping = ',';
    if (skip('_')) spec.grouping = '_';
    if (skip('.')) {
        const auto precision = number();
        if (!precision || *precision > max_precision) fail("the format's precision is missing or too large");
        spec.precision = static_cast<int>(*precision);
    }
    if (at < text.size()) spec.type = text[at++];
    if (at != text.size()) fail("the format '" + std::string(text.substr(0, 40)) + "' can't be read");
    return spec;
}

std::string format_value(Runtime& runtime, const Value& value, std::string_view text) {
    if (text.empty()) return std::string(to_text(runtime, value));
    const Spec spec = parse_spec(text);
    if (value.is_string()) {
        if ((spec.type != '\0' && spec.type != 's') || spec.align == '=' || spec.sign != '-') {
            fail("the format is not one for a string");
        }
        return format_text(runtime, spec, value.text(), '<');
    }
    if (value.is_whole()) {
        if (spec.type == 'c') return format_text(runtime, spec, character_of(value.as_integer()), '<');
        const bool whole = spec.type == '\0' || std::string_view("dnboxX").find(spec.type) != std::string_view::npos;
        if (!whole) return format_real(runtime, spec, value.as_real());
        if (spec.precision) fail("an integer has no precision");
        return format_integer(runtime, spec, value.as_integer(), false);
    }
    if (value.is(Kind::real)) return format_real(runtime, spec, value.as_real());
    fail("the format is not one for " + std::string(type_name(value)));
}

class BraceFormatter {
public:
    BraceFormatter(Runtime& runtime, bool markup, const CallArguments& arguments)
        : runtime_(runtime), markup_(markup), arguments_(arguments) {}

    std::string run(std::string_view text, int nesting) {
        std::string out;
        const auto put = [&](std::string_view piece) {
            runtime_.meter().charge_bytes(piece.size());
            runtime_.meter().check_size(out.size() + piece.size());
            out += piece;
        };
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t brace = std::min(text.find_first_of("{}", at), text.size());
            put(text.substr(at, brace - at));
            at = brace;
            if (at == text.size()) break;
            if (at + 1 < text.size() && text[at + 1] == text[at]) {
                put(text.substr(at, 1));
                at += 2;
            } else if (text[at] == '}') {
                fail("a single '}' in the format");
            } else {
                const std::size_t end = field_end(text, at + 1);
                put(field(text.substr(at + 1, end - at - 1), nesting));
                at = end + 1;
            }
        }
        return out;
    }

private:
    static std::size_t field_end(std::string_view text, std::size_t at) {
        for (int open = 1; at < text.size(); ++at) {
            open += text[at] == '{' ? 1 : text[at] == '}' ? -1 : 0;
            if (open == 0) return at;
        }
        fail("expected '}' in the format");
    }

    std::string field(std::string_view text, int nesting) {
        if (nesting > 1) fail("the format is nested too deeply");
        const std::size_t name_end = std::min(text.find_first_of("!:"), text.size());
        Value value = lookup(text.substr(0, name_end));
        std::string_view rest = text.substr(name_end);
        if (rest.starts_with('!')) {
            const char conversion = rest.size() > 1 ? rest[1] : '\0';
            if (conversion != 's' && conversion != 'r' && conversion != 'a') fail("expected s, r or a behind '!'");
            value = conversion == 's' ? to_string(runtime_, value) : runtime_.text(repr_of(runtime_, value));
            rest.remove_prefix(2);
            if (!rest.empty() && rest[0] != ':') fail("expected ':' behind the conversion in the format");
        }
        const std::string spec = rest.empty() ? std::string() : run(rest.substr(1), nesting + 1);
        const std::string formatted = format_value(runtime_, value, spec);
        if (!markup_ || (value.is_string() && value.is_markup())) return formatted;
        return std::string(escape_html(runtime_, Value::string(formatted)).text());
    }

    // name.attribute[element]...
    Value lookup(std::string_view path) {
        const std::size_t end = std::min(path.find_first_of(".["), path.size());
        Value value = argument(path.substr(0, end));
        for (path.remove_prefix(end); !path.empty();) {
            const bool attribute_part = path[0] == '.';
            path.remove_prefix(1);
            const std::size_t stop = attribute_part ? std::min(path.find_first_of(".["), path.size()) : path.find(']');
            if (stop == std::string_view::npos || stop == 0) fail("the format names no element");
            const Value part = runtime_.text(path.substr(0, stop));
            path.remove_prefix(stop + (attribute_part ? 0 : 1));
            const auto index = attribute_part ? std::nullopt : parse_index(part.text());
            value = attribute_part ? attribute(runtime_, value, part)
                                   : item(runtime_, value, index ? Value::integer(*index) : part);
            if (!path.empty() && path[0] != '.' && path[0] != '[') fail("expected '.' or '[' in the format");
        }
        return value;
    }

    static std::optional<std::int64_t> parse_index(std::string_view text) {
        const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
        return digits ? parse_integer(text, 10) : std::nullopt;
    }

    Value argument(std::string_view name) {
        std::optional<std::int64_t> index = parse_index(name);
        if (name.empty() || index) {
            const Numbering numbering = name.empty() ? Numbering::automatic : Numbering::manual;
            if (numbering_ != Numbering::unknown && numbering_ != numbering) {
                fail("the format mixes automatic and explicit numbers");
            }
            numbering_ = numbering;
            const auto at = index ? static_cast<std::size_t>(*index) : next_++;
            if (at >= arguments_.positional.size()) fail("not enough arguments for the format");
            return arguments_.positional[at];
        }
        for (const Entry& entry : arguments_.named) {
            if (entry.key.text() == name) return entry.value;
        }
        fail("the format names '" + std::string(name.substr(0, 40)) + "', which is not given");
    }

    enum class Numbering : std::uint8_t { unknown, automatic, manual };

    Runtime& runtime_;
    bool markup_;
    CallArguments arguments_;
    Numbering numbering_ = Numbering::unknown;
    std::size_t next_ = 0;
};

} // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& arguments) {
    return PercentFormatter(runtime, format, arguments).run();
}

Value format_braces(Runtime& runtime, const Value& format, const CallArguments& arguments) {
    BraceFormatter formatter(runtime, format.is_markup(), arguments);
    return runtime.text(formatter.run(format.text(), 0), format.is_markup());
}

} // namespace lucebox::text::jinja
