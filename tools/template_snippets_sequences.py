"""The second half of the snippets: filters on sequences, JSON, methods, statements. Importing it adds them to SNIPPETS."""
from template_snippets import SNIPPETS, VARIABLES, expressions, templates  # noqa: F401

# --- Filters on sequences
expressions(r"""
numbers|first
numbers|last
nothing|first
nothing|last
none|first
dict|first
dict|last
dict.items()|last
range(3)|last
numbers|map('string')|last
numbers|length
dict|length
range(5)|length
numbers|map('string')|length
numbers|list
dict|list
dict.items()|list
range(3)|list
5|list
nope|list
numbers|join
numbers|join(', ')
words|join(d='-')
mixed|join('|')
users|join(', ', attribute='name')
users|join(', ', attribute='nope')
nope|join
5|join
numbers|sort
numbers|sort(true)
numbers|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
users|sort(attribute='age')|map(attribute='name')|list
users|sort(attribute='age,name')|map(attribute='name')|list
users|sort(attribute='age', reverse=true)|map(attribute='name')|list
[1, 'a']|sort
[nope, nope]|sort|length
nothing|sort
dict|sort
[[2, 1], [1, 2]]|sort
loop_like|unique|list
words|unique|list
words|unique(true)|list
users|unique(attribute='age')|map(attribute='name')|list
[[1], [1]]|unique|list
numbers|reverse|list
numbers|reverse
numbers|reverse|first
dict|reverse|list
range(3)|reverse|list
5|reverse
dict|dictsort
dict|dictsort(true)
dict|dictsort(by='value')
dict|dictsort(false, 'value', true)
dict|dictsort(by='x')
{1: 2, 'a': 3}|dictsort
numbers|dictsort
dict|items|list
nope|items|list
numbers|items|list
dict|items|first
numbers|map('string')|list
words|map('upper')|list
words|map('replace', 'p', 'q')|list
words|map('default', 'x')|list
users|map(attribute='name')|list
users|map(attribute='tags.0')|list
users|map(attribute='tags', default='none')|list
users|map(attribute='tags', default=none)|list
users|map(attribute='nope', default='d')|join(',')
nested|map(attribute=1)|list
nested|map(attribute='1')|list
words|map('nope')|list
words|map('nope') is iterable
words|map|list
words|map('length')|sum
[]|map('nope')|list
none|map('upper')|list
numbers|select('odd')|list
numbers|reject('odd')|list
numbers|select('>', 1)|list
numbers|select('divisibleby', 2)|list
mixed|select|list
mixed|reject|list
mixed|select('string')|list
mixed|select('nope')|list
words|reject('in', ['fig'])|list
users|selectattr('age', 'equalto', 30)|map(attribute='name')|list
users|selectattr('tags')|map(attribute='name')|list
users|rejectattr('tags')|map(attribute='name')|list
users|selectattr('tags', 'defined')|list|length
users|selectattr('age', '<', 30)|first
users|selectattr('nope.x')|list
users|rejectattr('name', 'in', ['Ann'])|map(attribute='name')|join
users|selectattr|list
'yes' if numbers|select('>', 9) else 'no'
'yes' if (numbers|select('>', 9)|list) else 'no'
numbers|select('>', 9)|first
users|groupby('age')|length
users|groupby('tags', default=[])|list|length
[1, 2, 3, 4, 5]|batch(2)|list
[1, 2, 3, 4, 5]|batch(2, 'x')|list
[1, 2, 3, 4, 5]|slice(2)|list
[1, 2, 3, 4, 5]|slice(3, 'x')|list
[1]|slice(0)|list
numbers|length == 3
words|map('lower')|unique|sort|join(',')
numbers|map('abs')|map('string')|join('+')
words|select('eq', 'fig')|list|length > 0
""")

