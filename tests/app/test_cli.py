"""The command line: every command's help, exit codes, error sentences, and the JSON that programs read."""
import json
import os
import re
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

import npy
from program import BINARY, ORACLES, clean_environment, cpu_seconds_of_children, run

LLAMA = ORACLES / "llama" / "model.gguf"
COMMANDS = ("serve", "run", "check", "models", "generate", "logits", "tokenize", "draft", "quantize", "bench", "config", "version")


class Help(unittest.TestCase):
    def test_without_arguments_every_command_is_listed(self):
        for arguments in ((), ("--help",), ("-h",)):
            got = run(*arguments)
            self.assertEqual((got.returncode, got.stderr), (0, ""))
            for command in COMMANDS:
                self.assertRegex(got.stdout, rf"(?m)^  {command} +[A-Za-z].*\.$")

    def test_every_command_explains_itself_and_its_options(self):
        for command in COMMANDS:
            with self.subTest(command):
                got = run(command, "--help")
                self.assertEqual((got.returncode, got.stderr), (0, ""))
                self.assertTrue(got.stdout.startswith(f"usage: lucebox {command}"))
                for line in got.stdout.splitlines():
                    self.assertLessEqual(len(line), 200, line)

    def test_help_takes_less_than_20_ms(self):
        def seconds():
            start = cpu_seconds_of_children()
            run("--help")
            return cpu_seconds_of_children() - start
        best = min(seconds() for _ in range(20))  # of many, and in CPU time: other tests run beside this one
        self.assertLess(best, 0.020)


