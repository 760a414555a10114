"""litellm: each of its ways to this server, whole and streamed, tools, thoughts, and the error that it knows by its words."""
import importlib.metadata
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

litellm.suppress_debug_info = True

from task import ScriptedServer, call  # noqa: E402

TEXT = "Grüße, \"friend\" ✓"
RULES = [{"last": ["wet"], "say": "It rains."},
         {"last": ["Weather"], "think": "One.", "say": "Looking.\n\n" + call("get_weather", city="Rome", days=3)},
         {"last": ["Think"], "think": "Hm.", "say": TEXT}, {"say": TEXT}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Looks.", "parameters": PARAMETERS}}]


def user(text):
    return [{"role": "user", "content": text}]


def check(what, given, wanted):
    if given != wanted:
        sys.exit(f"FAILED: litellm, {what}: {given!r} instead of {wanted!r}")


def main():
    with ScriptedServer(RULES, "--context", "16384") as server:
        routes = {"openai/scripted": server.url + "/v1", "hosted_vllm/scripted": server.url + "/v1", "anthropic/scripted": server.url}
        for model, base in routes.items():
            settings = {"model": model, "api_base": base, "api_key": "sk-lucebox", "max_tokens": 500, "num_retries": 0}
            check(model, litellm.completion(messages=user("Hello"), **settings).choices[0].message.content, TEXT)
            pieces = list(litellm.completion(messages=user("Hello"), stream=True, stream_options={"include_usage": True}, **settings))
            check(model + " streamed", "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices), TEXT)
            check(model + " usage", any((getattr(piece, "usage", None) or litellm.Usage()).completion_tokens for piece in pieces), True)
            first = litellm.completion(messages=user("Weather"), tools=TOOLS, **settings).choices[0]
            made = first.message.tool_calls[0]
            check(model + " call", (made.function.name, json.loads(made.function.arguments)), ("get_weather", {"city": "Rome", "days": 3}))
            check(model + " reason", first.finish_reason, "tool_calls")
            pieces = list(litellm.completion(messages=user("Weather"), tools=TOOLS, stream=True, **settings))
            whole = litellm.stream_chunk_builder(pieces, messages=user("Weather"))
            check(model + " streamed call", json.loads(whole.choices[0].message.tool_calls[0].function.arguments), {"city": "Rome", "days": 3})
            history = [*user("Weather"), first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": made.id, "content": "wet"}]
            check(model + " round", litellm.completion(messages=history, tools=TOOLS, **settings).choices[0].message.content, "It rains.")
            # For models that litellm does not know, each way takes the wish to think in another form.
            wish = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "allowed_openai_params": ["thinking"]} if model.startswith("anthropic") else {"extra_body": {"reasoning_effort": "low"}}
            thought = litellm.completion(messages=user("Think"), **wish, **{**settings, "max_tokens": 8000}).choices[0].message
            check(model + " thought", (thought.reasoning_content, thought.content), ("Hm.", TEXT))
            try:
                litellm.completion(messages=user("long " * 20000), **settings)
                sys.exit(f"FAILED: ll-1, {model}: too long a prompt was taken")
            except litellm.ContextWindowExceededError:
                pass
        text = litellm.text_completion(model="text-completion-openai/scripted", prompt="Once", api_base=server.url + "/v1", api_key="x", max_tokens=50)
        check("text-completion-openai", text.choices[0].text, TEXT)
        answer = litellm.responses(model="openai/scripted", input="Hello", api_base=server.url + "/v1", api_key="x")
        check("responses", answer.output[-1].content[0].text, TEXT)
    print("ok: litellm " + importlib.metadata.version("litellm"))


main()
