"""Snippets of the template language: every operator, statement, filter, test and method, in sense and in nonsense.

Left out is what our interpreter refuses on purpose: integers beyond 64 bits, recursive loops, includes and inheritance,
the filters filesizeformat, pprint, random, striptags, urlize, wordwrap and xmlattr, and Python methods that no template
calls (encode, translate, expandtabs, ...).
"""

VARIABLES = {
    "name": "World", "text": "  Hello, wörld!  ", "empty": "", "zero": 0, "one": 1, "neg": -7, "pi": 3.25, "big": 1e300,
    "yes": True, "no": False, "null": None, "words": ["pear", "Apple", "fig", "apple"], "numbers": [3, 1, 2],
    "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}], "nested": [[1, 2], [3, [4, 5]]],
    "dict": {"b": 1, "a": 2, "C": 3}, "nothing": [], "no_keys": {},
    "users": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25, "tags": []},
              {"name": "Cid", "age": 30}],
    "deep": {"a": {"b": {"c": [10, {"d": "found"}]}}, "items": "an items key", "get": 1, "update": 2, "0": "zero"},
    "quotes": "it's \"quoted\" & <b>bold</b>", "lines": "one\n two\r\n\nthree\u2028four\n", "unicode": "Straße ΑΒΓ ñ 日本 🙂",
    "control": "a\tb\u0000c\u007fd\u00a0e\u200bf", "numeric": "42", "floating": " 3.5e1 ", "message": {"role": "user", "content": "hi"},
    "huge": 9007199254740993, "half": 2.5, "tiny": 1e-7, "loop_like": [1, 1, 2, 2, 3],
}

SNIPPETS = []


def expressions(text):
    """One expression a line."""
    SNIPPETS.extend("{{ " + line + " }}" for line in text.strip().splitlines() if line.strip())


def templates(*sources):
    SNIPPETS.extend(sources)


# --- Printing and literals
expressions(r"""
name
nope
nope.attribute
nope['x']
nope()
none
None
true
True
false
1
-1
- 1
+1
--1
-one
1_000
0x1F
0o17
0b101
007
1.5
1.
.5
1e3
1E-3
1_0.5_0
1.0
100000000000000000000.0
1e16
1e15
123456789012345680.0
0.0001
0.00001
-0.0
1e22
5e-324
1.7976931348623157e308
0.1 + 0.2
1/3
2/3*3
'a' 'b' "c"
'it\'s'
"\"q\""
'\n|\t|\\|\x41|\u00e9|\U0001F642|\101|\d|\a'
'\é'
'\xZZ'
'\u12'
'a
b'
'unterminated
[]
[1, 'a', none, true, 2.5]
[1,]
[,]
()
(1)
(1,)
(1, 2)
1, 2
{}
{'a': 1, 'b': [1, {'c': none}]}
{'a': 1, 'a': 2}
{1: 'x', 2.5: 'y', none: 'z', true: 't'}
{[1]: 2}
{(1, 2): 3}
['it\'s', "say \"x\"", 'both \' and "', '\n', '\\', '\x00', '\x7f', 'é', '\u200b', '\u00a0', '🙂']
mixed
dict
text
control
[control]
unicode
[unicode]
""")

# --- Arithmetic
expressions(r"""
7 + 3
7 - 3
7 * 3
7 / 2
6 / 2
7 // 2
-7 // 2
7 // -2
-7 % 3
7 % -3
7.5 // 2
-7.5 // 2
-7.5 % 2
7.5 % -2
2 ** 10
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
0 ** 0
0 ** -1
1 / 0
1 // 0
1 % 0
1.0 / 0
1 + 2 * 3
(1 + 2) * 3
10 - 2 - 3
100 / 10 / 2
true + true
true * 3
1 + 1.5
1.0 + 2
'a' + 'b'
'a' + 1
1 + 'a'
'a' * 3
3 * 'ab'
'a' * -1
'a' * 1.5
[1] + [2]
[1] + (2,)
(1,) + (2,)
[1, 2] * 2
2 * (1,)
[1] * 0
{} + {}
'%s and %d' % ('x', 3)
'%s' % 'x'
'%s' % [1]
'%5d|%-5d|%05d|%+d' % (1, 2, 3, 4)
'%.2f %e %g %G' % (3.14159, 12345.678, 0.0001, 1e-10)
'%x %X %o %#x %c %%' % (255, 255, 8, 255, 'z')
'%(a)s-%(b)s' % {'a': 1, 'b': 2}
'%r' % 'x'
'%s %s' % 'x'
'%s' % ('x', 'y')
'%d' % 'x'
'%d' % 3.9
'%10.3s|' % 'abcdef'
'%*d' % (5, 42)
'%' % 1
5 % 3
nope + 1
1 + nope
nope * 2
-nope
- 'a'
1 + none
9007199254740993 + 0
huge
huge + 0.0
huge == 9007199254740992.0
1 ~ 2
'a' ~ none ~ true ~ 1.0 ~ [1] ~ nope
1 ~ 2 + 3
1 + 2 ~ 3 * 4
(1, 2) ~ 'x'
1e308 * 10
-(1e308 * 10)
2.5e10
1e5
123456.789e3
round
""")

