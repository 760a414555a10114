"""The image, built for real with buildah around this build's program: its files, its start, its manners, its size."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../cli"))
import container  # noqa: E402
import first_hour  # noqa: E402
import schema  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
BINARY = os.environ["LUCEBOX_BINARY"]
WORK = os.path.join(os.environ["LUCEBOX_BUILD"], "image")
MOST_BYTES = 250 * 1000 * 1000
AIM_BYTES = 120 * 1000 * 1000
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA, TAG, TIME = "0123456789abcdef0123456789abcdef01234567", "cuda12", "2026-06-01T12:00:00Z"


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def libraries_packages():
    """The Debian packages of what the program links."""
    text = subprocess.run(["ldd", BINARY], text=True, capture_output=True, check=True).stdout
    packages = set()
    for path in re.findall(r"(/\S+) \(0x", text):
        found = subprocess.run(["dpkg", "-S", os.path.realpath(path), path, path.removeprefix("/usr"), "/usr" + path],
                               text=True, capture_output=True).stdout
        packages.update(line.split(":")[0] for line in found.splitlines())
    return sorted(packages)


def debian_root():
    """An archive of a Debian root that holds the program's libraries, as the stage that compiles would; kept between runs."""
    os.makedirs(WORK, exist_ok=True)
    packages = ",".join(["ca-certificates", "busybox-static", *libraries_packages()])
    archive, note = os.path.join(WORK, "base.tar"), os.path.join(WORK, "base.packages")
    if not os.path.exists(archive) or not os.path.exists(note) or pathlib.Path(note).read_text() != packages:
        shutil.rmtree(archive, ignore_errors=True)
        subprocess.run(["mmdebstrap", "--quiet", "--variant=essential", f"--include={packages}", "bookworm", WORK + "/new.tar"],
                       check=True, capture_output=True, timeout=600)
        os.rename(WORK + "/new.tar", archive)
        with open(note, "w") as file:
            file.write(packages)
    return archive


def base_image():
    archive = debian_root()
    working = container.buildah("from", "scratch")
    container.buildah("add", working, archive, "/")
    container.buildah("commit", "--quiet", "--rm", working, "localhost/lucebox-base")


def build_image():
    context = os.path.join(WORK, "context")
    shutil.rmtree(context, ignore_errors=True)
    os.makedirs(os.path.join(context, "build/image"))
    shutil.copytree(os.path.join(REPOSITORY, "image"), os.path.join(context, "image"))
    shutil.copytree(os.path.join(REPOSITORY, "models"), os.path.join(context, "models"))
    subprocess.run(["strip", "--strip-unneeded", "-o", os.path.join(context, "build/image/lucebox"), BINARY], check=True)
    container.buildah("build", "--quiet", "--format", "docker", "--layers=false", "--build-arg", "BUILD_BASE=localhost/lucebox-base",
                      "--build-arg", "BINARY=prebuilt", "--build-arg", f"GIT_SHA={SHA}", "--build-arg", f"IMAGE_TAG={TAG}",
                      "--build-arg", f"BUILD_TIME={TIME}", "--file", os.path.join(REPOSITORY, "Dockerfile"), "--tag", "localhost/lucebox-hub:cuda12",
                      context, timeout=600)


def setUpModule():
    global image
    shutil.rmtree(os.path.join(WORK, "storage"), ignore_errors=True)
    container.storage(os.path.join(WORK, "storage"))
    base_image()
    build_image()
    image = container.Image("localhost/lucebox-hub:cuda12")


def tearDownModule():
    image.close()
    shutil.rmtree(os.path.join(WORK, "storage"), ignore_errors=True)


def computes_on_gpus():
    devices = json.loads(subprocess.run([BINARY, "version", "--json"], capture_output=True, text=True, check=True).stdout)["devices"]
    return any(device["kind"] == "cuda" for device in devices)


def model_folder():
    """A folder with the default model, which the program fetches once if it is not on this machine yet."""
    cached = os.path.expanduser(f"~/.cache/lucebox/models/{MODEL}")
    if not os.path.exists(cached):
        subprocess.run([BINARY, "generate", "--prompt", "a", "--max-tokens", "1"], check=True, capture_output=True, timeout=300)
    folder = os.path.join(WORK, "models")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, MODEL)):
        shutil.copy(cached, folder)
    return folder


