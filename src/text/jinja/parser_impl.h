// The recursive-descent parser, shared by its two halves: parser_expressions.cpp and parser_statements.cpp.
// Grammar and precedence are those of Jinja 3.1, as documented in its "Template Designer Documentation".
#pragma once

#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"

#include <span>
#include <string>

namespace lucebox::text::jinja {

class Parser {
public:
    Parser(Template& result, std::vector<Token> tokens) : template_(result), tokens_(std::move(tokens)) {}

    Body parse();

private:
    // Levels of recursion, of expressions and statements together. Well-meant templates stay below 30.
    static constexpr int max_nesting = 120;
    static constexpr std::size_t max_arguments = 255; // names are compared pair by pair
    class Nested {
    public:
        explicit Nested(Parser& parser) : parser_(parser) { parser_.enter(); }
        ~Nested() { --parser_.nesting_; }
        Nested(const Nested&) = delete;
        Nested& operator=(const Nested&) = delete;

    private:
        Parser& parser_;
    };

    // What a body forgets about its surroundings: {% break %} needs a loop of the same body, and an unknown filter is
    // an error of the whole template unless an {% if %} of the same body or an inline if guards it.
    class Frame {
    public:
        Frame(Parser& parser, int loops) : parser_(parser), loops_(parser.loops_), guarded_(parser.guarded_) {
            parser_.loops_ = loops;
            parser_.guarded_ = false;
        }
        ~Frame() {
            parser_.loops_ = loops_;
            parser_.guarded_ = guarded_;
        }
        Frame(const Frame&) = delete;
        Frame& operator=(const Frame&) = delete;

    private:
        Parser& parser_;
        int loops_;
        bool guarded_;
    };

    void enter();

    // Tokens.
    const Token& current() const { return tokens_[at_]; }
    const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
    Token take();
    bool at(TokenKind kind) const { return current().kind == kind; }
    bool at_name(std::string_view name) const { return at(TokenKind::name) && current().text == name; }
    bool skip(TokenKind kind);
    bool skip_name(std::string_view name);
    Token expect(TokenKind kind);
    void expect_name(std::string_view name);
    [[noreturn]] void fail_expected(const std::string& what) const;
    [[noreturn]] static void fail_at(std::uint32_t line, std::string message,
                                     ErrorKind kind = ErrorKind::invalid_data);
    Symbol symbol(std::string_view name);

    // Statements.
    using Ends = std::initializer_list<std::string_view>;
    Body parse_until(std::span<const std::string_view> ends);
    Body parse_body(Ends ends); // from the end of the opening tag to the name of one of `ends`, which stays current
    Body parse_body_and_end(std::string_view end);
    void parse_tag(Body& body);
    std::unique_ptr<Statement> parse_set();
    std::unique_ptr<Statement> parse_if();
    std::unique_ptr<Statement> parse_for();
    std::unique_ptr<Statement> parse_macro();
    std::unique_ptr<Statement> parse_call();
    std::unique_ptr<Statement> parse_filter();
    std::unique_ptr<Statement> parse_with();
    std::unique_ptr<Statement> parse_generation();
    void parse_print(Body& body);
    void parse_signature(MacroStatement& macro);
    void parse_macro_body(MacroStatement& macro, std::string_view end);
    Target parse_target(bool allow_attributes, std::string_view end_name = {});
    Target parse_target_item(bool allow_attributes);

    // Expressions, loosest first.
    ExprPtr parse_tuple(bool conditional = true, std::string_view end_name = {}, bool in_parentheses = false);
    ExprPtr parse_expression(bool conditional = true);
    ExprPtr parse_or();
    ExprPtr parse_and();
    ExprPtr parse_not();
    ExprPtr parse_compare();
    ExprPtr parse_sum();
    ExprPtr parse_concat();
    ExprPtr parse_product();
    ExprPtr parse_power();
    ExprPtr parse_unary(bool with_filters = true);
    ExprPtr parse_primary();
    ExprPtr parse_list();
    ExprPtr parse_dict();
    ExprPtr parse_postfix(ExprPtr base);
    ExprPtr parse_filters_and_tests(ExprPtr base);
    Postfix parse_subscript();
    Postfix parse_call_link();
    Postfix parse_filter_link();
    Postfix parse_test_link();
    std::unique_ptr<Arguments> parse_arguments();
    Value parse_dotted_name();

    template <class Next>
    ExprPtr parse_chain(Next next, std::initializer_list<std::pair<TokenKind, Operator>> operators);
    template <class Next>
    ExprPtr parse_logic(Next next, std::string_view word, ExprKind kind);
    static std::vector<Postfix>& links_of(ExprPtr& expr);
    void note_unknown(const Postfix& link, std::string_view what);

    Template& template_;
    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    int nesting_ = 0;
    int loops_ = 0;      // {% for %} bodies of the current function body
    int loop_stores_ = 0; // {% for %} statements around: `loop` can't be assigned to
    bool guarded_ = false;
    std::vector<Failure> unknown_; // filters and tests that don't exist and that nothing guards
    // Special names that the innermost macro body has mentioned.
    bool saw_caller_ = false, saw_varargs_ = false, saw_kwargs_ = false;
};

} // namespace lucebox::text::jinja
