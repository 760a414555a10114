#include "base/assignments.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool begins_name(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }
bool is_control(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

// What a shell gives a meaning of its own outside of quotes. A tilde stands for the home folder only at the beginning.
constexpr std::string_view special = "$`;&|<>()*?[]{}!";

class Line {
public:
    explicit Line(std::string_view text) : rest_(text) {}

    // Nothing: a blank line or a comment.
    Result<std::vector<Assignment>> read() {
        skip_blanks();
        if (ends()) return std::vector<Assignment>{};
        if (rest_.starts_with("export") && rest_.size() > 6 && is_blank(rest_[6])) {
            rest_.remove_prefix(6);
            skip_blanks();
        }
        Assignment assignment;
        while (!rest_.empty() && (begins_name(rest_.front()) || (!assignment.name.empty() && rest_.front() >= '0' && rest_.front() <= '9'))) assignment.name += take();
        if (assignment.name.empty() || rest_.empty() || rest_.front() != '=') return wrong("NAME=VALUE is expected, without blanks around the sign");
        take();
        LUCEBOX_TRY(assignment.value, value());
        skip_blanks();
        if (!ends()) return wrong("something follows the value", "quote a value that has blanks in it");
        return std::vector{std::move(assignment)};
    }

private:
    static Error wrong(std::string message, std::string hint = {}) { return {ErrorKind::invalid_data, std::move(message), std::move(hint)}; }
    static Error computed(char c) {
        return wrong(fmt::format("a shell would give {} a meaning here, and the file is read, not executed", c), "write the value itself, in single quotes");
    }

    char take() {
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }
    void skip_blanks() {
        while (!rest_.empty() && is_blank(rest_.front())) take();
    }
    bool ends() const { return rest_.empty() || rest_.front() == '#'; }

    Result<std::string> value() {
        std::string out;
        if (rest_.starts_with('~') && rest_.size() > 1 && rest_[1] != '/' && !is_blank(rest_[1])) return wrong("the home folder of somebody else", "write the whole path");
        while (!rest_.empty() && !is_blank(rest_.front())) {
            const char c = take();
            if (c == '\'') {
                const auto end = rest_.find('\'');
                if (end == std::string_view::npos) return wrong("a quote that is not closed");
                out += rest_.substr(0, end);
                rest_.remove_prefix(end + 1);
            } else if (c == '"') {
                LUCEBOX_CHECK(double_quoted(out));
            } else if (c == '\\') {
                if (rest_.empty()) return wrong("a line that goes on in the next one", "write it in one line");
                out += take();
            } else if (special.find(c) != std::string_view::npos) {
                return computed(c);
            } else {
                out += c;
            }
        }
        return out;
    }

    Status double_quoted(std::string& out) {
        while (!rest_.empty()) {
            const char c = take();
            if (c == '"') return Ok{};
            if (c == '$' || c == '`') return computed(c);
            // Inside these quotes a backslash is one, but before what would have a meaning.
            if (c == '\\' && !rest_.empty() && std::string_view("\"\\$`").find(rest_.front()) != std::string_view::npos) out += take();
            else out += c;
        }
        return wrong("a quote that is not closed");
    }

    std::string_view rest_;
};

} // namespace

Result<std::vector<Assignment>> parse_assignments(std::string_view text, std::string_view where) {
    std::vector<Assignment> all;
    std::size_t number = 0;
    while (!text.empty()) {
        ++number;
        const auto end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1); // of an editor on Windows
        if (std::ranges::any_of(line, is_control)) return Error{ErrorKind::invalid_data, fmt::format("{}:{}: a control character", where, number)};
        auto read = Line(line).read();
        if (!read) return Error{read.error().kind, fmt::format("{}:{}: {}", where, number, read.error().message), read.error().hint};
        for (Assignment& assignment : *read) {
            assignment.line = number;
            all.push_back(std::move(assignment));
        }
    }
    return all;
}

} // namespace lucebox
