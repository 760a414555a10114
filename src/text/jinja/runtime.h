// What every operation of a rendering has at hand: its budget and its memory; and the lazy sequences it can walk.
#pragma once

#include "text/jinja/builtins.h"
#include "text/jinja/heap.h"
#include "text/jinja/meter.h"
#include "text/jinja/value.h"

#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text::jinja {

// What Python's iterators and generators are: lazy, and walked once. Lives in the heap, so derived classes hold only
// trivially destructible members. Advance it with Runtime::next, which pays.
class Iterator {
public:
    // False at the end, and ever after.
    virtual bool next(Runtime& runtime, Value& item) = 0;

protected:
    ~Iterator() = default;
};

class Runtime {
public:
    explicit Runtime(const TemplateBudget& budget) : meter_(budget), heap_(&meter_) {}
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    Meter& meter() { return meter_; }
    Heap& heap() { return heap_; }

    // Strings and lists of our own memory.
    Value text(std::string_view text, bool markup = false);
    Value list(std::span<const Value> items) { return Value::list(copy(items)); }
    Value tuple(std::span<const Value> items) { return Value::tuple(copy(items)); }
    std::span<const Value> copy(std::span<const Value> items);
    template <class T, class... Arguments>
    Value iterator(Arguments&&... arguments) {
        Iterator* it = heap_.make<T>(std::forward<Arguments>(arguments)...);
        return Value::object(Kind::iterator, it);
    }

    // A chain of lazy filters is as deep a recursion as it is long.
    bool next(Iterator& it, Value& item) {
        const Nesting nesting(meter_);
        meter_.charge(1);
        return it.next(*this, item);
    }

private:
    Meter meter_;
    Heap heap_;
};

// A part of a string value: shares its bytes.
inline Value part_of(const Value& whole, std::string_view part) {
    return Value::string(part, whole.is_ascii(), whole.is_markup());
}

// Collects the items of a list to come; every item is paid for.
class ListBuilder {
public:
    explicit ListBuilder(Runtime& runtime) : runtime_(runtime) {}
    void push(const Value& value) {
        runtime_.meter().charge(1);
        items_.push_back(value);
    }
    std::vector<Value>& items() { return items_; }
    Value list() const { return runtime_.list(items_); }

private:
    Runtime& runtime_;
    std::vector<Value> items_;
};

} // namespace lucebox::text::jinja
