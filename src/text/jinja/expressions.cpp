// Expressions: operands from left to right, as Python evaluates them.
#include "text/jinja/interpreter.h"

#include <algorithm>

namespace lucebox::text::jinja {

Value Interpreter::evaluate(const Expr& expr, Scope& scope) {
    const Nesting nesting(runtime_.meter());
    runtime_.meter().charge(1);
    switch (expr.kind) {
    case ExprKind::constant: return static_cast<const ConstantExpr&>(expr).value;
    case ExprKind::name: return lookup(static_cast<const NameExpr&>(expr), scope);
    case ExprKind::arithmetic: return evaluate_arithmetic(static_cast<const BinaryExpr&>(expr), scope);
    case ExprKind::compare: return evaluate_comparison(static_cast<const BinaryExpr&>(expr), scope);
    case ExprKind::postfix: {
        const auto& chain = static_cast<const PostfixExpr&>(expr);
        return follow(evaluate(*chain.base, scope), chain.links, scope);
    }
    default: return evaluate_compound(static_cast<const CompoundExpr&>(expr), scope);
    }
}

Value Interpreter::evaluate_compound(const CompoundExpr& expr, Scope& scope) {
    const auto& operands = expr.operands;
    switch (expr.kind) {
    case ExprKind::list: return Value::list(evaluate_all(operands, scope));
    case ExprKind::tuple: return Value::tuple(evaluate_all(operands, scope));
    case ExprKind::dict: return evaluate_dict(expr, scope);
    case ExprKind::negate: return negate(evaluate(*operands[0], scope));
    case ExprKind::plus: return plus(evaluate(*operands[0], scope));
    case ExprKind::invert: return Value::boolean(!is_true(evaluate(*operands[0], scope)));
    case ExprKind::concat: return evaluate_concat(expr, scope);
    case ExprKind::all_of:
    case ExprKind::any_of: { // the operand that decides, not its truth
        Value value;
        for (const auto& operand : operands) {
            value = evaluate(*operand, scope);
            if (is_true(value) == (expr.kind == ExprKind::any_of)) break;
        }
        return value;
    }
    case ExprKind::conditional:
        if (is_true(evaluate(*operands[1], scope))) return evaluate(*operands[0], scope);
        return operands[2] ? evaluate(*operands[2], scope) : Value::undefined("an 'if' without 'else'");
    default: fail("an expression of an unknown kind");
    }
}

std::span<const Value> Interpreter::evaluate_all(const std::vector<ExprPtr>& exprs, Scope& scope) {
    const auto values = runtime_.heap().make_array<Value>(exprs.size());
    for (std::size_t i = 0; i < exprs.size(); ++i) values[i] = evaluate(*exprs[i], scope);
    return values;
}

Value Interpreter::evaluate_arithmetic(const BinaryExpr& expr, Scope& scope) {
    Value value = evaluate(*expr.first, scope);
    for (const auto& link : expr.links) {
        const Value right = evaluate(*link.operand, scope);
        line_ = expr.line;
        runtime_.meter().charge(1);
        value = arithmetic(runtime_, link.op, value, right);
    }
    return value;
}

Value Interpreter::evaluate_comparison(const BinaryExpr& expr, Scope& scope) {
    Value left = evaluate(*expr.first, scope);
    for (const auto& link : expr.links) { // a < b < c
        const Value right = evaluate(*link.operand, scope);
        line_ = expr.line;
        bool holds = false;
        if (link.op == Operator::in || link.op == Operator::not_in) {
            holds = contains(runtime_, right, left) == (link.op == Operator::in);
        } else {
            holds = compare(runtime_, link.op, left, right);
        }
        if (!holds) return Value::boolean(false);
        left = right;
    }
    return Value::boolean(true);
}

Value Interpreter::evaluate_dict(const CompoundExpr& expr, Scope& scope) {
    const auto entries = runtime_.heap().make_array<Entry>(expr.operands.size() / 2);
    std::size_t size = 0;
    for (std::size_t i = 0; i + 1 < expr.operands.size(); i += 2) {
        const Value key = evaluate(*expr.operands[i], scope);
        const Value value = evaluate(*expr.operands[i + 1], scope);
        const Value* known = find_key(runtime_, entries.first(size), key);
        if (known != nullptr) { // the last one counts, at the place of the first
            *const_cast<Value*>(known) = value;
        } else {
            entries[size++] = {key, value};
        }
    }
    return Value::dict(entries.first(size));
}

Value Interpreter::evaluate_concat(const CompoundExpr& expr, Scope& scope) {
    std::string_view text;
    bool ascii = true;
    for (const Value& value : evaluate_all(expr.operands, scope)) {
        const Value part = to_string(runtime_, value);
        text = runtime_.heap().concatenate(text, part.text());
        ascii = ascii && part.is_ascii();
    }
    return Value::string(text, ascii);
}

Value Interpreter::follow(Value value, std::span<const Postfix> links, Scope& scope) {
    for (const Postfix& link : links) {
        runtime_.meter().charge(1);
        value = follow(value, link, scope);
    }
    return value;
}

Value Interpreter::follow(const Value& value, const Postfix& link, Scope& scope) {
    line_ = link.line;
    switch (link.kind) {
    case PostfixKind::attribute: return attribute(runtime_, value, link.name);
    case PostfixKind::item: {
        const Value key = evaluate(*link.index, scope);
        line_ = link.line;
        return item(runtime_, value, key);
    }
    case PostfixKind::slice: {
        const auto bound = [&](const ExprPtr& expr) { return expr ? evaluate(*expr, scope) : Value::none(); };
        const Value from = bound(link.from);
        const Value to = bound(link.to);
        const Value step = bound(link.step);
        line_ = link.line;
        return slice(runtime_, value, from, to, step);
    }
    case PostfixKind::call: {
        const CallArguments arguments = evaluate_arguments(link.call.get(), scope);
        line_ = link.line;
        return call(value, arguments);
    }
    case PostfixKind::filter:
    case PostfixKind::test: break;
    }
    const bool test = link.kind == PostfixKind::test;
    if (link.builtin == nullptr) {
        fail("there is no " + std::string(test ? "test" : "filter") + " named '" + std::string(link.name.text()) + "'");
    }
    const CallArguments arguments = evaluate_arguments(link.call.get(), scope);
    line_ = link.line;
    const Value result = call_builtin(runtime_, *link.builtin, value, arguments);
    return test && link.negated ? Value::boolean(!is_true(result)) : result;
}

CallArguments Interpreter::evaluate_arguments(const Arguments* arguments, Scope& scope) {
    if (arguments == nullptr) return {};
    CallArguments result;
    result.positional = evaluate_all(arguments->positional, scope);
    const auto named = runtime_.heap().make_array<Entry>(arguments->named.size());
    for (std::size_t i = 0; i < named.size(); ++i) {
        named[i] = {arguments->named[i].first, evaluate(*arguments->named[i].second, scope)};
    }
    result.named = named;
    if (arguments->star) {
        const Value extra = to_list(runtime_, evaluate(*arguments->star, scope));
        result.positional =
            arithmetic(runtime_, Operator::add, Value::list(result.positional), extra).items();
    }
    if (arguments->double_star) {
        const Value extra = evaluate(*arguments->double_star, scope);
        if (!extra.is(Kind::dict)) fail_type("a dict after '**'", extra);
        std::vector<Entry> all(named.begin(), named.end());
        for (const Entry& entry : extra.entries()) {
            if (!entry.key.is_string()) fail_type("a string as the name of an argument", entry.key);
            if (find_key(runtime_, named, entry.key) != nullptr) fail("an argument is given twice");
            all.push_back(entry);
        }
        const auto copied = runtime_.heap().make_array<Entry>(all.size());
        std::copy(all.begin(), all.end(), copied.begin());
        result.named = copied;
    }
    return result;
}

Value Interpreter::call(const Value& callee, const CallArguments& arguments) {
    switch (callee.kind()) {
    case Kind::macro: return call_macro(callee.as_macro(), arguments);
    case Kind::function: return call_builtin(runtime_, callee.as_builtin(), Value::undefined(), arguments);
    case Kind::method: {
        const Method& method = callee.as_method();
        return call_builtin(runtime_, *method.builtin, method.receiver, arguments);
    }
    case Kind::undefined: fail_undefined(callee);
    default: fail(std::string(type_name(callee)) + " can't be called");
    }
}

Value call_builtin(Runtime& runtime, const Builtin& builtin, const Value& receiver, const CallArguments& arguments) {
    const Nesting nesting(runtime.meter()); // map('map', ...) is a recursion
    Call call{receiver, {}, arguments};
    const std::string name(builtin.name);
    if (builtin.maximum == Builtin::variadic) return builtin.function(runtime, call);
    call.parameters.fill(Value::missing());
    if (arguments.positional.size() > builtin.maximum) {
        fail("'" + name + "' takes at most " + std::to_string(builtin.maximum) + " arguments");
    }
    std::copy(arguments.positional.begin(), arguments.positional.end(), call.parameters.begin());
    for (const Entry& argument : arguments.named) {
        const std::string_view text = argument.key.text();
        const auto* found = std::find(builtin.names.begin(), builtin.names.begin() + builtin.maximum, text);
        if (text.empty() || found == builtin.names.begin() + builtin.maximum) {
            fail("'" + name + "' has no parameter '" + std::string(text) + "'");
        }
        Value& parameter = call.parameters[static_cast<std::size_t>(found - builtin.names.begin())];
        if (!parameter.is_missing()) fail("'" + name + "' is given '" + std::string(text) + "' twice");
        parameter = argument.value;
    }
    for (std::size_t i = 0; i < builtin.required; ++i) {
        if (!call.has(i)) fail("'" + name + "' needs at least " + std::to_string(builtin.required) + " arguments");
    }
    return builtin.function(runtime, call);
}

} // namespace lucebox::text::jinja
