// Filters, tests, global functions, and the methods of strings and dicts: one table each, by name.
//
// A builtin gets its receiver (the piped, tested or dotted value; undefined for a global function) and its arguments
// already sorted into the declared parameters; what was not given is `missing`.
#pragma once

#include "text/jinja/value.h"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace lucebox::text::jinja {

class Runtime;

// Arguments as the caller wrote them.
struct CallArguments {
    std::span<const Value> positional;
    std::span<const Entry> named; // keys are strings
};

struct Call {
    static constexpr std::size_t max_parameters = 6;
    Value receiver;
    std::array<Value, max_parameters> parameters; // Kind::missing where not given
    CallArguments raw;                            // all of them, for a variadic builtin

    bool has(std::size_t i) const { return !parameters[i].is_missing(); }
    const Value& operator[](std::size_t i) const { return parameters[i]; }
};

struct Builtin {
    using Function = Value (*)(Runtime&, const Call&);
    static constexpr std::uint8_t variadic = 255;

    std::string_view name;
    Function function;
    std::uint8_t required = 0;
    std::uint8_t maximum = 0; // `variadic`: the function looks at Call::raw itself
    // Empty: can be given by position only.
    std::array<std::string_view, Call::max_parameters> names = {};
};

// Null if there is none.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_global(std::string_view name);
const Builtin* find_string_method(std::string_view name);
const Builtin* find_method(Kind kind, std::string_view name); // of values other than strings

std::span<const Builtin> globals();

} // namespace lucebox::text::jinja