class Errors(unittest.TestCase):
    def refused(self, code, *arguments, **more):
        got = run(*arguments, **more)
        self.assertEqual(got.returncode, code, got.stderr)
        self.assertTrue(got.stderr.startswith("error: "), got.stderr)
        self.assertEqual(got.stdout, "")
        return got.stderr

    def test_wrong_use_is_64_and_named(self):
        self.assertIn("frobnicate", self.refused(64, "frobnicate"))
        self.assertIn("serve", self.refused(64, "sevre"))  # the likely meaning
        self.assertIn("--port", self.refused(64, "serve", "--prot", "1"))
        self.assertIn("--port", self.refused(64, "serve", "--port", "seventy"))
        self.assertIn("65535", self.refused(64, "serve", "--port", "70000"))
        self.assertIn("LUCEBOX_PORT", self.refused(64, "serve", environment={"LUCEBOX_PORT": "x"}))
        self.assertIn("tcp", self.refused(64, "serve", environment={"LUCEBOX_PORT": "tcp://10.0.0.1:80"}))
        self.assertIn("check", self.refused(64, "check", "one", "two"))
        self.assertIn("quantize", self.refused(64, "quantize", "one"))
        self.assertIn("--tokens", self.refused(64, "logits", "--model", LLAMA))
        self.assertIn("--cache-type-k", self.refused(64, "check", LLAMA, "--cache-type-k", "q7"))
        self.assertIn("DFLASH_CACHE_TYPE_V", self.refused(64, "check", LLAMA, environment={"DFLASH_CACHE_TYPE_V": "q7"}))
        self.assertIn("stands for both", self.refused(64, "check", LLAMA, "--cache-type-k", "f16", "--cache-type-v", "q8_0"))
        self.assertIn("--out", self.refused(64, "logits", "--model", LLAMA, "--tokens", "x"))
        self.assertIn("--prompt", self.refused(64, "generate", "--model", LLAMA))
        self.assertIn("--device", self.refused(64, "bench", "--model", LLAMA, "--device", "tpu"))
        self.assertIn("needs a draft", self.refused(64, "bench", "cycle", "--model", LLAMA, "--draft", "none"))
        self.assertIn("--explain", self.refused(64, "bench", "cycle", "--explain", "--model", LLAMA))
        self.assertIn("2 to 64 rows", self.refused(64, "bench", "cycle", "--model", LLAMA, "--rows", "65"))
        self.assertIn("top-p", self.refused(64, "generate", "--model", LLAMA, "--prompt", "x", "--top-p", "2"))

    def test_a_configuration_file_with_a_mistake_is_named_with_its_line(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("[server]\nport = 8081\nprot = 1\n")
            file.flush()
            said = self.refused(64, "config", environment={"LUCEBOX_CONFIG": file.name})
        self.assertIn(f"{file.name}:3", said)
        self.assertIn("port", said)

    def test_what_is_not_there_is_66_and_what_is_broken_65(self):
        self.assertIn("no/such.gguf", self.refused(66, "check", "no/such.gguf"))
        self.assertIn("no/such.gguf", self.refused(66, "logits", "--model", "no/such.gguf", "--tokens",
                                                   ORACLES / "llama/tokens.npy", "--out", os.devnull))
        self.assertIn("no/such.npy", self.refused(66, "logits", "--model", LLAMA, "--tokens", "no/such.npy", "--out", os.devnull))
        self.refused(65, "check", "README.md")
        self.refused(65, "logits", "--model", LLAMA, "--tokens", "README.md", "--out", os.devnull)
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            npy.write_ids(file.name, [1, 2, 320])  # one more than the vocabulary holds
            self.assertIn("320", run("logits", "--model", LLAMA, "--tokens", file.name, "--out", os.devnull).stderr)
            npy.write_ids(file.name, [])
            self.refused(65, "logits", "--model", LLAMA, "--tokens", file.name, "--out", os.devnull)

    def test_an_output_in_a_folder_that_is_none_is_named(self):
        said = self.refused(66, "logits", "--model", LLAMA, "--tokens", ORACLES / "llama/tokens.npy", "--out", "README.md/y.npy")
        self.assertIn("README.md/y.npy", said)
        self.assertIn("README.md/y", self.refused(74, "quantize", "--type", "Q8_0", LLAMA, "README.md/y.gguf"))


class Settings(unittest.TestCase):
    def test_flag_beats_environment_beats_file_beats_default(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("[server]\nport = 1111\nqueue = 2222\nhost = \"127.0.0.9\"\n")
            file.flush()
            environment = {"LUCEBOX_CONFIG": file.name, "LUCEBOX_PORT": "3333", "LUCEBOX_QUEUE": "4444"}
            got = json.loads(run("config", "--json", "--port", "5555", environment=environment).stdout)
        self.assertEqual((got["port"]["value"], got["port"]["origin"]), ("5555", "flag"))
        self.assertEqual((got["queue"]["value"], got["queue"]["origin"]), ("4444", "environment"))
        self.assertEqual((got["host"]["value"], got["host"]["origin"]), ("127.0.0.9", "file"))
        self.assertIn(":4", got["host"]["where"])
        self.assertEqual(got["sequences"]["origin"], "default")

    def test_secrets_are_never_shown(self):
        for arguments in (("config",), ("config", "--json")):
            got = run(*arguments, environment={"LUCEBOX_API_KEYS": "hunter2"})
            self.assertEqual(got.returncode, 0)
            self.assertNotIn("hunter2", got.stdout + got.stderr)

    def test_a_misspelt_variable_is_warned_about(self):
        self.assertIn("LUCEBOX_PORT", run("config", environment={"LUCEBOX_PROT": "1"}).stderr)


class Answers(unittest.TestCase):
    def json(self, *arguments):
        got = run(*arguments, "--json")
        self.assertEqual(got.returncode, 0, got.stderr)
        return json.loads(got.stdout)

    def test_version(self):
        got = self.json("version")
        for key in ("version", "git_sha", "image_tag", "build_time", "compiler", "devices"):
            self.assertIn(key, got)
        self.assertEqual([device["problem"] for device in got["devices"] if device["kind"] == "cpu"], [None])
        self.assertEqual(run("--version").stdout, run("version").stdout)

    def test_check_without_a_file_says_whether_the_machine_is_ready(self):
        got = run("check", "--json")
        report = json.loads(got.stdout)
        rows = {row["name"]: row for row in report["rows"]}
        self.assertIn("threads", rows["cpu"]["text"])
        self.assertLessEqual({"ram", "gpu", "models", "disk"}, set(rows))
        ready = all(row["state"] != "fail" for row in report["rows"])
        self.assertEqual((report["ok"], got.returncode), (ready, 0 if ready else 69))

    def test_check_says_what_a_model_is(self):
        got = self.json("check", LLAMA)
        self.assertTrue(got["ok"])
        found = {entry["name"]: entry["value"] for entry in got["checks"]}
        self.assertEqual(found["architecture"], "llama")
        self.assertIn("320", found["tokenizer"])
        for name in ("file", "parameters", "tensors", "context", "memory"):
            self.assertIn(name, found)

    def test_generate_gives_the_references_tokens(self):
        for model in ("llama", "qwen2", "qwen3", "gemma3", "qwen35"):
            with self.subTest(model):
                greedy = json.loads((ORACLES / model / "greedy.json").read_text())
                got = self.json("generate", "--model", ORACLES / model / "model.gguf", "--tokens", ORACLES / model / "tokens.npy",
                                "--max-tokens", len(greedy["tokens"]), "--ignore-eos")
                self.assertEqual(got["tokens"], greedy["tokens"])
                self.assertEqual(got["prompt_tokens"], len(greedy["prompt"]))
                self.assertEqual(got["finish_reason"], "length")

    def test_generate_repeats_itself_with_a_seed_only(self):
        def tokens(*more):
            return self.json("generate", "--model", LLAMA, "--prompt", "hello", "--temperature", "1.5", "--max-tokens", "20",
                             "--ignore-eos", *more)["tokens"]
        self.assertEqual(tokens("--seed", "5"), tokens("--seed", "5"))
        self.assertEqual(len({tuple(tokens("--seed", seed)) for seed in (1, 2, 3)}), 3)
        self.assertEqual(len({tuple(tokens()) for _ in range(3)}), 3)

    def test_logits_are_the_references_however_the_prompt_is_cut(self):
        with tempfile.TemporaryDirectory() as folder:
            for model in ("llama", "qwen35"):
                shape, expected = npy.read(ORACLES / model / "logits.npy")
                answers = []
                for rows in (1, 5, 64, 256):
                    out = Path(folder) / "logits.npy"
                    got = run("logits", "--model", ORACLES / model / "model.gguf", "--tokens", ORACLES / model / "tokens.npy",
                              "--out", out, "--rows-per-step", rows)
                    self.assertEqual(got.returncode, 0, got.stderr)
                    got_shape, values = npy.read(out)
                    self.assertEqual(got_shape, shape)
                    self.assertLess(max(abs(a - b) for a, b in zip(values, expected)), 1e-3)
                    answers.append(values)
                self.assertEqual(answers[0], answers[1])  # to the bit, up to 64 rows
                self.assertEqual(answers[0], answers[2])

    def test_tokenize_gives_ids_and_pieces(self):
        got = self.json("tokenize", "--model", LLAMA, "--text", "hello")
        self.assertEqual(len(got["tokens"]), len(got["pieces"]))
        self.assertEqual("".join(got["pieces"]), "hello")
        from_stdin = run("tokenize", "--model", LLAMA, "--json", stdin="hello")
        self.assertEqual(json.loads(from_stdin.stdout), got)

    def test_bench_cycle_times_what_a_speculative_step_consists_of(self):
        folder = ORACLES / "dflash-qwen3"
        got = self.json("bench", "cycle", "--model", folder / "model.gguf", "--draft", folder / "draft.gguf",
                        "--prompt-tokens", "20", "--repetitions", "1", "--rows", "4,12")
        shapes = {cycle["shape"]: cycle for cycle in got["cycles"]}
        self.assertIn("tree of 12", shapes)
        for cycle in shapes.values():
            self.assertGreater(cycle["ms"]["median"], cycle["draft_ms"]["min"])
            self.assertAlmostEqual(cycle["over_plain"], cycle["ms"]["median"] / got["plain_step_ms"]["median"], places=6)
        self.assertEqual([line["tokens"] for line in got["accepted"]][:2], [2, 3])

    def test_bench_prints_speed_spread_and_share_of_bandwidth(self):
        got = self.json("bench", "--model", LLAMA, "--prompt-tokens", "20", "--decode-tokens", "5", "--repetitions", "3")
        for key in ("prefill_tokens_per_second", "decode_tokens_per_second"):
            self.assertLessEqual(got[key]["min"], got[key]["median"])
            self.assertLessEqual(got[key]["median"], got[key]["max"])
            self.assertGreater(got[key]["min"], 0)
        for key in ("model", "device", "git_sha", "weight_bytes", "decode_bytes_per_second", "memory_bytes_per_second",
                    "share_of_memory_bandwidth"):
            self.assertIn(key, got)

    def explained(self, device):
        """What bench --explain says of a small Qwen3.5, checked for adding up; its families by name."""
        words = ("bench", "--explain", "--json", "--model", ORACLES / "qwen35" / "model.gguf", "--device", device, "--prompt-tokens", "20",
                 "--decode-tokens", "20", "--repetitions", "3")
        got = run(*words)
        if device == "cuda" and re.search("on the CPU only|no NVIDIA|no GPU", got.stderr):
            self.skipTest("skipped: no GPU")
        self.assertEqual(got.returncode, 0, got.stderr)
        explain = json.loads(got.stdout)["explain"]
        self.assertEqual(list(explain), ["tokens", "plain_ms", "wall_ms", "sum_ms", "between_ms", "families"])
        self.assertEqual(explain["tokens"], 60)
        self.assertGreater(explain["plain_ms"], 0)
        for family in explain["families"]:
            self.assertGreater(family["ms"], 0, family)
            self.assertAlmostEqual(family["share"], family["ms"] / explain["wall_ms"], places=6)
        self.assertAlmostEqual(sum(family["ms"] for family in explain["families"]), explain["sum_ms"], places=6)
        self.assertAlmostEqual(explain["sum_ms"] + explain["between_ms"], explain["wall_ms"], places=6)
        self.assertGreaterEqual(explain["between_ms"], 0)
        return explain, {family["family"]: family for family in explain["families"]}

    def most_explained(self, device):
        """The largest share of the wall that the families explain, of several runs: one lasts milliseconds, and whatever else this
        machine does meanwhile falls between two of them now and then."""
        share = 0
        for _ in range(10):
            explain, _ = self.explained(device)
            share = max(share, explain["sum_ms"] / explain["wall_ms"])
            if share > 0.8:
                break
        return share

    def test_bench_explains_where_a_tokens_time_goes(self):
        _, families = self.explained("cpu")
        self.assertEqual(list(families), ["embedding", "norms", "projections", "gated-mlp", "attention", "delta-net", "head", "other"])
        self.assertEqual([name for name in families if "weight_bytes_per_second" in families[name]], ["projections", "gated-mlp", "head"])
        self.assertGreater(self.most_explained("cpu"), 0.8)  # a token of so small a model is short: the caller shows

    def test_bench_explains_a_step_on_a_gpu(self):
        _, families = self.explained("cuda")
        self.assertIn("attention", families)
        self.assertIn("weight_bytes_per_second", families["head"])
        self.assertGreater(self.most_explained("cuda"), 0.5)

    def test_models_lists_the_default_first(self):
        got = self.json("models")
        self.assertTrue(got[0]["default"])
        for key in ("name", "about", "licence", "bytes", "path", "fetched_bytes"):
            self.assertIn(key, got[0])


class Quantizing(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def logits(self, model):
        out = Path(self.folder.name) / "logits.npy"
        got = run("logits", "--model", model, "--tokens", ORACLES / "qwen3/tokens.npy", "--out", out)
        self.assertEqual(got.returncode, 0, got.stderr)
        return npy.read(out)[1]

    def test_a_quantised_model_runs_and_is_close_to_its_source(self):
        source = ORACLES / "qwen3" / "model.gguf"
        exact = self.logits(source)
        spread = (sum(value * value for value in exact) / len(exact)) ** 0.5
        errors = {}
        for kind, most in (("Q8_0", 0.03), ("Q4_0", 0.35), ("Q4_K", 0.35), ("Q6_K", 0.08), ("Q4_K_M", 0.35)):
            target = Path(self.folder.name) / f"{kind}.gguf"
            got = run("quantize", "--type", kind, source, target)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertLess(target.stat().st_size, source.stat().st_size)
            self.assertEqual(run("check", target).returncode, 0)
            values = self.logits(target)
            errors[kind] = (sum((a - b) ** 2 for a, b in zip(values, exact)) / len(exact)) ** 0.5 / spread
            self.assertLess(errors[kind], most, kind)
        self.assertLess(errors["Q8_0"], errors["Q4_0"])

    def test_an_unknown_type_is_refused_by_name_and_leaves_nothing(self):
        target = Path(self.folder.name) / "x.gguf"
        got = run("quantize", "--type", "Q9_Z", ORACLES / "qwen3/model.gguf", target)
        self.assertEqual(got.returncode, 64, got.stderr)
        self.assertIn("Q9_Z", got.stderr)
        self.assertEqual(os.listdir(self.folder.name), [])


class Drafts(unittest.TestCase):
    """A draft named after its model is found; one that does not fit is left out unless it was asked for."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.beside, self.drafts = Path(self.folder.name, "models"), Path(self.folder.name, "drafts")
        self.beside.mkdir()
        self.drafts.mkdir()
        self.model = self.beside / "Tiny-1B.Q8_0.gguf"
        self.model.symlink_to((ORACLES / "dflash-qwen3/model.gguf").resolve())

    def proposals(self, *more, environment=None):
        got = run("generate", "--model", self.model, "--tokens", ORACLES / "dflash-qwen3/sequence.npy", "--max-tokens", "8", "--json",
                  "--speculation", "chain:3", *more, environment=environment)
        self.assertEqual(got.returncode, 0, got.stderr)
        return [step["proposals"] for step in json.loads(got.stdout)["steps"]], got.stderr

    def test_a_converted_one_says_what_it_said_before_and_a_rounded_one_nearly_so(self):
        oracle = ORACLES / "dflash-qwen3"
        reference, _ = self.proposals("--draft", oracle / "draft")
        for kind, tolerance in (("F32", 1e-3), ("F16", 1e-3), ("Q8_0", 0.3)):  # of logits up to 10
            with self.subTest(kind):
                draft, out = Path(self.folder.name, "d.gguf"), Path(self.folder.name, "l.npy")
                got = run("draft", "convert", oracle / "draft", draft, "--type", kind)
                self.assertEqual(got.returncode, 0, got.stderr)
                for context in (4, 24, 59):
                    got = run("draft", "logits", "--model", self.model, "--draft", draft, "--tokens", oracle / "sequence.npy",
                              "--context", str(context), "--out", out)
                    self.assertEqual(got.returncode, 0, got.stderr)
                    shape, values = npy.read(out)
                    wanted_shape, wanted = npy.read(oracle / f"draft_logits_ctx{context}.npy")
                    self.assertEqual(shape, wanted_shape)
                    self.assertLess(max(abs(a - b) for a, b in zip(values, wanted)), tolerance)
                if kind != "Q8_0":
                    self.assertEqual(self.proposals("--draft", draft)[0], reference)
                draft.unlink()

    def test_one_beside_the_model_or_in_a_folder_of_models_is_used(self):
        expected, _ = self.proposals("--draft", ORACLES / "dflash-qwen3/draft.gguf")
        without, _ = self.proposals()
        self.assertNotEqual(expected, without)
        name = "Tiny-1B.dflash.gguf"
        for folder in (self.drafts, self.beside):
            (folder / name).symlink_to((ORACLES / "dflash-qwen3/draft.gguf").resolve())
            self.assertEqual(self.proposals("--models", self.drafts)[0], expected)
            self.assertEqual(self.proposals("--models", self.drafts, "--draft", "none")[0], without)
            (folder / name).unlink()

    def put(self, path, of):
        path = Path(self.folder.name, path)
        path.parent.mkdir(exist_ok=True)
        path.symlink_to((ORACLES / of).resolve())
        return path

    def test_one_of_another_model_is_left_out_unless_it_was_asked_for(self):
        without, _ = self.proposals()
        other = self.put("models/Tiny-1B.dflash.gguf", "dflash-qwen35/draft.gguf")
        got, log = self.proposals()
        self.assertEqual(got, without)
        self.assertIn("Tiny-1B.dflash.gguf is not used: the draft has", log)
        asked = run("generate", "--model", self.model, "--tokens", ORACLES / "dflash-qwen3/sequence.npy", "--max-tokens", "1", "--draft", other)
        self.assertNotEqual(asked.returncode, 0)
        self.assertIn("the draft has", asked.stderr)

    def test_one_given_as_the_model_is_told_apart(self):
        got = run("check", ORACLES / "dflash-qwen3/draft.gguf")
        self.assertNotEqual(got.returncode, 0)
        self.assertIn("this is a draft: --draft FILE", got.stderr)

    def test_in_a_folder_of_drafts_the_first_that_fits_is_taken_whatever_it_is_called(self):
        expected, _ = self.proposals("--draft", ORACLES / "dflash-qwen3/draft.gguf")
        self.put("models/draft/a-dflash.gguf", "dflash-qwen35/draft.gguf")
        self.put("models/draft/b-model.gguf", "dflash-qwen3/model.gguf")
        self.put("models/draft/c.gguf", "dflash-qwen3/draft.gguf")
        got, log = self.proposals()
        self.assertEqual(got, expected)
        self.assertIn("draft/c.gguf was found for Tiny-1B.Q8_0.gguf; --draft names another", log)
        self.assertNotIn("is not used", log)
        self.assertEqual(self.proposals("--draft", self.beside / "draft")[0], expected)
        self.assertEqual(self.proposals(environment={"DFLASH_DRAFT": str(self.beside / "draft")})[0], expected)

    def test_where_none_fits_each_is_named_with_what_disagrees(self):
        without, _ = self.proposals()
        self.put("models/draft/a-dflash.gguf", "dflash-qwen35/draft.gguf")
        self.put("models/draft/b-model.gguf", "dflash-qwen3/model.gguf")
        got, log = self.proposals()
        self.assertEqual(got, without)
        self.assertRegex(log, "a-dflash.gguf is not used: the draft has .* the model")
        self.assertIn("b-model.gguf is not used: ", log)
        self.assertIn("is no DFlash draft", log)
        (self.beside / "empty").mkdir()
        got, log = self.proposals("--draft", self.beside / "empty")
        self.assertEqual(got, without)
        self.assertIn("there is no draft in", log)

    def test_safetensors_are_found_too(self):
        expected, _ = self.proposals("--draft", ORACLES / "dflash-qwen3/draft")
        self.put("models/draft/tiny-1b-speculator", "dflash-qwen3/draft")
        got, log = self.proposals()
        self.assertEqual(got, expected)
        self.assertIn("tiny-1b-speculator/model.safetensors was found", log)


TITLE = re.compile(r"\x1b\]2;([\d.]+) tokens a step\x07")
TITLE_KEPT, TITLE_BACK = "\x1b[22;2t", "\x1b[23;2t"
GREEN = re.compile(r"\x1b\[32m(.*?)\x1b\[0m", re.S)
SPEED = re.compile(r"\r\n\x1b\[2m\[\d+ \+ (\d+) tokens, .* tok/s\]")
STATS = re.compile(r"\[([\d.]+) tokens a step: (\d+) tokens in (\d+) steps, (\d+) of (\d+) guesses right, (\d+) of those found in the text\]\n")


def plain(text):
    """Of a text of random weights: what is no letter may be shown in other ways."""
    return re.sub(r"[^ -~]", "", text)


class Stats(unittest.TestCase):
    """run --stats: on a terminal what was guessed is green as it comes, and the title tells the tokens a step; behind each answer they stand, too."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.model = Path(cls.folder.name, "chat.gguf")
        cls.model.write_bytes(cls.with_template((ORACLES / "dflash-qwen3/model.gguf").read_bytes()))
        cls.guesses = {"draft": (ORACLES / "dflash-qwen3/draft.gguf", "tree:16"), "lookup": ("none", "chain:3")}

    @staticmethod
    def with_template(model):
        """The file with a chat template that is the message alone, as its first key; what follows stays aligned."""
        def string(text):
            return struct.pack("<Q", len(text)) + text
        key, template = string(b"tokenizer.chat_template"), b"{{ messages[0].content }}{#"
        template += b" " * (-(len(key) + 4 + 8 + len(template) + 2) % 32) + b"#}"
        tensors, keys = struct.unpack_from("<QQ", model, 8)
        return model[:8] + struct.pack("<QQ", tensors, keys + 1) + key + struct.pack("<I", 8) + string(template) + model[24:]

    def asked(self, command, guesses, *more):
        draft, shape = self.guesses[guesses]
        return (command, "--model", self.model, "--draft", draft, "--speculation", shape, "--device", "cpu", "--threads", "1",
                "--temperature", "0", "--max-tokens", "60", "--prompt", "one two three", *more)

    def expected(self, guesses):
        """What the same text is known to take."""
        got = run(*self.asked("generate", guesses, "--json"))
        self.assertEqual(got.returncode, 0, got.stderr)
        return json.loads(got.stdout)

    def on_terminal(self, *arguments):
        """What a terminal is shown, and what goes to standard error, which is none."""
        leader, follower = os.openpty()
        environment = {name: value for name, value in clean_environment().items() if name != "NO_COLOR"}
        process = subprocess.Popen([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.PIPE, text=True,
                                   env={**environment, "TERM": "xterm"})
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 65536):
                shown += piece
        except OSError:  # the other end is closed
            pass
        os.close(leader)
        errors = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 0, errors)
        return shown.decode(errors="replace"), errors

    def check_told(self, errors, known, guesses):
        told = STATS.findall(errors)
        self.assertEqual(len(told), 1, errors)
        a_step, tokens, steps, right, drafted, found = (float(told[0][0]), *map(int, told[0][1:]))
        self.assertEqual((tokens, steps, right, drafted), (len(known["tokens"]) - 1, len(known["steps"]), known["accepted"], known["drafted"]))
        self.assertAlmostEqual(a_step, tokens / steps, delta=0.0051)
        self.assertGreater(right, 0)
        if guesses == "lookup":
            self.assertEqual(found, right)

    def check_titles(self, shown, known):
        self.assertTrue(shown.startswith(TITLE_KEPT) and shown.endswith(TITLE_BACK), shown)
        tokens, expected = 0, []
        for count, step in enumerate(known["steps"], 1):
            tokens += step["accepted"] + 1
            expected.append(tokens / count)
        told = [float(figure) for figure in TITLE.findall(shown)]
        self.assertIn(len(told), (len(expected), len(expected) - 1))  # the last step may have been cut off
        self.assertGreater(len(told), 5)
        for figure, true in zip(told, expected):
            self.assertAlmostEqual(figure, true, delta=0.0051)

    def test_on_a_terminal_what_was_guessed_is_green(self):
        for guesses in self.guesses:
            with self.subTest(guesses):
                known = self.expected(guesses)
                shown, errors = self.on_terminal(*self.asked("run", guesses, "--stats"))
                self.check_told(errors, known, guesses)
                self.check_titles(shown, known)
                shown = TITLE.sub("", shown).replace(TITLE_KEPT, "").replace(TITLE_BACK, "")
                end = SPEED.search(shown)
                self.assertEqual(int(end[1]), len(known["tokens"]))
                answer = shown[:end.start()]
                self.assertEqual(len(GREEN.findall(answer)), known["accepted"])
                self.assertEqual(plain(GREEN.sub(r"\1", answer)), plain(known["text"]))

    def test_elsewhere_the_answer_is_bare_and_the_figures_are_on_standard_error(self):
        for guesses in self.guesses:
            with self.subTest(guesses):
                known = self.expected(guesses)
                got = run(*self.asked("run", guesses, "--stats"))
                self.assertEqual((got.returncode, plain(got.stdout)), (0, plain(known["text"])))
                self.check_told(got.stderr, known, guesses)

    def test_without_it_nothing_is_told(self):
        known = self.expected("lookup")
        self.assertGreater(known["accepted"], 0)
        shown, errors = self.on_terminal(*self.asked("run", "lookup"))
        self.assertNotIn(TITLE_KEPT, shown)
        self.assertEqual(plain(shown[:SPEED.search(shown).start()]), plain(known["text"]))
        self.assertNotIn("a step", shown + errors)
        self.assertNotIn("a step", run(*self.asked("run", "lookup")).stderr)


if __name__ == "__main__":
    unittest.main()
