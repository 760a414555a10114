"""lucebox config import: an old config.env is read, never executed, and its settings are kept where nobody set others."""
import json
import os
import unittest

from commandline import Home

OLD = """# of an earlier version
export DFLASH_BUDGET=22
DFLASH_MAX_CTX="4096"   # tokens
DFLASH_LAZY=1
DFLASH_PREFIX_CACHE_SLOTS=4
DFLASH_PORT=9000
LUCEBOX_VARIANT='cuda12'
LUCEBOX_IMAGE=ghcr.io/me/box
LUCEBOX_MODELS=~/my\\ models
"""
NEW = """[speculation]
speculation = "tree:22"

[model]
context = 4096

[runtime]
port = 9000

[image]
variant = "cuda12"
registry = "ghcr.io/me/box"

[paths]
models = "~/my models"
"""


class Import(Home):
    def old(self, text):
        path = self.home + "/config.env"
        with open(path, "w") as file:
            file.write(text)
        return path

    def told(self, text, *words):
        return json.loads(self.ok("config", "import", self.old(text), "--json", *words))

    def outcomes(self, text, *words):
        return {each["name"]: (each["outcome"], each["key"], each["becomes"]) for each in self.told(text, *words)["settings"]}

    def test_every_setting_becomes_the_key_that_has_its_effect(self):
        out = self.ok("config", "import", self.old(OLD))
        self.assertEqual(self.text(), NEW)
        self.assertIn("4  DFLASH_LAZY=1", out)
        self.assertIn("left out (the draft leaves the GPU between requests: without effect in this build)", out)
        shown = json.loads(self.ok("config", "--json"))
        self.assertEqual(shown["speculation"]["value"], "tree:22")
        self.assertEqual(shown["context"]["value"], "4096")
        self.assertEqual(shown["port"]["origin"], "default")  # the program's own: the old one was the wrapper's
        again = self.told(OLD)
        self.assertFalse(again["would_change"])
        self.assertEqual({each["outcome"] for each in again["settings"]}, {"same", "left_out"})
        self.assertEqual(self.text(), NEW)

    def test_what_the_old_key_of_the_same_name_did_is_what_the_variable_did(self):
        """One table for both: the file's meaning is that of the variables."""
        variables = {"DFLASH_BUDGET": "7", "DFLASH_MAX_CTX": "512", "DFLASH_CACHE_TYPE_K": "q8_0", "DFLASH_MODEL_NAME": "mine", "DFLASH_THINK_MAX": "9"}
        by_variables = json.loads(self.ok("config", "--json", environment=variables))
        self.ok("config", "import", self.old("".join(f"{name}={value}\n" for name, value in variables.items())))
        by_import = json.loads(self.ok("config", "--json"))
        self.assertEqual({k: v["value"] for k, v in by_import.items()}, {k: v["value"] for k, v in by_variables.items()})
        self.assertEqual(sum(v["origin"] == "file" for v in by_import.values()), len(variables))

    def test_a_dry_run_tells_the_same_and_writes_nothing(self):
        told = self.told(OLD, "--dry-run")
        self.assertFalse(os.path.exists(self.file))
        self.assertEqual((told["written"], told["would_change"]), (False, True))
        self.assertIn("nothing was written", self.ok("config", "import", self.old(OLD), "--dry-run"))
        real = self.told(OLD)
        self.assertTrue(real["written"])
        self.assertEqual(real["settings"], told["settings"])

    def test_what_is_set_stays_unless_told(self):
        before = "# mine\n[runtime]\nport = 1 # of the host\n\n[dflash]\nmax_ctx = 512\n"
        self.write(before)
        text = "DFLASH_PORT=2\nDFLASH_MAX_CTX=1024\nDFLASH_BUDGET=8\n"
        found = self.outcomes(text)
        self.assertEqual(found, {"DFLASH_PORT": ("kept", "runtime.port", "2"), "DFLASH_MAX_CTX": ("kept", "model.context", "1024"),
                                 "DFLASH_BUDGET": ("set", "speculation.speculation", "tree:8")})
        self.assertEqual(self.text(), before + '\n[speculation]\nspeculation = "tree:8"\n')
        self.ok("config", "restore")
        self.assertEqual(self.text(), before)
        self.assertEqual(self.outcomes(text, "--overwrite")["DFLASH_MAX_CTX"][0], "set")
        self.assertEqual(self.text(), '# mine\n[runtime]\nport = 2\n\n[dflash]\n\n[model]\ncontext = 1024\n\n[speculation]\nspeculation = "tree:8"\n')
        self.assertEqual(json.loads(self.ok("config", "--json"))["context"]["value"], "1024")

    def test_words_are_a_shells(self):
        cases = {"A B": "DFLASH_MODEL_NAME='A B'", "A'B": "DFLASH_MODEL_NAME=A\\'B", 'a"$b\\n': 'DFLASH_MODEL_NAME="a\\"\\$b\\n"', "abc": "DFLASH_MODEL_NAME=a'b'\"c\"",
                 "a#b": "\t export\tDFLASH_MODEL_NAME=a#b # not that", "x": "DFLASH_MODEL_NAME=x \r", "last": "DFLASH_MODEL_NAME=first\nDFLASH_MODEL_NAME=last"}
        for value, text in cases.items():
            self.ok("config", "import", self.old(text), "--overwrite")
            self.assertEqual(json.loads(self.ok("config", "--json"))["model-name"]["value"], value, text)
        twice = self.told("DFLASH_MODEL_NAME=first\nDFLASH_MODEL_NAME=last")["settings"]
        self.assertEqual([(each["outcome"], each["why"]) for each in twice], [("left_out", "line 2 says it again"), ("same", None)])

    def test_nothing_is_executed_and_what_a_shell_would_compute_is_refused_with_its_line(self):
        trap = self.home + "/executed"
        for line in (f"DFLASH_MAX_CTX=$(touch {trap})", f"DFLASH_MAX_CTX=`touch {trap}`", f'DFLASH_MODEL_NAME="$(touch {trap})"', f"DFLASH_MAX_CTX=1; touch {trap}",
                     f"touch {trap}", f"A=1 touch {trap}", "LUCEBOX_MODELS=$HOME/models", 'LUCEBOX_MODELS="${HOME}/models"', "LUCEBOX_MODELS=~other/models", "A=1 B=2",
                     "A = 1", "A=1|B", "A=(1 2)", "A=*", "A='open", 'A="open', "A=1\\", "source other.env", "if true; then", "9A=1", "=1", "export A", "A=\x01", "A=<(id)", "A+=1"):
            self.refused(65, "config.env:3: ", "", "config", "import", self.old("DFLASH_MAX_CTX=4096\n\n" + line + "\n"))
            self.assertFalse(os.path.exists(trap), line)
            self.assertFalse(os.path.exists(self.file), line)

    def test_wrong_values_are_refused_with_their_line_before_anything_is_written(self):
        for line, message in {"DFLASH_MAX_CTX=many": "not a whole number", "DFLASH_BUDGET=0": "tree:0", "DFLASH_PORT=0": "1 to 65535", "LUCEBOX_PORT=80x": "1 to 65535", "LUCE_PORT=70000": "1 to 65535",
                              "LUCEBOX_VARIANT='a b'": "letters, digits", "LUCEBOX_IMAGE=box:cuda12": "without its tag", "DFLASH_PREFILL_MODE=auto\nDFLASH_MAX_CTX=-1": "DFLASH_MAX_CTX"}.items():
            self.refused(64, message, "", "config", "import", self.old("LUCEBOX_VARIANT=cuda12\n" + line))
            self.refused(64, "config.env:" + str(1 + len(line.split("\n"))), "", "config", "import", self.old("LUCEBOX_VARIANT=cuda12\n" + line))
        self.refused(64, "keys in f16 beside values in q8_0", "", "config", "import", self.old("DFLASH_CACHE_TYPE_K=f16\nDFLASH_CACHE_TYPE_V=q8_0\n"))
        self.assertFalse(os.path.exists(self.file))
        self.assertEqual(self.told("LUCEBOX_IMAGE=host:5000/box")["settings"][0]["becomes"], "host:5000/box")

    def test_what_nobody_knows_is_left_out_and_its_value_not_shown(self):
        out = self.ok("config", "import", self.old("HF_TOKEN=hidden\nLUCEBOX_VARIANT=\nDFLASH_HOST=0.0.0.0\nDFLASH_TARGET=/opt/lucebox-hub/server/models/x.gguf\n"))
        self.assertNotIn("hidden", out)
        for words in ("no setting that is carried over", "it has no value", "lucebox config set lan=true", "a place in earlier images", "nothing to change"):
            self.assertIn(words, out)
        self.assertNotIn("hidden", json.dumps(self.told("HF_TOKEN=hidden\n")))
        self.assertFalse(os.path.exists(self.file))

    def test_mistakes_of_the_command_line(self):
        self.refused(64, "needs one file", "config.env", "config", "import")
        self.refused(66, "/nowhere.env", "", "config", "import", "/nowhere.env")
        self.refused(65, "", "", "config", "import", self.old("A=1\n" * 40000))
        with open(self.home + "/config.env", "wb") as file:
            file.write(b"LUCEBOX_MODELS=/m\xff\n")
        self.refused(65, "", "config edit", "config", "import", self.home + "/config.env")
        self.assertFalse(os.path.exists(self.file))
        self.write("[server\n")
        self.refused(65, "line 1", "", "config", "import", self.old("DFLASH_MAX_CTX=1\n"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
