#!/usr/bin/env python3
"""Renders chat templates and snippets of the template language with Jinja2, as the reference for our interpreter.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install 'jinja2==3.1.6'
    /tmp/venv/bin/python tools/make_template_cases.py

writes tests/data/templates/language.json (snippets, from tools/template_snippets*.py) and models.json (the templates of
that folder with the conversations below). `--templates DIR --out FILE` does the latter for another folder of templates.
"""
import argparse
import copy
import json
import pathlib
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from template_snippets_sequences import SNIPPETS, VARIABLES  # noqa: E402  (both halves)

DATA = pathlib.Path(__file__).parent.parent / "tests/data/templates"


class Generation(jinja2.ext.Extension):
    """{% generation %}: what transformers marks for training; the text passes through."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    @staticmethod
    def _pass(caller):
        return caller()


def environment():
    """The environment of transformers' apply_chat_template."""

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: f"⟦{format}⟧"  # the test puts today's date there
    return env


ENV = environment()


def render(template, variables):
    """The text, or None for any error."""
    try:
        # A copy: the filter indent changes a list that it is given.
        text = ENV.from_string(template).render(**copy.deepcopy(variables))
        text.encode()
        return text
    except Exception:  # noqa: BLE001 - whatever Python raises, a template that fails must fail with us
        return None


# --- Conversations

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Météo d'une ville", "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Name <of> the \"city\""},
                       "days": {"type": "integer", "default": 3},
                       "unit": {"type": "string", "enum": ["C", "F"]}},
        "required": ["city"]}}}
SEARCH = {"type": "function", "function": {
    "name": "search", "description": "Find things", "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": ["string", "null"], "description": "what"},
            "filters": {"type": "array", "items": {"type": "object", "properties": {
                "field": {"type": "string"}, "values": {"type": "array", "items": {"type": "number"}}},
                "required": ["field"]}},
            "options": {"type": "object", "properties": {"deep": {"type": "boolean", "default": False},
                                                         "limit": {"type": "integer", "minimum": 1}}}},
        "required": ["query", "filters"]},
    "return": {"type": "string"}}}
NOTHING = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {
    "type": "object", "properties": {}}}}


def call(name, arguments, id=None):
    result = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"id": id, **result} if id else result


def system(content): return {"role": "system", "content": content}
def user(content): return {"role": "user", "content": content}
def assistant(content, **more): return {"role": "assistant", "content": content, **more}
def tool(content, **more): return {"role": "tool", "content": content, **more}


ARGUMENTS = {"city": "Paris", "days": 2, "raw": True, "none": None, "f": 1.5, "big": 1e20,
             "o": {"a": [1, 2.5, "é"], "b": {}}, "list": [], "html": "<b>&'\"</b>", "lines": "a\nb\\c\t"}
LOOP = [system("S"), user("Weather?"),
        assistant("", reasoning_content="need tool",
                  tool_calls=[call("get_weather", ARGUMENTS, "abcdefghi"), call("get_weather", {"city": "Rome"}, "bcdefghij")]),
        tool("12C", tool_call_id="abcdefghi", name="get_weather"),
        tool('{"temp": 20, "sky": "✨"}', tool_call_id="bcdefghij", name="get_weather")]

