// The statements of the language, its variables, and macros.
#include "text/jinja/interpreter.h"

#include <algorithm>

namespace lucebox::text::jinja {

class Interpreter::Capture {
public:
    explicit Capture(Interpreter& interpreter) : interpreter_(interpreter), outer_(interpreter.out_) {
        interpreter_.out_ = &text_;
    }
    ~Capture() { interpreter_.out_ = outer_; }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    Value value() { return interpreter_.runtime_.text(text_); }

private:
    Interpreter& interpreter_;
    std::string* outer_;
    std::string text_;
};

class Interpreter::TestedItems final : public Iterator {
public:
    TestedItems(Interpreter& interpreter, const ForStatement& loop, Iterator& source, Scope& scope)
        : interpreter_(interpreter), loop_(loop), source_(source), scope_(scope) {}
    bool next(Runtime& runtime, Value& item) override {
        while (runtime.next(source_, item)) {
            interpreter_.assign(loop_.target, item, scope_);
            if (is_true(interpreter_.evaluate(*loop_.test, scope_))) return true;
        }
        return false;
    }

private:
    Interpreter& interpreter_;
    const ForStatement& loop_;
    Iterator& source_;
    Scope& scope_;
};

std::string Interpreter::render(const Json& variables) {
    std::string out;
    out_ = &out;
    try {
        declare_variables(variables);
        Scope scope;
        execute(template_.body, scope);
    } catch (Failure& failure) {
        if (failure.line == 0) failure.line = line_;
        throw;
    }
    return out;
}

void Interpreter::declare_variables(const Json& variables) {
    globals_.assign(template_.names.size(), Value::missing());
    for (const Builtin& builtin : globals()) {
        const auto found = template_.symbols.find(builtin.name);
        if (found != template_.symbols.end()) globals_[found->second] = Value::object(Kind::function, &builtin);
    }
    for (const auto& [name, value] : variables.items()) {
        const auto found = template_.symbols.find(name);
        if (found != template_.symbols.end()) globals_[found->second] = import_json(value);
    }
}

Value Interpreter::import_json(const Json& json) {
    const Nesting nesting(runtime_.meter());
    switch (json.type()) {
    case Json::value_t::boolean: return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer: return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
        const auto number = json.get<std::uint64_t>();
        if (number > INT64_MAX) return Value::real(static_cast<double>(number));
        return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float: return Value::real(json.get<double>());
    case Json::value_t::string: {
        const auto& text = json.get_ref<const std::string&>();
        runtime_.meter().check_size(text.size());
        return Value::string(text);
    }
    case Json::value_t::array: {
        const auto items = runtime_.heap().make_array<Value>(json.size());
        for (std::size_t i = 0; i < items.size(); ++i) items[i] = import_json(json[i]);
        return Value::list(items);
    }
    case Json::value_t::object: {
        const auto entries = runtime_.heap().make_array<Entry>(json.size());
        std::size_t i = 0;
        for (const auto& [key, value] : json.get_ref<const Json::object_t&>()) {
            entries[i++] = {Value::string(key), import_json(value)};
        }
        return Value::dict(entries);
    }
    default: return Value::none();
    }
}

Interpreter::Flow Interpreter::execute(const Body& body, Scope& scope) {
    const Nesting nesting(runtime_.meter());
    for (const auto& statement : body) {
        const Flow flow = execute(*statement, scope);
        if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, Scope& scope) {
    runtime_.meter().charge(1);
    line_ = statement.line;
    switch (statement.kind) {
    case StatementKind::text: write(static_cast<const TextStatement&>(statement).text); break;
    case StatementKind::print: print(evaluate(*static_cast<const PrintStatement&>(statement).value, scope)); break;
    case StatementKind::set: {
        const auto& set = static_cast<const SetStatement&>(statement);
        assign(set.target, evaluate(*set.value, scope), scope);
        break;
    }
    case StatementKind::set_block:
    case StatementKind::filter: return execute_block(static_cast<const FilteredBlock&>(statement), scope);
    case StatementKind::if_else: return execute_if(static_cast<const IfStatement&>(statement), scope);
    case StatementKind::for_loop: return execute_for(static_cast<const ForStatement&>(statement), scope);
    case StatementKind::macro: {
        const auto& code = static_cast<const MacroStatement&>(statement);
        store(scope, code.symbol, Value::object(Kind::macro, runtime_.heap().make<Macro>(Macro{&code, &scope})));
        break;
    }
    case StatementKind::call: execute_call(static_cast<const CallStatement&>(statement), scope); break;
    case StatementKind::with:
    case StatementKind::scope: return execute_with(static_cast<const WithStatement&>(statement), scope);
    case StatementKind::break_loop: return Flow::break_loop;
    case StatementKind::continue_loop: return Flow::continue_loop;
    }
    return Flow::normal;
}

Interpreter::Flow Interpreter::execute_block(const FilteredBlock& block, Scope& scope) {
    Scope& inner = open_scope(scope);
    Value text;
    {
        Capture capture(*this);
        const Flow flow = execute(block.body, inner);
        if (flow != Flow::normal) return flow; // what was written is lost, as in the original
        text = capture.value();
    }
    if (block.filter) text = follow(text, block.filter->links, inner);
    if (block.kind == StatementKind::set_block) {
        assign(block.target, text, scope);
    } else if (text.is_string()) {
        print(text);
    } else {
        fail_type("a filter that gives text", text);
    }
    return Flow::normal;
}

Interpreter::Flow Interpreter::execute_if(const IfStatement& statement, Scope& scope) {
    for (const auto& branch : statement.branches) {
        if (is_true(evaluate(*branch.test, scope))) return execute(branch.body, scope);
    }
    return execute(statement.otherwise, scope);
}

Interpreter::Flow Interpreter::execute_for(const ForStatement& loop, Scope& scope) {
    const Value sequence = evaluate(*loop.iterable, scope);
    line_ = loop.line;
    Iterator* source = &iterate_or_fail(runtime_, sequence);
    std::optional<std::size_t> size;
    if (loop.test) {
        source = runtime_.heap().make<TestedItems>(*this, loop, *source, open_scope(scope));
    } else {
        if (sequence.is_string()) runtime_.meter().charge_bytes(sequence.text().size());
        size = length(sequence);
    }
    Loop& state = *runtime_.heap().make<Loop>(*source, size);
    Scope& inner = open_scope(scope);
    bool completed_a_turn = false;
    Value item;
    while (state.advance(runtime_, item)) {
        inner.size = 0;
        store(inner, template_.loop, Value::object(Kind::loop, &state));
        assign(loop.target, item, inner);
        const Flow flow = execute(loop.body, inner);
        if (flow == Flow::break_loop) break;
        completed_a_turn |= flow == Flow::normal;
    }
    // In the original a loop whose every turn was left by break or continue has its else part run, too.
    if (completed_a_turn || loop.otherwise.empty()) return Flow::normal;
    return execute(loop.otherwise, open_scope(scope));
}

Interpreter::Flow Interpreter::execute_with(const WithStatement& with, Scope& scope) {
    Scope& inner = open_scope(scope);
    for (const auto& [target, value] : with.bindings) assign(target, evaluate(*value, scope), inner);
    return execute(with.body, inner);
}

void Interpreter::execute_call(const CallStatement& statement, Scope& scope) {
    const PostfixExpr& chain = *statement.call;
    const std::span<const Postfix> links(chain.links);
    const Value callee = follow(evaluate(*chain.base, scope), links.first(links.size() - 1), scope);
    CallArguments arguments = evaluate_arguments(links.back().call.get(), scope);
    const auto named = runtime_.heap().make_array<Entry>(arguments.named.size() + 1);
    std::copy(arguments.named.begin(), arguments.named.end(), named.begin());
    Macro* caller = runtime_.heap().make<Macro>(Macro{statement.caller.get(), &scope});
    named.back() = {Value::string("caller"), Value::object(Kind::macro, caller)};
    arguments.named = named;
    print(call(callee, arguments));
}

void Interpreter::print(const Value& value) { append_text(runtime_, *out_, value); }

void Interpreter::write(std::string_view text) {
    runtime_.meter().charge_bytes(text.size());
    runtime_.meter().check_size(out_->size() + text.size());
    *out_ += text;
}

Scope& Interpreter::open_scope(Scope& outer) {
    Scope* scope = runtime_.heap().make<Scope>();
    scope->outer = &outer;
    return *scope;
}

Value Interpreter::lookup(const NameExpr& name, const Scope& scope) {
    for (const Scope* s = &scope; s->outer != nullptr; s = s->outer) {
        runtime_.meter().charge(s->size / 16);
        for (std::uint32_t i = 0; i < s->size; ++i) {
            if (s->slots[i].symbol != name.symbol) continue;
            const Value& value = s->slots[i].value;
            return value.is_missing() ? Value::undefined(name.name) : value;
        }
    }
    const Value& global = globals_[name.symbol];
    return global.is_missing() ? Value::undefined(name.name) : global;
}

void Interpreter::store(Scope& scope, Symbol symbol, const Value& value) {
    if (scope.outer == nullptr) {
        globals_[symbol] = value;
        return;
    }
    runtime_.meter().charge(scope.size / 16);
    for (std::uint32_t i = 0; i < scope.size; ++i) {
        if (scope.slots[i].symbol == symbol) {
            scope.slots[i].value = value;
            return;
        }
    }
    if (scope.size == scope.capacity) {
        const std::uint32_t capacity = scope.capacity == 0 ? 4 : scope.capacity * 2;
        const auto slots = runtime_.heap().make_array<Scope::Slot>(capacity);
        std::copy(scope.slots, scope.slots + scope.size, slots.begin());
        scope.slots = slots.data();
        scope.capacity = capacity;
    }
    scope.slots[scope.size++] = {symbol, value};
}

void Interpreter::assign(const Target& target, const Value& value, Scope& scope) {
    runtime_.meter().charge(1);
    switch (target.kind) {
    case Target::Kind::name: store(scope, target.symbol, value); return;
    case Target::Kind::attribute: assign_attribute(target, value, scope); return;
    case Target::Kind::tuple: break;
    }
    Iterator& it = iterate_or_fail(runtime_, value);
    std::vector<Value> items;
    Value item;
    while (items.size() <= target.items.size() && runtime_.next(it, item)) items.push_back(item);
    if (items.size() != target.items.size()) {
        fail("expected " + std::to_string(target.items.size()) + " values to assign to as many names, got " +
             (items.size() > target.items.size() ? "more" : std::to_string(items.size())));
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i], scope);
}

void Interpreter::assign_attribute(const Target& target, const Value& value, const Scope& scope) {
    const Value object = lookup(NameExpr(target.symbol, target.name, line_), scope);
    if (!object.is(Kind::name_space)) fail_type("a namespace before '." + std::string(target.attribute.text()) + "'",
                                                object);
    Namespace& ns = object.as_namespace();
    runtime_.meter().charge(1 + ns.size / 16);
    for (std::size_t i = 0; i < ns.size; ++i) {
        if (ns.entries[i].key.text() == target.attribute.text()) {
            ns.entries[i].value = value;
            return;
        }
    }
    if (ns.size == ns.capacity) {
        const std::size_t capacity = ns.capacity == 0 ? 4 : ns.capacity * 2;
        const auto entries = runtime_.heap().make_array<Entry>(capacity);
        std::copy(ns.entries, ns.entries + ns.size, entries.begin());
        ns.entries = entries.data();
        ns.capacity = capacity;
    }
    ns.entries[ns.size++] = {target.attribute, value};
}

void Interpreter::bind_parameters(const MacroStatement& code, const CallArguments& arguments, Scope& scope) {
    std::vector<Entry> rest(arguments.named.begin(), arguments.named.end());
    const auto take = [&rest, this](std::string_view name) {
        runtime_.meter().charge(1 + rest.size() / 8);
        const auto found =
            std::find_if(rest.begin(), rest.end(), [name](const Entry& entry) { return entry.key.text() == name; });
        if (found == rest.end()) return Value::missing();
        const Value value = found->value;
        rest.erase(found);
        return value;
    };
    const std::size_t count = code.parameters.size();
    for (std::size_t i = 0; i < count; ++i) {
        const Parameter& parameter = code.parameters[i];
        const Value value = i < arguments.positional.size() ? arguments.positional[i] : take(parameter.name);
        // `missing` waits for the default, which may need the parameters before it.
        const bool absent = value.is_missing() && !parameter.preset;
        store(scope, parameter.symbol, absent ? Value::undefined(parameter.name) : value);
    }
    if (code.uses_caller) {
        const Value caller = take("caller");
        store(scope, template_.caller, caller.is_missing() ? Value::undefined("caller") : caller);
    }
    if (code.uses_kwargs) {
        const auto entries = runtime_.heap().make_array<Entry>(rest.size());
        std::copy(rest.begin(), rest.end(), entries.begin());
        store(scope, template_.kwargs, Value::dict(entries));
    } else if (!rest.empty()) {
        fail("macro '" + std::string(code.name) + "' has no parameter '" + std::string(rest[0].key.text()) + "'");
    }
    const auto extra = arguments.positional.subspan(std::min(count, arguments.positional.size()));
    if (code.uses_varargs) {
        store(scope, template_.varargs, Value::tuple(extra));
    } else if (!extra.empty()) {
        fail("macro '" + std::string(code.name) + "' takes at most " + std::to_string(count) + " arguments");
    }
}

Value Interpreter::call_macro(const Macro& macro, const CallArguments& arguments) {
    const Nesting nesting(runtime_.meter());
    const MacroStatement& code = *macro.code;
    const std::uint32_t line = line_;
    Scope& scope = open_scope(*macro.closure);
    bind_parameters(code, arguments, scope);
    // Defaults are evaluated at the call, in order, and see the parameters before them.
    for (std::uint32_t i = 0; i < code.parameters.size(); ++i) {
        if (!scope.slots[i].value.is_missing()) continue;
        const Value preset = evaluate(*code.parameters[i].preset, scope);
        scope.slots[i].value = preset;
    }
    Capture capture(*this);
    execute(code.body, scope);
    line_ = line;
    return capture.value();
}

} // namespace lucebox::text::jinja
