#!/usr/bin/env python3
"""Guesses under a form: answers that keep to a JSON schema, with each kind of speculation, beside free answers.

    bench/constrained.py build/release/lucebox [--model FILE] [--draft FILE] [--tokens 160]

For each shape: tokens a step and tokens a second of the form's answers and of the free ones, greedily. Fails if a text with
guesses is not the text without. Standard library only.
"""
import argparse
import http.client
import json

import served

PROMPTS = [
    "Extract the event: Alice and Bob are going to a science fair on Friday in the old town hall.",
    "Describe a simple recipe for pancakes, with ingredients and steps.",
    "Solve 8x + 7 = -23 step by step.",
    "Write a short report about a lighthouse keeper and his dog.",
]
STRING, LIST = {"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 6}


def closed(**properties):
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SCHEMAS = [
    closed(name=STRING, date=STRING, participants=LIST),
    closed(title=STRING, ingredients=LIST, steps=LIST),
    closed(steps={"type": "array", "maxItems": 5, "items": closed(explanation=STRING, output=STRING)}, final_answer=STRING),
    closed(title=STRING, summary=STRING, length={"type": "integer", "minimum": 1, "maximum": 200}, keywords=LIST),
]


def ask(server, prompt, schema, tokens):
    body = {"messages": [{"role": "user", "content": prompt + (" Answer as JSON." if schema else "")}], "temperature": 0, "max_tokens": tokens}
    if schema:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    read = json.loads(answer.read())
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}: {read}")
    return read["choices"][0]["message"]["content"], read["usage"], read["timings"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--model")
    parser.add_argument("--draft")
    parser.add_argument("--tokens", type=int, default=160)
    given = parser.parse_args()
    plain, same = {}, True
    print(f"{'shape':<10} {'answers':<8} {'tokens':>7} {'a step':>7} {'guesses':>8} {'right':>6} {'tokens/s':>9}")
    for shape in ("off", "auto", "tree:22", "chain:7"):
        words = [given.program, "serve", "--port", "0", "--context", "1024", "--sequences", "1", "--log-level", "warning", "--speculation", shape]
        for option in ("model", "draft"):
            words += [f"--{option}", getattr(given, option)] if getattr(given, option) else []
        server = served.Server(words)
        try:
            for kind, schemas in (("form", SCHEMAS), ("free", [None] * len(PROMPTS))):
                tokens = steps = guesses = right = 0
                seconds = 0.0
                for prompt, schema in zip(PROMPTS, schemas):
                    text, usage, timings = ask(server, prompt, schema, given.tokens)
                    same = plain.setdefault((prompt, kind), text) == text and same
                    tokens += usage["completion_tokens"]
                    seconds += timings["predicted_ms"] / 1000
                    stats = usage.get("speculation", {})
                    guesses += stats.get("drafted", 0)
                    right += stats.get("accepted", 0)
                steps = tokens - right
                print(f"{shape:<10} {kind:<8} {tokens:>7} {tokens / steps:>7.2f} {guesses:>8} {right:>6} {tokens / seconds:>9.1f}", flush=True)
        finally:
            server.stop()
    print("\nevery text is that of plain decoding" if same else "\nA TEXT DIFFERS FROM PLAIN DECODING")
    raise SystemExit(0 if same else 1)


main()
