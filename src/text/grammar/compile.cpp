// Expression trees into the automaton's nodes.
#include "text/grammar/grammar.h"

#include <fmt/format.h>

#include <optional>
#include <unordered_map>

namespace lucebox::text {

class GrammarCompiler {
public:
    explicit GrammarCompiler(const ExpressionBuilder& builder) : builder_(builder), grammar_(std::make_shared<Grammar>()) {}

    Result<Grammar::Pointer> run(std::uint32_t root) {
        LUCEBOX_CHECK(find_properties(root));
        grammar_->nodes_.emplace_back(); // node 0: no node
        rule_nodes_.assign(builder_.rules().size(), 0);
        // Rules may refer to each other in any order, so each begins with a node that is filled in later.
        for (std::uint32_t rule = 0; rule < rule_nodes_.size(); ++rule) {
            if (productive_[rule]) rule_nodes_[rule] = add({GrammarNode::Kind::split});
        }
        for (std::uint32_t rule = 0; rule < rule_nodes_.size(); ++rule) {
            if (!productive_[rule]) continue;
            const std::uint32_t end = add({GrammarNode::Kind::end});
            const std::uint32_t body = compile(*builder_.rules()[rule], end);
            grammar_->nodes_[rule_nodes_[rule]].set = add_targets({body});
            if (error_) return *error_;
        }
        grammar_->root_ = rule_nodes_[root];
        return Grammar::Pointer(grammar_);
    }

private:
    // Which rules can match anything at all, and which can match nothing (the empty text). Grows until nothing changes.
    Status find_properties(std::uint32_t root) {
        const auto& rules = builder_.rules();
        productive_.assign(rules.size(), false);
        nullable_.assign(rules.size(), false);
        for (bool changed = true; changed;) {
            changed = false;
            for (std::size_t i = 0; i < rules.size(); ++i) {
                if (!rules[i]) return Error{ErrorKind::internal, "A rule of the grammar was never defined."};
                if (!productive_[i] && productive(*rules[i])) productive_[i] = changed = true;
                if (!nullable_[i] && nullable(*rules[i])) nullable_[i] = changed = true;
            }
        }
        if (begins_with_itself()) {
            return Error{ErrorKind::unsupported, "A rule of the grammar begins with itself, which would never end.",
                         "Write it as a repetition."};
        }
        if (!productive_[root]) return Error{ErrorKind::unsupported, "Nothing can satisfy the grammar."};
        return Ok{};
    }

    // Rules that `e` may call before it takes a byte.
    void add_first_rules(const Expression& e, std::vector<std::uint32_t>& rules) const {
        using Kind = Expression::Kind;
        builder_.meter().charge();
        if (e.kind == Kind::rule) rules.push_back(e.rule);
        for (const auto& part : e.parts) {
            add_first_rules(*part, rules);
            if (e.kind == Kind::sequence && !nullable(*part)) break;
        }
        for (const auto& member : e.members) add_first_rules(*member.entry, rules);
    }

    bool begins_with_itself() const {
        enum class Mark : std::uint8_t { fresh, open, done };
        std::vector<Mark> marks(builder_.rules().size(), Mark::fresh);
        std::vector<std::pair<std::uint32_t, std::vector<std::uint32_t>>> path; // rule, and those it may call first
        for (std::uint32_t start = 0; start < marks.size(); ++start) {
            const auto visit = [&](std::uint32_t rule) {
                marks[rule] = Mark::open;
                path.emplace_back(rule, std::vector<std::uint32_t>());
                add_first_rules(*builder_.rules()[rule], path.back().second);
            };
            if (marks[start] == Mark::fresh) visit(start);
            while (!path.empty()) {
                auto& [rule, calls] = path.back();
                if (calls.empty()) {
                    marks[rule] = Mark::done;
                    path.pop_back();
                    continue;
                }
                const std::uint32_t next = calls.back();
                calls.pop_back();
                if (marks[next] == Mark::open) return true;
                if (marks[next] == Mark::fresh) visit(next);
            }
        }
        return false;
    }

    bool productive(const Expression& e) const {
        using Kind = Expression::Kind;
        builder_.meter().charge();
        switch (e.kind) {
        case Kind::literal: return true;
        case Kind::bytes: return e.bytes.any();
        case Kind::sequence:
            for (const auto& part : e.parts) if (!productive(*part)) return false;
            return true;
        case Kind::alternatives:
            for (const auto& part : e.parts) if (productive(*part)) return true;
            return false;
        case Kind::repeat: return e.least == 0 || (e.most > 0 && productive(*e.parts[0]));
        case Kind::rule: return productive_[e.rule];
        case Kind::members:
            for (const auto& member : e.members) if (member.required && !productive(*member.entry)) return false;
            return true;
        }
        return false;
    }

    bool nullable(const Expression& e) const {
        using Kind = Expression::Kind;
        builder_.meter().charge();
        switch (e.kind) {
        case Kind::literal: return e.text.empty();
        case Kind::bytes: return false;
        case Kind::sequence:
            for (const auto& part : e.parts) if (!nullable(*part)) return false;
            return true;
        case Kind::alternatives:
            for (const auto& part : e.parts) if (nullable(*part)) return true;
            return false;
        case Kind::repeat: return e.least == 0 || nullable(*e.parts[0]);
        case Kind::rule: return nullable_[e.rule];
        case Kind::members: return true;
        }
        return false;
    }

