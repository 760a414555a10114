"""Every command that the documentation shows is run (see blocks.py), or says why not; and what is named in passing exists."""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in ("e2e", "docs", "cli", "app"):
    sys.path.insert(0, str(ROOT / folder))
from environment import BINARY, enter_venv, require_model

enter_venv(ROOT / "e2e" / "requirements.txt")
require_model()

import json  # noqa: E402

import npy  # noqa: E402
from blocks import PAGES, WAYS, blocks  # noqa: E402
from support import Server  # noqa: E402
from test_models import Endpoint, preset, registry  # noqa: E402

ADDRESS = "http://127.0.0.1:8080"
WRAPPER = ROOT.parent / "host" / "lucebox"


def default_model():
    done = subprocess.run([BINARY, "models", "--json"], text=True, capture_output=True, check=True)
    return next(entry["path"] for entry in json.loads(done.stdout) if entry["default"])


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "1024")
        cls.model = default_model()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def workplace(self):
        """A folder with what the pages call M.gguf and so on, and a home of its own with this machine's models."""
        self.work = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.work)
        data = ROOT / "data/oracle/dflash-qwen3"
        for name, target in (("M.gguf", self.model), ("D.gguf", ROOT.parent / "models/SmolLM2-135M-Instruct.dflash.gguf"), ("FOLDER", data / "draft")):
            os.symlink(target, os.path.join(self.work, name))
        npy.write_ids(self.work + "/T.npy", [1, 2, 3, 4, 5, 6])
        os.mkdir(self.work + "/home")
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.environment = {**os.environ, "HOME": self.work + "/home", "XDG_CACHE_HOME": cache,
                            "PATH": f"{Path(BINARY).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run_block(self, block):
        self.workplace()
        code = block.code
        if block.way == "test server":
            self.assertIn(ADDRESS, code)
            code = code.replace(ADDRESS, self.server.url)
        if block.way == "test mirror":
            with open(self.model, "rb") as file:
                content = file.read()
            mirror = Endpoint({"Qwen3.6-27B-Q4_K_M.gguf": content, "dflash-draft-3.6-q4_k_m.gguf": b"a draft"})
            self.addCleanup(mirror.server_close)
            self.addCleanup(mirror.shutdown)
            self.environment |= {"HF_ENDPOINT": mirror.url, "LUCEBOX_CACHE": self.work + "/cache", "LUCEBOX_REGISTRY": registry(self.work + "/home", preset())}
        if block.lines[0].startswith("lucebox serve"):
            self.assertEqual(len(block.lines), 1)
            return self.run_server(shlex.split(block.lines[0])[2:])
        before = set(os.listdir(self.work))
        program = ["bash", "-euo", "pipefail", "-c", code] if block.language == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(program, capture_output=True, text=True, timeout=300, env=self.environment, cwd=self.work)
        self.assertEqual(done.returncode, 0, f"{code}\n{done.stdout}\n{done.stderr}")
        self.assertTrue(done.stdout.strip() or set(os.listdir(self.work)) - before, f"{code} printed nothing and made nothing")
        self.assertNotIn('"error"', done.stdout)

    def run_server(self, words):
        here = os.getcwd()
        os.chdir(self.work)
        try:
            server = Server(*words, "--context", "512")
        finally:
            os.chdir(here)
        self.assertEqual(server.get("/health")[0], 200)
        server.__exit__()

    def test_every_marked_command_does_what_it_says(self):
        count = 0
        for block in blocks():
            if block.language in ("sh", "python") and block.way in ("test", "test server", "test mirror"):
                with self.subTest(page=str(block.page), code=block.code):
                    self.run_block(block)
                    count += 1
        self.assertGreaterEqual(count, 11)


class Marks(unittest.TestCase):
    def test_every_block_says_how_it_is_tried(self):
        for block in blocks():
            if block.language in ("sh", "bash", "shell", "console", "python", ""):
                self.assertTrue(block.way in WAYS or re.match(r"untested: \w.{10,}", block.way), f"{block.page}: '{block.language} {block.way}'\n{block.code}")

    def test_no_command_hides_in_an_indented_block(self):
        for page in PAGES:
            text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
            self.assertIsNone(re.search(r"(?m)^ {4,}(lucebox|docker|curl|make|host/|pip|python3?) ", text), page)

    def test_make_builds_what_it_configures(self):
        for arguments, preset in (["cuda"], "cuda"), (["cuda", "PRESET=cuda-dev"], "cuda-dev"), (["build", "PRESET=asan"], "asan"):
            done = subprocess.run(["make", "-n", *arguments], cwd=ROOT.parent, text=True, capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, rf"(--preset|build\.sh) {preset}\b")
            for folder in re.findall(r"--build (\S+)", done.stdout):
                self.assertEqual(folder, f"build/{preset}")

    def test_what_make_would_do_is_known(self):
        for block in blocks():
            for line in block.lines:
                if line.startswith("make "):
                    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT.parent, text=True, capture_output=True)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_image_that_is_not_built_here_is_built_by_the_workflow(self):
        workflow = (ROOT.parent / ".github/workflows/docker.yml").read_text()
        shown = [line for block in blocks() for line in block.lines if line.startswith("docker build ") and "BUILD_BASE" in line]
        self.assertTrue(shown)
        for line in shown:
            self.assertIn(" ".join(word for word in line.split()[2:] if word.startswith(("--build-arg", "BUILD_BASE", "DFLASH"))), workflow)


class Words(unittest.TestCase):
    """Commands and flags that the text names, also in passing."""

    def help_of(self, *words):
        if words not in self.known:
            done = subprocess.run([BINARY, *words, "--help"], text=True, capture_output=True)
            self.known[words] = done.stdout.replace("--[no-]", "--") if done.returncode == 0 else ""
        return self.known[words]

    known = {}

    def named(self):
        for page in PAGES:
            text = page.read_text()
            for code in re.findall(r"(?<!`)`(lucebox [^`]+)`(?!`)", text):
                yield page, code
        for block in blocks():
            for line in block.lines:
                yield from ((block.page, command.strip()) for command in re.split(r"&&|\|", line) if command.strip().startswith("lucebox "))

    def test_they_exist(self):
        wrapper = "".join(path.read_text() for path in sorted((ROOT.parent / "host/parts").glob("*.sh")))
        wrapped = set(re.search(r"COMMANDS='(.*?)'", wrapper)[1].split())
        count = 0
        for page, command in self.named():
            words = re.sub(r"[\[\]]", "", command).split()
            name = words[1]
            if name.startswith("-"):
                continue
            if name.isupper():  # lucebox COMMAND
                continue
            count += 1
            text = self.help_of(name)
            self.assertTrue(text or name in wrapped, f"{page}: {command}")
            for word in words[2:]:
                flag = word.split("=")[0]
                if flag == "--":
                    break
                if flag.startswith("--"):
                    in_wrapper = name in wrapped and f"{flag}" in wrapper
                    self.assertTrue(re.search(rf"(?<![\w-]){flag}(?![\w-])", text) or in_wrapper, f"{page}: {command}: there is no {flag}")
        self.assertGreater(count, 20)


if __name__ == "__main__":
    unittest.main()
