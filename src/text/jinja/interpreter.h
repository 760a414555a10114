// Walks the syntax tree of a template and writes its text.
#pragma once

#include "text/chat_template.h"
#include "text/jinja/loop.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/syntax.h"

#include <string>

namespace lucebox::text::jinja {

// The variables of one block. Blocks are nested lexically: a macro's scope sits in the one where it was defined.
// {% if %} opens none; a variable that is set in a loop's body is gone with the turn.
struct Scope {
    struct Slot {
        Symbol symbol;
        Value value;
    };
    Scope* outer = nullptr; // null: the template's own variables, see Interpreter::globals_
    Slot* slots = nullptr;
    std::uint32_t size = 0, capacity = 0;
};

class Interpreter {
public:
    Interpreter(const Template& source, const TemplateBudget& budget) : template_(source), runtime_(budget) {}

    // Throws Failure with the line. To be called once.
    std::string render(const Json& variables);

private:
    enum class Flow : std::uint8_t { normal, break_loop, continue_loop };

    // Text that goes elsewhere than to the output, for the time of its scope.
    class Capture;
    class TestedItems; // {% for ... if test %}

    void declare_variables(const Json& variables);
    Value import_json(const Json& json);

    // Statements.
    Flow execute(const Body& body, Scope& scope);
    Flow execute(const Statement& statement, Scope& scope);
    Flow execute_block(const FilteredBlock& block, Scope& scope);
    Flow execute_if(const IfStatement& statement, Scope& scope);
    Flow execute_for(const ForStatement& loop, Scope& scope);
    Flow execute_with(const WithStatement& with, Scope& scope);
    void execute_call(const CallStatement& statement, Scope& scope);
    void print(const Value& value);
    void write(std::string_view text);

    // Variables.
    Value lookup(const NameExpr& name, const Scope& scope);
    void store(Scope& scope, Symbol symbol, const Value& value);
    void assign(const Target& target, const Value& value, Scope& scope);
    void assign_attribute(const Target& target, const Value& value, const Scope& scope);
    Scope& open_scope(Scope& outer);

    // Expressions.
    Value evaluate(const Expr& expr, Scope& scope);
    Value evaluate_compound(const CompoundExpr& expr, Scope& scope);
    Value evaluate_arithmetic(const BinaryExpr& expr, Scope& scope);
    Value evaluate_comparison(const BinaryExpr& expr, Scope& scope);
    Value evaluate_dict(const CompoundExpr& expr, Scope& scope);
    Value evaluate_concat(const CompoundExpr& expr, Scope& scope);
    std::span<const Value> evaluate_all(const std::vector<ExprPtr>& exprs, Scope& scope);
    Value follow(Value value, std::span<const Postfix> links, Scope& scope);
    Value follow(const Value& value, const Postfix& link, Scope& scope);
    CallArguments evaluate_arguments(const Arguments* arguments, Scope& scope);
    Value call(const Value& callee, const CallArguments& arguments);
    Value call_macro(const Macro& macro, const CallArguments& arguments);
    void bind_parameters(const MacroStatement& code, const CallArguments& arguments, Scope& scope);

    const Template& template_;
    Runtime runtime_;
    std::vector<Value> globals_; // by Symbol; `missing` if unset
    std::string* out_ = nullptr;
    std::uint32_t line_ = 0; // of what is being evaluated
};

// Sorts arguments into a builtin's parameters and calls it.
Value call_builtin(Runtime& runtime, const Builtin& builtin, const Value& receiver, const CallArguments& arguments);

} // namespace lucebox::text::jinja
