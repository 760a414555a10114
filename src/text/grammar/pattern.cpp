#include "text/grammar/pattern.h"

#include <fmt/format.h>

namespace lucebox::text {
namespace {

constexpr std::size_t most_depth = 64, most_bytes = 16 * 1024;
constexpr std::uint32_t most_repetitions = 10'000;

CharacterRanges digit() { return {{'0', '9'}}; }
CharacterRanges word() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
CharacterRanges space() { return {{'\t', '\r'}, {' ', ' '}, {0xA0, 0xA0}, {0x2028, 0x2029}}; } // what ECMA 262 and Python agree on

class PatternReader {
public:
    PatternReader(std::string_view pattern, ExpressionBuilder& builder, const CharacterWriter& write)
        : text_(pattern), builder_(builder), write_(write) {}

    Result<ExpressionPointer> run() {
        if (text_.size() > most_bytes) return Error{ErrorKind::unsupported, fmt::format("A pattern has {} bytes; at most {} are read.", text_.size(), most_bytes)};
        ExpressionPointer result = alternatives(0);
        if (error_.empty() && at_ < text_.size()) fail("has a ) too many");
        if (!error_.empty())
            return Error{ErrorKind::unsupported, fmt::format("The pattern \"{}\" {}.", text_, error_)};
        return result;
    }

private:
    void fail(std::string message) {
        if (error_.empty()) error_ = std::move(message);
    }
    bool more() const { return error_.empty() && at_ < text_.size(); }
    bool take(std::string_view what) {
        if (!text_.substr(at_).starts_with(what)) return false;
        at_ += what.size();
        return true;
    }

    ExpressionPointer anything() { return builder_.repeat(write_(complement({})), 0, unlimited); }

    // At the outermost level each alternative is a search of its own.
    ExpressionPointer alternatives(std::size_t depth) {
        if (depth > most_depth) fail("is nested too deeply");
        std::vector<ExpressionPointer> parts;
        do {
            const bool outer = depth == 0;
            const bool from_start = outer && take("^");
            bool to_end = false;
            ExpressionPointer part = sequence(depth, to_end);
            if (outer) {
                std::vector<ExpressionPointer> around;
                if (!from_start) around.push_back(anything());
                around.push_back(std::move(part));
                if (!to_end) around.push_back(anything());
                part = builder_.sequence(std::move(around));
            }
            parts.push_back(std::move(part));
        } while (error_.empty() && take("|"));
        return builder_.alternatives(std::move(parts));
    }

    ExpressionPointer sequence(std::size_t depth, bool& to_end) {
        std::vector<ExpressionPointer> parts;
        while (more() && text_[at_] != '|' && text_[at_] != ')') {
            if (text_[at_] == '$') {
                const std::string_view behind = text_.substr(at_ + 1);
                if (depth > 0 || (!behind.empty() && behind.front() != '|')) {
                    fail("has a $ that is not at its end");
                    break;
                }
                ++at_;
                to_end = true;
                break;
            }
            parts.push_back(quantified(depth));
        }
        return builder_.sequence(std::move(parts));
    }

    ExpressionPointer quantified(std::size_t depth) {
        ExpressionPointer part = atom(depth);
        while (more()) {
            std::uint32_t least = 0, most = unlimited;
            if (take("*")) {
            } else if (take("+")) {
                least = 1;
            } else if (take("?")) {
                most = 1;
            } else if (!braces(least, most)) {
                break;
            }
            take("?"); // lazy or not: the texts are the same
            part = builder_.repeat(std::move(part), least, most);
        }
        return part;
    }

    // {2}, {2,} or {2,3}; anything else is text.
    bool braces(std::uint32_t& least, std::uint32_t& most) {
        std::size_t i = at_;
        const auto number = [&](std::uint32_t& value) {
            const std::size_t begin = i;
            value = 0;
            for (; i < text_.size() && text_[i] >= '0' && text_[i] <= '9' && i < begin + 8; ++i)
                value = value * 10 + static_cast<std::uint32_t>(text_[i] - '0');
            return i > begin;
        };
        if (i >= text_.size() || text_[i] != '{') return false;
        ++i;
        if (!number(least)) return false;
        most = least;
        if (i < text_.size() && text_[i] == ',') {
            ++i;
            if (!number(most)) most = unlimited;
        }
        if (i >= text_.size() || text_[i] != '}') return false;
        if (least > most_repetitions || (most != unlimited && (most > most_repetitions || most < least)))
            fail(fmt::format("repeats more than {} times, or fewer at most than at least", most_repetitions));
        at_ = i + 1;
        return true;
    }

