// Calls whose arguments stand between tags: Qwen's, Laguna's and the invoke form.
#include "text/tools/call_scanner.h"

#include <algorithm>
#include <vector>

namespace lucebox::text {
namespace {

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// Writes one JSON object, argument by argument; the text of plain strings goes out as it comes.
class ArgumentWriter {
public:
    void begin(std::string_view key, JsonTypes types, std::string& out) {
        out += empty_ ? "{\"" : ",\"";
        append_escaped(out, key);
        out += "\":";
        empty_ = false;
        types_ = types;
        streams_ = types == json_string;
        if (streams_) out += '"';
        held_.clear();
    }
    void text(std::string_view piece, std::string& out) {
        if (streams_) return append_escaped(out, piece);
        held_ += piece;
        // A string that may also be null: it is one as soon as it can't become "null" any more.
        if (types_ != (json_string | json_null)) return;
        const std::string_view value = trimmed(held_);
        if (value.empty() || std::string_view("null").starts_with(value) || std::string_view("None").starts_with(value)) return;
        out += '"';
        append_escaped(out, held_);
        streams_ = true;
    }
    void end(std::string& out) {
        out += streams_ ? "\"" : typed_argument(held_, types_);
        streams_ = false;
        held_.clear();
    }
    void close(std::string& out) { out += empty_ ? "{}" : "}"; }

private:
    bool empty_ = true, streams_ = false;
    JsonTypes types_ = 0;
    std::string held_;
};

class TaggedCall final : public CallScanner {
public:
    TaggedCall(const Tool& tool, TagStyle style) : tool_(tool), style_(std::move(style)) {}

    State scan(std::string_view text, bool last, bool stopped, std::size_t& consumed, CallOutput& out) override {
        for (;;) {
            const std::size_t before = consumed;
            const Place place = place_;
            const State state = step(text, last, stopped, consumed, out.arguments);
            if (state != State::more || (consumed == before && place == place_)) {
                return state == State::more && last ? State::failed : state;
            }
        }
    }

private:
    enum class Place { between, key, value_open, value_begin, value };

    State step(std::string_view text, bool last, bool stopped, std::size_t& at, std::string& out) {
        switch (place_) {
        case Place::between: return between(text, last, stopped, at, out);
        case Place::key: return read_key(text, at, out);
        case Place::value_open: {
            at = skip_space(text, at);
            const Found found = found_at_start(text.substr(at), style_.value_open);
            if (found == Found::no) return State::failed;
            if (found == Found::whole) {
                at += style_.value_open.size();
                place_ = Place::value_begin;
            }
            return State::more;
        }
        case Place::value_begin:
            if (at == text.size()) return State::more;
            if (style_.trims_newlines && text[at] == '\n') { // the one in front of an end tag is the value's last, not its first
                const Found close = found_at_start(text.substr(at + 1), style_.value_close);
                if (close == Found::part && !last) return State::more;
                if (close != Found::whole) ++at;
            }
            place_ = Place::value;
            return State::more;
        case Place::value: return read_value(text, last, stopped, at, out);
        }
        return State::failed;
    }

    State between(std::string_view text, bool last, bool stopped, std::size_t& at, std::string& out) {
        at = skip_space(text, at);
        const std::string_view rest = text.substr(at);
        const auto closes = [&](std::string_view marker, Found found) {
            if (found == Found::whole) {
                at += marker.size();
                writer_.close(out);
            }
        };
        if (rest.empty()) {
            if (!last || !stopped) return State::more;
            writer_.close(out);
            return State::done;
        }
        bool may_be_more = false;
        for (const std::string_view marker : {std::string_view(style_.call_close), std::string_view(style_.other_close)}) {
            if (marker.empty()) continue;
            const Found found = found_at_start(rest, marker);
            may_be_more |= found == Found::part;
            if (found != Found::whole) continue;
            closes(marker, found);
            return State::done;
        }
        if (!style_.wrapper_close.empty()) { // the call's own end was forgotten
            const Found found = found_at_start(rest, style_.wrapper_close);
            may_be_more |= found == Found::part;
            if (found == Found::whole) {
                writer_.close(out);
                return State::done;
            }
        }
        const Found found = found_at_start(rest, style_.key_open);
        may_be_more |= found == Found::part;
        if (found == Found::whole) {
            at += style_.key_open.size();
            place_ = Place::key;
            return State::more;
        }
        return may_be_more ? State::more : State::failed;
    }

