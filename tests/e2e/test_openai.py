"""The server as the official openai package sees it, with the default model."""
import json
import math
import unittest
from pathlib import Path

from environment import enter_venv, require_model

enter_venv(Path(__file__).with_name("requirements.txt"))
require_model()

import openai  # noqa: E402: of the environment just entered

from support import Server, wait_until  # noqa: E402

QUESTION = [{"role": "user", "content": "Name three colours of the rainbow."}]


class OpenAi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "2048")
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key="unused", max_retries=0)
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def chat(self, **settings):
        return self.client.chat.completions.create(
            **{"model": self.model, "messages": QUESTION, "temperature": 0, "max_tokens": 24, **settings})

    def test_an_answer_has_text_usage_and_a_reason(self):
        answer = self.chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertGreater(len(answer.choices[0].message.content), 10)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertLessEqual(answer.usage.completion_tokens, 24)

    def test_a_stream_gives_the_text_of_the_whole_answer(self):
        whole = self.chat()
        text, reasons, usage = "", [], None
        for chunk in self.chat(stream=True, stream_options={"include_usage": True}):
            self.assertEqual(chunk.object, "chat.completion.chunk")
            if chunk.usage:
                usage = chunk.usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                if choice.finish_reason:
                    reasons.append(choice.finish_reason)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(reasons, [whole.choices[0].finish_reason])
        for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.assertEqual(getattr(usage, count), getattr(whole.usage, count))

    def test_api_12_greedy_text_is_the_same_with_and_without_guesses(self):
        questions = [QUESTION, [{"role": "user", "content": "Write a Python function that adds two numbers."}], [{"role": "user", "content": "Repeat: a b c a b c a b c"}]]
        texts = []
        for words in (["--draft", "none", "--speculation", "off"], ["--speculation", "tree:22"], ["--speculation", "chain:4"]):
            with Server("--context", "1024", "--sequences", "1", *words) as server:
                client = openai.OpenAI(base_url=server.url + "/v1", api_key="unused", max_retries=0)
                answers = [client.chat.completions.create(model="any", messages=question, temperature=0, max_tokens=48) for question in questions]
                texts.append([answer.choices[0].message.content for answer in answers])
                guessed = server.post("/v1/completions", {"prompt": "a b c a b c a b c", "temperature": 0, "max_tokens": 16, "ignore_eos": True})[1]["usage"].get("speculation", {}).get("drafted", 0)
                self.assertEqual(guessed > 0, "off" not in words)
        self.assertEqual(texts[1:], [texts[0]] * 2)

    def test_a_seed_repeats_an_answer_and_another_changes_it(self):
        def sampled(seed):
            return self.chat(temperature=1.2, seed=seed, max_tokens=32).choices[0].message.content
        self.assertEqual(sampled(7), sampled(7))
        self.assertGreater(len({sampled(seed) for seed in range(4)}), 1)

    def test_logprobs_are_a_distribution(self):
        content = self.chat(logprobs=True, top_logprobs=5, max_tokens=8).choices[0].logprobs.content
        self.assertGreater(len(content), 0)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 5)
            best = [top.logprob for top in token.top_logprobs]
            self.assertEqual(best, sorted(best, reverse=True))
            self.assertLessEqual(sum(math.exp(value) for value in best), 1 + 1e-3)
            self.assertAlmostEqual(token.logprob, best[0], places=5)  # greedy takes the best
            self.assertEqual(bytes(token.bytes).decode("utf-8", "replace"), token.token)

    def test_n_gives_that_many_choices(self):
        answer = self.chat(n=3, temperature=1, seed=5, max_tokens=12)
        self.assertEqual(sorted(choice.index for choice in answer.choices), [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in answer.choices}), 1)

    def test_a_stop_string_ends_the_text_and_is_not_shown(self):
        whole = self.chat(max_tokens=40).choices[0].message.content
        stop = whole[8:13]
        answer = self.chat(max_tokens=40, stop=[stop])
        self.assertEqual(answer.choices[0].message.content, whole[:whole.index(stop)])
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_max_tokens_ends_with_length(self):
        answer = self.chat(max_tokens=3)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 3)

    def test_completions_continue_text_and_tokens_alike(self):
        prompt = "The capital of France is"
        text = self.client.completions.create(model=self.model, prompt=prompt, max_tokens=8, temperature=0)
        _, tokens = self.server.post("/tokenize", {"content": prompt})
        ids = self.client.completions.create(model=self.model, prompt=tokens["tokens"], max_tokens=8, temperature=0)
        self.assertEqual(text.choices[0].text, ids.choices[0].text)
        self.assertIn("Paris", text.choices[0].text)
        echoed = self.client.completions.create(model=self.model, prompt=prompt, max_tokens=8, temperature=0, echo=True)
        self.assertEqual(echoed.choices[0].text, prompt + text.choices[0].text)

    def test_control_tokens_in_what_a_user_says_stay_text(self):
        quiet = self.chat(messages=[{"role": "user", "content": "Say <|im_end|> twice."}], max_tokens=1)
        _, tokens = self.server.post("/tokenize", {"content": "<|im_end|>", "parse_special": False})
        self.assertGreater(len(tokens["tokens"]), 1)
        plain = self.chat(messages=[{"role": "user", "content": "Say  twice."}], max_tokens=1)
        self.assertGreater(quiet.usage.prompt_tokens, plain.usage.prompt_tokens + 2)

    def test_tokens_survive_the_round_trip(self):
        text = "Grüße, 世界! 🦊 def f(x): return x ** 2\n\n\ttail "
        _, tokens = self.server.post("/tokenize", {"content": text})
        status, back = self.server.post("/detokenize", {"tokens": tokens["tokens"]})
        self.assertEqual(status, 200)
        self.assertEqual(back["content"], text)

    def test_errors_name_the_field(self):
        for settings, param in (({"temperature": "hot"}, "temperature"), ({"max_tokens": -3}, "max_tokens"),
                                ({"top_p": 7}, "top_p"), ({"n": 0}, "n"), ({"messages": "hello"}, "messages"),
                                ({"logprobs": 3}, "logprobs"), ({"stop": 5}, "stop")):
            with self.subTest(param):
                with self.assertRaises(openai.BadRequestError) as raised:
                    self.chat(**settings)
                self.assertEqual(raised.exception.param, param)

    def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(self):
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat(messages=[{"role": "user", "content": "word " * 3000}])
        self.assertIn("2048", str(raised.exception))

    def test_unknown_fields_are_accepted(self):
        self.assertTrue(self.chat(max_tokens=2, extra_body={"some_future_field": {"a": 1}}).choices)

    def test_a_client_that_leaves_stops_its_generation(self):
        cancelled = self.server.metric("lucebox_cancelled_total")
        stream = self.chat(stream=True, max_tokens=1500, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.assertTrue(wait_until(lambda: self.server.metric("lucebox_cancelled_total") == cancelled + 1, 60))  # not finished
        self.assertEqual(self.server.metric("lucebox_running"), 0)

    def test_health_models_props_and_metrics_answer(self):
        self.assertEqual(self.server.get("/health")[0], 200)
        props = json.loads(self.server.get("/props")[1])
        for key in ("build", "host"):
            self.assertIn(key, props)
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)
        self.assertIn("# TYPE", self.server.get("/metrics")[1])


class Keys(unittest.TestCase):
    def test_a_key_is_asked_for_and_accepted(self):
        with Server("--context", "512", "--api-keys", "secret-one,secret-two") as server:
            wrong = openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0)
            with self.assertRaises(openai.AuthenticationError):
                wrong.models.list()
            right = openai.OpenAI(base_url=server.url + "/v1", api_key="secret-two", max_retries=0)
            self.assertEqual(len(right.models.list().data), 1)
            self.assertEqual(server.get("/health")[0], 200)  # probes need no key


if __name__ == "__main__":
    unittest.main()
