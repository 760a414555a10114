"""The official openai and anthropic packages, with their stream helpers and typed parsing, against scripted answers: each
answer is known to the letter, so what the helper makes of it must be that."""
import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from environment import enter_venv  # noqa: E402

enter_venv(Path(__file__).resolve().parents[1] / "e2e/requirements.txt")

import anthropic  # noqa: E402: of the environment just entered
import openai  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from scripted import ScriptedServer, call  # noqa: E402

TEXT = 'Grüße, "friend" ✓ 👍🏽!\nSecond line.'
ARGUMENTS = {"city": "Zürich \"HB\"", "days": 3, "exact": True, "places": ["a", {"b": None}]}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "exact": {"type": "boolean"},
                                               "places": {"anyOf": [{"type": "array"}, {"type": "null"}]}},
              "required": ["city"], "additionalProperties": False}
NAMES = ("get_weather", "get_time")
SECOND = {"city": "Rome"}


class Colour(BaseModel):
    name: str
    parts: list[int]


COLOUR = {"name": "navy", "parts": [0, 0, 128]}
RULES = [
    {"last": ["Think first"], "think": "The user wants\nthought.", "say": TEXT},
    {"last": ["A colour"], "say": json.dumps(COLOUR)},
    {"last": ["<tool_response>"], "say": "It rains."},
    {"last": ["Weather twice"], "think": "Two.", "say": "Looking.\n\n" + call(NAMES[0], **ARGUMENTS) + "\n" + call(NAMES[1], **SECOND)},
    {"last": ["Weather"], "think": "One.", "say": "Looking.\n\n" + call(NAMES[0], **ARGUMENTS)},
    {"last": ["Broken call"], "say": "<tool_call>\n<function=get_weather\nnonsense"},
    {"last": ["patch it"], "say": call("apply_patch", input="*** Begin Patch\n*** End Patch")},
    {"last": ["Hello"], "say": TEXT},
]


def user(text):
    return [{"role": "user", "content": text}]