class Files(unittest.TestCase):
    def test_there_is_the_program_and_little_else(self):
        programs = set(os.listdir(image.root + "/usr/bin"))
        self.assertEqual(programs, {"lucebox", "busybox", "sh"})
        libraries = os.listdir(image.root + "/usr/lib/x86_64-linux-gnu")
        self.assertTrue(all(re.match(r"lib.*\.so", name) for name in libraries), libraries)
        for folder, _, names in os.walk(image.root):
            for name in names:
                self.assertNotRegex(name, r"^(libcuda\.|libcudart|libcublas|libnvidia|python|perl|apt|dpkg)", folder)

    def test_it_is_small(self):
        size = sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(image.root) for name in names)
        print(f"unpacked: {size / 1e6:.1f} MB (limit {MOST_BYTES / 1e6:.0f}, aim {AIM_BYTES / 1e6:.0f}), {'with GPU code' if computes_on_gpus() else 'computing on the CPU only'}")
        self.assertLess(size, AIM_BYTES)

    def test_nothing_is_set_uid_or_writable_by_others(self):
        for folder, folders, names in os.walk(image.root):
            for name in folders + names:
                status = os.lstat(os.path.join(folder, name))
                if os.path.islink(os.path.join(folder, name)):
                    continue
                self.assertEqual(status.st_mode & 0o6000, 0, name)
                if os.path.join(folder, name).removeprefix(image.root) not in ("/tmp", "/models"):
                    self.assertEqual(status.st_mode & 0o002, 0, name)

    def test_cards_and_the_default_models_draft_are_there(self):
        cards = os.listdir(REPOSITORY + "/models/cards")
        self.assertEqual(sorted(os.listdir(image.root + "/opt/lucebox-hub/share/model_cards")), sorted(cards))
        self.assertEqual(os.listdir(image.root + "/usr/share/lucebox/models"), ["SmolLM2-135M-Instruct.dflash.gguf"])

    def test_certificates_are_there(self):
        self.assertGreater(os.path.getsize(image.root + "/etc/ssl/certs/ca-certificates.crt"), 100_000)

    def test_the_folder_of_earlier_images_leads_to_the_models(self):
        self.assertEqual(os.readlink(image.root + "/opt/lucebox-hub/server/models"), "/models")

    def test_it_says_what_it_is(self):
        config = image.config
        labels = config["Labels"]
        self.assertEqual(labels["org.opencontainers.image.revision"], SHA)
        self.assertEqual(labels["org.opencontainers.image.version"], TAG)
        self.assertEqual(labels["org.opencontainers.image.created"], TIME)
        self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")
        self.assertEqual(config["Entrypoint"], ["/usr/bin/lucebox", "entry"])
        self.assertEqual(config["Healthcheck"]["Test"], ["CMD", "/usr/bin/lucebox", "healthcheck"])
        self.assertGreaterEqual(config["Healthcheck"]["StartPeriod"], 900 * 10**9)  # a large model loads for minutes
        self.assertTrue(labels["org.opencontainers.image.source"].startswith("https://"))
        self.assertEqual(config["User"], "65532:65532")
        self.assertIn("8080/tcp", config["ExposedPorts"])
        self.assertIn("/models", config["Volumes"])
        with open(image.root + "/opt/lucebox-hub/IMAGE_INFO") as file:
            self.assertEqual(file.read(), f"{SHA}\n{TAG}\n{TIME}\n")