    State read_key(std::string_view text, std::size_t& at, std::string& out) {
        const std::string_view rest = text.substr(at);
        const std::size_t end = rest.substr(0, most_name_bytes + style_.key_close.size()).find(style_.key_close);
        if (end == std::string_view::npos) return rest.size() > most_name_bytes + style_.key_close.size() ? State::failed : State::more;
        const std::string_view key = trimmed(rest.substr(0, end));
        if (key.empty()) return State::failed;
        writer_.begin(key, tool_.types(key), out);
        seen_.emplace_back(key);
        at += end + style_.key_close.size();
        place_ = style_.value_open.empty() ? Place::value_begin : Place::value_open;
        return State::more;
    }

    enum class End { no, maybe, here, forgotten };

    // Whether the value ends at `text`, which begins with "<".
    End value_end(std::string_view text, bool last, bool stopped) const {
        Found found = found_at_start(text, style_.value_close);
        if (found == Found::whole) return End::here;
        bool maybe = found == Found::part;
        // The end of the whole call, or the next argument, while this one's end tag is missing.
        for (const std::string_view close : {std::string_view(style_.call_close), std::string_view(style_.other_close)}) {
            if (close.empty()) continue;
            found = found_at_start(text, close);
            maybe |= found == Found::part;
            if (found != Found::whole) continue;
            const std::string_view behind = text.substr(skip_space(text, close.size()));
            if (behind.empty() && last && stopped) return End::forgotten;
            found = style_.wrapper_close.empty() || behind.empty() ? Found::no : found_at_start(behind, style_.wrapper_close);
            if (found == Found::whole) return End::forgotten;
            maybe |= found == Found::part || (behind.empty() && text.size() < most_name_bytes);
        }
        found = found_at_start(text, style_.key_open);
        maybe |= found == Found::part;
        if (found == Found::whole) {
            const std::string_view key = text.substr(style_.key_open.size(), most_name_bytes);
            const std::size_t end = key.find_first_of('\n') < key.find(style_.key_close) ? key.size() : key.find(style_.key_close);
            if (end == std::string_view::npos) { // neither has come: names are on one line
                maybe |= key.size() < most_name_bytes;
            } else if (end < key.size()) {
                const std::string_view name = trimmed(key.substr(0, end));
                if (tool_.declares(name) && std::find(seen_.begin(), seen_.end(), name) == seen_.end()) return End::forgotten;
            }
        }
        return maybe && !last ? End::maybe : End::no;
    }

    State read_value(std::string_view text, bool last, bool stopped, std::size_t& at, std::string& out) {
        if (doubted_) return read_doubted(text, last, stopped, at, out);
        std::size_t from = at;
        while (at < text.size()) {
            const std::size_t place = std::min(text.find_first_of(style_.trims_newlines ? "<\n" : "<", at), text.size());
            writer_.text(text.substr(at, place - at), out);
            at = place;
            if (at == text.size()) break;
            const std::size_t tag = at + (text[at] == '\n' ? 1 : 0);
            if (tag == text.size() && !last) return State::more;
            const End end = tag < text.size() && text[tag] == '<' ? value_end(text.substr(tag), last, stopped) : End::no;
            if (end == End::maybe) return at == from ? State::more : State::more;
            if (end == End::here) {
                at = tag + style_.value_close.size();
                return value_ended(out);
            }
            if (end == End::forgotten) {
                // Where the call seems to end, an end tag may still come: then this was text.
                if (text.substr(tag).starts_with(style_.key_open)) {
                    at = tag;
                    return value_ended(out);
                }
                doubted_ = true;
                doubted_tag_ = tag - at;
                doubted_read_ = doubted_tag_ + 1;
                return read_doubted(text, last, stopped, at, out);
            }
            writer_.text(text.substr(at, 1), out);
            ++at;
        }
        return last ? State::failed : State::more;
    }

    // Behind what looks like the end of a call whose last value was never closed. text[at..] is held.
    State read_doubted(std::string_view text, bool last, bool, std::size_t& at, std::string& out) {
        const std::string_view held = text.substr(at);
        bool ended = last;
        for (; doubted_read_ < held.size(); ++doubted_read_) {
            if (held[doubted_read_] != '<') continue;
            const std::string_view rest = held.substr(doubted_read_);
            const Found closes = found_at_start(rest, style_.value_close);
            if (closes == Found::whole) { // it was text after all
                doubted_ = false;
                const bool newline = style_.trims_newlines && doubted_read_ > 0 && held[doubted_read_ - 1] == '\n';
                writer_.text(held.substr(0, doubted_read_ - (newline ? 1 : 0)), out);
                at += doubted_read_ + style_.value_close.size();
                return value_ended(out);
            }
            bool part = closes == Found::part;
            for (const std::string_view opener : {"<tool_call>", "<function=", "<invoke name="}) {
                const Found found = found_at_start(rest, opener);
                ended |= found == Found::whole;
                part |= found == Found::part;
            }
            if (ended || (part && !last)) break;
        }
        if (!ended) return State::more;
        doubted_ = false;
        at += doubted_tag_;
        return value_ended(out);
    }