    ExpressionPointer atom(std::size_t depth) {
        const char c = text_[at_];
        if (c == '(') {
            ++at_;
            if (take("?")) {
                if (take("<") && more() && text_[at_] != '=' && text_[at_] != '!') {
                    const std::size_t end = text_.find('>', at_);
                    at_ = end == std::string_view::npos ? text_.size() : end + 1;
                } else if (!take(":")) {
                    fail("looks ahead or behind, which is not supported");
                }
            }
            ExpressionPointer inner = alternatives(depth + 1);
            if (!take(")")) fail("has a ( too many");
            return inner;
        }
        if (c == '[') return write_(character_class());
        if (c == '.') {
            ++at_;
            return write_(complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
        }
        if (c == '\\') return write_(escape(false));
        if (c == '^') fail("has a ^ that is not at its beginning");
        if (c == '*' || c == '+' || c == '?') fail("repeats nothing");
        const std::uint32_t point = character();
        return write_({{point, point}});
    }

    std::uint32_t character() {
        const auto lead = static_cast<unsigned char>(text_[at_++]);
        if (lead < 0x80) return lead;
        const int more_bytes = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        std::uint32_t point = lead & (0x3Fu >> more_bytes);
        for (int i = 0; i < more_bytes; ++i) {
            if (at_ >= text_.size()) {
                fail("is not UTF-8");
                return 0;
            }
            point = point << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3F);
        }
        return point;
    }

    std::uint32_t hex(std::size_t digits) {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < digits; ++i, ++at_) {
            const char c = at_ < text_.size() ? text_[at_] : 'x';
            const int digit_value = c >= '0' && c <= '9'   ? c - '0'
                                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                           : -1;
            if (digit_value < 0) {
                fail("has an unfinished escape");
                return 0;
            }
            value = value * 16 + static_cast<std::uint32_t>(digit_value);
        }
        return value;
    }

    CharacterRanges escape(bool in_class) {
        ++at_;
        if (at_ >= text_.size()) {
            fail("ends in a backslash");
            return {};
        }
        const auto one = [](std::uint32_t c) { return CharacterRanges{{c, c}}; };
        const char c = text_[at_];
        if (static_cast<unsigned char>(c) < 0x80) ++at_;
        switch (c) {
        case 'd': return digit();
        case 'D': return complement(digit());
        case 'w': return word();
        case 'W': return complement(word());
        case 's': return space();
        case 'S': return complement(space());
        case 't': return one('\t');
        case 'n': return one('\n');
        case 'r': return one('\r');
        case 'f': return one('\f');
        case 'v': return one('\v');
        case '0': return one(0);
        case 'x': return one(hex(2));
        case 'u': return one(hex(4));
        case 'b':
            if (in_class) return one('\b');
            [[fallthrough]];
        case 'B':
        case 'p':
        case 'P':
        case 'k': fail(fmt::format("uses \\{}, which is not supported", c)); return {};
        default: break;
        }
        if (c >= '1' && c <= '9') fail("refers back to a group, which is not supported");
        if (static_cast<unsigned char>(c) >= 0x80) return one(character());
        return one(static_cast<unsigned char>(c));
    }

    CharacterRanges character_class() {
        ++at_;
        const bool negated = take("^");
        CharacterRanges ranges;
        while (more() && text_[at_] != ']') {
            CharacterRanges first = text_[at_] == '\\' ? escape(true) : CharacterRanges();
            if (first.empty() && error_.empty()) {
                const std::uint32_t point = character();
                first = {{point, point}};
            }
            const bool is_range = first.size() == 1 && first[0].first == first[0].second && at_ + 1 < text_.size() &&
                                  text_[at_] == '-' && text_[at_ + 1] != ']';
            if (is_range) {
                ++at_;
                CharacterRanges last = text_[at_] == '\\' ? escape(true) : CharacterRanges();
                if (last.empty() && error_.empty()) {
                    const std::uint32_t point = character();
                    last = {{point, point}};
                }
                if (last.size() != 1 || last[0].first < first[0].first) fail("has a range that runs backwards");
                else first[0].second = last[0].second;
            }
            ranges.insert(ranges.end(), first.begin(), first.end());
        }
        if (!take("]")) fail("has a [ too many");
        return negated ? complement(std::move(ranges)) : ranges;
    }

    const std::string_view text_;
    ExpressionBuilder& builder_;
    const CharacterWriter& write_;
    std::size_t at_ = 0;
    std::string error_;
};

} // namespace

Result<ExpressionPointer> read_pattern(std::string_view pattern, ExpressionBuilder& builder, const CharacterWriter& write) {
    return PatternReader(pattern, builder, write).run();
}

} // namespace lucebox::text