# --- JSON
expressions(r"""
dict|tojson
mixed|tojson
deep|tojson
quotes|tojson
unicode|tojson
unicode|tojson(ensure_ascii=true)
unicode|tojson(true)
control|tojson
'\b\f\n\r\t\\/"'|tojson
1.0|tojson
1e20|tojson
1e-7|tojson
huge|tojson
none|tojson
true|tojson
(1, 2)|tojson
[]|tojson
{}|tojson
{'a': {}, 'b': []}|tojson(indent=2)
mixed|tojson(indent=2)
deep|tojson(indent=1)
dict|tojson(indent='--')
dict|tojson(indent=0)
dict|tojson(separators=(',', ':'))
dict|tojson(separators=(',', ':'), indent=2)
dict|tojson(separators=',')
dict|tojson(sort_keys=true)
deep|tojson(indent=2, sort_keys=true)
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
{(1, 2): 3}|tojson
nope|tojson
[nope]|tojson
range(3)|tojson
dict.items()|tojson
dict.items()|list|tojson
numbers|map('string')|tojson
namespace(a=1)|tojson
('<b>'|safe)|tojson
('inf'|float)|tojson
('nan'|float)|tojson
dict|tojson|length
(dict|tojson).startswith('{')
'x' ~ dict|tojson
{'a': '<&>'}|tojson + '<'
dict|tojson(nope=1)
""")

# --- Methods
expressions(r"""
name.upper()
name.lower()
name.upper
name.upper(1)
'abc'.capitalize()
'abc def'.title()
"they're bill's".title()
'aBc'.swapcase()
'ß'.upper()
'İ'.lower()|length
'abc'.islower()
'ABC'.isupper()
'12'.isdigit()
'1a'.isalnum()
'ab'.isalpha()
'é'.isalpha()
''.isalpha()
' \t'.isspace()
'Abc Def'.istitle()
'abc'.isascii()
'é'.isascii()
'a\n'.isprintable()
text.strip()
text.lstrip() ~ '|'
text.rstrip() ~ '|'
'xyxhixyx'.strip('xy')
'xxhi'.lstrip('x')
'hixx'.rstrip('x')
'éaé'.strip('é')
'hi'.strip(none)
'hi'.strip(1)
'<think>x</think>'.lstrip('<think>')
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.split(',', maxsplit=1)
'a,b,c'.split(sep=',')
'a,b,c'.rsplit(',', 1)
'aaa'.split('aa')
'aaa'.rsplit('aa')
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
' a  b c '.rsplit()
''.split()
''.split(',')
'a'.split('')
'a,b'.split(1)
'a</think>b</think>c'.split('</think>')[-1]
'a</think>b'.split('</think>')[0].split('<think>')[-1]
lines.splitlines()
lines.splitlines(true)
'a\x0bb\x1cc\x85d'.splitlines()
''.splitlines()
'abc'.startswith('ab')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.startswith('', 4)
'abc'.startswith(1)
'abc'.endswith('bc')
'abc'.endswith(('x', 'c'))
'abc'.endswith('b', 0, 2)
'abc'.startswith([])
'a-b-c'.replace('-', '+')
'a-b-c'.replace('-', '+', 1)
'a-b-c'.replace('-', '+', -1)
'abc'.replace('', '.')
'abc'.replace('b', 1)
'abc'.replace('b')
','.join(['a', 'b'])
','.join('abc')
','.join([1, 2])
','.join(dict)
','.join([])
','.join(none)
'abcabc'.find('c')
'abcabc'.find('c', 3)
'abcabc'.find('z')
'äöü'.find('ü')
'abcabc'.rfind('b')
'abcabc'.rfind('b', 0, 3)
'abc'.index('c')
'abc'.index('z')
'abc'.rindex('z')
'banana'.count('an')
'banana'.count('')
'banana'.count('a', 2)
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
'abc'.rpartition('=')
'abc'.partition('')
'prefix-x'.removeprefix('prefix-')
'x.py'.removesuffix('.py')
'x'.center(5, '*')
'xy'.center(5, '*')
'x'.ljust(3) ~ '|'
'x'.rjust(3, '0')
'x'.rjust(3, 'ab')
'-5'.zfill(4)
'5'.zfill(3)
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{a} {b[0]} {c.x}'.format(a=1, b=[2], c={'x': 3})
'{:>5}|{:<5}|{:^5}|{:*^5}'.format('a', 'b', 'c', 'd')
'{:05d} {:+d} {:x} {:#x} {:b} {:,}'.format(42, 42, 255, 255, 5, 1234567)
'{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.00001, 0.25)
'{:.3}'.format('abcdef')
'{:.3}'.format(3.14159)
'{:.2}'.format(12.0)
'{!r} {!s}'.format('a', 'b')
'{{}} {}'.format(1)
'{:{}}|'.format('a', 5)
'{} {1}'.format(1, 2)
'{}'.format()
'{x}'.format()
'{'.format()
'}'.format()
'{:d}'.format('a')
'{:s}'.format(1)
'{:5}|{:<5}|'.format(1, true)
'{:5}|'.format(none)
'{}'.format(none)
'{}'.format([1, 'a'])
'{:_} {:,.2f}'.format(1234567, 1234.5)
'{:f}'.format(1)
'{:.0f} {:.1f}'.format(2.5, 0.05)
'{:n}'.format(5)
'{:c}'.format(65)
'{0.upper}'.format('a') is string
dict.keys()
dict.values()
dict.items()
dict.keys()|list
dict.get('a')
dict.get('z')
dict.get('z', 'd')
dict.get('z', default='d')
dict.get()
dict.get([1])
dict.copy()
dict.pop('a')
dict.update({})
dict.clear()
numbers.append(1)
numbers.index(2)
numbers.index(9)
numbers.count(1)
numbers.pop()
numbers.sort()
(1, 2, 1).count(1)
(1, 2).index(2)
name.nope()
none.upper()
name()
""")

