// What can stand behind `is`.
#include "text/jinja/table.h"
#include "text/jinja/text_functions.h"

namespace lucebox::text::jinja {
namespace {

template <bool (*Test)(const Value&)>
Value simple(Runtime&, const Call& call) {
    return Value::boolean(Test(call.receiver));
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is(Kind::none); }
bool is_boolean(const Value& v) { return v.is(Kind::boolean); }
bool is_the_true(const Value& v) { return v.is(Kind::boolean) && v.as_boolean(); }
bool is_the_false(const Value& v) { return v.is(Kind::boolean) && !v.as_boolean(); }
bool is_integer(const Value& v) { return v.is(Kind::integer); }
bool is_float(const Value& v) { return v.is(Kind::real); }
bool is_number(const Value& v) { return v.is_number(); } // booleans, too
bool is_string(const Value& v) { return v.is_string(); }
bool is_mapping(const Value& v) { return v.is(Kind::dict); }
bool is_escaped(const Value& v) { return v.is_string() && v.is_markup(); }

bool is_sequence(const Value& v) {
    return v.is_string() || v.is_list_or_tuple() || v.is(Kind::dict) || v.is(Kind::range) || v.is_undefined();
}

bool is_iterable(const Value& v) {
    return is_sequence(v) || v.has_entries() || v.is(Kind::iterator) || v.is(Kind::loop);
}

bool is_callable(const Value& v) {
    return v.is(Kind::macro) || v.is(Kind::function) || v.is(Kind::method) || v.is(Kind::loop) || v.is_undefined();
}

bool divides(Runtime& runtime, const Value& value, const Value& by) {
    return equal(runtime, arithmetic(runtime, Operator::mod, value, by), Value::integer(0));
}

Value is_even(Runtime& runtime, const Call& call) {
    return Value::boolean(divides(runtime, call.receiver, Value::integer(2)));
}

Value is_odd(Runtime& runtime, const Call& call) {
    const Value rest = arithmetic(runtime, Operator::mod, call.receiver, Value::integer(2));
    return Value::boolean(equal(runtime, rest, Value::integer(1)));
}

Value is_divisible(Runtime& runtime, const Call& call) {
    return Value::boolean(divides(runtime, call.receiver, call[0]));
}

template <Operator Op>
Value compared(Runtime& runtime, const Call& call) {
    return Value::boolean(compare(runtime, Op, call.receiver, call[0]));
}

Value is_in(Runtime& runtime, const Call& call) {
    return Value::boolean(contains(runtime, call[0], call.receiver));
}

Value is_same(Runtime& runtime, const Call& call) {
    const Value& a = call.receiver;
    const Value& b = call[0];
    if (a.kind() != b.kind()) return Value::boolean(false);
    const bool by_value = a.is_number() || a.is(Kind::none);
    return Value::boolean(by_value ? equal(runtime, a, b) : a.identity() == b.identity());
}

template <const Builtin* (*Find)(std::string_view)>
Value is_known(Runtime&, const Call& call) {
    return Value::boolean(call.receiver.is_string() && Find(call.receiver.text()) != nullptr);
}

template <char Case>
Value is_cased(Runtime& runtime, const Call& call) {
    const Builtin* method = find_string_method(Case == 'u' ? "isupper" : "islower");
    return method->function(runtime, Call{to_string(runtime, call.receiver), {}, {}});
}

constexpr Builtin tests[] = {
    {"!=", compared<Operator::ne>, 1, 1, {}},
    {"<", compared<Operator::lt>, 1, 1, {}},
    {"<=", compared<Operator::le>, 1, 1, {}},
    {"==", compared<Operator::eq>, 1, 1, {}},
    {">", compared<Operator::gt>, 1, 1, {}},
    {">=", compared<Operator::ge>, 1, 1, {}},
    {"boolean", simple<is_boolean>, 0, 0, {}},
    {"callable", simple<is_callable>, 0, 0, {}},
    {"defined", simple<is_defined>, 0, 0, {}},
    {"divisibleby", is_divisible, 1, 1, {"num"}},
    {"eq", compared<Operator::eq>, 1, 1, {}},
    {"equalto", compared<Operator::eq>, 1, 1, {}},
    {"escaped", simple<is_escaped>, 0, 0, {}},
    {"even", is_even, 0, 0, {}},
    {"false", simple<is_the_false>, 0, 0, {}},
    {"filter", is_known<find_filter>, 0, 0, {}},
    {"float", simple<is_float>, 0, 0, {}},
    {"ge", compared<Operator::ge>, 1, 1, {}},
    {"greaterthan", compared<Operator::gt>, 1, 1, {}},
    {"gt", compared<Operator::gt>, 1, 1, {}},
    {"in", is_in, 1, 1, {"seq"}},
    {"integer", simple<is_integer>, 0, 0, {}},
    {"iterable", simple<is_iterable>, 0, 0, {}},
    {"le", compared<Operator::le>, 1, 1, {}},
    {"lessthan", compared<Operator::lt>, 1, 1, {}},
    {"lower", is_cased<'l'>, 0, 0, {}},
    {"lt", compared<Operator::lt>, 1, 1, {}},
    {"mapping", simple<is_mapping>, 0, 0, {}},
    {"ne", compared<Operator::ne>, 1, 1, {}},
    {"none", simple<is_none>, 0, 0, {}},
    {"number", simple<is_number>, 0, 0, {}},
    {"odd", is_odd, 0, 0, {}},
    {"sameas", is_same, 1, 1, {"other"}},
    {"sequence", simple<is_sequence>, 0, 0, {}},
    {"string", simple<is_string>, 0, 0, {}},
    {"test", is_known<find_test>, 0, 0, {}},
    {"true", simple<is_the_true>, 0, 0, {}},
    {"undefined", simple<is_undefined>, 0, 0, {}},
    {"upper", is_cased<'u'>, 0, 0, {}},
};
static_assert(is_sorted_by_name(tests));

} // namespace

const Builtin* find_test(std::string_view name) { return find_by_name(tests, name); }

} // namespace lucebox::text::jinja
