// The variable `loop`, and macros as values.
#pragma once

#include "text/jinja/runtime.h"
#include "text/jinja/syntax.h"

#include <optional>

namespace lucebox::text::jinja {

struct Scope;

// Walks the sequence of one {% for %}; looks ahead only if the body asks (loop.last, loop.nextitem, loop.length).
class Loop {
public:
    // `size`: items of `source` if that is known without walking it.
    Loop(Iterator& source, std::optional<std::size_t> size) : source_(&source), size_(size) {}

    bool advance(Runtime& runtime, Value& item);

    // loop.NAME; `missing` if there is no such property.
    Value property(Runtime& runtime, std::string_view name);
    bool changed(Runtime& runtime, const Value& tuple);
    std::size_t index0() const { return turns_ - 1; }

private:
    bool peek(Runtime& runtime);
    std::size_t size(Runtime& runtime);

    Iterator* source_;
    std::optional<std::size_t> size_;
    std::size_t turns_ = 0; // turns begun
    Value before_, current_, after_;
    bool has_after_ = false; // `after_` was taken from the source already
    bool ended_ = false;
    Value last_changed_ = Value::missing();
};

struct Macro {
    const MacroStatement* code;
    Scope* closure; // where it was defined
};

Value macro_property(Runtime& runtime, const Macro& macro, std::string_view name);

} // namespace lucebox::text::jinja
