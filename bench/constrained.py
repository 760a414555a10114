#!/usr/bin/env python3
"""Guesses under a form: answers that keep to a JSON schema, with each kind of speculation, beside free answers.

    bench/constrained.py build/release/lucebox [--model FILE] [--draft FILE] [--tokens 160]

For each shape: tokens a step and tokens a second of the form's answers and of the free ones, greedily. Those are different
texts, some easier to guess than others; so there are also conversations in which the model has seen such answers and keeps to
the form by itself: the same text with and without a form, in turns (medians). Fails if a text with guesses is not the text
without, or if a text under a form is not the free one though that begins as the form wants. Standard library only.
"""
import argparse
import http.client
import json
import statistics

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


# What the model has been shown, and what it goes on with: (questions, answers of before, schema).
WHOLE = {"type": "integer"}
SHOWN = [
    ("List some people.", [{"people": [{"name": "Anna", "age": 31, "city": "Rome"}, {"name": "Ben", "age": 45, "city": "Oslo"}, {"name": "Carla", "age": 27, "city": "Paris"}]},
                           {"people": [{"name": "Emma", "age": 38, "city": "Madrid"}, {"name": "Frank", "age": 61, "city": "Vienna"}, {"name": "Hugo", "age": 33, "city": "Lisbon"}]}],
     closed(people={"type": "array", "items": closed(name=STRING, age=WHOLE, city=STRING)})),
    ("Describe a dish.", [{"title": "Pancakes", "minutes": 20, "steps": ["Mix flour, eggs and milk.", "Heat some butter in a pan.", "Bake each side until it is golden."]},
                          {"title": "Tomato soup", "minutes": 35, "steps": ["Chop onions and tomatoes.", "Cook them in broth for half an hour.", "Add cream and basil, and serve it hot."]}],
     closed(title=STRING, minutes=WHOLE, steps={"type": "array", "items": STRING})),
    ("Report the weather.", [{"city": "Oslo", "forecast": "Snow in the morning, later dry and cold with a light wind from the north.", "degrees": -4},
                             {"city": "Rome", "forecast": "Sunny all day, with a few clouds in the evening and a warm wind from the sea.", "degrees": 27}],
     closed(city=STRING, forecast=STRING, degrees=WHOLE)),
    ("Tell of an animal.", [{"animal": "fox", "facts": ["The fox lives in forests and in cities.", "It eats mice, birds and fruit.", "Its den has several exits."]},
                            {"animal": "owl", "facts": ["The owl hunts at night.", "It turns its head almost all the way round.", "Its feathers make no sound in flight."]}],
     closed(animal=STRING, facts={"type": "array", "items": STRING})),
]


def conversation(question, answers):
    messages = []
    for answer in answers:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": json.dumps(answer)}]
    return [*messages, {"role": "user", "content": question}]


def same_texts(server, shape, tokens, rounds=3):
    """The same text with and without a form. False if the form changed a text that had begun as it wants."""
    answers = {}
    for _ in range(rounds):
        for question, shown, schema in SHOWN:
            for kind in ("free", "form"):
                answers.setdefault((question, kind), []).append(ask(server, conversation(question, shown), schema if kind == "form" else None, tokens))
    kept = [question for question, _, _ in SHOWN if answers[question, "free"][0][0].startswith('{"')]
    for kind in ("form", "free"):
        seconds = sum(statistics.median(timings["predicted_ms"] for _, _, timings in answers[question, kind]) / 1000 for question in kept)
        told = [answers[question, kind][0][1] for question in kept]
        made, guesses, right = (sum(values) for values in zip(*((usage["completion_tokens"], usage.get("speculation", {}).get("drafted", 0),
                                                                 usage.get("speculation", {}).get("accepted", 0)) for usage in told)))
        row(shape, "same, " + kind, made, guesses, right, seconds)
    return all(answers[question, "free"][0][0] == text for question in kept for text, _, _ in answers[question, "form"])


def row(shape, kind, tokens, guesses, right, seconds):
    print(f"{shape:<10} {kind:<10} {tokens:>7} {tokens / (tokens - right):>7.2f} {guesses:>8} {right:>6} {tokens / seconds:>9.1f}", flush=True)


def ask(server, messages, schema, tokens):
    body = {"messages": messages, "temperature": 0, "max_tokens": tokens}
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
    print(f"{'shape':<10} {'answers':<10} {'tokens':>7} {'a step':>7} {'guesses':>8} {'right':>6} {'tokens/s':>9}")
    for shape in ("off", "auto", "tree:22", "chain:7"):
        words = [given.program, "serve", "--port", "0", "--context", "1024", "--sequences", "1", "--log-level", "warning", "--speculation", shape]
        for option in ("model", "draft"):
            words += [f"--{option}", getattr(given, option)] if getattr(given, option) else []
        server = served.Server(words)
        try:
            for kind, schemas in (("form", SCHEMAS), ("free", [None] * len(PROMPTS))):
                tokens = guesses = right = 0
                seconds = 0.0
                for prompt, schema in zip(PROMPTS, schemas):
                    wish = prompt + (" Answer as JSON." if schema else "")
                    text, usage, timings = ask(server, [{"role": "user", "content": wish}], schema, given.tokens)
                    same = plain.setdefault((prompt, kind), text) == text and same
                    tokens += usage["completion_tokens"]
                    seconds += timings["predicted_ms"] / 1000
                    stats = usage.get("speculation", {})
                    guesses += stats.get("drafted", 0)
                    right += stats.get("accepted", 0)
                row(shape, kind, tokens, guesses, right, seconds)
            same = same_texts(server, shape, given.tokens) and same
        finally:
            server.stop()
    print("\nevery text is that of plain decoding, and no form changed one that kept to it" if same else "\nA TEXT DIFFERS")
    raise SystemExit(0 if same else 1)


main()
