"""What people do wrong with the program, one mistake a row: what is typed, the exit code, what is said, the way out. The host
wrapper's are in tests/host/mistakes.table."""
import os
import re
import resource
import shutil
import socket
import subprocess
import unittest

from commandline import BINARY, Home

ORACLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/oracle")
MODEL = os.path.join(ORACLES, "llama/model.gguf")

# {home} has: half.gguf, page.gguf (a page of the web), empty.gguf, draft.gguf, folder/, other.toml, keys (empty), two/ with two models.
MISTAKES = [
    # typed                                                     code  said                                             the way out
    ("sevre",                                                     64, "sevre",                                         "did you mean serve"),
    ("serve --prot 1",                                            64, "--prot",                                        "--port"),
    ("serve --port 99999",                                        64, "99999",                                         "0..65535"),
    ("serve --port",                                              64, "--port",                                        ""),
    ("serve --port {taken} --model {model}",                      69, "{taken}",                                       "--port"),
    ("serve --port 0 --host 203.0.113.7 --model {model}",         74, "203.0.113.7",                                   "no such address; 127.0.0.1"),
    ("serve --port 0 --model {home}/half.gguf",                   65, "half.gguf",                                     "fetch it again"),
    ("serve --port 0 --model {home}/page.gguf",                   65, "page.gguf",                                     "the page of a failed download"),
    ("serve --port 0 --model {home}/empty.gguf",                  65, "empty.gguf",                                    "fetch it again"),
    ("serve --port 0 --model {home}/nowhere.gguf",                66, "nowhere.gguf",                                  "`lucebox models`"),
    ("serve --port 0 --model {home}/folder",                      66, "folder",                                        "`lucebox models`"),
    ("serve --port 0 --model smollm2-135m-instrukt",              66, "smollm2-135m-instrukt",                         "did you mean smollm2"),
    ("serve --port 0 --model {home}/draft.gguf",                  65, "dflash-draft",                                  "--draft FILE"),
    ("serve --port 0 --model {model} --draft {home}/draft.gguf",  65, "the draft has width 64",                        "trained for this model"),
    ("serve --port 0 --model {model} --context 10000000",         64, "trained for",                                   "--context"),
    ("serve --port 0 --model {model} --speculation tre:22",       64, "tre:22",                                        "tree:B"),
    ("serve --port 0 --model {model} --device gpu",               64, "gpu",                                           "auto, cpu"),
    ("serve --port 0 --model {model} --api-key-file {home}/none", 66, "{home}/none",                                   ""),
    ("serve --port 0 --model {model} --api-key-file {home}/keys", 64, "{home}/keys",                                   "one key on a line"),
    ("serve --port 0 --models {home}/two",                        64, "there are 2 models",                            "--model FILE"),
    ("LUCEBOX_PORT=http serve",                                   64, "LUCEBOX_PORT",                                  "whole number"),
    ("LUCEBOX_CONFIG={home}/other.toml serve",                    64, "prot",                                          "port"),
    ("LUCEBOX_CONFIG={home}/none.toml serve",                     66, "none.toml",                                     ""),
    ("models download qwen3.6-27",                                66, "qwen3.6-27",                                    "did you mean qwen3.6-27b?"),
    ("models activate qwen3.6-27b",                               66, "is not here",                                   "models download qwen3.6-27b"),
    ("models import {home}/half.gguf",                            65, "half.gguf",                                     "fetch it again"),
    ("models rm",                                                 64, "needs a name",                                  "`lucebox models`"),
    ("models instal x",                                           64, "no action instal",                              "download"),
    ("config set prot=1",                                         64, "no key prot",                                   "did you mean"),
    ("config set port",                                           64, "needs KEY=VALUE",                               "config set port="),
    ("config get prot",                                           64, "no key prot",                                   "`lucebox config`"),
    ("smoke --url http://127.0.0.1:1",                            69, "127.0.0.1:1",                                   "lucebox serve"),
    ("connect emacs",                                             64, "emacs",                                         "claude, codex"),
    ("quantize {model} {home}/out.gguf --type Q9",                64, "Q9",                                            "Q4_K_M"),
    ("bench --model {model} --prompt-tokens 0",                   64, "--prompt-tokens",                               "1"),
    ("autotune --sweep --model {model} --candidates off",         64, "NAME=VALUE",                                    "speculation=off"),
]


class Mistakes(Home):
    def setUp(self):
        super().setUp()
        with open(MODEL, "rb") as file:
            content = file.read()
        for name, part in (("half.gguf", content[:len(content) // 2]), ("page.gguf", b"<!doctype html><title>404</title>"), ("empty.gguf", b""), ("keys", b""),
                           ("other.toml", b"[server]\nprot = 1\n")):
            with open(os.path.join(self.home, name), "wb") as file:
                file.write(part)
        os.mkdir(self.home + "/folder")
        os.mkdir(self.home + "/two")
        shutil.copy(ORACLES + "/dflash-qwen3/draft.gguf", self.home)
        for name in ("a.gguf", "b.gguf"):
            os.symlink(MODEL, f"{self.home}/two/{name}")

    def test_each_is_answered_with_its_cause_and_the_way_out(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            places = {"home": self.home, "model": MODEL, "taken": taken.getsockname()[1]}
            for typed, code, said, way in MISTAKES:
                with self.subTest(typed):
                    words = typed.format(**places).split()
                    variables = dict(word.split("=", 1) for word in words if re.match(r"LUCEBOX_\w+=", word))
                    done = self.lucebox(*words[len(variables):], environment={"PIP_INDEX_URL": "http://127.0.0.1:1/", **variables})
                    self.assertEqual(done.returncode, code, done.stderr)
                    self.assertIn(said.format(**places), done.stderr)
                    self.assertIn(way, done.stderr)
                    self.assertEqual(len(re.findall(r"(?m)^error: ", done.stderr)), 1, done.stderr)

    def test_a_full_disk(self):
        def little_room():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        done = subprocess.run([BINARY, "models", "import", MODEL], text=True, capture_output=True, preexec_fn=little_room, restore_signals=False, env={"HOME": self.home})
        self.assertEqual(done.returncode, 74, done.stderr)
        self.assertIn("model.gguf", done.stderr)
        self.assertEqual([name for name in os.listdir(self.home + "/.cache/lucebox/models") if "lock" not in name], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