# --- Globals
expressions(r"""
range(3)
range(1, 4)
range(3, 0, -1)|list
range(0, 10, 3)|list
range(0)|list
range(1, 0)|list
range(1.5)
range('a')
range(1, 2, 0)
range()
range(99999)|length
range(100001)|length
range(0, 1000000, 100)|length
range(stop=3)
dict(a=1, b='x')
{}|length
namespace(a=1).a
namespace(a=1).b
namespace({'a': 1}).a
namespace(a=1)['a']
namespace(1)
namespace() is defined
raise_exception('no')
raise_exception()
strftime_now('%Y') is string
nope_function('x')
loop
""")

# --- Statements
templates(
    "{% if yes %}a{% else %}b{% endif %}", "{% if no %}a{% elif one %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif zero %}b{% elif empty %}c{% endif %}|", "{% if nope %}a{% endif %}|", "{% if nope.x %}a{% endif %}",
    "{% if 1 if 0 %}x{% endif %}", "{% if yes, no %}x{% endif %}", "{% if %}x{% endif %}", "{% if yes %}x", "{% endif %}",
    "{% if yes %}x{% else %}y{% else %}z{% endif %}", "{% if yes: %}x{% endif %}",
    "{% for x in numbers %}{{ x }},{% endfor %}", "{% for x in nothing %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in nope %}{{ x }}{% else %}none{% endfor %}", "{% for x in none %}{{ x }}{% endfor %}", "{% for x in 5 %}{% endfor %}",
    "{% for x in 'añb' %}[{{ x }}]{% endfor %}", "{% for k in dict %}{{ k }}{% endfor %}",
    "{% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in dict|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in dict|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for (a, b) in [(1, 2), [3, 4]] %}{{ a }}{{ b }};{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for a, b in [(1,)] %}{% endfor %}", "{% for a, b in ['xy', 'zw'] %}{{ a }}-{{ b }} {% endfor %}", "{% for a, b in [5] %}{% endfor %}",
    "{% for x in numbers if x > 1 %}{{ loop.index }}:{{ x }} {% endfor %}",
    "{% for x in numbers if x > 9 %}{{ x }}{% else %}none{% endfor %}", "{% for x in numbers if loop.first %}{{ x }}{% endfor %}",
    "{% for x in numbers %}{{ loop.index }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }}"
    " {{ loop.length }} {{ loop.previtem }} {{ loop.nextitem }} {{ loop.depth }} {{ loop.depth0 }}|{% endfor %}",
    "{% for x in numbers|map('string') %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }} {% endfor %}",
    "{% for x in numbers|map('string') %}{{ x }}{{ loop.length }}{{ loop.nextitem }} {% endfor %}",
    "{% for x in numbers %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in numbers %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in numbers %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in loop_like %}{{ loop.changed(x) }} {% endfor %}", "{% for x in numbers %}{{ loop.nope }}|{% endfor %}",
    "{% for x in numbers %}{{ loop is iterable }}{{ loop|length }}{% endfor %}",
    "{% for x in numbers %}{% for y in words %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for x in numbers %}{% set outer = loop %}{% for y in numbers %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% set x = 0 %}{% for i in numbers %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(x=0) %}{% for i in numbers %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% for i in numbers %}{{ y }}{% set y = i %}{{ y }} {% endfor %}{{ y }}", "{% for x in numbers %}{% endfor %}{{ x }}",
    "{% set i = 'out' %}{% for i in numbers %}{{ i }}{% endfor %}{{ i }}", "{% if yes %}{% set z = 1 %}{% endif %}{{ z }}",
    "{% for i in numbers %}{% if i == 1 %}{% set found = i %}{% endif %}{{ found }}|{% endfor %}",
    "{% for m in users %}{% set m = m.name %}{{ m }} {% endfor %}", "{% for loop in numbers %}{% endfor %}", "{% for i in numbers %}{% set loop = 1 %}{% endfor %}",
    "{% for x in numbers %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in numbers %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% break %}", "{% continue %}",
    "{% for x in numbers %}{% break %}{% else %}E{% endfor %}", "{% for x in numbers %}{% continue %}{% else %}E{% endfor %}",
    "{% for x in numbers %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% else %}E{% endfor %}",
    "{% for x in numbers %}{% for y in numbers %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}",
    "{% for x in numbers %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in numbers %}{% set y %}{% break %}{% endset %}{{ y }}{% endfor %}|",
    "{% for x in numbers %}{% endfor %}{% for %}{% endfor %}", "{% for x of numbers %}{% endfor %}", "{% for x in numbers %}", "{% for 1 in numbers %}{% endfor %}",
    "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in [1, 2] + [3] %}{{ x }}{% endfor %}", "{% for x in range(3) | reverse %}{{ x }}{% endfor %}",
    "{% for x in numbers[::-1] %}{{ x }}{% endfor %}", "{% set g = numbers|map('string') %}{{ g|list }}{{ g|list }}",
    "{% set g = numbers|select %}{% for x in g %}{{ x }}{% break %}{% endfor %}{{ g|list }}",
    "{% set x = 5 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set (x, y) = [1, 2] %}{{ y }}", "{% set x, y = 1 %}",
    "{% set x = %}", "{% set 1 = 2 %}", "{% set true = 1 %}", "{% set x.y = 1 %}", "{% set nope.y = 1 %}", "{% set ns = namespace() %}{% set ns.a.b = 1 %}",
    "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace(a=1) %}{% set ns['a'] = 2 %}",
    "{% set ns = namespace(a=[]) %}{% set ns.a = ns.a + [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}",
    "{% set x %}a{{ one }}b{% endset %}{{ x }}{{ x|length }}", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}",
    "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}", "{% set y = 0 %}{% set x %}{% set y = 1 %}{% endset %}{{ y }}", "{% set x %}unclosed",
    "{% set ns = namespace() %}{% set ns.t %}x{% endset %}{{ ns.t }}", "{% set name = name|upper %}{{ name }}", "{% set x = x %}{{ x }}|", "{% set a = b = 1 %}",
    "{% filter upper %}abc{{ name }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}banana{% endfilter %}", "{% filter nope %}{% endfilter %}",
    "{% filter upper %}{% set q = 1 %}{% endfilter %}{{ q }}|", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}|", "{% with a = 1, b = a %}{{ b }}|{% endwith %}",
    "{% with %}{% set z = 3 %}{{ z }}{% endwith %}{{ z }}|", "{% with x, y = 1, 2 %}{{ x }}{{ y }}{% endwith %}", "{% print 1, 2 %}", "{% print name %}", "{% print %}|",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=4, a=5) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a=b, b=1) %}{{ a }}|{{ b }}{% endmacro %}{{ m() }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m %}{% endmacro %}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m() %}{% set x = 9 %}{% endmacro %}{% set x = 1 %}{{ m() }}{{ x }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro m() %}  spaces  {% endmacro %}[{{ m() }}][{{ m()|trim }}]",
    "{% macro m(x) %}{{ x.a.b }}{% endmacro %}{{ m(deep) }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m is callable }}{{ m.name }}{{ m.arguments }}",
    "{% macro m(a, b='x') %}{{ kwargs }}{% endmacro %}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m.caller }}", "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% for i in numbers %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% for i in numbers %}{% macro m() %}{{ loop.index }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'x': 2}) }}{{ m(*[1], **{'x': 2}) }}",
    "{% macro m(x, y) %}{{ x }}{{ y }}{% endmacro %}{{ m(*numbers[:2]) }}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(x=1, x=2) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}inner{% endcall %}", "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}inner{% endcall %}", "{% macro m() %}[{{ caller }}]{% endmacro %}{{ m() }}", "{% macro m() %}[{{ caller() }}]{% endmacro %}{{ m() }}",
    "{% call name %}x{% endcall %}", "{% call(x) range(3) %}x{% endcall %}", "{% macro m(caller=none) %}{{ caller is none }}{% endmacro %}{{ m() }}",
    "{% macro o() %}<{{ caller() }}>{% endmacro %}{% macro i() %}{% call o() %}{{ caller() }}{% endcall %}{% endmacro %}{% call i() %}x{% endcall %}",
    "{% set m = name.upper %}{{ m() }}", "{% set r = range %}{{ r(2)|list }}", "{% generation %}x{{ name }}{% set q = 1 %}{% endgeneration %}{{ q }}|",
    "{% for i in numbers %}{% generation %}{{ loop.index }}{{ i }}{% endgeneration %}{% endfor %}", "{% for i in numbers %}{% generation %}{% continue %}{% endgeneration %}{% endfor %}",
    "{% nope %}", "{% %}", "{{ }}", "{{ name", "{% if yes", "{{ name }", "{{ name | }}", "{{ name. }}", "{{ name.1.5 }}", "{{ (name }}", "{{ name) }}", "{{ [name }}", "{{ {name} }}",
    "{{ name name }}", "{{ 1 2 }}", "{{ ! }}", "{{ a ? b : c }}", "{{ name; }}", "{{ 'a' 1 }}", "{{ $x }}", "{{ @ }}", "{{ a && b }}", "{{ name['x' }}", "{{ f(1 2) }}", "{{ f(a=1, 2) }}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% do 1 %}", "{% if no %}{{ 1|nope }}{% endif %}ok", "{{ 1|nope if no else 2 }}",
    "{% for x in nothing %}{{ x|nope }}{% endfor %}", "{% if no %}{{ 1 is nope }}{% endif %}ok", "{% if no %}{% for x in nothing %}{{ x|nope }}{% endfor %}{% endif %}",
    "{{ raise_exception('x') if no else 'fine' }}", "{% if no %}{{ raise_exception('x') }}{% endif %}fine", "{{ {'a':1}.items() }}", "{{ {'a':{'b':1}} }}", "{{ {'a':1}}}",
    "{% raw %}{{ x }}{% if %}{% endraw %}", "{% raw %} a {%- endraw -%} b", "a {%- raw -%} b {% endraw %} c", "{% raw %}", "{% raw %}x", "{#", "{#-", "{% raw %}\nx\n{% endraw %}\ny",
    "{# comment #}a", "a {#- c -#} b", "{# unclosed", "{# a {{ b }} {% c %} #}x", "{#-#}x", "x{# c #}\ny", "  {# c #}\nx", "{##}", "{# #} #}",
)

