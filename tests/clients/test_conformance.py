"""What clients rely on, promise by promise: cc (Claude Code), cx (Codex), oc (OpenCode), ow (Open WebUI), neg, and api, the
list of what every route keeps to. Against scripted answers, with nothing but the standard library.

Promises with a test elsewhere: sdk-1 and sdk-2 are classes of clients/test_sdks.py; ll-1 with litellm itself is in tests/agents (its
words are here); api-12 is in e2e/test_openai.py and, at length, the engine's tests of speculation; api-14 in cli/test_props.py."""
import base64
import http.client
import json
import socket
import statistics
import struct
import threading
import time
import unittest
from urllib.parse import urlsplit

from scripted import ScriptedServer, call

EMOJI = "Zoë says 👩‍🚀🏳️‍🌈 ✓ 你好"
STORY = "All work and no play makes a long story. " * 400
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "exact": {"type": "boolean"}}, "required": ["city"]}
RULES = [
    {"last": ["21 degrees"], "say": "It is 21 degrees."},
    {"last": ["Weather"], "think": "I look.", "say": "Looking.\n\n" + call("get_weather", city="Rome", days=3, exact=True)},
    {"last": ["two words"], "say": "one two STOP three"},
    {"last": ["Astronaut"], "say": EMOJI},
    {"last": ["patch"], "say": call("apply_patch", input="*** Begin Patch\n*** End Patch") + "\n" + call("read_file", path="a")},
    {"last": ["Slow story"], "say": STORY, "pace": 20},  # minutes long, unless somebody ends it
    {"last": ["Held"], "say": STORY[:4000], "pace": 20, "until": "released"},
    {"last": ["Story"], "say": STORY},
    {"last": ["Think freely"]},
    {"say": "Hello"}]
LONG = "The quick brown fox jumps over the lazy dog. " * 900  # about 12,000 tokens: most of a second to read, or more; put behind words that nobody has read yet


def user(text):
    return [{"role": "user", "content": text}]


def events_of(text):
    """(name, data) of a stream; comments as (":", text)."""
    for part in text.split("\n\n"):
        name, data = None, None
        for line in part.split("\n"):
            if line.startswith(":"):
                yield ":", line
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
        if data is not None:
            yield name, data if data == "[DONE]" else json.loads(data)


class Case(unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.server = ScriptedServer(RULES, *cls.arguments)
        address = urlsplit(cls.server.url)
        cls.host, cls.port = address.hostname, address.port

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, path, body=None, method=None, **headers):
        """(status, headers, text)"""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def json(self, path, body=None, status=200, **headers):
        got, _, text = self.ask(path, body, **headers)
        self.assertEqual(got, status, text)
        return json.loads(text)

    def events(self, path, body):
        status, _, text = self.ask(path, {**body, "stream": True})
        self.assertEqual(status, 200, text)
        return list(events_of(text))

    def chat(self, text, **more):
        return self.json("/v1/chat/completions", {"messages": user(text), **more})

    def begin(self, path, body):
        """A request on a socket of its own, sent and not waited for."""
        data = json.dumps(body).encode()
        connection = socket.create_connection((self.host, self.port), timeout=60)
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        return connection

    def wait_until(self, condition, seconds):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def until(self, condition):
        """Seconds until it is true."""
        begin = time.monotonic()
        self.assertTrue(self.wait_until(condition, 60))
        return time.monotonic() - begin

    def now(self, name):
        return self.json("/status/json")["stats"][name]

    def reading_takes(self):
        """Seconds that this machine needs for a prompt like LONG, as busy as it is: about one if it does nothing else."""
        begin = time.monotonic()
        self.events("/v1/completions", {"prompt": f"{begin} {LONG}", "max_tokens": 1})
        return time.monotonic() - begin

    def check_soon(self, what, took, seconds):
        """Within so many seconds, or that share of what reading takes on a machine that does much else. Nothing else may be running."""
        if took >= seconds:
            self.assertLess(took, seconds * self.reading_takes(), what)


def claude_body(cch):
    return {"model": "claude-x", "max_tokens": 200,
            "system": [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch={cch};"},
                       {"type": "text", "text": "Be brief. " * 300, "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": name, "description": "Does.", "input_schema": WEATHER} for name in ("get_weather", "get_time", "get_place")],
            "metadata": {"user_id": "u"}, "thinking": {"type": "adaptive"}, "context_management": {"edits": []},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}]}]}


