"""Renders the part of Go templates that the chart keeps to: if/else/end, values, and a few functions. Anything else is an error.

For machines that cannot have helm; where it is, a test compares the two.
"""
import re

import yaml

TOKEN = re.compile(r"({{-?\s*.*?\s*-?}})", re.S)


def tokens(text):
    """Texts and actions, with the blanks that {{- and -}} eat removed."""
    parts = TOKEN.split(text)
    for i in range(1, len(parts), 2):
        if parts[i].startswith("{{-"):
            parts[i - 1] = parts[i - 1].rstrip()
        if parts[i].endswith("-}}"):
            parts[i + 1] = parts[i + 1].lstrip()
    for i, part in enumerate(parts):
        yield (i % 2 == 1, part.strip("{}").strip("-").strip() if i % 2 else part)


class Renderer:
    def __init__(self, scope):
        self.scope = scope

    def lookup(self, path):
        value = self.scope
        for name in path.strip(".").split("."):
            if not isinstance(value, dict) or name not in value:
                raise ValueError(f"there is no {path}")
            value = value[name]
        return value

    def words(self, text):
        found = re.findall(r'"[^"]*"|\([^()]*\)|\S+', text)
        return [self.expression(word[1:-1]) if word[0] == "(" else self.atom(word) for word in found]

    def atom(self, word):
        if word.startswith('"'):
            return word[1:-1]
        if word.startswith("."):
            return self.lookup(word)
        if word.isdigit():
            return int(word)
        return word

    def call(self, words, piped=()):
        name, arguments = words[0], [*words[1:], *piped]
        if name == "printf":
            return re.sub("%s", lambda _: str(arguments.pop(1)), arguments[0])
        if name == "quote":
            return '"' + str(arguments[0]).replace("\\", "\\\\").replace('"', '\\"') + '"'
        if name == "toYaml":
            return yaml.safe_dump(arguments[0], default_flow_style=False).rstrip()
        if name == "nindent":
            return "\n" + "\n".join(" " * arguments[0] + line for line in arguments[1].splitlines())
        if name == "lower":
            return arguments[0].lower()
        if name == "replace":
            return arguments[2].replace(arguments[0], arguments[1])
        if name == "not":
            return not arguments[0]
        if not arguments and not isinstance(name, str):
            return name
        if not arguments and words is not None:
            return name
        raise ValueError(f"function {name} is not known")

    def expression(self, text):
        # A pipe inside parentheses or quotes belongs to them.
        parts = re.findall(r'(?:"[^"]*"|\([^()]*\)|[^|"()])+', text)
        value = self.call(self.words(parts[0]))
        for part in parts[1:]:
            value = self.call(self.words(part), (value,))
        return value

    def render(self, text):
        out, stack = [], []  # stack: [taken, was true]
        for is_action, part in tokens(text):
            active = all(taken for taken, _ in stack)
            if not is_action:
                if active:
                    out.append(part)
            elif part.startswith("if "):
                truth = bool(self.expression(part[3:])) if active else False
                stack.append((truth, truth))
            elif part == "else":
                stack[-1] = (not stack[-1][1], True)
            elif part == "end":
                stack.pop()
            elif active:
                value = self.expression(part)
                out.append({True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value))
        if stack:
            raise ValueError("an if has no end")
        return "".join(out)
