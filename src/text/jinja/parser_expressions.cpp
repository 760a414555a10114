#include "text/jinja/builtins.h"
#include "text/jinja/parser_impl.h"

namespace lucebox::text::jinja {

template <class Next>
ExprPtr Parser::parse_chain(Next next, std::initializer_list<std::pair<TokenKind, Operator>> operators) {
    const std::uint32_t line = current().line;
    ExprPtr first = (this->*next)();
    std::vector<BinaryExpr::Link> links;
    while (true) {
        const auto* found = operators.begin();
        while (found != operators.end() && found->first != current().kind) ++found;
        if (found == operators.end()) break;
        take();
        links.push_back({found->second, (this->*next)()});
    }
    if (links.empty()) return first;
    auto chain = std::make_unique<BinaryExpr>(ExprKind::arithmetic, line);
    chain->first = std::move(first);
    chain->links = std::move(links);
    return chain;
}

template <class Next>
ExprPtr Parser::parse_logic(Next next, std::string_view word, ExprKind kind) {
    const std::uint32_t line = current().line;
    ExprPtr first = (this->*next)();
    if (!at_name(word)) return first;
    auto chain = std::make_unique<CompoundExpr>(kind, line);
    chain->operands.push_back(std::move(first));
    while (skip_name(word)) chain->operands.push_back((this->*next)());
    return chain;
}

ExprPtr Parser::parse_expression(bool conditional) {
    const Nested nested(*this);
    const int nesting = nesting_;
    const std::uint32_t line = current().line;
    const std::size_t unknown = unknown_.size();
    ExprPtr value = parse_or();
    while (conditional && skip_name("if")) {
        enter(); // a chain of these nests to the left
        auto choice = std::make_unique<CompoundExpr>(ExprKind::conditional, line);
        ExprPtr test = parse_or();
        choice->operands.push_back(std::move(value));
        choice->operands.push_back(std::move(test));
        choice->operands.push_back(skip_name("else") ? parse_expression() : nullptr);
        value = std::move(choice);
        unknown_.resize(unknown); // guarded by this if
    }
    nesting_ = nesting;
    return value;
}

ExprPtr Parser::parse_or() { return parse_logic(&Parser::parse_and, "or", ExprKind::any_of); }
ExprPtr Parser::parse_and() { return parse_logic(&Parser::parse_not, "and", ExprKind::all_of); }

ExprPtr Parser::parse_not() {
    if (!at_name("not")) return parse_compare();
    const Nested nested(*this);
    auto inverted = std::make_unique<CompoundExpr>(ExprKind::invert, take().line);
    inverted->operands.push_back(parse_not());
    return inverted;
}

ExprPtr Parser::parse_compare() {
    const std::uint32_t line = current().line;
    ExprPtr first = parse_sum();
    std::vector<BinaryExpr::Link> links;
    while (true) {
        Operator op = Operator::in;
        switch (current().kind) {
        case TokenKind::eq: op = Operator::eq; break;
        case TokenKind::ne: op = Operator::ne; break;
        case TokenKind::lt: op = Operator::lt; break;
        case TokenKind::le: op = Operator::le; break;
        case TokenKind::gt: op = Operator::gt; break;
        case TokenKind::ge: op = Operator::ge; break;
        case TokenKind::name:
            if (at_name("in")) break;
            if (at_name("not") && look().kind == TokenKind::name && look().text == "in") {
                take();
                op = Operator::not_in;
                break;
            }
            [[fallthrough]];
        default: {
            if (links.empty()) return first;
            auto chain = std::make_unique<BinaryExpr>(ExprKind::compare, line);
            chain->first = std::move(first);
            chain->links = std::move(links);
            return chain;
        }
        }
        take();
        links.push_back({op, parse_sum()});
    }
}

ExprPtr Parser::parse_sum() {
    return parse_chain(&Parser::parse_concat, {{TokenKind::add, Operator::add}, {TokenKind::sub, Operator::sub}});
}

ExprPtr Parser::parse_concat() {
    const std::uint32_t line = current().line;
    ExprPtr first = parse_product();
    if (!at(TokenKind::tilde)) return first;
    auto chain = std::make_unique<CompoundExpr>(ExprKind::concat, line);
    chain->operands.push_back(std::move(first));
    while (skip(TokenKind::tilde)) chain->operands.push_back(parse_product());
    return chain;
}

ExprPtr Parser::parse_product() {
    return parse_chain(&Parser::parse_power, {{TokenKind::mul, Operator::mul},
                                              {TokenKind::div, Operator::div},
                                              {TokenKind::floor_div, Operator::floor_div},
                                              {TokenKind::mod, Operator::mod}});
}

ExprPtr Parser::parse_power() {
    const auto next = [](Parser& parser) { return parser.parse_unary(); };
    const std::uint32_t line = current().line;
    ExprPtr first = next(*this);
    if (!at(TokenKind::pow)) return first;
    auto chain = std::make_unique<BinaryExpr>(ExprKind::arithmetic, line);
    chain->first = std::move(first);
    while (skip(TokenKind::pow)) chain->links.push_back({Operator::pow, next(*this)});
    return chain;
}

ExprPtr Parser::parse_unary(bool with_filters) {
    const Nested nested(*this);
    ExprPtr value;
    if (at(TokenKind::sub) || at(TokenKind::add)) {
        const Token sign = take();
        const ExprKind kind = sign.kind == TokenKind::sub ? ExprKind::negate : ExprKind::plus;
        auto unary = std::make_unique<CompoundExpr>(kind, sign.line);
        unary->operands.push_back(parse_unary(false));
        value = std::move(unary);
    } else {
        value = parse_primary();
    }
    value = parse_postfix(std::move(value));
    return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExprPtr Parser::parse_primary() {
    const Token token = current();
    const auto constant = [&](Value value) { return std::make_unique<ConstantExpr>(value, token.line); };
    switch (token.kind) {
    case TokenKind::name:
        take();
        if (token.text == "true" || token.text == "True") return constant(Value::boolean(true));
        if (token.text == "false" || token.text == "False") return constant(Value::boolean(false));
        if (token.text == "none" || token.text == "None") return constant(Value::none());
        saw_caller_ |= token.text == "caller";
        saw_varargs_ |= token.text == "varargs";
        saw_kwargs_ |= token.text == "kwargs";
        return std::make_unique<NameExpr>(symbol(token.text), token.text, token.line);
    case TokenKind::string: {
        std::string_view text = take().text;
        if (at(TokenKind::string)) { // neighbours are one string
            std::string joined(text);
            while (at(TokenKind::string)) joined += take().text;
            text = template_.heap.copy(joined);
        }
        return constant(Value::string(text));
    }
    case TokenKind::integer: take(); return constant(Value::integer(token.integer));
    case TokenKind::real: take(); return constant(Value::real(token.real));
    case TokenKind::left_paren: {
        take();
        ExprPtr inner = parse_tuple(true, {}, true);
        expect(TokenKind::right_paren);
        return inner;
    }
    case TokenKind::left_bracket: return parse_list();
    case TokenKind::left_brace: return parse_dict();
    default: fail_expected("an expression");
    }
}

ExprPtr Parser::parse_tuple(bool conditional, std::string_view end_name, bool in_parentheses) {
    const std::uint32_t line = current().line;
    std::vector<ExprPtr> items;
    bool tuple = false;
    while (true) {
        if (at(TokenKind::variable_end) || at(TokenKind::block_end) || at(TokenKind::right_paren)) break;
        if (!end_name.empty() && at_name(end_name)) break;
        items.push_back(parse_expression(conditional));
        if (!skip(TokenKind::comma)) break;
        tuple = true;
    }
    if (!tuple && !items.empty()) return std::move(items.front());
    if (!tuple && !in_parentheses) fail_expected("an expression");
    auto result = std::make_unique<CompoundExpr>(ExprKind::tuple, line);
    result->operands = std::move(items);
    return result;
}

ExprPtr Parser::parse_list() {
    auto list = std::make_unique<CompoundExpr>(ExprKind::list, expect(TokenKind::left_bracket).line);
    while (!at(TokenKind::right_bracket)) {
        list->operands.push_back(parse_expression());
        if (!at(TokenKind::right_bracket)) expect(TokenKind::comma);
    }
    take();
    return list;
}

ExprPtr Parser::parse_dict() {
    auto dict = std::make_unique<CompoundExpr>(ExprKind::dict, expect(TokenKind::left_brace).line);
    while (!at(TokenKind::right_brace)) {
        dict->operands.push_back(parse_expression());
        expect(TokenKind::colon);
        dict->operands.push_back(parse_expression());
        if (!at(TokenKind::right_brace)) expect(TokenKind::comma);
    }
    take();
    return dict;
}

std::vector<Postfix>& Parser::links_of(ExprPtr& expr) {
    if (expr->kind != ExprKind::postfix) {
        auto chain = std::make_unique<PostfixExpr>(ExprKind::postfix, expr->line);
        chain->base = std::move(expr);
        expr = std::move(chain);
    }
    return static_cast<PostfixExpr&>(*expr).links;
}

ExprPtr Parser::parse_postfix(ExprPtr base) {
    while (true) {
        if (at(TokenKind::dot) || at(TokenKind::left_bracket)) {
            links_of(base).push_back(parse_subscript());
        } else if (at(TokenKind::left_paren)) {
            links_of(base).push_back(parse_call_link());
        } else {
            return base;
        }
    }
}

ExprPtr Parser::parse_filters_and_tests(ExprPtr base) {
    while (true) {
        if (at(TokenKind::pipe)) {
            take();
            links_of(base).push_back(parse_filter_link());
        } else if (at_name("is")) {
            links_of(base).push_back(parse_test_link());
        } else if (at(TokenKind::left_paren)) {
            links_of(base).push_back(parse_call_link());
        } else {
            return base;
        }
    }
}

Postfix Parser::parse_subscript() {
    Postfix link;
    const Token opening = take();
    link.line = opening.line;
    if (opening.kind == TokenKind::dot) {
        const Token attribute = take();
        if (attribute.kind == TokenKind::name) {
            link.name = Value::string(attribute.text);
            return link;
        }
        if (attribute.kind != TokenKind::integer) fail_at(attribute.line, "expected a name or an integer after '.'");
        link.kind = PostfixKind::item;
        link.index = std::make_unique<ConstantExpr>(Value::integer(attribute.integer), attribute.line);
        return link;
    }
    const auto part_ends = [this] {
        return at(TokenKind::colon) || at(TokenKind::right_bracket) || at(TokenKind::comma);
    };
    link.kind = PostfixKind::item;
    if (!at(TokenKind::colon)) link.index = parse_expression();
    if (at(TokenKind::comma)) { // x[1, 2] looks for the tuple
        auto tuple = std::make_unique<CompoundExpr>(ExprKind::tuple, opening.line);
        tuple->operands.push_back(std::move(link.index));
        while (skip(TokenKind::comma)) tuple->operands.push_back(parse_expression());
        link.index = std::move(tuple);
    } else if (skip(TokenKind::colon)) {
        link.kind = PostfixKind::slice;
        link.from = std::move(link.index);
        if (!part_ends()) link.to = parse_expression();
        if (skip(TokenKind::colon) && !part_ends()) link.step = parse_expression();
    }
    expect(TokenKind::right_bracket);
    return link;
}

Postfix Parser::parse_call_link() {
    Postfix link;
    link.kind = PostfixKind::call;
    link.line = current().line;
    link.call = parse_arguments();
    return link;
}

std::unique_ptr<Arguments> Parser::parse_arguments() {
    auto arguments = std::make_unique<Arguments>();
    const std::uint32_t line = expect(TokenKind::left_paren).line;
    const auto require = [&](bool condition) {
        if (!condition) fail_at(line, "expected positional arguments, then named ones, then *args, then **kwargs");
    };
    while (!at(TokenKind::right_paren)) {
        if (skip(TokenKind::mul)) {
            require(!arguments->star && !arguments->double_star);
            arguments->star = parse_expression();
        } else if (skip(TokenKind::pow)) {
            require(!arguments->double_star);
            arguments->double_star = parse_expression();
        } else if (at(TokenKind::name) && look().kind == TokenKind::assign) {
            require(!arguments->double_star);
            const std::string_view name = take().text;
            take();
            if (arguments->named.size() >= max_arguments) fail_at(line, "too many arguments");
            for (const auto& [other, value] : arguments->named) {
                if (other.text() == name) fail_at(line, "the argument '" + std::string(name) + "' is given twice");
            }
            arguments->named.emplace_back(Value::string(name), parse_expression());
        } else {
            require(!arguments->star && !arguments->double_star && arguments->named.empty());
            arguments->positional.push_back(parse_expression());
        }
        if (!at(TokenKind::right_paren)) expect(TokenKind::comma);
    }
    take();
    return arguments;
}

Value Parser::parse_dotted_name() {
    std::string_view name = expect(TokenKind::name).text;
    if (at(TokenKind::dot)) {
        std::string dotted(name);
        while (skip(TokenKind::dot)) dotted += "." + std::string(expect(TokenKind::name).text);
        name = template_.heap.copy(dotted);
    }
    return Value::string(name);
}

void Parser::note_unknown(const Postfix& link, std::string_view what) {
    if (link.builtin != nullptr || guarded_) return;
    const std::string name(link.name.text());
    unknown_.push_back({ErrorKind::unsupported, "there is no " + std::string(what) + " named '" + name + "'", link.line});
}

Postfix Parser::parse_filter_link() {
    Postfix link;
    link.kind = PostfixKind::filter;
    link.line = current().line;
    link.name = parse_dotted_name();
    link.builtin = find_filter(link.name.text());
    note_unknown(link, "filter");
    if (at(TokenKind::left_paren)) link.call = parse_arguments();
    return link;
}

Postfix Parser::parse_test_link() {
    Postfix link;
    link.kind = PostfixKind::test;
    link.line = take().line; // is
    link.negated = skip_name("not");
    link.name = parse_dotted_name();
    link.builtin = find_test(link.name.text());
    note_unknown(link, "test");
    switch (current().kind) {
    case TokenKind::left_paren: link.call = parse_arguments(); break;
    case TokenKind::name:
        if (at_name("else") || at_name("or") || at_name("and")) break;
        if (at_name("is")) fail_at(current().line, "tests with 'is' can't be chained");
        [[fallthrough]];
    case TokenKind::string:
    case TokenKind::integer:
    case TokenKind::real:
    case TokenKind::left_bracket:
    case TokenKind::left_brace: { // the one argument, without parentheses
        link.call = std::make_unique<Arguments>();
        const Nested nested(*this);
        link.call->positional.push_back(parse_postfix(parse_primary()));
        break;
    }
    default: break;
    }
    return link;
}

} // namespace lucebox::text::jinja
