// Finding a builtin by name in a sorted table.
#pragma once

#include "text/jinja/builtins.h"

#include <algorithm>

namespace lucebox::text::jinja {

template <std::size_t N>
constexpr bool is_sorted_by_name(const Builtin (&table)[N]) {
    for (std::size_t i = 1; i < N; ++i) {
        if (!(table[i - 1].name < table[i].name)) return false;
    }
    return true;
}

template <std::size_t N>
const Builtin* find_by_name(const Builtin (&table)[N], std::string_view name) {
    const Builtin* end = table + N;
    const Builtin* found = std::lower_bound(
        table, end, name, [](const Builtin& builtin, std::string_view wanted) { return builtin.name < wanted; });
    return found != end && found->name == name ? found : nullptr;
}

} // namespace lucebox::text::jinja
