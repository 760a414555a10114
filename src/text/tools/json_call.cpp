// Calls written as JSON: {"name": N, "arguments": {..}}, with the keys and wrappings that models vary.
#include "text/tools/call_scanner.h"
#include "text/tools/json_stream.h"

#include <algorithm>

namespace lucebox::text {
namespace {

// Arguments that come before the name, or whole replies that may be arguments, are held up to here.
constexpr std::size_t most_held_bytes = 256 * 1024;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// The text of a JSON string literal; empty if it is none.
std::string string_value(const std::string& literal) {
    const Json value = Json::parse(literal, nullptr, false);
    return value.is_string() ? value.get<std::string>() : "";
}

// Reads one object and writes it on, with strings that should be something else converted on the way.
class ArgumentsReader {
public:
    using State = JsonValueScanner::State;

    explicit ArgumentsReader(const Tool* tool) : tool_(tool) {}

    // `c` from the object's "{" on.
    State push(char c, std::string& out) {
        switch (place_) {
        case Place::begin:
            out += c;
            place_ = Place::key_or_end;
            return c == '{' ? State::more : State::failed;
        case Place::key_or_end:
        case Place::next_key:
            if (is_space(c)) return State::more;
            if (c == '}' && place_ == Place::key_or_end) {
                out += c;
                return State::done;
            }
            if (c != '"') return State::failed;
            key_ = c;
            place_ = Place::key;
            return State::more;
        case Place::key:
            if (key_.size() > 2 * most_name_bytes) return State::failed;
            append_repaired(key_, c, true);
            if (c == '"' && !escaped_) place_ = Place::colon;
            escaped_ = c == '\\' && !escaped_;
            return State::more;
        case Place::colon:
            if (is_space(c)) return State::more;
            out += key_ + ":";
            place_ = Place::before_value;
            return c == ':' ? State::more : State::failed;
        case Place::before_value:
            if (is_space(c)) return State::more;
            scanner_ = {};
            types_ = tool_ ? tool_->types(string_value(key_)) : JsonTypes{0};
            converts_ = c == '"' && types_ != 0 && (types_ & json_string) == 0;
            held_.clear();
            place_ = Place::value;
            [[fallthrough]];
        case Place::value: return push_value(c, out);
        case Place::after_value:
            if (is_space(c)) return State::more;
            if (c != ',' && c != '}') return State::failed;
            out += c;
            place_ = Place::next_key;
            return c == '}' ? State::done : State::more;
        }
        return State::failed;
    }

private:
    enum class Place { begin, key_or_end, next_key, key, colon, before_value, value, after_value };

    State push_value(char c, std::string& out) {
        const bool in_string = scanner_.in_string();
        const State state = scanner_.push(c);
        if (state == State::failed) return state;
        if (state == State::done_before) {
            place_ = Place::after_value;
            return push(c, out);
        }
        append_repaired(converts_ ? held_ : out, c, in_string);
        if (state == State::done) {
            if (converts_) out += typed_argument(held_, types_);
            place_ = Place::after_value;
        }
        return held_.size() > most_held_bytes ? State::failed : State::more;
    }

    const Tool* tool_;
    Place place_ = Place::begin;
    JsonValueScanner scanner_;
    JsonTypes types_ = 0;
    bool converts_ = false, escaped_ = false;
    std::string key_, held_;
};

class JsonCall final : public CallScanner {
public:
    JsonCall(const ToolSet& tools, bool bare) : tools_(tools), bare_(bare) {}

    State scan(std::string_view text, bool last, bool, std::size_t& consumed, CallOutput& out) override {
        while (consumed < text.size()) {
            if (bare_ && tools_.tools().size() == 1 && !tool_) { // the reply may turn out to be the arguments themselves
                whole_ += text[consumed];
                if (whole_.size() > most_held_bytes) return State::failed;
            }
            const State state = push(text[consumed], out);
            if (state == State::failed) return state;
            ++consumed;
            if (state == State::done) return state;
        }
        return last ? State::failed : State::more;
    }

private:
    enum class Place { begin, key_or_end, key, colon, before_value, value, after_value };
    enum class Role { name, arguments, function, other };

    State push(char c, CallOutput& out) {
        switch (place_) {
        case Place::begin:
            if (is_space(c)) return State::more;
            place_ = Place::key_or_end;
            return c == '{' ? State::more : State::failed;
        case Place::key_or_end:
            if (is_space(c)) return State::more;
            if (c == '}') return object_ended(out);
            if (c != '"') return State::failed;
            literal_ = c;
            escaped_ = false;
            place_ = Place::key;
            return State::more;
        case Place::key:
            if (literal_.size() > 2 * most_name_bytes) return State::failed;
            literal_ += c;
            if (c == '"' && !escaped_) return key_read();
            escaped_ = c == '\\' && !escaped_;
            return State::more;
        case Place::colon:
            if (is_space(c)) return State::more;
            place_ = Place::before_value;
            return c == ':' ? State::more : State::failed;
        case Place::before_value:
            if (is_space(c)) return State::more;
            return value_begins(c, out);
        case Place::value: return push_value(c, out);
        case Place::after_value:
            if (is_space(c)) return State::more;
            if (c == '}') return object_ended(out);
            place_ = Place::key_or_end;
            return c == ',' ? State::more : State::failed;
        }
        return State::failed;
    }

