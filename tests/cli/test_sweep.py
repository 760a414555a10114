"""autotune --sweep: real servers are measured one after the other, and the configuration changes once, at the end, or not at all."""
import json
import os
import resource
import signal
import subprocess
import time
import unittest

from commandline import BINARY, Home


def default_model():
    done = subprocess.run([BINARY, "models", "--json"], text=True, capture_output=True, check=True)
    return next(entry["path"] for entry in json.loads(done.stdout) if entry["default"])


BEFORE = "# mine\n[server]\nport = 5\n\n[speculation]\nspeculation = \"chain:3\"\n"


class Sweep(Home):
    def setUp(self):
        super().setUp()
        self.model = default_model()
        if self.model is None:
            self.skipTest("the default model is not on this machine: make models")
        self.write(BEFORE)
        self.words = ["autotune", "--sweep", "--model", self.model, "--decode-tokens", "4"]

    def servers(self):
        """Servers that this test's home started."""
        found = []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{process}/environ", "rb") as file:
                    ours = f"HOME={self.home}".encode() in file.read().split(b"\0")
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    if ours and b"serve" in file.read().split(b"\0"):
                        found.append(int(process))
            except OSError:
                pass
        return found

    def test_the_fastest_is_kept_and_told_and_what_was_there_can_be_brought_back(self):
        os.chmod(self.file, 0o600)
        report = self.home + "/report.json"
        out = json.loads(self.ok(*self.words, "--candidates", "speculation=off,speculation=auto+context=512", "--json", "--report", report, timeout=110))
        self.assertEqual([each["candidate"] for each in out["sweep"]], ["speculation=off", "speculation=auto+context=512"])
        rates = {}
        for each in out["sweep"]:
            rate = each["decode_tokens_per_second"]
            self.assertTrue(0 < rate["min"] <= rate["median"] <= rate["max"])
            self.assertLessEqual(each["tokens"], 12)  # three prompts
            rates[each["candidate"]] = rate["median"]
        self.assertEqual(out["fastest"], max(rates, key=rates.get))
        with open(report) as file:
            self.assertEqual(json.load(file), out)
        kept = json.loads(self.ok("config", "--json"))
        self.assertEqual(kept["port"]["value"], "5")
        for setting in out["fastest"].split("+"):
            name, value = setting.split("=")
            self.assertEqual((kept[name]["value"], kept[name]["origin"]), (value, "file"))
        for each in out["sweep"]:
            self.assertEqual(set(each["gpu_clocks_mhz"]), {"sm", "memory"})
        found = self.text()
        self.assertTrue(found.startswith("# mine\n"))
        self.assertEqual(self.servers(), [])
        with open(self.file + ".previous") as file:
            self.assertEqual(file.read(), BEFORE)
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.file + ".previous").st_mode & 0o777, 0o600)
        self.ok("config", "restore")
        self.assertEqual(self.text(), BEFORE)
        self.ok("config", "restore")
        self.assertEqual(self.text(), found)

    def test_types_of_the_cache_and_the_next_context_are_tried_where_both_fit_and_nobody_chose(self):
        words = [*self.words, "--vram", "8", "--json"]
        out = json.loads(self.ok(*words, timeout=200))
        short = [each for each in out["sweep"] if each["prompt"] == "short"]
        self.assertEqual([each["candidate"] for each in short], ["speculation=auto", "speculation=off"])
        winner = max(short, key=lambda each: each["decode_tokens_per_second"]["median"])["candidate"]
        long = {each["candidate"]: each["decode_tokens_per_second"] for each in out["sweep"] if each["prompt"] == "long"}
        self.assertEqual(list(long), [winner, winner + "+cache-type-k=q8_0", winner + "+context=8192"])  # 8192: what the model was trained for
        kept = winner
        if long[winner + "+cache-type-k=q8_0"]["min"] > long[winner]["max"]:
            kept += "+cache-type-k=q8_0"
        if long[winner + "+context=8192"]["max"] >= long[winner]["min"]:
            kept += "+context=8192"
        self.assertEqual(out["fastest"], kept)
        self.assertEqual([name for name in ("cache-type-k", "context") if json.loads(self.ok("config", "--json"))[name]["origin"] == "file"],
                         [name for name in ("cache-type-k", "context") if name in kept])
        self.ok("config", "restore")
        self.assertEqual(self.text(), BEFORE)
        self.ok("config", "set", "context=2048", "cache-type-k=f16")
        out = json.loads(self.ok(*words, timeout=200))
        self.assertEqual([each["candidate"] for each in out["sweep"]], ["speculation=auto", "speculation=off"])

    def test_a_candidate_that_fails_does_not_win_and_none_that_works_changes_nothing(self):
        done = self.lucebox(*self.words, "--candidates", "context=16000000,draft=/nowhere.gguf", "--json", timeout=110)
        self.assertEqual(done.returncode, 69, done.stderr)
        out = json.loads(done.stdout)
        self.assertIsNone(out["fastest"])
        self.assertIn("trained for", out["sweep"][0]["problem"])
        self.assertIn("nowhere.gguf", out["sweep"][1]["problem"])
        self.assertIn("the configuration is as it was", done.stderr)
        self.assertEqual(self.text(), BEFORE)

    def test_a_server_that_dies_in_the_middle_loses_and_the_next_is_measured(self):
        process = subprocess.Popen([BINARY, *self.words, "--candidates", "speculation=auto,speculation=off", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                   env={"PATH": os.environ["PATH"], "HOME": self.home})
        for _ in range(400):
            if self.servers():
                break
            time.sleep(0.05)
        os.kill(self.servers()[0], signal.SIGKILL)
        out = json.loads(process.communicate(timeout=110)[0])
        self.assertEqual(process.returncode, 0)
        self.assertTrue(out["sweep"][0]["problem"])
        self.assertEqual(out["fastest"], "speculation=off")
        self.assertEqual(json.loads(self.ok("config", "--json"))["speculation"]["value"], "off")

    def test_a_full_disk_at_the_end_leaves_it_as_it_was_and_tells_what_was_found(self):
        before = BEFORE + "# a long story\n" * 4000
        self.write(before)
        def little_room():  # as on a disk that is full: a write stops in the middle and fails
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        done = subprocess.run([BINARY, *self.words, "--candidates", "speculation=off"], text=True, capture_output=True, preexec_fn=little_room, restore_signals=False,
                              env={"PATH": os.environ["PATH"], "HOME": self.home}, timeout=110)
        self.assertEqual(done.returncode, 74, done.stderr)
        self.assertIn("speculation=off decodes fastest, but could not be kept", done.stderr)
        self.assertIn("lucebox config set speculation=off", done.stderr)
        self.assertEqual(self.text(), before)
        self.assertEqual(os.listdir(os.path.dirname(self.file)), ["config.toml"])

    def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(self):
        done = self.lucebox(*self.words, environment={"LUCEBOX_CONFIG": "/proc/self/config.toml"})
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("measuring", done.stderr)
        self.assertIn("/proc/self/config.toml", done.stderr)

    def stopped_by(self, number):
        process = subprocess.Popen([BINARY, *self.words, "--candidates", "speculation=off,speculation=auto"], stderr=subprocess.PIPE, text=True,
                                   env={"PATH": os.environ["PATH"], "HOME": self.home})
        self.addCleanup(process.stderr.close)
        self.assertIn("measuring", process.stderr.readline())
        for _ in range(200):
            if self.servers():
                break
            time.sleep(0.05)
        self.assertTrue(self.servers())
        process.send_signal(number)
        code = process.wait(60)
        for _ in range(400):
            if not self.servers():
                break
            time.sleep(0.05)
        self.assertEqual(self.servers(), [])
        self.assertEqual(self.text(), BEFORE)
        self.assertEqual(os.listdir(os.path.dirname(self.file)), ["config.toml"])
        return code

    def test_an_interrupt_leaves_everything_as_it_was(self):
        self.assertEqual(self.stopped_by(signal.SIGINT), 130)
        self.assertEqual(self.stopped_by(signal.SIGTERM), 130)

    def test_so_does_a_crash(self):
        self.assertEqual(self.stopped_by(signal.SIGKILL), -signal.SIGKILL)

    def test_mistakes_are_named_before_anything_is_measured(self):
        self.refused(64, "no setting speculatoin", "lucebox config", *self.words, "--candidates", "speculatoin=off")
        self.refused(64, "is no NAME=VALUE", "--candidates speculation=off", *self.words, "--candidates", "off")
        self.refused(64, "--candidates", "", *self.words, "--candidates", "context=many")
        self.refused(64, "LUCEBOX_SPECULATION sets speculation", "unset LUCEBOX_SPECULATION", *self.words, environment={"LUCEBOX_SPECULATION": "off"})
        self.refused(66, "not here", "models download", "autotune", "--sweep", "--model", "qwen3.6-27b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