CONVERSATIONS = {
    "hello": {"messages": [user("Hi")]},
    "empty": {"messages": []},
    "turns": {"messages": [system("  Be brief.  "), user("Hi"), assistant("<think>\nA\n</think>\n\nHello"),
                           user(" Bye \n")]},
    "unicode": {"messages": [system("日本語で"), user("naïve café\u0301 – 𝒳 \u200b\u00a0"),
                             assistant("\u2028 🙂\r\nok"), user("\u3000全角\u3000")]},
    "reasoning": {"messages": [user("1+1?"), assistant("2", reasoning_content="easy"), user("and 2+2?"),
                               assistant("4", reasoning_content="\n also easy \n"), user("thanks")]},
    "tools_declared": {"messages": [user("Weather?")], "tools": [WEATHER, SEARCH, NOTHING]},
    "tools_and_system": {"messages": [system("You are terse."), user("Weather?")], "tools": [WEATHER]},
    "tool_loop": {"messages": LOOP, "tools": [WEATHER]},
    "tool_answer": {"messages": LOOP + [assistant("12 and 20.", reasoning_content="done"), user("Thanks!")],
                    "tools": [WEATHER, SEARCH]},
    "tool_pending": {"messages": [user("Now?"), assistant("Let me see.", tool_calls=[call("now", {}, "cdefghijk")])],
                     "tools": [NOTHING]},
    "text_parts": {"messages": [system([{"type": "text", "text": "sys"}]),
                                user([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]),
                                assistant([{"type": "text", "text": "c"}]), user("d")]},
    "image_part": {"messages": [user([{"type": "image"}, {"type": "text", "text": "What is it?"}])]},
    "late_system": {"messages": [user("Hi"), system("too late"), user("Ho")]},
    "developer": {"messages": [{"role": "developer", "content": "Rules"}, user("Hi")]},
    "unknown_role": {"messages": [user("Hi"), {"role": "robot", "content": "beep"}]},
    "assistant_first": {"messages": [assistant("I begin"), user("Fine")]},
    "two_users": {"messages": [user("one"), user("two")]},
    "null_content": {"messages": [user("Hi"), assistant(None), user("?")]},
    "missing_content": {"messages": [user("Hi"), {"role": "assistant"}, user("?")]},
    "tool_response_text": {"messages": [user("<tool_response>x</tool_response>"), user("Go on")]},
}
OPTIONS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": True, "enable_thinking": False},
    {"add_generation_prompt": True, "enable_thinking": True, "preserve_thinking": True},
    {"add_generation_prompt": False},
]
COMMON = {"bos_token": "<BOS>", "eos_token": "<EOS>", "date_string": "01 Jan 2026"}


def model_cases(folder):
    cases = []
    for path in sorted(folder.glob("*.jinja")):
        source = path.read_bytes().decode()
        for name, conversation in CONVERSATIONS.items():
            for number, options in enumerate(OPTIONS):
                text = render(source, {**COMMON, **conversation, **options})
                case = {"template": path.name, "conversation": name, "options": number}
                twin = next((c for c in cases if c["template"] == path.name and c["conversation"] == name
                             and c.get("text") == text and "text" in c), None)
                if text is None:
                    case["error"] = True
                elif twin:
                    case["same_as_options"] = twin["options"]
                else:
                    case["text"] = text
                cases.append(case)
    return cases


def write(path, value):
    """One case a line, so that a change of the generator reads well."""
    lines = [f"{json.dumps(key)}: " + ("[\n" + ",\n".join(json.dumps(v, ensure_ascii=False) for v in part) + "\n]"
             if key in ("cases",) else json.dumps(part, ensure_ascii=False)) for key, part in value.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=pathlib.Path, default=DATA)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    models = {"jinja2": jinja2.__version__, "common": COMMON, "options": OPTIONS, "conversations": CONVERSATIONS,
              "cases": model_cases(arguments.templates)}
    write(arguments.out or DATA / "models.json", models)
    print(len(models["cases"]), "cases of models,", sum("error" in c for c in models["cases"]), "of them errors")
    if arguments.out:
        return
    cases = []
    for source in SNIPPETS:
        text = render(source, VARIABLES)
        if text and " at 0x" in text:  # an address: nobody can rely on that
            continue
        cases.append({"template": source, **({"error": True} if text is None else {"text": text})})
    write(DATA / "language.json", {"jinja2": jinja2.__version__, "variables": VARIABLES, "cases": cases})
    print(len(cases), "snippets,", sum("error" in c for c in cases), "of them errors")


if __name__ == "__main__":
    main()