    State key_read() {
        const std::string key = string_value(literal_);
        const bool is_name = key == "name" || (key == "function" && !nested_) || key == "tool_name";
        role_ = is_name                                                               ? Role::name
                : key == "arguments" || key == "parameters" || key == "tool_input" ? Role::arguments
                                                                                      : Role::other;
        if (key == "function" && !nested_) role_ = Role::function;
        const bool known = role_ != Role::other || key == "type" || key == "id";
        // Without an announcement, a foreign first key means that this is somebody's JSON and no call.
        const bool may_be_arguments =
            tools_.tools().size() == 1 && tools_.tools().front().declares(key) && keys_known_ == 0 && !nested_;
        if (bare_ && !known && !may_be_arguments) return State::failed;
        keys_known_ += known ? 1 : 0;
        place_ = Place::colon;
        return State::more;
    }

    State value_begins(char c, CallOutput& out) {
        if (role_ == Role::function && c == '{') { // {"function": {"name":.., "arguments":..}}
            nested_ = true;
            place_ = Place::key_or_end;
            return State::more;
        }
        if (role_ == Role::function) role_ = Role::name;
        if (role_ == Role::name && c != '"') role_ = Role::other;
        if (role_ == Role::arguments && c != '{' && c != '"') role_ = Role::other;
        streams_ = role_ == Role::arguments && c == '{';
        if (streams_) {
            if (has_arguments_) return State::failed;
            has_arguments_ = true;
            reader_ = ArgumentsReader(tool_);
        }
        scanner_ = {};
        literal_.clear();
        place_ = Place::value;
        return push_value(c, out);
    }

    State push_value(char c, CallOutput& out) {
        using Value = JsonValueScanner::State;
        Value state;
        if (streams_) {
            std::string fragment;
            state = reader_.push(c, fragment);
            (tool_ ? out.arguments : held_) += fragment;
        } else {
            const bool in_string = scanner_.in_string();
            state = scanner_.push(c);
            if (state == Value::more || state == Value::done) append_repaired(literal_, c, in_string);
        }
        if (state == Value::failed || literal_.size() + held_.size() > most_held_bytes) return State::failed;
        if (state == Value::more) return State::more;
        place_ = Place::after_value;
        if (!streams_ && !value_read(out)) return State::failed;
        return state == Value::done_before ? push(c, out) : State::more;
    }

    // A value that was collected in literal_; false: this is no call.
    bool value_read(CallOutput& out) {
        if (role_ == Role::name) {
            if (tool_) return false;
            tool_ = tools_.find(string_value(literal_));
            if (!tool_) return false;
            out.name = tool_->name();
            if (!has_arguments_) return true;
            // They came first and were written without knowing the schema; write them again with it.
            ArgumentsReader reader(tool_);
            for (const char c : held_) reader.push(c, out.arguments);
            held_.clear();
        } else if (role_ == Role::arguments) { // a string that holds the object
            const std::string inside = string_value(literal_);
            ArgumentsReader reader(tool_);
            std::string written;
            JsonValueScanner::State state = JsonValueScanner::State::more;
            std::size_t at = 0;
            while (at < inside.size() && is_space(inside[at])) ++at;
            for (; at < inside.size() && state == JsonValueScanner::State::more; ++at) state = reader.push(inside[at], written);
            if (inside.find_first_not_of(" \t\r\n") == std::string::npos) {
                written = "{}";
                state = JsonValueScanner::State::done;
            }
            if (state != JsonValueScanner::State::done || has_arguments_) return false;
            has_arguments_ = true;
            (tool_ ? out.arguments : held_) += written;
        }
        return true;
    }

    State object_ended(CallOutput& out) {
        if (nested_ && !nested_ended_) {
            nested_ended_ = true;
            place_ = Place::after_value;
            return State::more;
        }
        if (tool_) {
            if (!has_arguments_) out.arguments += "{}";
            return State::done;
        }
        if (whole_.empty() || keys_known_ > 0) return State::failed;
        const Json arguments = Json::parse(whole_, nullptr, false);
        const Tool& tool = tools_.tools().front();
        if (arguments.is_discarded() || !tool.accepts(arguments)) return State::failed;
        out.name = tool.name();
        out.arguments += whole_.substr(whole_.find('{'));
        return State::done;
    }

    const ToolSet& tools_;
    const bool bare_;
    const Tool* tool_ = nullptr;
    Place place_ = Place::begin;
    Role role_ = Role::other;
    JsonValueScanner scanner_;
    ArgumentsReader reader_{nullptr};
    bool streams_ = false, escaped_ = false, nested_ = false, nested_ended_ = false, has_arguments_ = false;
    int keys_known_ = 0;
    std::string literal_; // of the key or value that is read
    std::string held_;    // arguments that wait for the name
    std::string whole_;   // the reply, while it may be the arguments of the only tool
};

} // namespace

std::unique_ptr<CallScanner> make_json_call(const ToolSet& tools, bool bare) {
    return std::make_unique<JsonCall>(tools, bare);
}

} // namespace lucebox::text
