#include "text/jinja/builtins.h"
#include "text/jinja/parser_impl.h"
#include "text/jinja/unicode.h"

#include <algorithm>

namespace lucebox::text::jinja {

void Parser::enter() {
    if (++nesting_ > max_nesting) fail_at(current().line, "nested too deeply");
}

Token Parser::take() {
    const Token token = current();
    if (token.kind != TokenKind::end) ++at_;
    return token;
}

bool Parser::skip(TokenKind kind) {
    if (!at(kind)) return false;
    take();
    return true;
}

bool Parser::skip_name(std::string_view name) {
    if (!at_name(name)) return false;
    take();
    return true;
}

Token Parser::expect(TokenKind kind) {
    if (!at(kind)) fail_expected(describe(kind));
    return take();
}

void Parser::expect_name(std::string_view name) {
    if (!skip_name(name)) fail_expected("'" + std::string(name) + "'");
}

void Parser::fail_expected(const std::string& what) const {
    fail_at(current().line, "expected " + what + ", found " + describe(current()));
}

void Parser::fail_at(std::uint32_t line, std::string message, ErrorKind kind) {
    throw Failure{kind, std::move(message), line};
}

Symbol Parser::symbol(std::string_view name) {
    const auto [place, added] = template_.symbols.emplace(name, static_cast<Symbol>(template_.names.size()));
    if (added) template_.names.push_back(name);
    return place->second;
}

Body Parser::parse() {
    template_.loop = symbol("loop");
    template_.caller = symbol("caller");
    template_.varargs = symbol("varargs");
    template_.kwargs = symbol("kwargs");
    Body body = parse_until({});
    if (!unknown_.empty()) throw unknown_.front();
    return body;
}

Body Parser::parse_until(std::span<const std::string_view> ends) {
    const Nested nested(*this);
    Body body;
    while (!at(TokenKind::end)) {
        const Token token = take();
        if (token.kind == TokenKind::data) {
            body.push_back(std::make_unique<TextStatement>(token.text, token.line));
        } else if (token.kind == TokenKind::variable_begin) {
            auto print = std::make_unique<PrintStatement>(StatementKind::print, token.line);
            print->value = parse_tuple();
            body.push_back(std::move(print));
            expect(TokenKind::variable_end);
        } else { // block_begin
            if (at(TokenKind::name) && std::find(ends.begin(), ends.end(), current().text) != ends.end()) return body;
            parse_tag(body);
            expect(TokenKind::block_end);
        }
    }
    if (!ends.empty()) {
        std::string names;
        for (const std::string_view end : ends) names += (names.empty() ? "'" : " or '") + std::string(end) + "'";
        fail_expected(names);
    }
    return body;
}

Body Parser::parse_body(Ends ends) {
    skip(TokenKind::colon);
    expect(TokenKind::block_end);
    return parse_until({ends.begin(), ends.size()});
}

Body Parser::parse_body_and_end(std::string_view end) {
    Body body = parse_body({end});
    take();
    return body;
}

void Parser::parse_tag(Body& body) {
    if (!at(TokenKind::name)) fail_expected("the name of a tag");
    const Token tag = current();
    const std::string_view name = tag.text;
    if (name == "print") return parse_print(body);
    if (name == "set") {
        body.push_back(parse_set());
    } else if (name == "if") {
        body.push_back(parse_if());
    } else if (name == "for") {
        body.push_back(parse_for());
    } else if (name == "macro") {
        body.push_back(parse_macro());
    } else if (name == "call") {
        body.push_back(parse_call());
    } else if (name == "filter") {
        body.push_back(parse_filter());
    } else if (name == "with") {
        body.push_back(parse_with());
    } else if (name == "generation") {
        body.push_back(parse_generation());
    } else if (name == "break" || name == "continue") {
        take();
        if (loops_ == 0) fail_at(tag.line, "expected '" + std::string(name) + "' inside a loop only");
        body.push_back(std::make_unique<Statement>(
            name == "break" ? StatementKind::break_loop : StatementKind::continue_loop, tag.line));
    } else {
        static constexpr std::string_view unsupported[] = {"include", "import",     "from",
                                                           "extends", "autoescape", "block"};
        if (std::find(std::begin(unsupported), std::end(unsupported), name) != std::end(unsupported)) {
            fail_at(tag.line, "the tag '" + std::string(name) + "' is not supported", ErrorKind::unsupported);
        }
        fail_expected("the name of a tag");
    }
}

void Parser::parse_print(Body& body) {
    take();
    for (bool first = true; !at(TokenKind::block_end); first = false) {
        if (!first) expect(TokenKind::comma);
        auto print = std::make_unique<PrintStatement>(StatementKind::print, current().line);
        print->value = parse_expression();
        body.push_back(std::move(print));
    }
}

std::unique_ptr<Statement> Parser::parse_set() {
    const std::uint32_t line = take().line;
    Target target = parse_target(true);
    if (skip(TokenKind::assign)) {
        auto set = std::make_unique<SetStatement>(StatementKind::set, line);
        set->target = std::move(target);
        set->value = parse_tuple();
        return set;
    }
    auto block = std::make_unique<FilteredBlock>(StatementKind::set_block, line);
    block->target = std::move(target);
    const Frame frame(*this, loops_);
    if (at(TokenKind::pipe)) {
        block->filter = std::make_unique<PostfixExpr>(ExprKind::postfix, line);
        while (skip(TokenKind::pipe)) block->filter->links.push_back(parse_filter_link());
    }
    block->body = parse_body_and_end("endset");
    return block;
}

std::unique_ptr<Statement> Parser::parse_filter() {
    auto block = std::make_unique<FilteredBlock>(StatementKind::filter, take().line);
    const Frame frame(*this, loops_);
    block->filter = std::make_unique<PostfixExpr>(ExprKind::postfix, block->line);
    do {
        block->filter->links.push_back(parse_filter_link());
    } while (skip(TokenKind::pipe));
    block->body = parse_body_and_end("endfilter");
    return block;
}

std::unique_ptr<Statement> Parser::parse_if() {
    auto statement = std::make_unique<IfStatement>(StatementKind::if_else, current().line);
    const bool guarded = guarded_;
    guarded_ = true;
    do {
        take(); // if, elif
        IfStatement::Branch branch;
        branch.test = parse_tuple(false);
        branch.body = parse_body({"elif", "else", "endif"});
        statement->branches.push_back(std::move(branch));
    } while (at_name("elif"));
    if (skip_name("else")) statement->otherwise = parse_body({"endif"});
    take();
    guarded_ = guarded;
    return statement;
}

std::unique_ptr<Statement> Parser::parse_for() {
    auto loop = std::make_unique<ForStatement>(StatementKind::for_loop, take().line);
    ++loop_stores_;
    loop->target = parse_target(false, "in");
    expect_name("in");
    loop->iterable = parse_tuple(false, "recursive");
    {
        const Frame frame(*this, loops_ + 1);
        if (skip_name("if")) loop->test = parse_expression();
        if (at_name("recursive")) {
            fail_at(loop->line, "recursive loops are not supported", ErrorKind::unsupported);
        }
        loop->body = parse_body({"endfor", "else"});
    }
    if (skip_name("else")) {
        const Frame frame(*this, loops_);
        loop->otherwise = parse_body({"endfor"});
    }
    take();
    --loop_stores_;
    return loop;
}

void Parser::parse_signature(MacroStatement& macro) {
    expect(TokenKind::left_paren);
    while (!at(TokenKind::right_paren)) {
        if (!macro.parameters.empty()) expect(TokenKind::comma);
        Parameter parameter;
        const Token name = expect(TokenKind::name);
        if (macro.parameters.size() >= max_arguments) fail_at(name.line, "too many parameters");
        parameter.name = name.text;
        parameter.symbol = symbol(name.text);
        for (const Parameter& other : macro.parameters) {
            if (other.name == name.text) fail_at(name.line, "a parameter is named twice");
        }
        if (skip(TokenKind::assign)) {
            parameter.preset = parse_expression();
        } else if (!macro.parameters.empty() && macro.parameters.back().preset) {
            fail_at(name.line, "expected a default value, as the parameter before has one");
        }
        macro.parameters.push_back(std::move(parameter));
    }
    take();
}

void Parser::parse_macro_body(MacroStatement& macro, std::string_view end) {
    const bool caller = std::exchange(saw_caller_, false);
    const bool varargs = std::exchange(saw_varargs_, false);
    const bool kwargs = std::exchange(saw_kwargs_, false);
    macro.body = parse_body_and_end(end);
    const auto declares = [&](Symbol name) {
        return std::any_of(macro.parameters.begin(), macro.parameters.end(),
                           [name](const Parameter& parameter) { return parameter.symbol == name; });
    };
    macro.uses_caller = saw_caller_ && !declares(template_.caller);
    macro.uses_varargs = saw_varargs_ && !declares(template_.varargs);
    macro.uses_kwargs = saw_kwargs_ && !declares(template_.kwargs);
    // What a nested macro mentions, this one mentions.
    saw_caller_ |= caller;
    saw_varargs_ |= varargs;
    saw_kwargs_ |= kwargs;
}

std::unique_ptr<Statement> Parser::parse_macro() {
    auto macro = std::make_unique<MacroStatement>(StatementKind::macro, take().line);
    macro->name = expect(TokenKind::name).text;
    macro->symbol = symbol(macro->name);
    const Frame frame(*this, 0);
    parse_signature(*macro);
    parse_macro_body(*macro, "endmacro");
    return macro;
}

std::unique_ptr<Statement> Parser::parse_call() {
    auto statement = std::make_unique<CallStatement>(StatementKind::call, take().line);
    statement->caller = std::make_unique<MacroStatement>(StatementKind::macro, statement->line);
    statement->caller->name = "caller";
    const Frame frame(*this, 0);
    if (at(TokenKind::left_paren)) parse_signature(*statement->caller);
    ExprPtr call = parse_expression();
    auto* chain = call->kind == ExprKind::postfix ? static_cast<PostfixExpr*>(call.get()) : nullptr;
    if (chain == nullptr || chain->links.back().kind != PostfixKind::call) {
        fail_at(statement->line, "expected a call of a macro");
    }
    call.release();
    statement->call.reset(chain);
    parse_macro_body(*statement->caller, "endcall");
    return statement;
}

std::unique_ptr<Statement> Parser::parse_with() {
    auto with = std::make_unique<WithStatement>(StatementKind::with, take().line);
    const Frame frame(*this, loops_);
    while (!at(TokenKind::block_end)) {
        if (!with->bindings.empty()) expect(TokenKind::comma);
        Target target = parse_target(false);
        expect(TokenKind::assign);
        with->bindings.emplace_back(std::move(target), parse_expression());
    }
    with->body = parse_body_and_end("endwith");
    return with;
}

// Marks what the model said, for training; the text is what counts here.
std::unique_ptr<Statement> Parser::parse_generation() {
    auto scope = std::make_unique<WithStatement>(StatementKind::scope, take().line);
    const Frame frame(*this, 0);
    scope->body = parse_body_and_end("endgeneration");
    return scope;
}

Target Parser::parse_target(bool allow_attributes, std::string_view end_name) {
    std::vector<Target> items;
    bool tuple = false;
    while (true) {
        if (at(TokenKind::block_end) || at(TokenKind::right_paren)) break;
        if (!end_name.empty() && at_name(end_name)) break;
        items.push_back(parse_target_item(allow_attributes));
        if (!skip(TokenKind::comma)) break;
        tuple = true;
    }
    if (items.empty()) fail_expected("a name to assign to");
    if (!tuple) return std::move(items.front());
    Target target;
    target.kind = Target::Kind::tuple;
    target.items = std::move(items);
    return target;
}

Target Parser::parse_target_item(bool allow_attributes) {
    const Nested nested(*this);
    if (skip(TokenKind::left_paren)) {
        Target inner = parse_target(false);
        expect(TokenKind::right_paren);
        return inner;
    }
    static constexpr std::string_view constants[] = {"true", "True", "false", "False", "none", "None"};
    if (at(TokenKind::name) && std::find(std::begin(constants), std::end(constants), current().text) !=
                                   std::end(constants)) {
        fail_expected("a name to assign to");
    }
    const Token name = expect(TokenKind::name);
    if (loop_stores_ > 0 && name.text == "loop") fail_at(name.line, "'loop' can't be assigned to in a loop");
    Target target;
    target.name = name.text;
    target.symbol = symbol(name.text);
    if (allow_attributes && skip(TokenKind::dot)) {
        target.kind = Target::Kind::attribute;
        target.attribute = Value::string(expect(TokenKind::name).text);
    }
    return target;
}

std::unique_ptr<Template> parse_template(std::string_view source) {
    if (source.size() > max_source_bytes) {
        throw Failure{ErrorKind::invalid_data, "the template is longer than 256 KiB", 1};
    }
    auto result = std::make_unique<Template>();
    result->source = normalize_newlines(source);
    if (!is_valid_utf8(result->source)) throw Failure{ErrorKind::invalid_data, "the template is not UTF-8", 1};
    result->body = Parser(*result, tokenize(result->source, result->heap)).parse();
    return result;
}

} // namespace lucebox::text::jinja
