"""The part of JSON Schema that docs/props.schema.json uses; an unknown keyword is an error, so that none is silently ignored."""

TYPES = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool, "integer": int, "number": (int, float)}
KNOWN = {"$schema", "title", "description", "type", "required", "properties", "items", "enum", "const"}


def is_of(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])


def problems(value, schema, place="$"):
    """What is wrong with `value`, as sentences."""
    unknown = set(schema) - KNOWN
    if unknown:
        raise ValueError(f"{place}: keywords {unknown} are not checked")
    if "const" in schema and value != schema["const"]:
        return [f"{place} is {value!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place} is {value!r}"]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(is_of(value, name) for name in names):
        return [f"{place} is {value!r}, no {' or '.join(names)}"]
    found = []
    if isinstance(value, dict):
        found += [f"{place} lacks {key}" for key in schema.get("required", []) if key not in value]
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                found += problems(value[key], inner, f"{place}.{key}")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            found += problems(item, schema["items"], f"{place}[{i}]")
    return found