# --- Comparison and logic
expressions(r"""
1 == 1.0
1 == true
0 == false
'1' == 1
none == none
nope == nope
nope == none
nope != 1
[1, 2] == [1, 2]
[1] == (1,)
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
1 < 2 < 3
1 < 3 < 2
3 > 2 > 1
1 < 2 == true
'a' < 'b'
'Z' < 'a'
'é' > 'z'
[1, 2] < [1, 3]
[1] < [1, 0]
(1, 'a') < (1, 'b')
1 < 'a'
none < 1
nope < 1
{} < {}
1 <= 1
1 >= 2
1 != 2
1 = 1
1 === 1
'ell' in 'Hello'
'' in ''
1 in [1, 2]
1 in 'abc'
'a' in {'a': 1}
1 in {'a': 1}
[1] in {'a': 1}
3 not in [1, 2]
not 3 in [1, 2]
1 in none
1 in nope
2 in range(3)
2.0 in range(3)
'b' in dict
'b' in dict.keys()
2 in dict.values()
('a', 2) in dict.items()
not true
not not 1
not nope
1 and 2
0 and 2
1 or 2
0 or ''
'' or [] or 'x'
nope or 'default'
nope and 1
not 1 == 2
not (1 and 0)
1 or nope.x
0 and nope.x
true and false or true
'yes' if true else 'no'
'yes' if false else 'no'
'yes' if false
('yes' if false) is defined
'a' if 0 else 'b' if 0 else 'c'
'a' if 1 if 0 else 'b'
1 if yes and not no else 2
[] or {} or 0 or none
yes == true
1 is true
""")

# --- Subscripts, attributes, slices
expressions(r"""
words[0]
words[-1]
words[9]
words[9].x
words['0']
words.0
words.1
words[1:]
words[:1]
words[-2:]
words[::-1]
words[::2]
words[3:0:-1]
words[5:9]
words[1:1]
words[::0]
words['a':]
words[1.0:]
words[none:2]
name[0]
name[-1]
name[1:3]
name[::-1]
name[9]
name[1:99]
unicode[3]
unicode[-1]
unicode[4:9]
unicode[::-1]
unicode[::-2]
unicode|length
text[2:-2]
dict['b']
dict.b
dict['nope']
dict.nope
dict.nope.more
dict['nope']['more']
dict.a + 1
deep.a.b.c[1].d
deep['a']['b'].c.0
deep.items
deep['items']
deep.get
deep['get']
deep.update
deep['update']
deep.update is defined
deep['0']
deep.0
deep.keys() | list
dict['items'] is callable
dict['items']()
no_keys['values']() | list
dict[0]
dict[none]
dict[[1]]
dict[nope]
message.role
message['role']
message.content.upper()
message.content.nope
name.nope
name.nope is defined
name.__class__
name.__class__.x
dict.__class__ is defined
none.x
none.x.y
one.x
nested[1][1][0]
(1, 2)[0]
{'a': 5}.a
[1, 2, 3][1:][0]
'abc'[1]
'abc'.upper()[0]
numbers[yes]
range(10)[3]
range(10)[2:5]
range(10)[::-1]
range(10)[20]
numbers[0:2][::-1]
words[-9:2]
words[1, 2]
mixed[6].k
users[0]['tags'][0]
""")

# --- Tests
for _value in ["nope", "none", "true", "0", "1", "-1", "1.5", "''", "'a'", "'A'", "[]", "[1]", "(1,)", "{}", "range(3)",
               "dict.items()", "dict", "name.upper", "namespace()", "[1]|map('string')", "'x'|safe"]:
    SNIPPETS.append("{% set v = " + _value + " %}" + " ".join(
        "{{ 1 if v is " + _test + " else 0 }}" for _test in [
            "defined", "undefined", "none", "boolean", "true", "false", "integer", "float", "number", "string", "mapping",
            "sequence", "iterable", "callable", "escaped", "lower", "upper"]))
expressions(r"""
1 is defined
nope is not defined
nope is undefined
not nope is defined
3 is odd
4 is even
'a' is odd
9 is divisibleby 3
9 is divisibleby(4)
9 is divisibleby 0
1 is eq 1
1 is == 1
1 is equalto(1.0)
1 is ne 2
1 is lt 2
1 is ge 2
2 is greaterthan 1
1 is lessthan 'a'
1 is in [1, 2]
'a' is in 'abc'
3 is not in [1]
none is sameas none
true is sameas true
1 is sameas 1.0
'upper' is filter
'nope' is filter
'defined' is test
1 is nope
1 is defined is true
x is defined and x
name is string and name is not mapping
'a' is string == true
1 is divisibleby 2 or true
nope is none
nope.x is defined
nope is sequence
'AB' is upper
'Ab' is lower
'1' is lower
""")

