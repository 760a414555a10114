// Templates that try to cost as much as they can, for the test and the benchmark of the budget.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace lucebox::text {

struct HostileTemplate {
    std::string_view name;
    std::string_view source;
};
inline void PrintTo(const HostileTemplate& hostile, std::ostream* out) { *out << hostile.name; }

inline constexpr std::array hostile_templates{
    HostileTemplate{"nested loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}"
                                    "{% endfor %}{% endfor %}"},
    HostileTemplate{"a huge range", "{{ range(10 ** 15) | list | length }}"},
    HostileTemplate{"a huge sum", "{{ range(10 ** 15) | sum }}"},
    HostileTemplate{"doubling strings",
                    "{% set ns = namespace(s='x' * 1000) %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"},
    HostileTemplate{"a repeated string", "{% for i in range(99999) %}{% set x = 'abcdefgh' * 4000000 %}{% endfor %}"},
    HostileTemplate{"a string longer than memory", "{{ 'x' * 10 ** 15 }}"},
    HostileTemplate{"a list longer than memory", "{{ [1, 2, 3] * 10 ** 15 }}"},
    HostileTemplate{"doubling lists",
                    "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}"},
    HostileTemplate{"endless recursion", "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"},
    HostileTemplate{"branching recursion",
                    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"},
    HostileTemplate{"growing output", "{% for i in range(99999) %}{{ 'abcdefghijklmnopqrstuvwxyz' * 1000 }}{% endfor %}"},
    HostileTemplate{"searching long strings", "{% set a = 'a' * 1000000 %}{% set b = 'a' * 500000 ~ 'b' %}"
                                              "{% for i in range(99999) %}{% if b in a %}{% endif %}{% endfor %}"},
    HostileTemplate{"replacing in long strings",
                    "{% for i in range(99999) %}{% set x = ('a' * 1000000) | replace('a', 'bb') %}{% endfor %}"},
    HostileTemplate{"splitting and joining",
                    "{% for i in range(99999) %}{% set x = ('a ' * 500000).split() | join('b') %}{% endfor %}"},
    HostileTemplate{"cases of wide characters",
                    "{% for i in range(99999) %}{% set x = ('\u00df\u01c4' * 300000) | upper | lower | title %}{% endfor %}"},
    HostileTemplate{"indenting text", "{% for i in range(99999) %}{% set x = ('ab ' * 300000) | indent(8) %}{% endfor %}"},
    HostileTemplate{"escaping", "{% for i in range(99999) %}{% set x = ('<&>' * 300000) | escape | urlencode %}{% endfor %}"},
    HostileTemplate{"sorting", "{% for i in range(99999) %}{% set x = range(100000) | sort(reverse=true) | unique | list %}{% endfor %}"},
    HostileTemplate{"comparing equal lists", "{% set a = range(100000) | list %}{% set b = range(100000) | list %}"
                                             "{% for i in range(99999) %}{% if a == b %}{% endif %}{% endfor %}"},
    HostileTemplate{"comparing nested lists", "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}"
                                              "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}"},
    HostileTemplate{"printing shared lists", "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}"
                                             "{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}{{ ns.a }}"},
    HostileTemplate{"a list in itself", "{% set a = [1] %}{% set x = a.append(a) %}{{ a }}{{ a | tojson }}{{ a == a }}"},
    HostileTemplate{"large powers", "{% for i in range(99999) %}{% set x = 7 ** 7 ** 7 ** 7 %}{% endfor %}"},
    HostileTemplate{"wide formats", "{{ '%1000000000d' % 1 }}{{ '%.1000000000f' % 1 }}"},
    HostileTemplate{"centred text", "{% for i in range(99999) %}{% set x = 'a' | center(10000000) %}{% endfor %}"},
    HostileTemplate{"slices", "{% set a = range(100000) | list %}{% for i in range(99999) %}{% set b = a[::-1] %}{% endfor %}"},
    HostileTemplate{"batches", "{% for i in range(99999) %}{% set x = range(100000) | batch(3) | list %}{% endfor %}"},
    HostileTemplate{"groups", "{% for i in range(99999) %}{% set x = ([{'a': 1}, {'a': 2}] * 50000) | groupby('a') %}{% endfor %}"},
    HostileTemplate{"large dictionaries", "{% set ns = namespace(d={}) %}{% for i in range(99999) %}"
                                          "{% set x = ns.d.update({i: i}) %}{% endfor %}"},
    HostileTemplate{"colliding keys", "{% for i in range(99999) %}{% set d = dict(a=1, b=2, c=3, d=4) %}{% set x = d.items() | list %}"
                                      "{% endfor %}"},
    HostileTemplate{"the whole conversation again and again",
                    "{% for i in range(99999) %}{{ messages | tojson }}{{ messages | map(attribute='content') | join }}{% endfor %}"},
};

// Templates that are hostile to whoever reads them: parsed in time that grows with their length alone.
inline std::string deep_template(std::string_view open, std::string_view middle, std::string_view close, std::size_t depth) {
    std::string source;
    for (std::size_t i = 0; i < depth; ++i) source += open;
    source += middle;
    for (std::size_t i = 0; i < depth; ++i) source += close;
    return source;
}

} // namespace lucebox::text
