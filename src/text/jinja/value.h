// Values of the template language: Python's, as far as templates can tell.
//
// A Value is 16 trivially copyable bytes that point into a Heap (or into the caller's variables), which must outlive it.
// Lists and dicts never change after they are built (the sandbox of the original forbids it), so sharing is safe.
// Integers are 64 bits; a result beyond that is an error, a larger number in the variables becomes a double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lucebox::text::jinja {

struct Entry;
struct Range;
struct Namespace;
struct Macro;
struct Builtin;
struct Method;
class Iterator;
class Loop;

enum class Kind : std::uint8_t {
    missing, // an argument that was not given; templates never see it
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    list,
    tuple,
    dict,
    dict_keys,
    dict_values,
    dict_items,
    range,
    name_space,
    macro,
    function, // a Builtin: range, namespace, ...
    method,   // a Builtin bound to its receiver: 'a b'.split
    loop,     // the variable `loop`
    iterator, // what Python calls a generator: lazy, can be walked once
};

class Value {
public:
    Value() : kind_(Kind::undefined) { payload_.text = nullptr; }

    static Value missing() { return Value(Kind::missing); }
    static Value none() { return Value(Kind::none); }
    // `what` says what was looked for, for the error message when the value is used; it may be empty.
    static Value undefined(std::string_view what = {}) {
        Value v(Kind::undefined);
        v.payload_.text = what.data();
        v.size_ = static_cast<std::uint32_t>(what.size());
        return v;
    }
    static Value boolean(bool b) {
        Value v(Kind::boolean);
        v.payload_.integer = b ? 1 : 0;
        return v;
    }
    static Value integer(std::int64_t i) {
        Value v(Kind::integer);
        v.payload_.integer = i;
        return v;
    }
    static Value size(std::size_t n) { return integer(static_cast<std::int64_t>(n)); }
    static Value real(double d) {
        Value v(Kind::real);
        v.payload_.real = d;
        return v;
    }
    // At most 4 GiB. `ascii` may be false for ASCII text: it only chooses the faster way.
    static Value string(std::string_view text, bool ascii, bool markup = false) {
        Value v(Kind::string);
        v.payload_.text = text.data();
        v.size_ = static_cast<std::uint32_t>(text.size());
        v.ascii_ = ascii;
        v.markup_ = markup;
        return v;
    }
    static Value string(std::string_view text); // looks whether it is ASCII
    static Value list(std::span<const Value> items) { return Value(Kind::list, items.data(), items.size()); }
    static Value tuple(std::span<const Value> items) { return Value(Kind::tuple, items.data(), items.size()); }
    // What groupby makes: a pair whose parts also have the names grouper and list.
    static Value group(std::span<const Value> pair) {
        Value v = tuple(pair);
        v.markup_ = true;
        return v;
    }
    // `kind`: dict or one of its views. Keys are unique.
    static Value dict(std::span<const Entry> entries, Kind kind = Kind::dict);
    static Value object(Kind kind, const void* object) { return Value(kind, object, 0); }

    Kind kind() const { return kind_; }
    bool is(Kind kind) const { return kind_ == kind; }
    bool is_string() const { return kind_ == Kind::string; }
    bool is_undefined() const { return kind_ == Kind::undefined; }
    bool is_missing() const { return kind_ == Kind::missing; }
    bool is_list_or_tuple() const { return kind_ == Kind::list || kind_ == Kind::tuple; }
    bool has_entries() const { return kind_ >= Kind::dict && kind_ <= Kind::dict_items; }
    bool is_whole() const { return kind_ == Kind::integer || kind_ == Kind::boolean; } // True is 1 in Python
    bool is_number() const { return is_whole() || kind_ == Kind::real; }
    bool is_ascii() const { return ascii_; }
    bool is_markup() const { return markup_; } // a string marked safe; a tuple: see group()

    bool as_boolean() const { return payload_.integer != 0; }
    std::int64_t as_integer() const { return payload_.integer; } // integer or boolean
    double as_real() const { return kind_ == Kind::real ? payload_.real : static_cast<double>(payload_.integer); }
    std::string_view text() const { return {payload_.text, size_}; } // string; undefined: what was looked for
    std::span<const Value> items() const { return {static_cast<const Value*>(payload_.object), size_}; }
    inline std::span<const Entry> entries() const;
    const void* identity() const { return payload_.object; }

    const Range& as_range() const { return *static_cast<const Range*>(payload_.object); }
    Namespace& as_namespace() const { return *static_cast<Namespace*>(const_cast<void*>(payload_.object)); }
    const Macro& as_macro() const { return *static_cast<const Macro*>(payload_.object); }
    const Builtin& as_builtin() const { return *static_cast<const Builtin*>(payload_.object); }
    const Method& as_method() const { return *static_cast<const Method*>(payload_.object); }
    Loop& as_loop() const { return *static_cast<Loop*>(const_cast<void*>(payload_.object)); }
    Iterator& as_iterator() const { return *static_cast<Iterator*>(const_cast<void*>(payload_.object)); }

private:
    explicit Value(Kind kind) : kind_(kind) { payload_.text = nullptr; }
    Value(Kind kind, const void* object, std::size_t size)
        : kind_(kind), size_(static_cast<std::uint32_t>(size)) {
        payload_.object = object;
    }

    Kind kind_;
    bool ascii_ = false;
    bool markup_ = false;
    std::uint32_t size_ = 0;
    union {
        std::int64_t integer;
        double real;
        const char* text;
        const void* object;
    } payload_;
};
static_assert(sizeof(Value) == 16);

struct Entry {
    Value key, value;
};

inline std::span<const Entry> Value::entries() const { return {static_cast<const Entry*>(payload_.object), size_}; }

inline Value Value::dict(std::span<const Entry> entries, Kind kind) {
    return Value(kind, entries.data(), entries.size());
}

struct Range {
    std::int64_t start, stop, step;
    std::int64_t count;
    // Unsigned, as the product may leave 64 bits on the way to a sum that doesn't.
    std::int64_t at(std::int64_t index) const {
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(start) +
                                         static_cast<std::uint64_t>(index) * static_cast<std::uint64_t>(step));
    }
};

// The one thing that can be assigned to: {% set ns.name = value %}.
struct Namespace {
    Entry* entries = nullptr;
    std::size_t size = 0, capacity = 0;
};

struct Method {
    Value receiver;
    const Builtin* builtin;
};

} // namespace lucebox::text::jinja
