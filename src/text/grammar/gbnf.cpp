// GBNF: a BNF with literals, character classes and repetitions, as used by llama.cpp's `grammar` field.
#include "text/grammar/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace lucebox::text {
namespace {

constexpr std::size_t most_depth = 64;
constexpr std::size_t most_source_bytes = 256 * 1024;

class GbnfReader {
public:
    GbnfReader(std::string_view source, const GrammarBudget& budget) : text_(source), builder_(budget) {}

    Result<Grammar::Pointer> run() {
        if (text_.size() > most_source_bytes) fail("is too long");
        skip_space(true);
        while (more()) {
            const std::string name(read_name());
            skip_space(false);
            if (name.empty() || !take("::=")) {
                fail("expects `name ::= ...`");
                break;
            }
            const std::uint32_t rule = rule_named(name);
            skip_space(true);
            builder_.define(rule, alternatives(0));
            defined_.insert_or_assign(rule, true);
            skip_space(true);
        }
        const auto root = rules_.find("root");
        if (error_.empty() && root == rules_.end()) fail("has no rule `root`");
        for (const auto& [name, rule] : rules_)
            if (!defined_.contains(rule)) fail(fmt::format("uses the rule `{}`, which it does not define", name));
        if (!error_.empty()) {
            const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(std::min(error_at_, text_.size())), '\n');
            return Error{ErrorKind::usage, fmt::format("The grammar {} (line {}).", error_, line)};
        }
        return Grammar::compile(builder_, root->second);
    }

private:
    void fail(std::string message) {
        if (!error_.empty()) return;
        error_ = std::move(message);
        error_at_ = at_;
    }
    bool more() const { return error_.empty() && at_ < text_.size(); }
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(std::string_view what) {
        if (!text_.substr(at_).starts_with(what)) return false;
        at_ += what.size();
        return true;
    }
    void skip_space(bool lines) {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '#') {
                at_ = std::min(text_.find('\n', at_), text_.size());
            } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
                ++at_;
            } else {
                return;
            }
        }
    }
    static bool is_name(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    }
    std::string_view read_name() {
        const std::size_t begin = at_;
        while (at_ < text_.size() && is_name(text_[at_])) ++at_;
        return text_.substr(begin, at_ - begin);
    }
    std::uint32_t rule_named(const std::string& name) {
        const auto known = rules_.find(name);
        if (known != rules_.end()) return known->second;
        return rules_[name] = builder_.new_rule();
    }

    ExpressionPointer alternatives(std::size_t depth) {
        if (depth > most_depth) fail("is nested too deeply");
        std::vector<ExpressionPointer> parts;
        do {
            skip_space(true);
            parts.push_back(sequence(depth));
            skip_space(depth > 0);
        } while (error_.empty() && take_bar());
        return builder_.alternatives(std::move(parts));
    }

    // An alternative may also begin on a line of its own.
    bool take_bar() {
        const std::size_t before = at_;
        skip_space(true);
        if (take("|")) return true;
        at_ = before;
        return false;
    }

    ExpressionPointer sequence(std::size_t depth) {
        std::vector<ExpressionPointer> parts;
        for (;;) {
            skip_space(depth > 0);
            const char c = peek();
            if (!more() || c == '|' || c == ')' || c == '\n' || c == '\r') break;
            ExpressionPointer part = atom(depth);
            if (!error_.empty()) break;
            parts.push_back(quantified(std::move(part)));
        }
        return builder_.sequence(std::move(parts));
    }

    ExpressionPointer quantified(ExpressionPointer part) {
        for (;;) {
            if (take("*")) part = builder_.repeat(std::move(part), 0, unlimited);
            else if (take("+")) part = builder_.repeat(std::move(part), 1, unlimited);
            else if (take("?")) part = builder_.optional(std::move(part));
            else if (take("{")) part = counted(std::move(part));
            else return part;
        }
    }

    ExpressionPointer counted(ExpressionPointer part) {
        const auto number = [&](std::uint32_t& value) {
            skip_space(false);
            const std::size_t begin = at_;
            value = 0;
            while (peek() >= '0' && peek() <= '9' && at_ < begin + 8) value = value * 10 + static_cast<std::uint32_t>(text_[at_++] - '0');
            const bool found = at_ > begin;
            skip_space(false);
            return found;
        };
        std::uint32_t least = 0, most = 0;
        const bool has_least = number(least);
        most = least;
        if (take(",")) {
            if (!number(most)) most = unlimited;
        } else if (!has_least) {
            fail("has an empty repetition");
        }
        if (!take("}")) fail("misses a }");
        if (least > builder_.budget().repeat || (most != unlimited && (most > builder_.budget().repeat || most < least)))
            fail("repeats too often, or fewer times at most than at least");
        return builder_.repeat(std::move(part), least, most);
    }

    ExpressionPointer atom(std::size_t depth) {
        if (take("\"")) {
            std::string literal;
            while (more() && peek() != '"') append(literal, character());
            if (!take("\"")) fail("has a text without its closing quote");
            return builder_.literal(std::move(literal));
        }
        if (take("[")) {
            const bool negated = take("^");
            CharacterRanges ranges;
            while (more() && peek() != ']') {
                const std::uint32_t low = character();
                std::uint32_t high = low;
                if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
                    ++at_;
                    high = character();
                }
                if (high < low) fail("has a range that runs backwards");
                ranges.emplace_back(low, high);
            }
            if (!take("]")) fail("misses a ]");
            return builder_.characters(negated ? complement(std::move(ranges)) : ranges);
        }
        if (take(".")) return builder_.characters(complement({}));
        if (take("(")) {
            ExpressionPointer inner = alternatives(depth + 1);
            skip_space(true);
            if (!take(")")) fail("misses a )");
            return inner;
        }
        const std::string name(read_name());
        if (!name.empty()) return builder_.call(rule_named(name));
        fail("has something unexpected");
        return builder_.literal("");
    }

    static void append(std::string& out, std::uint32_t c) {
        if (c < 0x80) {
            out += static_cast<char>(c);
            return;
        }
        if (c < 0x800) out += static_cast<char>(0xC0 | (c >> 6));
        else {
            if (c < 0x10000) out += static_cast<char>(0xE0 | (c >> 12));
            else {
                out += static_cast<char>(0xF0 | (c >> 18));
                out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
            }
            out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
        }
        out += static_cast<char>(0x80 | (c & 0x3F));
    }

    std::uint32_t character() {
        const auto lead = static_cast<unsigned char>(text_[at_++]);
        if (lead == '\\' && at_ < text_.size()) {
            const char c = text_[at_++];
            switch (c) {
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case 'x': return hex(2);
            case 'u': return hex(4);
            case 'U': return hex(8);
            default: return static_cast<unsigned char>(c);
            }
        }
        if (lead < 0xC0) return lead;
        const int more_bytes = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        std::uint32_t point = lead & (0x3Fu >> more_bytes);
        for (int i = 0; i < more_bytes && at_ < text_.size(); ++i) point = point << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3F);
        return point;
    }

    std::uint32_t hex(std::size_t digits) {
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < digits && at_ < text_.size(); ++i) {
            const char c = text_[at_++];
            value = value * 16 + static_cast<std::uint32_t>(c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 0);
        }
        return std::min<std::uint32_t>(value, 0x10FFFF);
    }

    const std::string_view text_;
    ExpressionBuilder builder_;
    std::map<std::string, std::uint32_t> rules_;
    std::map<std::uint32_t, bool> defined_;
    std::size_t at_ = 0, error_at_ = 0;
    std::string error_;
};

} // namespace

Result<Grammar::Pointer> Grammar::from_gbnf(std::string_view source, const GrammarBudget& budget) {
    try {
        return GbnfReader(source, budget).run();
    } catch (const GrammarTooLarge&) {
        return too_large("The grammar");
    }
}

} // namespace lucebox::text
