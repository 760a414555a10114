// The filter tojson, as Hugging Face's chat templates know it: Python's json.dumps, without HTML escapes.
#include "text/jinja/operators.h"

#include "text/jinja/unicode.h"

#include <algorithm>
#include <cmath>

namespace lucebox::text::jinja {
namespace {

class JsonWriter {
public:
    JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

    std::string run(const Value& value) {
        write(value);
        return std::move(out_);
    }

private:
    void write(const Value& value) {
        const Nesting nesting(runtime_.meter());
        const std::size_t before = out_.size();
        switch (value.kind()) {
        case Kind::none: out_ += "null"; break;
        case Kind::boolean: out_ += value.as_boolean() ? "true" : "false"; break;
        case Kind::integer: out_ += std::to_string(value.as_integer()); break;
        case Kind::real: write_real(value.as_real()); break;
        case Kind::string: write_string(value.text()); break;
        case Kind::list:
        case Kind::tuple: write_list(value.items()); return;
        case Kind::dict: write_dict(value.entries()); return;
        default:
            if (value.is_undefined()) fail_undefined(value);
            fail(std::string(type_name(value)) + " can't be written as JSON");
        }
        runtime_.meter().charge_bytes(out_.size() - before);
        runtime_.meter().check_size(out_.size());
    }

    void write_real(double value) {
        if (std::isnan(value)) {
            out_ += "NaN";
        } else if (std::isinf(value)) {
            out_ += value < 0 ? "-Infinity" : "Infinity";
        } else {
            out_ += real_repr(value);
        }
    }

    void write_escape(CodePoint unit) {
        static constexpr char hex[] = "0123456789abcdef";
        out_ += "\\u";
        for (int shift = 12; shift >= 0; shift -= 4) out_ += hex[(unit >> shift) & 15u];
    }

    void write_string(std::string_view text) {
        out_ += '"';
        for (std::size_t i = 0; i < text.size(); ++i) {
            const char c = text[i];
            switch (c) {
            case '"': out_ += "\\\""; break;
            case '\\': out_ += "\\\\"; break;
            case '\n': out_ += "\\n"; break;
            case '\r': out_ += "\\r"; break;
            case '\t': out_ += "\\t"; break;
            case '\f': out_ += "\\f"; break;
            case '\b': out_ += "\\b"; break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    write_escape(static_cast<unsigned char>(c));
                } else if (style_.ensure_ascii && static_cast<unsigned char>(c) >= 0x80) {
                    const std::size_t size = character_size(text, i);
                    write_non_ascii(decode(text.substr(i, size)));
                    i += size - 1;
                } else {
                    out_ += c;
                }
            }
        }
        out_ += '"';
    }

    void write_non_ascii(CodePoint c) {
        if (c < 0x10000) return write_escape(c);
        c -= 0x10000; // a surrogate pair
        write_escape(0xD800 + (c >> 10));
        write_escape(0xDC00 + (c & 0x3FF));
    }

    void write_key(const Value& key) {
        switch (key.kind()) {
        case Kind::string: return write_string(key.text());
        case Kind::none: return write_string("null");
        case Kind::boolean: return write_string(key.as_boolean() ? "true" : "false");
        case Kind::integer: return write_string(std::to_string(key.as_integer()));
        case Kind::real: return write_string(real_repr(key.as_real()));
        default: fail(std::string(type_name(key)) + " can't be a key in JSON");
        }
    }

    void line_break(std::size_t levels) {
        if (!style_.indent) return;
        runtime_.meter().charge_bytes(style_.indent->size() * levels);
        runtime_.meter().check_size(out_.size() + style_.indent->size() * levels);
        out_ += '\n';
        for (std::size_t i = 0; i < levels; ++i) out_ += *style_.indent;
    }

    void separate(bool first) {
        runtime_.meter().charge_bytes(style_.item_separator.size() + style_.key_separator.size());
        if (!first) out_ += style_.item_separator;
        line_break(level_);
    }

    void write_list(std::span<const Value> items) {
        if (items.empty()) {
            out_ += "[]";
            return;
        }
        out_ += '[';
        ++level_;
        for (std::size_t i = 0; i < items.size(); ++i) {
            separate(i == 0);
            write(items[i]);
        }
        line_break(--level_);
        out_ += ']';
    }

    void write_dict(std::span<const Entry> entries) {
        if (entries.empty()) {
            out_ += "{}";
            return;
        }
        std::vector<Entry> sorted;
        if (style_.sort_keys) {
            sorted.assign(entries.begin(), entries.end());
            std::stable_sort(sorted.begin(), sorted.end(), [this](const Entry& a, const Entry& b) {
                return compare(runtime_, Operator::lt, a.key, b.key);
            });
            entries = sorted;
        }
        out_ += '{';
        ++level_;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            separate(i == 0);
            write_key(entries[i].key);
            out_ += style_.key_separator;
            write(entries[i].value);
        }
        line_break(--level_);
        out_ += '}';
    }

    Runtime& runtime_;
    const JsonStyle& style_;
    std::string out_;
    std::size_t level_ = 0;
};

} // namespace

Value to_json(Runtime& runtime, const Value& value, const JsonStyle& style) {
    return runtime.text(JsonWriter(runtime, style).run(value));
}

} // namespace lucebox::text::jinja
