// Gemma 4's calls: call:NAME{key:<|"|>text<|"|>,n:2,o:{a:[true]}}. Keys are bare; strings have no escapes.
#include "text/tools/call_scanner.h"

#include <cctype>

namespace lucebox::text {
namespace {

constexpr std::string_view quote_token = "<|\"|>";
constexpr std::size_t most_depth = 96;
constexpr std::size_t most_bare_bytes = 64 * 1024;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

class GemmaCall final : public CallScanner {
public:
    explicit GemmaCall(const ToolSet& tools) : tools_(tools) {}

    State scan(std::string_view text, bool last, bool, std::size_t& consumed, CallOutput& out) override {
        while (consumed < text.size()) {
            const std::size_t before = consumed;
            const State state = step(text.substr(consumed), last, consumed, out);
            if (state != State::more) return state;
            if (consumed == before && !moved_) break; // a marker that may be unfinished
            moved_ = false;
        }
        return last ? State::failed : State::more;
    }

private:
    enum class Place { name, key, key_text, key_quoted, colon, value, string, bare, after_value };

    State step(std::string_view rest, bool last, std::size_t& at, CallOutput& out) {
        switch (place_) {
        case Place::name: return read_name(rest, at, out);
        case Place::key: return begin_key(rest, last, at, out.arguments);
        case Place::key_text: return read_key(rest, at, out.arguments);
        case Place::key_quoted:
        case Place::string: return read_string(rest, last, at, out.arguments);
        case Place::colon:
            ++at;
            if (is_space(rest.front())) return State::more;
            return rest.front() == ':' ? go(Place::value) : State::failed;
        case Place::value: return begin_value(rest, last, at, out.arguments);
        case Place::bare: return read_bare(rest, at, out.arguments);
        case Place::after_value: return after_value(rest.front(), at, out.arguments);
        }
        return State::failed;
    }

    State go(Place place) {
        place_ = place;
        moved_ = true;
        return State::more;
    }

    State read_name(std::string_view rest, std::size_t& at, CallOutput& out) {
        const std::size_t end = rest.substr(0, most_name_bytes).find('{');
        if (end == std::string_view::npos) return rest.size() >= most_name_bytes ? State::failed : State::more;
        std::string_view name = trimmed(rest.substr(0, end));
        tool_ = tools_.find(name);
        if (const std::size_t colon = name.rfind(':'); !tool_ && colon != std::string_view::npos)
            tool_ = tools_.find(name.substr(colon + 1)); // a namespace in front
        if (!tool_) return State::failed;
        out.name = tool_->name();
        out.arguments += '{';
        stack_ = "{";
        at += end + 1;
        first_ = true;
        return go(Place::key);
    }

    State begin_key(std::string_view rest, bool last, std::size_t& at, std::string& out) {
        if (is_space(rest.front())) return consume(at);
        if (rest.front() == '}' && (first_ || trailing_comma_)) return close('}', at, out);
        key_.clear();
        return begin_quoted(rest, last, at, Place::key_quoted, Place::key_text);
    }

    // At a quote of any kind goes to `quoted`, else to `plain`.
    State begin_quoted(std::string_view rest, bool last, std::size_t& at, Place quoted, Place plain) {
        const Found found = found_at_start(rest, quote_token);
        if (found == Found::part && !last) return State::more;
        if (found == Found::whole) {
            delimiter_ = quote_token;
        } else if (rest.front() == '"' || rest.front() == '\'') {
            delimiter_ = rest.substr(0, 1) == "\"" ? "\"" : "'";
        } else {
            return go(plain);
        }
        escaped_ = false;
        at += delimiter_.size();
        return go(quoted);
    }

    State read_key(std::string_view rest, std::size_t& at, std::string& out) {
        const char c = rest.front();
        if (c == '}' || c == '{' || c == ',' || key_.size() > most_name_bytes) return State::failed;
        ++at;
        if (c != ':') {
            key_ += c;
            return State::more;
        }
        if (trimmed(key_).empty()) return State::failed;
        write_key(trimmed(key_), out);
        return go(Place::value);
    }

    void write_key(std::string_view key, std::string& out) {
        if (!first_) out += ',';
        first_ = false;
        out += '"';
        append_escaped(out, key);
        out += "\":";
        types_ = stack_.size() == 1 ? tool_->types(key) : JsonTypes{0};
    }