    State value_ended(std::string& out) {
        writer_.end(out);
        place_ = Place::between;
        return State::more;
    }

    const Tool& tool_;
    const TagStyle style_;
    Place place_ = Place::between;
    ArgumentWriter writer_;
    std::vector<std::string> seen_;
    bool doubted_ = false;
    std::size_t doubted_tag_ = 0, doubted_read_ = 0; // from the first held byte
};

// (k="v", n=1): Python's way, which some models drift into. The text behind "(".
class KeywordCall final : public CallScanner {
public:
    explicit KeywordCall(const Tool& tool) : tool_(tool) {}

    State scan(std::string_view text, bool last, bool stopped, std::size_t& consumed, CallOutput& out) override {
        while (consumed < text.size()) {
            const char c = text[consumed];
            if (place_ == Place::end) {
                const std::string_view rest = text.substr(consumed);
                const Found found = found_at_start(rest, ">");
                if (found == Found::no) return State::failed;
                ++consumed;
                writer_.close(out.arguments);
                return State::done;
            }
            if (!push(c, out.arguments)) return State::failed;
            ++consumed;
        }
        return last ? (place_ == Place::end && stopped ? finish(out) : State::failed) : State::more;
    }

private:
    enum class Place { key, value_begin, quoted, bare, after, end };

    State finish(CallOutput& out) {
        writer_.close(out.arguments);
        return State::done;
    }

    bool push(char c, std::string& out) {
        const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
        switch (place_) {
        case Place::key:
            if (c == ')' && trimmed(word_).empty()) return end_here();
            if (c != '=') {
                word_ += c;
                return word_.size() <= most_name_bytes;
            }
            if (trimmed(word_).empty()) return false;
            types_ = tool_.types(trimmed(word_));
            writer_.begin(trimmed(word_), types_, out);
            word_.clear();
            place_ = Place::value_begin;
            return true;
        case Place::value_begin:
            if (space) return true;
            place_ = c == '"' || c == '\'' ? Place::quoted : Place::bare;
            quote_ = c;
            escaped_ = false;
            depth_ = 0;
            return place_ == Place::quoted || push(c, out);
        case Place::quoted:
            if (escaped_) {
                const char plain = c == 'n' ? '\n' : c == 't' ? '\t' : c;
                writer_.text(std::string_view(&plain, 1), out);
                escaped_ = false;
            } else if (c == '\\') {
                escaped_ = true;
            } else if (c == quote_) {
                writer_.end(out);
                place_ = Place::after;
            } else {
                writer_.text(std::string_view(&c, 1), out);
            }
            return true;
        case Place::bare:
            if (c == '[' || c == '{' || c == '(') ++depth_;
            if ((c == ',' || c == ')') && depth_ <= 0) {
                writer_.end(out);
                place_ = Place::after;
                return push(c, out);
            }
            if (c == ']' || c == '}' || c == ')') --depth_;
            writer_.text(std::string_view(&c, 1), out);
            return true;
        case Place::after:
            if (space) return true;
            if (c == ')') return end_here();
            place_ = Place::key;
            return c == ',';
        case Place::end: return false;
        }
        return false;
    }
    bool end_here() {
        place_ = Place::end;
        return true;
    }

    const Tool& tool_;
    ArgumentWriter writer_;
    Place place_ = Place::key;
    std::string word_;
    JsonTypes types_ = 0;
    char quote_ = 0;
    bool escaped_ = false;
    int depth_ = 0;
};

// The tool's name up to what follows it, then the arguments.
class NamedCall final : public CallScanner {
public:
    struct Terminator {
        std::string_view text;
        bool is_consumed = true;
        bool begins_keywords = false;
    };

    NamedCall(const ToolSet& tools, std::vector<Terminator> terminators, TagStyle style)
        : tools_(tools), terminators_(std::move(terminators)), style_(std::move(style)) {}