# --- Whitespace
for _open, _close in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}"), ("{%+", "%}"), ("{%", "+%}"), ("{%+", "+%}")]:
    templates(f"a\n  {_open} if yes {_close}\n  b\n  {_open} endif {_close}\n  c", f"x {_open} if yes {_close} y {_open} endif {_close} z",
              f"  {_open} set q = 1 {_close}  \n\n  t", f"\n\n {_open} if yes {_close}\n\n\nq{_open} endif {_close}")
templates(
    "a\n  {{ name }}\n  b", "a\n  {{- name -}}\n  b", "a {{- name }} b", "a {{ name -}} b", "{{- name -}}", "{{+ name }}", "{{ name +}}", "a\n", "a\n\n", "\n", "", " ",
    "a\r\nb\rc\n", "{% if yes %}\r\nx{% endif %}\r\n", "{{ 'a\r\nb' }}", "  {% if yes %}  {% endif %}  ", "\t{% if yes %}\tx\t{% endif %}\n", "a  {% if yes %}b{% endif %}",
    "{% if yes %}a{% endif %}\n{% if yes %}b{% endif %}\n", "{% if yes -%}   \n\n  a   {%- endif %}   b", "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}{{ y }}", "\u00a0{%- if yes %}x{% endif %}",
    "\u3000{% if yes %}x{% endif %}", "x\u2028{%- if yes -%}\u2028y{% endif %}", "{{ name }}\n{{ name }}\n", "{ { name } }", "{", "{ %", "}}", "%}", "{{ '}}' }}", "{{ '{{' }}", "{% set x = '%}' %}{{ x }}",
    "{{ {'a': {'b': 2}}['a']['b'] }}", "{{ \"a\" }}{{ 'b' }}", "{% if yes %}\n\n a{% endif %}", "   {%- if yes %} a {%- endif %}   ", "{{\n  name\n}}", "{%\n if yes\n%}x{%\n endif\n%}",
    "a{% if yes %}\n{% endif %}b", "a\n{% if yes %}\n{% endif %}\nb", "{{ name }}{# c #}{{ name }}", "1\n   {%- if yes %}2{% endif %}", "1\n   {#- c #}2", "1\n   {# c -#}\n   2", "1\n {# c +#}\n2",
    "{% raw %}{% endraw %}\nx", "  {% raw %}  {% endraw %}  \nx", "x\n  {% raw %} y\n  {% endraw %}\nz", "é{{ 'é' }}é", "{{ é }}|", "{% set é = 1 %}{{ é }}", "{{ 日本 is defined }}",
)