class ClaudeCode(Case):
    def test_cc_1_results_reach_the_model_and_arguments_are_typed(self):
        body = claude_body("00001")
        first = self.json("/v1/messages?beta=true", body, **{"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"})
        made = first["content"][-1]
        self.assertEqual(made["input"], {"city": "Rome", "days": 3, "exact": True})  # a number and a boolean, not their words
        self.assertEqual(first["stop_reason"], "tool_use")
        result = {"type": "tool_result", "tool_use_id": made["id"], "content": [{"type": "text", "text": "21 degrees"}]}
        body["messages"] += [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
        self.assertEqual(self.json("/v1/messages?beta=true", body)["content"][-1]["text"], "It is 21 degrees.")

    def test_cc_2_and_api_15_another_billing_line_keeps_the_prefix(self):
        self.json("/v1/messages", claude_body("11111"))
        usage = self.json("/v1/messages", claude_body("22222"))["usage"]
        self.assertGreater(usage["cache_read_input_tokens"], 0.9 * (usage["input_tokens"] + usage["cache_read_input_tokens"]))

    def test_cc_3_a_probe_of_one_token_is_answered(self):
        answer = self.json("/v1/messages", {"model": "claude-x", "max_tokens": 1, "messages": user("Story")})
        self.assertGreater(answer["usage"]["input_tokens"] + answer["usage"]["cache_read_input_tokens"], 0)
        self.assertEqual(answer["stop_reason"], "max_tokens")


class Codex(Case):
    def test_cx_1_the_models_have_every_key_and_no_other_effort(self):
        for model in self.json("/v1/models?client_version=0.147.0")["models"]:
            for key in ("slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility", "supported_in_api", "priority", "base_instructions",
                        "supports_reasoning_summaries", "support_verbosity", "truncation_policy", "supports_parallel_tool_calls", "experimental_supported_tools"):
                self.assertIn(key, model)
            self.assertLessEqual({level["effort"] for level in model["supported_reasoning_levels"]}, {"none", "minimal", "low", "medium", "high", "xhigh"})

    def test_cx_2_tools_of_every_kind_are_taken_and_each_call_is_done(self):
        function = {"type": "function", "name": "read_file", "strict": False, "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}
        tools = [{"type": "namespace", "name": "files", "description": "Files.", "tools": [function]},
                 {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
                 {"type": "web_search", "external_web_access": True}]
        events = self.events("/v1/responses", {"model": "x", "input": "patch", "tools": tools, "store": False, "include": ["reasoning.encrypted_content"],
                                               "prompt_cache_key": "k", "client_metadata": {"a": "b"}})
        done = [data["item"] for name, data in events if name == "response.output_item.done"]
        self.assertEqual([item["type"] for item in done], ["custom_tool_call", "function_call"])
        self.assertEqual(done[0]["input"], "*** Begin Patch\n*** End Patch")
        self.assertEqual(json.loads(done[1]["arguments"]), {"path": "a"})
        self.assertEqual(events[-1][0], "response.completed")
        self.assertTrue(events[-1][1]["response"]["id"])
        for key in ("input_tokens", "output_tokens", "total_tokens"):
            self.assertGreater(events[-1][1]["response"]["usage"][key], 0)

    def test_cx_3_a_stream_that_is_killed_while_its_prompt_is_read_makes_room(self):
        connection = self.begin("/v1/responses", {"input": "one " + LONG, "stream": True})
        self.assertTrue(self.wait_until(lambda: self.json("/status/json")["phase"] == "prefill", 60))
        cancelled = self.now("requests_cancelled")
        connection.close()
        begin = time.monotonic()
        self.json("/v1/responses", {"input": "Hi"})
        answered = time.monotonic() - begin
        freed = self.until(lambda: self.now("running") == 0)
        self.assertEqual(self.now("requests_cancelled"), cancelled + 1)  # not read to its end
        self.check_soon("the place of who left", freed, 1)
        if answered >= 1:
            self.assertLess(answered, self.reading_takes() / 2)


class OpenCode(Case):
    arguments = ("--heartbeat", "20")

    def test_oc_1_a_stream_is_never_silent_while_a_long_prompt_is_read(self):
        for path, body, beat in (("/v1/chat/completions", {"messages": user("a " + LONG)}, ":"), ("/v1/responses", {"input": "b " + LONG}, ":"),
                                 ("/v1/messages", {"messages": user("c " + LONG), "max_tokens": 50}, "ping")):
            names = [name for name, _ in self.events(path, body)]
            first = next(i for i, name in enumerate(names) if name in (None, "response.output_item.added", "content_block_start") and i > 0)
            self.assertGreater(names.count(beat), 5, f"{path}: {names[:20]}")
            self.assertLess(names.index(beat), max(first, 8))

    def test_oc_2_two_streams_of_calls_side_by_side_both_finish(self):
        answers = [None, None]
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]

        def run(i):
            answers[i] = self.events("/v1/chat/completions", {"messages": user("Weather"), "tools": tools})
        threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for events in answers:
            chunks = [data for _, data in events if isinstance(data, dict) and data["choices"]]
            calls = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls", [])]
            self.assertEqual((calls[0]["index"], calls[0]["type"], calls[0]["function"]["name"]), (0, "function", "get_weather"))
            self.assertTrue(calls[0]["id"])
            self.assertEqual(json.loads("".join(piece["function"]["arguments"] for piece in calls)), {"city": "Rome", "days": 3, "exact": True})
            self.assertEqual(chunks[-1]["choices"][0]["finish_reason"], "tool_calls")


class Meanwhile(Case):
    def typical(self, path):
        """Seconds that an answer takes in the middle of forty: the slowest of them tell of what else this machine does (bench/streams.py measures those)."""
        seconds = []
        for _ in range(40):
            begin = time.monotonic()
            self.ask(path)
            seconds.append(time.monotonic() - begin)
        return statistics.median(seconds)

    def test_ow_1_the_models_are_listed_at_once_while_an_answer_is_generated(self):
        connection = self.begin("/v1/chat/completions", {"messages": user("Story"), "stream": True})
        try:
            self.assertTrue(self.wait_until(lambda: self.now("running") == 1, 60))
            meanwhile = self.typical("/v1/models")
        finally:
            connection.close()
        self.check_soon("/v1/models", meanwhile, 0.1)

    def test_api_11_health_props_and_metrics_answer_at_once_while_a_prompt_is_read(self):
        for path in ("/health", "/props", "/metrics"):
            connection = self.begin("/v1/chat/completions", {"messages": user(path + LONG)})
            try:
                self.assertTrue(self.wait_until(lambda: self.json("/status/json")["phase"] == "prefill", 60))
                meanwhile = self.typical(path)
            finally:
                connection.close()
            self.check_soon(path, meanwhile, 0.05)


class Routes(Case):
    def test_api_01_every_route_answers_and_others_say_so_in_json(self):
        for path in ("/", "/status"):
            self.assertEqual(self.ask(path)[0], 200)
        for path in ("/health", "/ready", "/props", "/status/json", "/v1/models", "/models"):
            self.json(path)
        for path, body in (("/v1/chat/completions", {"messages": user("Hi")}), ("/v1/completions", {"prompt": "Hi", "max_tokens": 5}), ("/v1/responses", {"input": "Hi"}),
                           ("/v1/messages", {"messages": user("Hi"), "max_tokens": 5}), ("/v1/messages/count_tokens", {"messages": user("Hi")}),
                           ("/v1/embeddings", {"input": "Hi"}), ("/tokenize", {"content": "Hi"}), ("/detokenize", {"tokens": [1]}), ("/apply-template", {"messages": user("Hi")})):
            self.json(path, body)
            self.assertIn("error", self.json(path, status=405))
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)  # a stream without an end
        connection.request("GET", "/status/events")
        self.assertEqual(connection.getresponse().readline(), b"event: status\n")
        connection.close()
        self.assertIn("error", self.json("/v1/nothing", status=404))
        self.assertIn("error", self.json("/v1/rerank", {}, status=501))
        self.assertEqual(self.ask("/health", method="HEAD")[0], 200)

    def test_api_03_too_long_a_prompt_is_refused_with_both_numbers(self):
        text = self.json("/v1/chat/completions", {"messages": user("word " * 150_000)}, 400)["error"]
        self.assertEqual(text["code"], "context_length_exceeded")
        self.assertRegex(text["message"], r"maximum context length is 131072 tokens.*requested \d{6}")  # the words that litellm knows
        text = self.json("/v1/messages", {"messages": user("word " * 150_000), "max_tokens": 9}, 400)["error"]
        self.assertRegex(text["message"], r"prompt is too long: \d{6} tokens > 131071 maximum")  # that Claude Code knows

    def test_api_04_the_length_is_told_whole_and_streamed(self):
        self.assertEqual(self.chat("Story", max_tokens=5)["choices"][0]["finish_reason"], "length")
        chunks = [data for _, data in self.events("/v1/chat/completions", {"messages": user("Story"), "max_tokens": 5}) if data != "[DONE]"]
        self.assertEqual([chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]][-1], "length")
        body = {"messages": user("Story"), "max_tokens": 5}
        self.assertEqual(self.json("/v1/messages", body)["stop_reason"], "max_tokens")
        self.assertIn("max_tokens", [data["delta"]["stop_reason"] for name, data in self.events("/v1/messages", body) if name == "message_delta"])
        body = {"input": "Story", "max_output_tokens": 5}
        self.assertEqual(self.json("/v1/responses", body)["incomplete_details"], {"reason": "max_output_tokens"})
        self.assertEqual(self.events("/v1/responses", body)[-1][0], "response.incomplete")

    def test_api_05_characters_are_never_broken(self):
        deltas = [data["choices"][0]["delta"].get("content") or "" for _, data in self.events("/v1/chat/completions", {"messages": user("Astronaut")}) if data != "[DONE]" and data["choices"]]
        self.assertEqual("".join(deltas), EMOJI)
        self.assertNotIn("\ufffd", "".join(deltas))
        self.assertGreater(len(deltas), 5)

    def test_api_06_a_stop_string_is_cut_wherever_it_falls(self):
        for stream in (False, True):
            body = {"messages": user("two words"), "stop": ["STOP"]}
            if stream:
                text = "".join(data["choices"][0]["delta"].get("content") or "" for _, data in self.events("/v1/chat/completions", body) if data != "[DONE]" and data["choices"])
            else:
                text = self.json("/v1/chat/completions", body)["choices"][0]["message"]["content"]
            self.assertEqual(text, "one two ")

    def test_api_07_arguments_are_typed_in_every_dialect(self):
        wanted = {"city": "Rome", "days": 3, "exact": True}
        function = {"name": "get_weather", "parameters": WEATHER}
        made = self.chat("Weather", tools=[{"type": "function", "function": function}])["choices"][0]["message"]["tool_calls"][0]
        self.assertEqual(json.loads(made["function"]["arguments"]), wanted)
        made = self.json("/v1/responses", {"input": "Weather", "tools": [{"type": "function", **function}]})["output"][-1]
        self.assertEqual(json.loads(made["arguments"]), wanted)
        made = self.json("/v1/messages", {"messages": user("Weather"), "max_tokens": 500, "tools": [{"name": "get_weather", "input_schema": WEATHER}]})["content"][-1]
        self.assertEqual(made["input"], wanted)

    def test_api_08_calls_with_ids_from_elsewhere_are_shown_to_the_model(self):
        made = {"id": "toolu_from_elsewhere", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo", "days": 2}'}}
        self.json("/v1/chat/completions", {"messages": [*user("Weather"), {"role": "assistant", "content": None, "tool_calls": [made]},
                                                        {"role": "tool", "tool_call_id": made["id"], "content": "21 degrees"}]})
        prompt = self.server.prompts()[-1][1]
        self.assertIn("<parameter=city>\nOslo\n</parameter>", prompt)
        self.assertIn("<tool_response>\n21 degrees\n</tool_response>", prompt)

    def test_api_13_a_thought_keeps_to_its_budget_to_the_token(self):
        closing = self.json("/tokenize", {"content": "\n</think>\n\n", "parse_special": True})["tokens"]
        for budget in (1, 20, 60):
            answer = self.chat("Think freely", thinking={"type": "enabled", "budget_tokens": budget}, temperature=0, max_tokens=200)
            told = answer["choices"][0]["finish_details"]
            self.assertEqual((told["close_kind"], told["thinking_tokens"]), ("hard", budget + len(closing)))
        answer = self.chat("Think freely", thinking={"type": "enabled", "budget_tokens": 0}, temperature=0, max_tokens=20)
        self.assertNotIn("reasoning_content", answer["choices"][0]["message"])  # none, and not without limit

    def test_forms_of_ill_will_are_refused_by_name(self):
        many = {"enum": [f"value {i}" for i in range(50_000)]}
        counts = {"type": "string", "pattern": "^((\\w{1,100} ?){5,100}){90,100}$"}

        def schema(of):
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": of}}}
        for field, body in (("response_format", schema(many)), ("grammar", {"grammar": "root ::= " + '[a-z]*"x" ' * 20_000}),
                            ("response_format", schema(counts))):  # the last one is given up when it is followed
            with self.subTest(field):
                status, _, text = self.ask("/v1/chat/completions", {"messages": user("Think freely"), "temperature": 0, "max_tokens": 100, **body})
                self.assertEqual(status, 400, text[:300])
                error = json.loads(text)["error"]
                self.assertTrue(error["param"].startswith(field), text[:300])
                self.assertIn("Use fewer", error["message"])
        stream = self.ask("/v1/chat/completions", {"messages": user("Think freely"), "temperature": 0, "stream": True, **schema(counts)})[2]
        self.assertIn('"param":"response_format', stream[-500:])

    def test_neg_1_and_api_02_nulls_are_absent(self):
        scalars = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "stream", "seed", "stop", "n", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs",
                   "user", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stream_options", "logit_bias", "reasoning_effort", "metadata", "store", "service_tier")
        self.json("/v1/chat/completions", {"model": None, "messages": user("Hi"), **dict.fromkeys(scalars)})
        self.json("/v1/completions", {"prompt": "Hi", "max_tokens": 2, **dict.fromkeys(("temperature", "top_p", "stream", "seed", "stop", "n", "suffix", "echo", "logprobs", "best_of"))})
        self.json("/v1/embeddings", {"input": "Hi", **dict.fromkeys(("model", "encoding_format", "dimensions", "user", "pooling"))})
        self.json("/v1/responses", {"input": "Hi", **dict.fromkeys(("instructions", "temperature", "top_p", "max_output_tokens", "stream", "store", "reasoning", "tools", "tool_choice",
                                                                    "previous_response_id", "text", "include", "metadata", "truncation", "parallel_tool_calls"))})
        self.json("/v1/messages", {"messages": user("Hi"), "max_tokens": 9, **dict.fromkeys(("system", "temperature", "top_p", "top_k", "stream", "stop_sequences", "tools", "tool_choice",
                                                                                              "thinking", "metadata"))})


class Embeddings(Case):
    def embed(self, given, **more):
        return self.json("/v1/embeddings", {"model": "any", "input": given, **more})

    def test_vectors_are_unit_long_and_the_same_however_they_are_asked_for(self):
        answer = self.embed(["one text", "another one"])
        vectors = [entry["embedding"] for entry in answer["data"]]
        self.assertEqual([entry["index"] for entry in answer["data"]], [0, 1])
        self.assertEqual(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"])
        for vector in vectors:
            self.assertAlmostEqual(sum(number * number for number in vector), 1, places=4)
        self.assertNotEqual(vectors[0], vectors[1])
        self.assertEqual(self.embed("one text")["data"][0]["embedding"], vectors[0])
        tokens = self.json("/tokenize", {"content": "one text", "add_special": True})["tokens"]
        self.assertEqual(self.embed(tokens)["data"][0]["embedding"], vectors[0])
        self.assertEqual(self.embed([tokens, tokens])["data"][1]["embedding"], vectors[0])
        packed = base64.b64decode(self.embed("one text", encoding_format="base64")["data"][0]["embedding"])
        self.assertEqual(list(struct.unpack(f"<{len(vectors[0])}f", packed)), [struct.unpack("<f", struct.pack("<f", number))[0] for number in vectors[0]])
        self.assertNotEqual(self.embed("one text", pooling="last")["data"][0]["embedding"], vectors[0])

    def test_more_texts_than_wait_in_the_line_are_embedded(self):
        data = self.embed([f"text {i % 10}" for i in range(200)])["data"]
        self.assertEqual(len(data), 200)
        for i, entry in enumerate(data):
            self.assertEqual(entry["embedding"], data[i % 10]["embedding"])

    def test_what_cannot_be_done_is_refused_by_name(self):
        for body, param in (({}, "input"), ({"input": ""}, "input"), ({"input": "a", "dimensions": 7}, "dimensions"), ({"input": "a", "encoding_format": "x"}, "encoding_format")):
            self.assertEqual(self.json("/v1/embeddings", body, 400)["error"]["param"], param)
        error = self.json("/v1/embeddings", {"input": ["a", "word " * 150_000]}, 400)["error"]
        self.assertEqual((error["code"], error["param"]), ("context_length_exceeded", "input"))


class OwnCalls(unittest.TestCase):
    """What the model wrote goes into the next prompt to the letter, however the client wrote it: all of it is found again."""
    TOOLS = [{"type": "function", "function": {"name": "read_file", "description": "Reads.", "parameters": {"type": "object", "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}}}}}]
    # Right, but not as the families' templates would write it: the order, the spaces.
    DRIFTED = {"qwen3_5": "I look.\n<tool_call>\n<function=read_file>\n<parameter=lines>\n 12\n</parameter>\n<parameter=path>\na.txt</parameter>\n</function></tool_call>",
               "gemma4": 'I look.<|tool_call>call:read_file{path:<|"|>a.txt<|"|>, lines : 12}<tool_call|>',
               "laguna_xs_2_1": "I look.\n<tool_call>read_file<arg_key>path</arg_key><arg_value>a.txt</arg_value><arg_key>lines</arg_key>\n<arg_value>12</arg_value></tool_call>"}

    def ask(self, server, path, body):
        address = urlsplit(server.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self.assertEqual(answer.status, 200, text)
        return json.loads(text)

    def test_chat_of_every_family_goes_on_from_all_that_was_read_and_written(self):
        for family, text in self.DRIFTED.items():
            with self.subTest(family), ScriptedServer([{"has": ["forty-two"], "say": "It says so."}, {"say": text}], template=family) as server:
                messages = user("What does a.txt say?")
                first = self.ask(server, "/v1/chat/completions", {"messages": messages, "tools": self.TOOLS})
                message = first["choices"][0]["message"]
                made = message["tool_calls"][0]
                self.assertEqual(json.loads(made["function"]["arguments"]), {"lines": 12, "path": "a.txt"})
                made["function"]["arguments"] = json.dumps({"path": "a.txt", "lines": 12})  # as other programs write it
                messages += [message, {"role": "tool", "tool_call_id": made["id"], "content": "forty-two"}]
                second = self.ask(server, "/v1/chat/completions", {"messages": messages, "tools": self.TOOLS})
                self.assertEqual(second["choices"][0]["message"]["content"], "It says so.")
                self.assertIn(text, server.prompts()[-1][1])
                before = first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"]
                self.assertGreaterEqual(second["usage"]["prompt_tokens_details"]["cached_tokens"], before - 2)

    def test_messages_and_responses_do_the_same(self):
        with ScriptedServer([{"has": ["forty-two"], "say": "It says so."}, {"say": self.DRIFTED["qwen3_5"]}]) as server:
            function = self.TOOLS[0]["function"]
            tools = [{"name": function["name"], "description": function["description"], "input_schema": function["parameters"]}]
            messages = user("What does a.txt say?")
            first = self.ask(server, "/v1/messages", {"messages": messages, "tools": tools, "max_tokens": 500})
            made = first["content"][-1]
            messages += [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": made["id"], "content": "forty-two"}]}]
            second = self.ask(server, "/v1/messages", {"messages": messages, "tools": tools, "max_tokens": 500})
            self.assertGreaterEqual(second["usage"]["cache_read_input_tokens"], first["usage"]["input_tokens"] + first["usage"]["cache_read_input_tokens"] + first["usage"]["output_tokens"] - 2)
            tools = [{"type": "function", **function}]
            items = [{"role": "user", "content": "And what does a.txt say now?"}]
            first = self.ask(server, "/v1/responses", {"input": items, "tools": tools})
            items += first["output"] + [{"type": "function_call_output", "call_id": first["output"][-1]["call_id"], "output": "forty-two"}]
            second = self.ask(server, "/v1/responses", {"input": items, "tools": tools})
            self.assertGreaterEqual(second["usage"]["input_tokens_details"]["cached_tokens"], first["usage"]["input_tokens"] + first["usage"]["output_tokens"] - 2)


class Queue(Case):
    arguments = ("--sequences", "1", "--queue", "2")

    def test_api_09_a_client_that_leaves_frees_its_place_in_queue_prompt_and_answer(self):
        story = {"messages": user("Slow story"), "stream": True}  # nobody comes to its end here
        for body in ({"messages": user("Slow story " + LONG), "stream": True}, story, {**story, "stream": False}):
            cancelled = self.now("requests_cancelled")
            running = self.begin("/v1/chat/completions", body)
            self.assertTrue(self.wait_until(lambda: self.now("running") == 1, 60))
            waiting = self.begin("/v1/chat/completions", story)
            self.assertTrue(self.wait_until(lambda: self.now("waiting") == 1, 60))
            waiting.close()
            in_queue = self.until(lambda: self.now("waiting") == 0)
            self.assertEqual((self.now("running"), self.now("requests_cancelled")), (1, cancelled + 1))
            running.close()
            at_work = self.until(lambda: self.now("running") == 0)
            self.assertEqual(self.now("requests_cancelled"), cancelled + 2)
            self.check_soon("the place of who left", max(in_queue, at_work), 1)

    def test_api_10_those_that_fit_finish_and_the_next_is_refused(self):
        waiting = [self.begin("/v1/chat/completions", {"messages": user("Held"), "stream": True})]
        self.assertTrue(self.wait_until(lambda: self.now("running") == 1, 60))
        waiting += [self.begin("/v1/chat/completions", {"messages": user("Hi"), "stream": True}) for _ in range(2)]
        self.assertTrue(self.wait_until(lambda: self.now("waiting") == 2, 60))
        status, headers, text = self.ask("/v1/chat/completions", {"messages": user("Hi")})
        self.assertEqual((status, json.loads(text)["error"]["code"]), (429, "queue_full"))
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        self.server.release()
        for connection in waiting:
            text = b""
            while b"[DONE]" not in text:
                text += connection.recv(65536)
            connection.close()


class Keys(Case):
    arguments = ("--key", "right")

    def test_neg_2_a_wrong_key_is_refused_in_each_routes_own_dialect(self):
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize", "/apply-template"):
            error = self.json(path, {}, 401, Authorization="Bearer wrong")["error"]
            self.assertEqual((error["type"], error["code"]), ("authentication_error", "invalid_api_key"))
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            answer = self.json(path, {}, 401, **{"x-api-key": "wrong"})
            self.assertEqual((answer["type"], answer["error"]["type"]), ("error", "authentication_error"))

    def test_api_16_a_wrong_key_is_401_everywhere_but_for_health_and_the_pages(self):
        for path in ("/v1/models", "/v1/models/x", "/props", "/metrics", "/status/json", "/slots"):
            self.json(path, status=401)
            self.assertNotEqual(self.ask(path, **{"x-api-key": "right"})[0], 401)
        self.json("/status/events", status=401)
        for path in ("/health", "/ready", "/", "/status"):
            self.assertEqual(self.ask(path)[0], 200)


class Ending(unittest.TestCase):
    def test_api_17_sigterm_ends_the_server_within_5_s_while_it_streams(self):
        server = ScriptedServer(RULES)
        address = urlsplit(server.url)
        data = json.dumps({"messages": user("Story"), "stream": True}).encode()
        connection = socket.create_connection((address.hostname, address.port))
        connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        connection.recv(4096)
        begin = time.monotonic()
        server.process.terminate()
        self.assertEqual(server.process.wait(10), 0)
        self.assertLess(time.monotonic() - begin, 5)
        connection.close()
        server.stop()


if __name__ == "__main__":
    unittest.main()