    State scan(std::string_view text, bool last, bool stopped, std::size_t& consumed, CallOutput& out) override {
        if (!inner_) {
            const State state = read_name(text, last, stopped, consumed, out);
            if (!inner_) return state;
        }
        return inner_->scan(text, last, stopped, consumed, out);
    }

private:
    State read_name(std::string_view text, bool last, bool stopped, std::size_t& consumed, CallOutput& out) {
        const std::string_view rest = text.substr(consumed);
        std::size_t end = std::string_view::npos;
        const Terminator* terminator = nullptr;
        for (const Terminator& candidate : terminators_) {
            const std::size_t at = rest.substr(0, most_name_bytes + candidate.text.size()).find(candidate.text);
            if (at >= end) continue;
            end = at;
            terminator = &candidate;
        }
        if (terminator == nullptr && last && stopped && terminators_.size() > 2) end = rest.size(); // "N</tool_call>" cut short
        else if (terminator == nullptr) return last || rest.size() > most_name_bytes ? State::failed : State::more;
        const Tool* tool = tools_.find(trimmed(rest.substr(0, end)));
        if (tool == nullptr) return State::failed;
        out.name = tool->name();
        consumed += end + (terminator && terminator->is_consumed ? terminator->text.size() : 0);
        if (terminator && terminator->begins_keywords)
            inner_ = std::make_unique<KeywordCall>(*tool);
        else
            inner_ = make_tagged_call(*tool, style_);
        return State::more;
    }

    const ToolSet& tools_;
    const std::vector<Terminator> terminators_;
    const TagStyle style_;
    std::unique_ptr<CallScanner> inner_;
};

class WrappedCall final : public CallScanner {
public:
    explicit WrappedCall(const ToolSet& tools) : tools_(tools) {}

    State scan(std::string_view text, bool last, bool stopped, std::size_t& consumed, CallOutput& out) override {
        if (!inner_) {
            consumed = skip_space(text, consumed);
            const std::string_view rest = text.substr(consumed);
            if (rest.empty()) return last ? State::failed : State::more;
            choose(rest, last, consumed);
            if (!inner_) return last ? State::failed : State::more;
        }
        return inner_->scan(text, last, stopped, consumed, out);
    }

private:
    void choose(std::string_view rest, bool last, std::size_t& consumed) {
        constexpr std::string_view function = "<function=", invoke = "<invoke name=\"", call = "call:";
        if (rest.front() == '{') {
            inner_ = make_json_call(tools_, false);
            return;
        }
        bool part = false;
        for (const std::string_view marker : {function, invoke, call}) {
            const Found found = found_at_start(rest, marker);
            part |= found == Found::part;
            if (found != Found::whole) continue;
            consumed += marker.size();
            inner_ = marker == function ? make_function_call(tools_)
                     : marker == invoke ? make_invoke_call(tools_)
                                        : make_gemma_call(tools_);
            return;
        }
        if (!part || last) inner_ = make_laguna_call(tools_);
    }

    const ToolSet& tools_;
    std::unique_ptr<CallScanner> inner_;
};

} // namespace

Found found_at_start(std::string_view text, std::string_view marker) {
    if (text.size() >= marker.size()) return text.starts_with(marker) ? Found::whole : Found::no;
    return marker.starts_with(text) ? Found::part : Found::no;
}

std::size_t skip_space(std::string_view text, std::size_t at) {
    return std::min(text.find_first_not_of(" \t\r\n", at), text.size());
}

TagStyle qwen_style() { return {"<parameter=", ">", "", "</parameter>", "</function>", "", "</tool_call>"}; }
TagStyle laguna_style() {
    return {"<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "</tool_call>", "", "", false};
}
TagStyle invoke_style() { return {"<parameter name=\"", "\">", "", "</parameter>", "</invoke>", "", "</function_calls>"}; }

std::unique_ptr<CallScanner> make_tagged_call(const Tool& tool, TagStyle style) {
    return std::make_unique<TaggedCall>(tool, std::move(style));
}
std::unique_ptr<CallScanner> make_function_call(const ToolSet& tools) {
    return std::make_unique<NamedCall>(tools, std::vector<NamedCall::Terminator>{{">"}, {"(", true, true}}, qwen_style());
}
std::unique_ptr<CallScanner> make_invoke_call(const ToolSet& tools) {
    return std::make_unique<NamedCall>(tools, std::vector<NamedCall::Terminator>{{"\">"}}, invoke_style());
}
std::unique_ptr<CallScanner> make_laguna_call(const ToolSet& tools) {
    return std::make_unique<NamedCall>(
        tools, std::vector<NamedCall::Terminator>{{"<arg_key>", false}, {"</tool_call>", false}, {"\n", false}}, laguna_style());
}
std::unique_ptr<CallScanner> make_wrapped_call(const ToolSet& tools) { return std::make_unique<WrappedCall>(tools); }

} // namespace lucebox::text
