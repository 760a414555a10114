#include "text/jinja/loop.h"

#include "text/jinja/operators.h"

namespace lucebox::text::jinja {

bool Loop::peek(Runtime& runtime) {
    if (!has_after_ && !ended_) {
        has_after_ = runtime.next(*source_, after_);
        ended_ = !has_after_;
    }
    return has_after_;
}

bool Loop::advance(Runtime& runtime, Value& item) {
    if (!peek(runtime)) return false;
    has_after_ = false;
    before_ = current_;
    current_ = after_;
    item = current_;
    ++turns_;
    return true;
}

std::size_t Loop::size(Runtime& runtime) {
    if (!size_) {
        ListBuilder rest(runtime);
        Value item;
        while (!ended_ && runtime.next(*source_, item)) rest.push(item);
        size_ = turns_ + (has_after_ ? 1 : 0) + rest.items().size();
        source_ = iterate(runtime, rest.list());
    }
    return *size_;
}

Value Loop::property(Runtime& runtime, std::string_view name) {
    if (name == "index") return Value::size(turns_);
    if (name == "index0") return Value::size(turns_ - 1);
    if (name == "first") return Value::boolean(turns_ == 1);
    if (name == "last") return Value::boolean(!peek(runtime));
    if (name == "length") return Value::size(size(runtime));
    if (name == "revindex") return Value::size(size(runtime) - turns_ + 1);
    if (name == "revindex0") return Value::size(size(runtime) - turns_);
    if (name == "previtem") return turns_ == 1 ? Value::undefined("the item before the first") : before_;
    if (name == "nextitem") return peek(runtime) ? after_ : Value::undefined("the item after the last");
    if (name == "depth") return Value::integer(1);
    if (name == "depth0") return Value::integer(0);
    return Value::missing();
}

bool Loop::changed(Runtime& runtime, const Value& tuple) {
    if (!last_changed_.is_missing() && equal(runtime, last_changed_, tuple)) return false;
    last_changed_ = tuple;
    return true;
}

Value macro_property(Runtime& runtime, const Macro& macro, std::string_view name) {
    const MacroStatement& code = *macro.code;
    if (name == "name") return Value::string(code.name);
    if (name == "catch_kwargs") return Value::boolean(code.uses_kwargs);
    if (name == "catch_varargs") return Value::boolean(code.uses_varargs);
    if (name == "caller") return Value::boolean(code.uses_caller);
    if (name == "arguments") {
        ListBuilder names(runtime);
        for (const Parameter& parameter : code.parameters) names.push(Value::string(parameter.name));
        return Value::tuple(names.list().items());
    }
    return Value::undefined();
}

} // namespace lucebox::text::jinja