    // Text up to delimiter_, of a key or of a string.
    State read_string(std::string_view rest, bool last, std::size_t& at, std::string& out) {
        const bool is_key = place_ == Place::key_quoted;
        const bool has_escapes = delimiter_.size() == 1;
        const Found found = escaped_ ? Found::no : found_at_start(rest, delimiter_);
        if (found == Found::part && !last) return State::more;
        if (found == Found::whole) {
            at += delimiter_.size();
            if (is_key) {
                write_key(key_, out);
                return go(Place::colon);
            }
            out += converts_ ? typed_argument(held_, types_) : "\"";
            return go(Place::after_value);
        }
        // As much as surely is text.
        std::size_t size = std::min(rest.find_first_of(has_escapes ? "\\\"'<" : "<", 1), rest.size());
        std::string plain(rest.substr(0, size));
        if (has_escapes) {
            if (escaped_) {
                escaped_ = false;
                size = 1;
                plain = rest.front() == 'n' ? "\n" : rest.front() == 't' ? "\t" : rest.front() == 'r' ? "\r" : rest.substr(0, 1);
            } else if (rest.front() == '\\') {
                escaped_ = true;
                size = 1;
                plain.clear();
            }
        }
        at += size;
        if (is_key) {
            key_ += plain;
            return key_.size() > most_name_bytes ? State::failed : State::more;
        }
        if (converts_) held_ += plain;
        else append_escaped(out, plain);
        return held_.size() > most_bare_bytes ? State::failed : State::more;
    }

    State begin_value(std::string_view rest, bool last, std::size_t& at, std::string& out) {
        const char c = rest.front();
        if (is_space(c)) return consume(at);
        if (c == '{' || c == '[') {
            if (stack_.size() == most_depth) return State::failed;
            if (stack_.back() == '[' && !first_) out += ',';
            stack_ += c;
            out += c;
            first_ = true;
            trailing_comma_ = false;
            ++at;
            if (c == '[') types_ = 0;
            return go(c == '{' ? Place::key : Place::value);
        }
        if (c == ']' && stack_.back() == '[' && (first_ || trailing_comma_)) return close(c, at, out);
        held_.clear();
        converts_ = false;
        const State state = begin_quoted(rest, last, at, Place::string, Place::bare);
        if (place_ != Place::string && place_ != Place::bare) return state;
        if (stack_.back() == '[' && !first_) out += ',';
        first_ = false;
        if (place_ == Place::string) {
            converts_ = types_ != 0 && (types_ & json_string) == 0;
            if (!converts_) out += '"';
        }
        return state;
    }

    State read_bare(std::string_view rest, std::size_t& at, std::string& out) {
        const char c = rest.front();
        if (c != ',' && c != '}' && c != ']') {
            held_ += c;
            ++at;
            return held_.size() > most_bare_bytes ? State::failed : State::more;
        }
        out += typed_argument(trimmed(held_), types_);
        held_.clear();
        return go(Place::after_value);
    }

    State after_value(char c, std::size_t& at, std::string& out) {
        if (is_space(c)) return consume(at);
        trailing_comma_ = c == ',';
        if (c == ',') {
            ++at;
            return go(stack_.back() == '{' ? Place::key : Place::value);
        }
        return c == '}' || c == ']' ? close(c, at, out) : State::failed;
    }

    State close(char c, std::size_t& at, std::string& out) {
        if ((c == '}') != (stack_.back() == '{')) return State::failed;
        ++at;
        out += c;
        stack_.pop_back();
        first_ = false;
        trailing_comma_ = false;
        types_ = 0;
        if (stack_.empty()) return State::done;
        return go(Place::after_value);
    }

    State consume(std::size_t& at) {
        ++at;
        return State::more;
    }

    const ToolSet& tools_;
    const Tool* tool_ = nullptr;
    Place place_ = Place::name;
    bool moved_ = false; // the place changed without a byte
    std::string stack_;  // '{' and '['
    bool first_ = true;  // of its object or array
    bool trailing_comma_ = false;
    bool converts_ = false, escaped_ = false;
    JsonTypes types_ = 0;
    std::string_view delimiter_;
    std::string key_, held_;
};

} // namespace

std::unique_ptr<CallScanner> make_gemma_call(const ToolSet& tools) { return std::make_unique<GemmaCall>(tools); }

} // namespace lucebox::text
