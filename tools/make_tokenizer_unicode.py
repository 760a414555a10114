#!/usr/bin/env python3
"""Writes src/text/unicode_tables.inc: the Unicode categories that pre-tokenizers ask for, from Python's own tables.

Each entry is the first code point of a range, times 16, plus the range's category; a range ends where the next begins.
Run with Python 3.13 (Unicode 15.1):  python3.13 tools/make_tokenizer_unicode.py > src/text/unicode_tables.inc
"""
import unicodedata

# The property White_Space (PropList.txt); str.isspace() also counts the separators U+001C..U+001F.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}

# In the order of `enum class Category` (src/text/unicode.h).
OTHER, UPPER, LOWER, TITLE, LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, SPACE = range(10)


def category(code_point):
    if code_point in WHITE_SPACE:
        return SPACE
    general = unicodedata.category(chr(code_point))
    by_name = {"Lu": UPPER, "Ll": LOWER, "Lt": TITLE}
    by_class = {"L": LETTER, "M": MARK, "N": NUMBER, "P": PUNCTUATION, "S": SYMBOL}
    return by_name.get(general) or by_class.get(general[0], OTHER)


def main():
    entries = []
    previous = None
    for code_point in range(0x110000):
        current = category(code_point)
        if current != previous:
            entries.append(f"0x{code_point << 4 | current:X}")
            previous = current
    print(f"// Unicode {unicodedata.unidata_version} categories; made by tools/make_tokenizer_unicode.py, don't edit.")
    print("// (first code point of the range) << 4 | category")
    line = ""
    for entry in entries:
        if len(line) + len(entry) + 2 > 120:
            print(line.rstrip())
            line = ""
        line += entry + ", "
    print(line.rstrip())


main()
