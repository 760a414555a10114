#include "text/grammar/expression.h"

#include <algorithm>

namespace lucebox::text {
namespace {

std::string utf8(std::uint32_t c) {
    std::string out;
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xC0 | (c >> 6));
        out += static_cast<char>(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        out += static_cast<char>(0xE0 | (c >> 12));
        out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
        out += static_cast<char>(0x80 | (c & 0x3F));
    } else {
        out += static_cast<char>(0xF0 | (c >> 18));
        out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
        out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
        out += static_cast<char>(0x80 | (c & 0x3F));
    }
    return out;
}

ByteSet byte_range(unsigned low, unsigned high) {
    ByteSet set;
    for (unsigned b = low; b <= high; ++b) set.set(b);
    return set;
}

} // namespace

ExpressionPointer ExpressionBuilder::make(Expression expression) {
    meter_.charge();
    const auto contains = [&](const ExpressionPointer& part) {
        if (part) expression.depth = std::max(expression.depth, part->depth + 1);
    };
    for (const auto& part : expression.parts) contains(part);
    for (const auto& member : expression.members) contains(member.entry);
    contains(expression.other);
    contains(expression.separator);
    if (++made_ > budget_.expressions || expression.depth > budget_.depth) throw GrammarTooLarge{};
    return std::make_shared<const Expression>(std::move(expression));
}

ExpressionPointer ExpressionBuilder::literal(std::string text) {
    Expression e;
    e.kind = Expression::Kind::literal;
    made_ += text.size() / 8;
    e.text = std::move(text);
    return make(std::move(e));
}

ExpressionPointer ExpressionBuilder::bytes(const ByteSet& set) {
    Expression e;
    e.kind = Expression::Kind::bytes;
    e.bytes = set;
    return make(std::move(e));
}

ExpressionPointer ExpressionBuilder::sequence(std::vector<ExpressionPointer> parts) {
    if (parts.size() == 1) return parts.front();
    Expression e;
    e.parts = std::move(parts);
    return make(std::move(e));
}

ExpressionPointer ExpressionBuilder::alternatives(std::vector<ExpressionPointer> parts) {
    if (parts.size() == 1) return parts.front();
    Expression e;
    e.kind = Expression::Kind::alternatives;
    e.parts = std::move(parts);
    return make(std::move(e));
}

ExpressionPointer ExpressionBuilder::repeat(ExpressionPointer part, std::uint32_t least, std::uint32_t most) {
    if (least == 1 && most == 1) return part;
    Expression e;
    e.kind = Expression::Kind::repeat;
    e.parts = {std::move(part)};
    e.least = least;
    e.most = most;
    return make(std::move(e));
}

ExpressionPointer ExpressionBuilder::call(std::uint32_t rule) {
    Expression e;
    e.kind = Expression::Kind::rule;
    e.rule = rule;
    return make(std::move(e));
}

ExpressionPointer ExpressionBuilder::members(std::vector<Expression::Member> members, ExpressionPointer other,
                                             ExpressionPointer separator) {
    Expression e;
    e.kind = Expression::Kind::members;
    made_ += members.size();
    e.members = std::move(members);
    e.other = std::move(other);
    e.separator = std::move(separator);
    return make(std::move(e));
}

std::uint32_t ExpressionBuilder::new_rule() {
    rules_.push_back(nullptr);
    return static_cast<std::uint32_t>(rules_.size() - 1);
}

CharacterRanges complement(CharacterRanges ranges) {
    std::sort(ranges.begin(), ranges.end());
    CharacterRanges out;
    std::uint32_t next = 0;
    ranges.emplace_back(0xD800, 0xDFFF); // surrogates are no characters
    std::sort(ranges.begin(), ranges.end());
    for (const auto& [low, high] : ranges) {
        if (low > next) out.emplace_back(next, low - 1);
        next = std::max(next, high + 1);
    }
    if (next <= 0x10FFFF) out.emplace_back(next, 0x10FFFF);
    return out;
}

// A range of code points splits where the number of UTF-8 bytes changes and where a trailing part is not whole; each part
// is then a sequence of byte ranges.
ExpressionPointer ExpressionBuilder::characters(const CharacterRanges& ranges) {
    ByteSet ascii;
    std::vector<ExpressionPointer> parts;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> work(ranges.rbegin(), ranges.rend());
    while (!work.empty()) {
        meter_.charge();
        auto [low, high] = work.back();
        work.pop_back();
        if (low > high || low > 0x10FFFF) continue;
        high = std::min<std::uint32_t>(high, 0x10FFFF);
        bool split = false;
        for (const std::uint32_t limit : {0x7Fu, 0x7FFu, 0xFFFFu}) {
            if (low > limit || high <= limit) continue;
            work.emplace_back(limit + 1, high);
            work.emplace_back(low, limit);
            split = true;
            break;
        }
        if (split) continue;
        if (high < 0x80) {
            ascii |= byte_range(low, high);
            continue;
        }
        const std::string first = utf8(low), last = utf8(high);
        for (std::uint32_t bits = 6; bits < 6 * first.size() && !split; bits += 6) {
            const std::uint32_t part = (1u << bits) - 1;
            if ((low & ~part) == (high & ~part)) break;
            if ((low & part) != 0) {
                work.emplace_back((low | part) + 1, high);
                work.emplace_back(low, low | part);
                split = true;
            } else if ((high & part) != part) {
                work.emplace_back(high & ~part, high);
                work.emplace_back(low, (high & ~part) - 1);
                split = true;
            }
        }
        if (split) continue;
        std::vector<ExpressionPointer> sequence_of_bytes;
        for (std::size_t i = 0; i < first.size(); ++i)
            sequence_of_bytes.push_back(bytes(byte_range(static_cast<unsigned char>(first[i]), static_cast<unsigned char>(last[i]))));
        parts.push_back(sequence(std::move(sequence_of_bytes)));
    }
    if (ascii.any()) parts.insert(parts.begin(), bytes(ascii));
    return alternatives(std::move(parts));
}

} // namespace lucebox::text
