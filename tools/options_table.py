#!/usr/bin/env python3
"""Prints the table of settings of docs/operations.md from the program's own help.

    tools/options_table.py build/release/lucebox           # prints the table
    tools/options_table.py build/release/lucebox --write   # puts it into docs/operations.md
"""
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
BEGIN, END = "<!-- settings: written by tools/options_table.py -->\n", "<!-- end of settings -->\n"


def commands(program):
    text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    return re.findall(r"(?m)^  ([a-z]+) +\S", text)


def options_of(program, command):
    """(section, flag, value, help) of every option of a command, in order."""
    text = subprocess.run([program, command, "--help"], check=True, capture_output=True, text=True).stdout
    section = ""
    for line in text.splitlines():
        if re.fullmatch(r"[a-z]+:", line):
            section = line[:-1]
        found = re.match(r"  --(\[no-\])?([a-z0-9-]+)(?: (\S+))? +(.*)$", line)
        if found:
            yield section, found.group(2), "true or false" if found.group(1) else found.group(3) or "", found.group(4)


def table(program):
    rows = {}
    for command in commands(program):
        for section, name, value, text in options_of(program, command):
            rows.setdefault((section, name), [value, text, []])[2].append(command)
    lines = []
    section = None
    everywhere = len(commands(program))
    for (where, name), (value, text, takers) in sorted(rows.items(), key=lambda row: list(rows).index(row[0])):
        if where != section:
            section = where
            lines += ["", f"### [{section}]", "", "| flag | variable | key | meaning | commands |", "| --- | --- | --- | --- | --- |"]
        variable = "LUCEBOX_" + name.upper().replace("-", "_")
        key = f"{section}.{name.replace('-', '_')}"
        value = value.replace("|", "\\|")
        text = text.replace("|", "\\|")
        shown = "all" if len(takers) == everywhere else ", ".join(taker for taker in takers if taker != "config")
        lines.append(f"| `--{name}` {value} | `{variable}` | `{key}` | {text} | {shown} |")
    return "\n".join(lines[1:]) + "\n"


def main():
    text = table(sys.argv[1])
    if "--write" not in sys.argv:
        print(text, end="")
        return
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + text + rest[rest.index(END):])


if __name__ == "__main__":
    main()
