// The parsed template: a tree that is built once and never changes.
//
// Chains that a source can make arbitrarily long (a + b + c, x|f|g, elif) are one flat node each, so the depth of the
// tree is bounded by the parser's nesting limit and walking or freeing it can't exhaust the stack.
#pragma once

#include "text/jinja/heap.h"
#include "text/jinja/value.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lucebox::text::jinja {

using Symbol = std::uint32_t; // a variable's name, as an index into Template::names

enum class Operator : std::uint8_t { add, sub, mul, div, floor_div, mod, pow, eq, ne, lt, le, gt, ge, in, not_in };

enum class ExprKind : std::uint8_t {
    constant,
    name,
    list,
    tuple,
    dict,
    negate,
    plus,
    invert, // not
    arithmetic,
    concat,
    all_of, // and
    any_of, // or
    compare,
    conditional,
    postfix,
};

struct Expr {
    Expr(ExprKind expr_kind, std::uint32_t at) : kind(expr_kind), line(at) {}
    virtual ~Expr() = default;
    ExprKind kind;
    std::uint32_t line;
};
using ExprPtr = std::unique_ptr<Expr>;

struct ConstantExpr : Expr {
    ConstantExpr(Value v, std::uint32_t at) : Expr(ExprKind::constant, at), value(v) {}
    Value value;
};

struct NameExpr : Expr {
    NameExpr(Symbol s, std::string_view text, std::uint32_t at) : Expr(ExprKind::name, at), symbol(s), name(text) {}
    Symbol symbol;
    std::string_view name;
};

// list, tuple, concat, all_of, any_of; one operand: negate, plus, invert; three: conditional (then, test, otherwise or
// null); dict: keys and values in turn.
struct CompoundExpr : Expr {
    using Expr::Expr;
    std::vector<ExprPtr> operands;
};

// first op a op b ...: arithmetic of one precedence, from the left; or a comparison chain.
struct BinaryExpr : Expr {
    struct Link {
        Operator op;
        ExprPtr operand;
    };
    using Expr::Expr;
    ExprPtr first;
    std::vector<Link> links;
};

struct Arguments {
    std::vector<ExprPtr> positional;
    std::vector<std::pair<Value, ExprPtr>> named; // the name is a string value
    ExprPtr star, double_star;                    // *args, **kwargs
};

enum class PostfixKind : std::uint8_t { attribute, item, slice, call, filter, test };

struct Postfix {
    PostfixKind kind = PostfixKind::attribute;
    bool negated = false; // test: is not
    std::uint32_t line = 0;
    Value name;                         // attribute, filter, test
    ExprPtr index;                      // item
    ExprPtr from, to, step;             // slice; each may be null
    std::unique_ptr<Arguments> call;    // call, filter, test; null for none
    const Builtin* builtin = nullptr;   // filter, test; null if there is none of that name
};

struct PostfixExpr : Expr {
    using Expr::Expr;
    ExprPtr base; // null in a {% filter %} block: the rendered body
    std::vector<Postfix> links;
};

// What {% set %}, {% for %} and {% with %} can assign to: a name, ns.name, or a tuple of these.
struct Target {
    enum class Kind : std::uint8_t { name, attribute, tuple };
    Kind kind = Kind::name;
    Symbol symbol = 0;
    std::string_view name = {};
    Value attribute = {};
    std::vector<Target> items = {};
};

enum class StatementKind : std::uint8_t {
    text,
    print,
    set,
    set_block,
    if_else,
    for_loop,
    macro,
    call,
    filter,
    with,
    scope, // {% generation %}: its body with variables of its own
    break_loop,
    continue_loop,
};

struct Statement {
    Statement(StatementKind statement_kind, std::uint32_t at) : kind(statement_kind), line(at) {}
    virtual ~Statement() = default;
    StatementKind kind;
    std::uint32_t line;
};
using Body = std::vector<std::unique_ptr<Statement>>;

struct TextStatement : Statement {
    TextStatement(std::string_view t, std::uint32_t at) : Statement(StatementKind::text, at), text(t) {}
    std::string_view text;
};

struct PrintStatement : Statement {
    using Statement::Statement;
    ExprPtr value;
};

struct SetStatement : Statement {
    using Statement::Statement;
    Target target;
    ExprPtr value;
};

// {% set x %}...{% endset %} and {% filter f %}...{% endfilter %}
struct FilteredBlock : Statement {
    using Statement::Statement;
    Target target;
    std::unique_ptr<PostfixExpr> filter; // may be null for set
    Body body;
};

struct IfStatement : Statement {
    struct Branch {
        ExprPtr test;
        Body body;
    };
    using Statement::Statement;
    std::vector<Branch> branches;
    Body otherwise;
};

struct ForStatement : Statement {
    using Statement::Statement;
    Target target;
    ExprPtr iterable;
    ExprPtr test; // may be null
    Body body, otherwise;
};

struct Parameter {
    Symbol symbol = 0;
    std::string_view name = {};
    ExprPtr preset = {}; // may be null
};

// A macro, or the body of a {% call %} block as the macro `caller`.
struct MacroStatement : Statement {
    using Statement::Statement;
    Symbol symbol = 0;
    std::string_view name = {};
    std::vector<Parameter> parameters;
    bool uses_caller = false, uses_varargs = false, uses_kwargs = false; // the body mentions these special names
    Body body;
};

struct CallStatement : Statement {
    using Statement::Statement;
    std::unique_ptr<PostfixExpr> call; // its last link is the call
    std::unique_ptr<MacroStatement> caller;
};

struct WithStatement : Statement { // and {% generation %}
    using Statement::Statement;
    std::vector<std::pair<Target, ExprPtr>> bindings;
    Body body;
};

struct Template {
    std::string source; // the texts of the tree point into it, or into `heap`
    Heap heap;
    Body body;
    std::vector<std::string_view> names; // by Symbol
    std::unordered_map<std::string_view, Symbol> symbols;
    // The special names.
    Symbol loop = 0, caller = 0, varargs = 0, kwargs = 0;
};

} // namespace lucebox::text::jinja
