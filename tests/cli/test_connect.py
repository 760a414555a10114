"""connect, claude, codex and top, with a running server whose answers are scripted."""
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))
from commandline import BINARY, Home
from scripted import ScriptedServer

KEY = "it's secret"
# A client that tells how it was started.
STAND_IN = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "variables": dict(os.environ)}}))
sys.exit(7)
"""


class Connect(Home):
    @classmethod
    def setUpClass(cls):
        cls.server = ScriptedServer([{"say": "Hello"}], "--key", KEY, "--context", "65536")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        super().setUp()
        self.to_server = ("--url", self.server.url, "--api-keys", KEY)
        for client in ("claude", "codex"):
            path = Path(self.home) / "bin" / client
            path.parent.mkdir(exist_ok=True)
            path.write_text(STAND_IN)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def started(self, *words):
        done = self.lucebox(*words, environment={"PATH": f"{self.home}/bin:{os.environ['PATH']}", "XDG_CACHE_HOME": f"{self.home}/cache"})
        self.assertEqual(done.returncode, 7, done.stderr)  # the client's own
        return json.loads(done.stdout)

    def test_claude_is_given_what_a_shell_can_read(self):
        text = self.ok("connect", "claude", *self.to_server)
        shown = subprocess.run(["sh", "-ec", text + "\nenv"], env={}, capture_output=True, text=True, check=True).stdout
        self.assertIn(f"ANTHROPIC_BASE_URL={self.server.url}\n", shown)  # no /v1
        self.assertIn(f"ANTHROPIC_AUTH_TOKEN={KEY}\n", shown)
        self.assertIn("CLAUDE_CODE_MAX_CONTEXT_TOKENS=65536\n", shown)
        for tier in ("OPUS", "SONNET", "HAIKU"):
            self.assertIn(f"ANTHROPIC_DEFAULT_{tier}_MODEL=lucebox\n", shown)

    def test_claude_is_started_with_its_own_arguments(self):
        got = self.started("claude", *self.to_server, "--", "--print", "Hi there")
        self.assertEqual(got["arguments"], ["--print", "Hi there"])
        self.assertEqual(got["variables"]["ANTHROPIC_BASE_URL"], self.server.url)
        self.assertEqual(got["variables"]["ANTHROPIC_AUTH_TOKEN"], KEY)

    def test_codex_is_started_with_the_models_it_should_know(self):
        got = self.started("codex", *self.to_server, "--", "exec", "--json", "Hi")
        self.assertEqual(got["arguments"][-3:], ["exec", "--json", "Hi"])
        self.assertEqual(got["variables"]["LUCEBOX_API_KEY"], KEY)
        settings = tomllib.loads("\n".join(word for word in got["arguments"] if "=" in word))
        self.assertEqual(settings["model_providers"]["lucebox"]["base_url"], self.server.url + "/v1")
        models = json.loads(Path(settings["model_catalog_json"]).read_text())["models"]
        self.assertEqual(models[0]["slug"], settings["model"])
        self.assertEqual(models[0]["context_window"], 65536)
        self.assertGreater(len(models[0]["base_instructions"]), 100)

    def test_codex_settings_are_toml(self):
        text = self.ok("connect", "codex", *self.to_server)
        toml = text.split("\n# and in the shell")[0]
        self.assertEqual(tomllib.loads(toml)["model_providers"]["lucebox"]["wire_api"], "responses")

    def test_opencode_and_aider_settings_are_json_and_written_once(self):
        text = self.ok("connect", "opencode", *self.to_server)
        shown = json.loads(text.split("\n", 1)[1])
        limits = shown["provider"]["lucebox"]["models"]["lucebox"]["limit"]
        self.assertEqual(limits, {"context": 65536, "output": 8192})
        here = {"cwd": self.home, "env": {"PATH": os.environ["PATH"], "HOME": self.home}, "capture_output": True, "text": True}
        for client, file in (("opencode", "opencode.json"), ("aider", ".aider.model.metadata.json"), ("claude", ".claude/settings.local.json")):
            words = [BINARY, "connect", client, *self.to_server, "--write"]
            self.assertEqual(subprocess.run(words, **here).returncode, 0)
            content = (Path(self.home) / file).read_text()
            json.loads(content)
            again = subprocess.run(words, **here)
            self.assertNotEqual(again.returncode, 0)
            self.assertIn("left as it is", again.stderr)
            self.assertEqual((Path(self.home) / file).read_text(), content)

    def test_open_webui_is_told_the_port(self):
        self.assertIn(f"host.docker.internal:{self.server.url.rsplit(':', 1)[1]}/v1", self.ok("connect", "openwebui", *self.to_server))

    def test_what_cannot_be_is_said(self):
        self.refused(64, "emacs", "opencode", "connect", "emacs")
        self.refused(64, "one client", "aider", "connect")
        self.refused(69, "wants a key", "--api-key-file", "connect", "claude", "--url", self.server.url)
        self.refused(69, "127.0.0.1:1", "lucebox serve", "claude", "--url", "http://127.0.0.1:1")
        done = self.lucebox("codex", *self.to_server, environment={"PATH": "/nonexistent"})
        self.assertIn("codex cannot be started", done.stderr)
        self.assertIn("PATH", done.stderr)

    def test_top_shows_what_the_server_does(self):
        text = self.ok("top", "--once", *self.to_server)
        self.assertIn("scripted (llama, F32)", text)
        self.assertRegex(text, r"generated +[0-9.]+ tokens/s")
        self.assertRegex(text, r"running +0 of 4 ")
        self.assertNotIn("\x1b", text)
        self.refused(69, "401", "--api-key-file", "top", "--once", "--url", self.server.url)

    def test_a_small_context_is_warned_of(self):
        with ScriptedServer([], "--context", "8192") as small:
            done = self.lucebox("connect", "claude", "--url", small.url)
            self.assertRegex(re.sub(r"\x1b\[[0-9;]*m", "", done.stderr), r"8192 tokens; claude wants 65536")


if __name__ == "__main__":
    unittest.main()