# --- What templates do
templates(
    "{% for m in users %}{{ '<|im_start|>' + m['name'] + '\n' + m.age|string + '<|im_end|>' + '\n' }}{% endfor %}",
    "{%- set ns = namespace(multi=true, last=users|length - 1) %}{%- for u in users[::-1] %}{%- set index = (users|length - 1) - loop.index0 %}"
    "{%- if ns.multi and u.age == 25 %}{%- set ns.multi = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }} {{ ns.multi }}",
    "{% if message.content is string and not(message.content.startswith('<x>') and message.content.endswith('</x>')) %}{{ message.content }}{% endif %}",
    "{{ deep.a.b.c[1].d if deep.a.b.c|length > 1 and deep.a.b.c[1] is mapping else 'no' }}",
    "{% for k, v in {'a': 'x', 'b': [1], 'c': 1.5, 'd': true, 'e': none}.items() %}{{ k }}={{ v | tojson | safe if v is mapping or (v is sequence and v is not string) else v | string }};{% endfor %}",
    "{% for k in {'a': 1} %}{{ k }}{% endfor %}{{ ({'a': 1}).items()|list }}", "{{ (users | selectattr('age', 'equalto', 30) | list | length) + 1 }}",
    "{% macro walk(v, depth=0) %}{% if v is mapping %}{ {%- for k, x in v|dictsort %}{{ k }}:{{ walk(x, depth + 1) }}{% if not loop.last %},{% endif %}{% endfor -%} }"
    "{% elif v is iterable and v is not string %}[{% for x in v %}{{ walk(x, depth=depth + 1) }}{% if not loop.last %},{% endif %}{% endfor %}]{% else %}{{ v|tojson }}{% endif %}{% endmacro %}{{ walk(deep) }}{{ walk(mixed) }}",
    "{% set content = message.content %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ content }}",
    "{{ (message.role == 'user') != (0 % 2 == 0) }}", "{% if (message['role'] == 'user') != (one % 2 == 0) %}a{% else %}b{% endif %}",
    "{% set tools = none %}{% if tools %}x{% elif not tools is none %}y{% else %}z{% endif %}", "{% if tools is not defined %}{% set tools = none %}{% endif %}{{ tools is none }}",
    "{% if not tools is defined %}{% set tools = [] %}{% endif %}{{ tools }}", "{%- if not date is defined %}{%- set date = '26 Jul 2024' %}{%- endif %}{{ date }}",
    "{% for i in range(0, users|length) %}{{ users[i].name }}{% endfor %}", "{% for i in range(users|length - 1, -1, -1) %}{{ users[i].name }}{% endfor %}",
    "{{ users[-1]['name'] }}{{ users|length }}{{ users[:-1]|length }}", "{{ '' if nope is not defined else nope }}|", "{{ (nope or [])|length }}", "{{ nope | default([]) | length }}",
    "{{ message.items()|map('first')|join(',') }}", "{{ 'a' in message }}{{ 'role' in message }}{{ message.get('tool_calls') }}", "{{ message.tool_calls is defined and message.tool_calls }}",
    "{{ message.tool_calls and message.tool_calls is not none }}", "{% set x = message.get('x', '') or '' %}[{{ x }}]", "{{ text.strip().split(' ')|length }}{{ text.split(',')[0].strip() }}",
    "{{ namespace(found=false).found }}", "{{ [1, 2, 3] | map('string') | map('replace', '2', 'two') | join(' ') }}", "{{ ['a', 'b'] | map('upper') | list | tojson }}",
    "{% set t = [] %}{% for u in users %}{% set t = t + [u.name] %}{% endfor %}{{ t }}", "{{ users | map(attribute='age') | unique | sort | join('/') }}",
    "{% for g in users|groupby('age') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join(',') }};{% endfor %}", "{% for age, list in users|groupby('age') %}{{ age }}{{ list|length }};{% endfor %}",
    "{{ users|groupby('age')|map('first')|list }}", "{{ '{:02d}:{:02d}'.format(5, 7) }}", "{{ \"%02d\" % 5 }}", "{{ (1, 2, 3)|sum }}{{ (1, 2)|length }}", "{{ dict|length }}{{ dict.keys()|length }}",
    "{{ loop_like|map('string')|join('') is string }}", "{{ ['x', 'y'].index('y') }}", "{{ 1 if message.role in ['user', 'tool'] else 2 }}", "{{ message.role not in ('user',) }}",
)