class Sdk1Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ScriptedServer(RULES)
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="unused", max_retries=0)
        cls.tools = [{"type": "function", "function": {"name": name, "description": "Looks.", "parameters": PARAMETERS}} for name in NAMES]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def stream(self, **settings):
        with self.client.chat.completions.stream(model="any", **settings) as stream:
            events = list(stream)
            return events, stream.get_final_completion()

    def test_text_is_the_same_whole_and_streamed(self):
        whole = self.client.chat.completions.create(model="any", messages=user("Hello"), temperature=0)
        self.assertEqual(whole.choices[0].message.content, TEXT)
        self.assertEqual(whole.choices[0].finish_reason, "stop")
        events, final = self.stream(messages=user("Hello"), temperature=0, stream_options={"include_usage": True})
        self.assertEqual("".join(event.delta for event in events if event.type == "content.delta"), TEXT)
        self.assertEqual(final.choices[0].message.content, TEXT)
        self.assertEqual(final.usage.completion_tokens, whole.usage.completion_tokens)

    def test_parse_gives_a_typed_object(self):
        answer = self.client.chat.completions.parse(model="any", messages=user("A colour"), response_format=Colour)
        self.assertEqual(answer.choices[0].message.parsed, Colour(**COLOUR))
        _, final = self.stream(messages=user("A colour"), response_format=Colour)
        self.assertEqual(final.choices[0].message.parsed, Colour(**COLOUR))

    def test_calls_come_whole_and_in_pieces(self):
        whole = self.client.chat.completions.create(model="any", messages=user("Weather twice"), tools=self.tools)
        message = whole.choices[0].message
        self.assertEqual(message.content, "Looking.")
        self.assertEqual([(one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls],
                         [(NAMES[0], ARGUMENTS), (NAMES[1], SECOND)])
        self.assertEqual(whole.choices[0].finish_reason, "tool_calls")
        events, final = self.stream(messages=user("Weather twice"), tools=self.tools)
        pieces = ["", ""]
        for event in events:
            if event.type == "tool_calls.function.arguments.delta":
                pieces[event.index] += event.arguments_delta
        self.assertEqual([json.loads(piece) for piece in pieces], [ARGUMENTS, SECOND])
        self.assertEqual([json.loads(one.function.arguments) for one in final.choices[0].message.tool_calls], [ARGUMENTS, SECOND])
        deltas = sum(event.type == "tool_calls.function.arguments.delta" for event in events)
        self.assertGreater(deltas, 6)  # as they are written, not at the end

    def test_a_round_with_results_is_read(self):
        first = self.client.chat.completions.create(model="any", messages=user("Weather"), tools=self.tools)
        made = first.choices[0].message
        answer = self.client.chat.completions.create(model="any", tools=self.tools, messages=[
            *user("Weather"), made.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": made.tool_calls[0].id, "content": "wet"}])
        self.assertEqual(answer.choices[0].message.content, "It rains.")
        self.assertIn("<parameter=days>\n3\n</parameter>", self.server.prompts()[-1][1])
        self.assertIn("wet", self.server.prompts()[-1][1])

    def test_one_call_where_no_more_are_wanted(self):
        answer = self.client.chat.completions.create(model="any", messages=user("Weather twice"), tools=self.tools, parallel_tool_calls=False)
        self.assertEqual(len(answer.choices[0].message.tool_calls), 1)

    def test_a_call_that_does_not_parse_is_text(self):
        answer = self.client.chat.completions.create(model="any", messages=user("Broken call"), tools=self.tools)
        self.assertIn("nonsense", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_thoughts_are_apart(self):
        chunks = list(self.client.chat.completions.create(model="any", messages=user("Think first"), reasoning_effort="low", stream=True))
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        self.assertEqual("".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas), "The user wants\nthought.")
        self.assertEqual("".join(delta.content or "" for delta in deltas), TEXT)


class Sdk1Responses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ScriptedServer(RULES)
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="unused", max_retries=0)
        cls.tools = [{"type": "function", "name": name, "description": "Looks.", "parameters": PARAMETERS, "strict": True} for name in NAMES]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def stream(self, **settings):
        with self.client.responses.stream(model="any", **settings) as stream:
            events = list(stream)
            return events, stream.get_final_response()

    def test_text_is_the_same_whole_and_streamed(self):
        self.assertEqual(self.client.responses.create(model="any", input="Hello").output_text, TEXT)
        events, final = self.stream(input="Hello")
        self.assertEqual(events[0].type, "response.created")
        self.assertEqual(events[-1].type, "response.completed")
        self.assertEqual([event.sequence_number for event in events if hasattr(event, "sequence_number")], list(range(len(events))))
        self.assertEqual("".join(event.delta for event in events if event.type == "response.output_text.delta"), TEXT)
        self.assertEqual(final.output_text, TEXT)

    def test_parse_gives_a_typed_object(self):
        self.assertEqual(self.client.responses.parse(model="any", input="A colour", text_format=Colour).output_parsed, Colour(**COLOUR))
        _, final = self.stream(input="A colour", text_format=Colour)
        self.assertEqual(final.output_parsed, Colour(**COLOUR))

    def test_thoughts_text_and_calls_are_items_in_order(self):
        events, final = self.stream(input="Weather twice", tools=self.tools, reasoning={"effort": "low", "summary": "auto"})
        self.assertEqual([item.type for item in final.output], ["reasoning", "message", "function_call", "function_call"])
        self.assertEqual(final.output[0].summary[0].text, "Two.")
        self.assertEqual([json.loads(item.arguments) for item in final.output[2:]], [ARGUMENTS, SECOND])
        self.assertGreater(sum(event.type == "response.function_call_arguments.delta" for event in events), 6)

    def test_a_round_with_results_is_read_from_input_and_from_the_store(self):
        first = self.client.responses.create(model="any", input="Weather", tools=self.tools)
        made = first.output[-1]
        result = {"type": "function_call_output", "call_id": made.call_id, "output": "wet"}
        whole = self.client.responses.create(model="any", tools=self.tools, store=False, input=[
            *user("Weather"), *[item.model_dump(exclude_none=True) for item in first.output], result])
        stored = self.client.responses.create(model="any", tools=self.tools, previous_response_id=first.id, input=[result])
        self.assertEqual([whole.output_text, stored.output_text], ["It rains."] * 2)
        self.assertEqual(self.server.prompts()[-1][1], self.server.prompts()[-2][1])

    def test_a_free_tool_gets_its_text(self):
        events, final = self.stream(input="patch it", tools=[{"type": "custom", "name": "apply_patch", "description": "Patches."}])
        self.assertEqual(final.output[-1].type, "custom_tool_call")
        self.assertEqual(final.output[-1].input, "*** Begin Patch\n*** End Patch")


class Sdk2Messages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ScriptedServer(RULES)
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key="unused", max_retries=0)
        cls.tools = [{"name": name, "description": "Looks.", "input_schema": PARAMETERS} for name in NAMES]

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def stream(self, **settings):
        with self.client.messages.stream(model="claude-any", max_tokens=4096, **settings) as stream:
            events = list(stream)
            return events, stream.get_final_message()

    def test_text_is_the_same_whole_and_streamed(self):
        whole = self.client.messages.create(model="claude-any", max_tokens=200, extra_body={"temperature": 0}, messages=user("Hello"))
        self.assertEqual(whole.content[0].text, TEXT)
        self.assertEqual(whole.stop_reason, "end_turn")
        with self.client.messages.stream(model="claude-any", max_tokens=200, extra_body={"temperature": 0}, messages=user("Hello")) as stream:
            self.assertEqual("".join(stream.text_stream), TEXT)
            self.assertEqual(stream.get_final_text(), TEXT)
            self.assertEqual(stream.get_final_message().usage.output_tokens, whole.usage.output_tokens)

    def test_parse_gives_a_typed_object(self):
        answer = self.client.messages.parse(model="claude-any", max_tokens=200, messages=user("A colour"), output_format=Colour)
        self.assertEqual(answer.parsed_output, Colour(**COLOUR))

    def test_thoughts_text_and_calls_are_blocks_in_order(self):
        events, final = self.stream(messages=user("Weather twice"), tools=self.tools, thinking={"type": "enabled", "budget_tokens": 1024})
        self.assertEqual([block.type for block in final.content], ["thinking", "text", "tool_use", "tool_use"])
        self.assertEqual(final.content[0].thinking, "Two.")
        self.assertTrue(final.content[0].signature)
        self.assertEqual([block.input for block in final.content[2:]], [ARGUMENTS, SECOND])
        self.assertEqual(final.stop_reason, "tool_use")
        self.assertGreater(sum(event.type == "input_json" for event in events), 6)

    def test_adaptive_thinking_thinks(self):
        _, final = self.stream(messages=user("Think first"), thinking={"type": "adaptive"})
        self.assertEqual(final.content[0].thinking, "The user wants\nthought.")

    def test_a_round_with_results_is_read(self):
        _, first = self.stream(messages=user("Weather"), tools=self.tools, thinking={"type": "enabled", "budget_tokens": 1024})
        result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": [{"type": "text", "text": "wet"}]}
        messages = [*user("Weather"), {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        answer = self.client.messages.create(model="claude-any", max_tokens=200, tools=self.tools, messages=messages)
        self.assertEqual(answer.content[0].text, "It rains.")
        prompt = self.server.prompts()[-1][1]
        self.assertIn("<parameter=days>\n3\n</parameter>", prompt)
        self.assertIn("One.", prompt)  # the thought behind the call that is being answered
        counted = self.client.messages.count_tokens(model="claude-any", tools=self.tools, messages=messages)
        self.assertEqual(counted.input_tokens, answer.usage.input_tokens + answer.usage.cache_read_input_tokens + answer.usage.cache_creation_input_tokens)

    def test_the_tool_runner_ends_with_the_answer(self):
        asked = []

        @anthropic.beta_tool
        def get_weather(city: str, days: int = 1, exact: bool = False, places: list | None = None) -> str:
            """Looks.

            Args:
                city: where
            """
            asked.append((city, days, exact, places))
            return "wet"
        runner = self.client.beta.messages.tool_runner(model="claude-any", max_tokens=500, tools=[get_weather], messages=user("Weather"))
        self.assertEqual(runner.until_done().content[0].text, "It rains.")
        self.assertEqual(asked, [tuple(ARGUMENTS.values())])


class Embeddings(unittest.TestCase):
    def test_the_sdk_reads_floats_and_what_it_asks_for_by_itself(self):
        with ScriptedServer(RULES) as server, openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0) as client:
            packed = client.embeddings.create(model="any", input=["one text", "another"])  # base64 on the wire
            plain = client.embeddings.create(model="any", input=["one text", "another"], encoding_format="float")
            self.assertEqual([entry.index for entry in packed.data], [0, 1])
            for ours, theirs in zip(packed.data, plain.data):
                self.assertEqual(len(ours.embedding), len(theirs.embedding))
                for one, other in zip(ours.embedding, theirs.embedding):
                    self.assertAlmostEqual(float(one), other, places=6)
            self.assertEqual(packed.usage.prompt_tokens, packed.usage.total_tokens)
            with self.assertRaises(openai.BadRequestError) as caught:
                client.embeddings.create(model="any", input="a", dimensions=3)
            self.assertEqual(caught.exception.param, "dimensions")


if __name__ == "__main__":
    unittest.main()
