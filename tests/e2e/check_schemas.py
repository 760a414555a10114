"""Random JSON schemas against the jsonschema package: whatever the grammar lets through is valid, and what Python finds valid
passes the grammar's checks of the cases in tests/text.

    check_schemas.py <grammar_sampler> <tokenizer.gguf> [number of schemas]
"""
import json
import random
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("skipped: the Python package jsonschema is not installed")
    sys.exit(77)

NAMES = ["a", "id", "name", "tags", "été", 'q"uote', "back\\slash", "x y"]


def scalar(rng):
    kind = rng.randrange(14)
    if kind == 0: return {"type": "string"}
    if kind == 1: return {"type": "integer"}
    if kind == 2: return {"type": "number"}
    if kind == 3: return {"type": "boolean"}
    if kind == 4: return {"type": "null"}
    if kind == 5: return {"enum": rng.sample(["a", "ab", 1, 2.5, None, True, ["x", 1], {"k": "v"}, "é\n\""], rng.randint(1, 4))}
    if kind == 6: return {"const": rng.choice(["c", 7, {"a": [1, {"b": None}]}, ""])}
    if kind == 7:
        low = rng.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 5)}
    if kind == 8:
        return {"type": "string", "pattern": rng.choice(["^[a-z]{2,4}$", "^(foo|ba[rz])+$", "\\d\\d", "^\\w+@\\w+\\.com$", "^[^\"\\\\]*$", "a$", "^\\s?x", "[à-ü]", "."])}
    if kind == 9:
        low = rng.randint(-1200, 1200)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 2000)}
    if kind == 10:
        low = round(rng.uniform(-50, 50), rng.randint(0, 3))
        return {"type": "number", rng.choice(["minimum", "exclusiveMinimum"]): low, rng.choice(["maximum", "exclusiveMaximum"]): round(low + rng.uniform(0.01, 30), 3)}
    if kind == 11: return {"type": "integer", rng.choice(["exclusiveMinimum", "minimum"]): rng.randint(-99, 99)}
    if kind == 12: return {"type": "integer", "multipleOf": rng.choice([2, 3, 7, 12, 100])}
    return {"type": rng.sample(["string", "integer", "null", "boolean"], rng.randint(1, 3))}


def schema(rng, depth=0):
    kind = rng.randrange(10)
    if depth >= 3 or kind < 4: return scalar(rng)
    if kind < 7:
        names = rng.sample(NAMES, rng.randint(0, 4))
        out = {"type": "object", "properties": {n: schema(rng, depth + 1) for n in names}}
        out["required"] = [n for n in names if rng.random() < 0.6]
        choice = rng.random()
        if choice < 0.7: out["additionalProperties"] = False
        elif choice < 0.85: out["additionalProperties"] = schema(rng, depth + 1)
        return out
    if kind < 9:
        out = {"type": "array", "items": schema(rng, depth + 1)}
        if rng.random() < 0.5: out["minItems"] = rng.randint(0, 3)
        if rng.random() < 0.5: out["maxItems"] = out.get("minItems", 0) + rng.randint(0, 3)
        if rng.random() < 0.3: out["prefixItems"] = [schema(rng, depth + 1) for _ in range(rng.randint(1, 2))]
        return out
    return {"anyOf": [schema(rng, depth + 1) for _ in range(rng.randint(1, 3))], "title": "either"}


def main():
    sampler, tokenizer = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    rng = random.Random(7)
    schemas = []
    for i in range(count):
        one = schema(rng)
        if i % 5 == 0:  # through a reference, and around in a circle
            one = {"$defs": {"T": one, "L": {"type": "object", "properties": {"v": {"$ref": "#/$defs/T"}, "next": {"anyOf": [{"$ref": "#/$defs/L"}, {"type": "null"}]}},
                                             "required": ["v", "next"], "additionalProperties": False}}, "$ref": "#/$defs/L"}
        schemas.append(one)
    lines = "".join(json.dumps(s) + "\n" for s in schemas)
    out = subprocess.run([sampler, tokenizer, "3"], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(out) == len(schemas)
    texts = refused = wrong = 0
    for one, line in zip(schemas, out):
        result = json.loads(line)
        if "refused" in result:
            refused += 1
            print("refused:", result["refused"], json.dumps(one))
            continue
        for text in result["texts"]:
            texts += 1
            try:
                jsonschema.Draft202012Validator(one).validate(json.loads(text))
            except Exception as error:  # whatever goes wrong names the text
                wrong += 1
                print("WRONG:", json.dumps(one), "\n  allows", text, "\n ", str(error).splitlines()[0])
    print(f"{count} schemas: {texts} texts, {wrong} invalid, {refused} schemas refused")
    assert refused <= count // 50, "too many refused"
    assert texts >= count and wrong == 0


if __name__ == "__main__":
    main()