    std::uint32_t add(GrammarNode node) {
        builder_.meter().charge();
        if (grammar_->nodes_.size() >= builder_.budget().nodes) throw GrammarTooLarge{};
        grammar_->nodes_.push_back(node);
        return static_cast<std::uint32_t>(grammar_->nodes_.size() - 1);
    }
    std::uint32_t add_targets(std::vector<std::uint32_t> targets) {
        grammar_->targets_.push_back(std::move(targets));
        return static_cast<std::uint32_t>(grammar_->targets_.size() - 1);
    }
    std::uint32_t add_bytes(const ByteSet& set, std::uint32_t next) {
        const auto [at, is_new] = set_numbers_.try_emplace(set, static_cast<std::uint32_t>(grammar_->sets_.size()));
        if (is_new) grammar_->sets_.push_back(set);
        GrammarNode node{GrammarNode::Kind::bytes, next};
        node.set = at->second;
        return add(node);
    }

    // The node from which `e` leads to `next`. What can't match is left out.
    std::uint32_t compile(const Expression& e, std::uint32_t next) {
        using Kind = Expression::Kind;
        if (error_) return next;
        switch (e.kind) {
        case Kind::literal:
            for (auto c = e.text.rbegin(); c != e.text.rend(); ++c) {
                ByteSet set;
                set.set(static_cast<unsigned char>(*c));
                next = add_bytes(set, next);
            }
            return next;
        case Kind::bytes: return add_bytes(e.bytes, next);
        case Kind::sequence:
            for (auto part = e.parts.rbegin(); part != e.parts.rend(); ++part) next = compile(**part, next);
            return next;
        case Kind::alternatives: {
            std::vector<std::uint32_t> targets;
            for (const auto& part : e.parts)
                if (productive(*part)) targets.push_back(compile(*part, next));
            return add_split(std::move(targets));
        }
        case Kind::repeat: return compile_repeat(e, next);
        case Kind::rule: {
            GrammarNode node{GrammarNode::Kind::call, next, rule_nodes_[e.rule]};
            return add(node);
        }
        case Kind::members: return compile_members(e, next);
        }
        return next;
    }

    std::uint32_t add_split(std::vector<std::uint32_t> targets) {
        GrammarNode node{GrammarNode::Kind::split};
        node.set = add_targets(std::move(targets));
        return add(node);
    }

    std::uint32_t compile_repeat(const Expression& e, std::uint32_t next) {
        const Expression& part = *e.parts[0];
        if (e.most == 0 || !productive(part)) return next;
        if (e.least == 0 && e.most == 1) return add_split({compile(part, next), next});
        if (e.least <= 1 && e.most == unlimited) {
            const std::uint32_t loop = add_split({});
            const std::uint32_t body = compile(part, loop);
            grammar_->targets_[grammar_->nodes_[loop].set] = {body, next};
            return e.least == 0 ? loop : body;
        }
        if (nullable(part)) {
            error_ = Error{ErrorKind::unsupported, "A counted repetition of something that may be empty is not supported."};
            return next;
        }
        GrammarNode node{GrammarNode::Kind::repeat, next};
        node.target = compile(part, add({GrammarNode::Kind::end}));
        node.least = e.least;
        node.most = e.most;
        return add(node);
    }

    std::uint32_t compile_members(const Expression& e, std::uint32_t next) {
        if (e.members.size() > GrammarObject::most_members) {
            error_ = Error{ErrorKind::unsupported, fmt::format("An object with more than {} properties is not supported.",
                                                               GrammarObject::most_members)};
            return next;
        }
        const auto number = static_cast<std::uint32_t>(grammar_->objects_.size());
        grammar_->objects_.emplace_back();
        GrammarObject object;
        object.next = next;
        for (std::uint32_t i = 0; i < e.members.size(); ++i) {
            GrammarNode end{GrammarNode::Kind::entry_end};
            end.least = i;
            end.set = number;
            object.entries.push_back(productive(*e.members[i].entry) ? compile(*e.members[i].entry, add(end)) : 0);
            if (e.members[i].required) object.required[i / 64] |= std::uint64_t{1} << (i % 64);
        }
        if (e.other && productive(*e.other)) {
            GrammarNode end{GrammarNode::Kind::entry_end};
            end.least = GrammarObject::most_members;
            end.set = number;
            object.other = compile(*e.other, add(end));
        }
        GrammarNode entries{GrammarNode::Kind::entries};
        entries.set = number;
        object.separator = compile(*e.separator, add(entries));
        grammar_->objects_[number] = std::move(object);
        GrammarNode node{GrammarNode::Kind::members};
        node.set = number;
        return add(node);
    }

    const ExpressionBuilder& builder_;
    std::shared_ptr<Grammar> grammar_;
    std::vector<std::uint32_t> rule_nodes_;
    std::vector<bool> productive_, nullable_;
    std::unordered_map<ByteSet, std::uint32_t> set_numbers_;
    std::optional<Error> error_;
};

Result<Grammar::Pointer> Grammar::compile(const ExpressionBuilder& builder, std::uint32_t root) {
    return GrammarCompiler(builder).run(root);
}

} // namespace lucebox::text