class Entry(unittest.TestCase):
    def test_a_subcommand_of_the_program(self):
        done = image.run("lucebox", "version", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("version", json.loads(done.stdout))

    def test_a_shell(self):
        done = image.run("shell", "-c", "id -u; echo $$; touch /x 2>&1; echo hi >/tmp/y && cat /tmp/y")
        self.assertEqual(done.stdout.split("\n")[:2], ["65532", "1"])
        self.assertIn("Read-only", done.stdout)
        self.assertIn("hi", done.stdout)

    def test_anything_else_is_executed_as_it_stands(self):
        self.assertEqual(image.run("busybox", "echo", "a  b", "--serve").stdout, "a  b --serve\n")
        self.assertEqual(image.run("sh", "-c", "exit 7").returncode, 7)

    def test_what_cannot_be_executed_is_said(self):
        done = image.run("pyhton", "-m", "x")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("cannot execute pyhton", done.stderr)

    def test_any_user_will_do(self):
        for user in ("0:0", "12345:54321"):
            self.assertEqual(image.run("lucebox", "version", user=user).returncode, 0, user)

    def test_no_model_and_no_way_to_fetch_one_is_explained(self):
        done = image.run("serve", "--port", str(container.free_port()), "--model", "no-such-model", environment=["LUCEBOX_DEVICE=cpu"])
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no-such-model", done.stderr)

    def test_a_folder_without_a_model_says_how_to_give_one(self):
        folder = os.path.join(WORK, "empty")
        os.makedirs(folder, exist_ok=True)
        done = image.run("serve", "--port", str(container.free_port()), environment=["LUCEBOX_DEVICE=cpu", "PIP_INDEX_URL=http://127.0.0.1:1/"], mounts=[(folder, "/models", False)])
        self.assertEqual(done.returncode, 74, done.stderr)
        self.assertIn("-v FOLDER:/models", done.stderr)

    def test_no_gpu_is_explained_in_three_lines(self):
        if not computes_on_gpus():
            self.skipTest("skipped: this build computes on the CPU only")
        if os.path.exists("/dev/nvidiactl"):
            self.skipTest("skipped: there is a GPU")
        done = image.run()
        self.assertEqual(done.returncode, 78)
        self.assertEqual(len(done.stderr.strip().splitlines()), 3, done.stderr)
        self.assertIn("--gpus all", done.stderr)
        self.assertIn("LUCEBOX_DEVICE=cpu", done.stderr)


class Server:
    """The image's server, started as docker would, with the model folder read-only."""

    def __init__(self, *words, user="12345:12345", environment=()):
        self.port = container.free_port()
        command = image.command(words, user=user, environment=[f"DFLASH_PORT={self.port}", "LUCEBOX_DEVICE=cpu", *environment],
                                mounts=[(model_folder(), "/models", False)])
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait(self):
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(self.process.stdout.read())
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2).status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("not ready")

    def init(self):
        """The process that is number 1 inside."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return int(file.read().split()[0])

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.init(), signal.SIGKILL)
        self.process.communicate()


class Manners(unittest.TestCase):
    def setUp(self):
        self.server = Server(environment=["LUCEBOX_DRAIN=3s"])
        self.addCleanup(self.server.stop)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=30) as answer:
            return answer.headers, json.loads(answer.read())

    def test_it_serves_says_what_it_is_and_ends_when_told(self):
        probe = image.run("healthcheck", entrypoint="/usr/bin/lucebox", environment=[f"LUCEBOX_PORT={self.server.port}"])
        self.assertIn(probe.returncode, (0, 69))
        self.server.wait()
        probe = image.run("healthcheck", entrypoint="/usr/bin/lucebox", environment=[f"LUCEBOX_PORT={self.server.port}"])
        self.assertEqual(probe.returncode, 0, probe.stderr)

        headers, props = self.get("/props")
        with open(os.path.join(REPOSITORY, "docs/props.schema.json")) as file:
            self.assertEqual(schema.problems(props, json.load(file)), [])
        self.assertEqual(props["model"]["draft"]["path"], "/usr/share/lucebox/models/SmolLM2-135M-Instruct.dflash.gguf")
        self.assertEqual(props["build"]["git_sha"], SHA)
        self.assertEqual(props["build"]["image_tag"], TAG)
        self.assertEqual(props["build"]["build_time"], TIME)
        self.assertEqual(props["host"]["source"], "container")
        self.assertGreater(props["host"]["nproc"], 0)
        self.assertTrue(headers["x-lucebox-build"])

        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}/v1/chat/completions", method="POST",
                                         headers={"Content-Type": "application/json"},
                                         data=b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}')
        with urllib.request.urlopen(request, timeout=120) as answer:
            self.assertTrue(json.loads(answer.read())["choices"])

        began = time.monotonic()
        os.kill(self.server.init(), signal.SIGTERM)
        self.assertEqual(self.server.process.wait(10), 0)
        self.assertLess(time.monotonic() - began, 10)
        probe = image.run("healthcheck", entrypoint="/usr/bin/lucebox", environment=[f"LUCEBOX_PORT={self.server.port}"])
        self.assertEqual(probe.returncode, 69)


    def children(self):
        """Of process 1, in the words of this machine: (number, state)."""
        init, found = self.server.init(), []
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = pathlib.Path("/proc", process, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == init:
                found.append((process, fields[0]))
        return found

    def test_orphans_are_taken_in_and_reaped(self):
        self.server.wait()
        subprocess.run(["nsenter", "--target", str(self.server.init()), "--pid", "sh", "-c", "(sleep 600 &)"], check=True)
        (orphan, _), = self.children()
        os.kill(int(orphan), signal.SIGTERM)
        for _ in range(300):
            if not self.children():
                break
            time.sleep(0.1)
        self.assertEqual(self.children(), [])

    def test_an_answer_that_runs_does_not_keep_it_from_ending(self):
        self.server.wait()
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}/v1/completions", data=b'{"prompt": "Once", "max_tokens": 7000, "stream": true, "ignore_eos": true}')
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.readline()
            began = time.monotonic()
            os.kill(self.server.init(), signal.SIGTERM)
            self.assertEqual(self.server.process.wait(10), 0)  # docker gives it ten seconds; this machine may do much else
            self.assertGreater(time.monotonic() - began, 1)  # it was given some time
        own = json.loads(image.run("lucebox", "config", "--json").stdout)["drain"]
        self.assertEqual((own["value"], own["origin"]), ("8s", "default"))  # of docker's ten


class FirstHour(first_hour.FirstHour):
    """As the documentation tells it, with this image."""

    work, repository, program, model_file = WORK, REPOSITORY, BINARY, MODEL


def become_root():
    """Who is not root is so in a user namespace, where all this works as well; mmdebstrap makes one of its own, so it goes first."""
    if subprocess.run(["buildah", "unshare", "true"], capture_output=True).returncode != 0:
        skip("building and running an image takes root, or a user with subordinate ids (/etc/subuid)")
    debian_root()
    os.execvp("buildah", ["buildah", "unshare", sys.executable, *sys.argv])


if __name__ == "__main__":
    missing = [tool for tool in container.TOOLS if not shutil.which(tool)]
    if missing:
        skip(f"{', '.join(missing)} not installed")
    if os.geteuid() != 0:
        become_root()
    unittest.main(verbosity=2)