# --- Filters on text
expressions(r"""
name|upper
name|lower
'hello wORLD'|capitalize
'éCOLE'|capitalize
"hello they're it-is (bracket) [x] {y} <z> new\nline"|title
unicode|upper
unicode|lower
text|trim
text|trim|length
'xxhixx'|trim('x')
'\u3000 a \u00a0'|trim
name|replace('o', '0')
name|replace('o', '0', 1)
'aaa'|replace('aa', 'b')
'abc'|replace('', '-')
123|replace(2, 'x')
'hello'|center(11)
'hello'|center(10) ~ '|'
'a\nb\n\nc'|indent
'a\nb\n\nc'|indent(2, true)
'a\nb\n\nc'|indent(width=2, blank=true)
'a\nb'|indent('> ', first=true)
'a\nb\n'|indent
''|indent
'a\r\nb\r'|indent(1)
none|indent
lines|indent(2)
'%s is %s'|format('a', 1)
'%(x)s'|format(x=1)
'%s'|format
1|string
none|string
[1, 'a']|string
1.0|string ~ 'x'
name|length
123|length
none|length
nope|length
name|count
unicode|length
nope|upper
none|upper
12|upper
quotes|e
quotes|escape|safe
quotes|safe
(quotes|safe) + '<i>'
'<i>' + (quotes|safe)
('<i>'|e) ~ '<i>'
('<i>'|e)|upper
('<i>'|e).replace('i', '<')
('<b>'|safe)|e
('<b>'|safe)|forceescape
(' <b> '|safe).strip() + '<'
('<b>'|safe).split('b')[0] + '<'
'<{}>'|safe ~ ''
('<{}>'|safe).format('<')
('%s'|safe) % '<'
('<'|safe)|string + '<'
('-'|safe).join(['<', '>'])
('<'|safe) * 2
('<'|safe)[0] + '>'
['<'|safe]
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11)
'foo bar baz qux'|truncate(11, false, '...', 0)
'foo bar'|truncate(2)
'a b  c_d e-f é'|wordcount
'a b/ü?&='|urlencode
'abc'|reverse
'äbc'|reverse
unicode|first
unicode|last
name|list
''|first
'x'|nope
1|upper|lower
name | upper | replace('O', '0') | length
-1|abs
(-1)|abs
'a'|default('b')
nope|default('b')
nope|default
nope|d('b')
''|default('b')
''|default('b', true)
none|default('b')
none|default('b', boolean=true)
nope.x|default('b')
dict.nope|default('b')
false|default(true)
name|attr('upper')
dict|attr('b')
dict|attr('items') is defined
'abc'|batch(2)|list
name|join('-')
name|map('upper')|join
name|sort|join
name|unique|join
not nope|default(false)
nope|default(none) is none
""")

# --- Filters on numbers
expressions(r"""
3.7|int
-3.7|int
'42'|int
' 42 '|int
'4_2'|int
'42.9'|int
'abc'|int
'abc'|int(7)
'abc'|int(default=-1)
'ff'|int(0, 16)
'0xff'|int(0, 16)
'0xff'|int(base=0)
'0b11'|int(0, 2)
'077'|int(0, 8)
'z'|int(0, 36)
'12'|int(0, 2)
none|int
none|int(3)
[]|int
true|int
nope|int
'1e3'|int
'inf'|int
numeric|int + 1
'3.5'|float
floating|float
'abc'|float
'abc'|float(1.5)
'nan'|float
'inf'|float
'-Infinity'|float
'+1'|float
'1_0.5'|float
'1e400'|float
5|float
none|float
nope|float
-5|abs
(-5.5)|abs
'a'|abs
true|abs
2.5|round
3.5|round
0.5|round
-2.5|round
2.567|round(2)
2.675|round(2)
2.1|round(1, 'ceil')
2.9|round(method='floor')
1234|round(-2)
1250|round(-2)
1350|round(-2)
1234.5|round(-2)
7|round
7|round(2)
7|round(1, 'ceil')
7|round(0, 'up')
'a'|round
1e300|round(2)
[1, 2, 3]|sum
[1.5, 2]|sum
[]|sum
['a']|sum
users|sum('age')
users|sum(attribute='age', start=100)
numbers|max
numbers|min
words|max
words|min
words|min(case_sensitive=true)
[]|max
users|max(attribute='age')
[1, 'a']|max
4.0|string
1e16|string
""")
