"""The image workflow played for every event: what is built, under which names, and who may push. Its own expressions and commands are
evaluated, with GitHub's rules (github.py); only the jobs that take docker are not executed. What those would ask of docker is told by a
docker that takes notes."""
import os
import subprocess
import tempfile
import unittest

import github
from test_release import FULL, REPOSITORY, SHA, read, yaml  # skips where yaml is not installed

TEXT = read(".github/workflows/docker.yml")


def push(ref="refs/heads/main", changed=("src/app/main.cpp",), text=TEXT):
    return github.Run(yaml.safe_load(text), REPOSITORY, {"event_name": "push", "ref": ref, "sha": SHA, "event": {}}, changed)


def pull_request(changed=("Dockerfile",), fork=False, event="pull_request"):
    head = {"repo": {"full_name": "somebody/else" if fork else "Luce-Org/lucebox-hub", "fork": fork}}
    return github.Run(yaml.safe_load(TEXT), REPOSITORY, {"event_name": event, "ref": "refs/pull/17/merge", "sha": SHA,
                                                        "event": {"action": "opened", "pull_request": {"number": 17, "head": head}}}, changed)


def release(tag, prerelease=False, action="published", text=TEXT):
    return github.Run(yaml.safe_load(text), REPOSITORY, {"event_name": "release", "ref": "refs/tags/" + tag, "sha": SHA,
                                                         "event": {"action": action, "release": {"tag_name": tag, "prerelease": prerelease}}})


def by_hand(wish, ref="refs/heads/main"):
    return github.Run(yaml.safe_load(TEXT), REPOSITORY, {"event_name": "workflow_dispatch", "ref": ref, "sha": SHA, "event": {"inputs": {"push": wish}}})


class Events(unittest.TestCase):
    def published(self, run, *tags):
        self.assertEqual({name for name, state in run.jobs.items() if state == "success"} - {"wrapper"}, {"plan", "smoke", "reproducible", "publish"}, run.said)
        build = next(environment for environment, command in run.steps["publish"] if command == "tools/ci-image.sh build cuda12")
        self.assertEqual(build, {"IMAGE": "ghcr.io/luce-org/lucebox-hub", "TAGS": " ".join(tags), "ARCHES": FULL, "VERSION": tags[0], "GIT_SHA": SHA, "PUSH": "true"})
        self.assertFalse(run.replaces_older)

    def only_built(self, run, tags, arches):
        self.assertEqual({name for name, state in run.jobs.items() if state == "success"}, {"plan", "build", "smoke", "reproducible"}, run.said)
        build = next(environment for environment, command in run.steps["build"] if command == "tools/ci-image.sh build cuda12")
        self.assertEqual(build, {"IMAGE": "ghcr.io/luce-org/lucebox-hub", "TAGS": tags, "ARCHES": arches, "VERSION": tags, "GIT_SHA": SHA})
        self.assertEqual(run.secrets, set())

    def test_main(self):
        self.published(push(), "cuda12", "sha-0123456-cuda12")

    def test_only_main_and_only_what_the_image_is_made_of(self):
        for path in ("Dockerfile", "src/app/main.cpp", "web/chat.html", "image/rootfs.sh", "models/cards/x.json", "models/Small.dflash.gguf", ".github/workflows/docker.yml"):
            self.assertTrue(push(changed=("README.md", path)).triggered, path)
        for path in ("README.md", "docs/container.md", "tests/image/test_image.py", "host/install.sh"):
            self.assertFalse(push(changed=(path,)).triggered, path)
        self.assertFalse(push(ref="refs/heads/feature").triggered)

    def test_a_release(self):
        run = release("v1.2.3")
        self.published(run, "v1.2.3-cuda12", "1.2-cuda12")
        self.assertEqual(run.jobs["wrapper"], "success")
        self.assertEqual(push().jobs["wrapper"], "skipped")

    def test_a_release_that_is_not_published_or_not_final(self):
        for action in ("created", "edited", "deleted"):
            self.assertFalse(release("v1.2.3", action=action).triggered)
        self.published(release("v1.3.0-rc.1", prerelease=True), "v1.3.0-rc.1-cuda12")
        self.published(release("v1.3.0", prerelease=True), "v1.3.0-cuda12")

    def test_a_release_with_another_kind_of_name_fails_and_says_why(self):
        for name in ("lucebox-v1.2.3", "v1.2", "1.2.3", "v1.2.3 x"):
            run = release(name)
            self.assertEqual(run.jobs["plan"], "failure", name)
            self.assertIn(f"not {name}", run.said)
            self.assertEqual({run.jobs[job] for job in ("build", "smoke", "publish")}, {"skipped"})

    def test_a_pull_request(self):
        run = pull_request()
        self.only_built(run, "pr-17-cuda12", "86")
        self.assertTrue(run.replaces_older)
        self.assertIn('image/cuda-arches.sh "$(sed', str(run.steps["build"]))  # the whole list is looked at, though one architecture is built

    def test_a_pull_request_of_a_fork_gets_no_more_than_that(self):
        self.only_built(pull_request(fork=True), "pr-17-cuda12", "86")
        self.assertFalse(pull_request(fork=True, event="pull_request_target").triggered)

    def test_a_pull_request_that_leaves_the_image_alone(self):
        for path in ("src/app/main.cpp", "README.md", "host/install.sh"):
            self.assertFalse(pull_request(changed=(path,)).triggered, path)

    def test_by_hand(self):
        self.only_built(by_hand(False), "sha-0123456-cuda12", FULL)
        self.published(by_hand(True), "cuda12", "sha-0123456-cuda12")
        self.published(by_hand(True, ref="refs/heads/feature"), "sha-0123456-cuda12")

    def test_anything_else_starts_nothing(self):
        for name in ("issues", "schedule", "issue_comment"):
            self.assertFalse(github.Run(yaml.safe_load(TEXT), REPOSITORY, {"event_name": name, "ref": "refs/heads/main", "sha": SHA, "event": {}}).triggered)

    def test_only_who_publishes_reads_the_token(self):
        for run, readers in ((push(), {"publish"}), (release("v1.2.3"), {"publish", "wrapper"}), (pull_request(), set())):
            found = {name for name, steps in run.steps.items() if any("a token" in environment.values() for environment, _ in steps)}
            self.assertEqual(found, readers)

    def test_a_player_that_cannot_see_a_mistake_proves_nothing(self):
        self.assertEqual(push(text=TEXT.replace("needs.plan.outputs.push == 'true'", "needs.plan.outputs.push == true")).jobs["publish"], "skipped")
        self.assertEqual(push(text=TEXT.replace("steps.plan.outputs.push", "steps.plann.outputs.push")).jobs["publish"], "skipped")
        unnoticed = release("nonsense", text=TEXT.replace("    shell: bash\n", "    shell: null\n"))
        self.assertEqual(unnoticed.jobs["plan"], "success")  # a plan that failed, behind a pipe
        for text in ("github.event_name = 'push'", "github.x <", "(true", "true true", "nobody.knows", "contains(github.ref, 'x')"):
            with self.assertRaises((ValueError, KeyError, IndexError), msg=text):
                github.Expression(text, {"github": {}}).value()

    def test_expressions(self):
        contexts = {"github": {"ref": "refs/Heads/Main", "event": {"flag": True, "none": None}}, "inputs": {}}
        for text, value in (("'a' == 'A'", True), ("github.ref == 'refs/heads/main'", True), ("github.event.flag == true", True), ("github.event.flag == 'true'", False),
                            ("inputs.push", None), ("inputs.push == ''", True), ("!github.event.none && 'yes' || 'no'", "yes"), ("(1 == '1') != false", True),
                            ("'it''s'", "it's"), ("null || 'x'", "x")):
            self.assertEqual(github.Expression(text, contexts).value(), value, text)


class Steps(unittest.TestCase):
    """What tools/ci-image.sh asks of docker."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.notes = folder.name + "/notes"
        with open(folder.name + "/docker", "w") as file:
            file.write('#!/bin/sh\n{ for word in "$@"; do printf "%s\\n" "$word"; done; env | grep -E "^(DFLASH|GIT_SHA|IMAGE_TAG|BUILD_TIME)"; } >>"$NOTES"\n[ "$2" != inspect ]\n')
        os.chmod(folder.name + "/docker", 0o755)
        self.environment = {"PATH": f"{folder.name}:{os.environ['PATH']}", "NOTES": self.notes, "HOME": os.environ.get("HOME", "/")}

    def build(self, run, job, **more):
        environment = next(environment for environment, command in run.steps[job] if command.startswith("tools/ci-image.sh build"))
        done = subprocess.run([REPOSITORY + "/tools/ci-image.sh", "build", "cuda12"], cwd=REPOSITORY, text=True, capture_output=True,
                              env={**self.environment, **environment, **more})
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.notes) as file:
            return file.read().splitlines()

    def test_main_is_pushed_under_its_names_with_what_attests_it(self):
        said = self.build(push(), "publish")
        for words in (["--set", "cuda12.tags=ghcr.io/luce-org/lucebox-hub:cuda12"], ["--set", "cuda12.tags=ghcr.io/luce-org/lucebox-hub:sha-0123456-cuda12"],
                      ["bake", "--builder", "lucebox", "cuda12"], ["--push", "--sbom=true", "--provenance=mode=max"]):
            self.assertTrue(any(said[i:i + len(words)] == words for i in range(len(said))), words)
        for word in (f"DFLASH_CUDA_ARCHES={FULL}", f"GIT_SHA={SHA}", "IMAGE_TAG=cuda12"):
            self.assertIn(word, said)
        self.assertTrue(any("cache-to=" in word and word.endswith("mode=max") for word in said))

    def test_a_pull_request_pushes_nothing(self):
        said = self.build(pull_request(), "build")
        self.assertIn("DFLASH_CUDA_ARCHES=86", said)
        self.assertIn("cuda12.tags=ghcr.io/luce-org/lucebox-hub:pr-17-cuda12", said)
        self.assertFalse([word for word in said if word.startswith("--push") or "cache-to" in word or "sbom" in word])

    def test_the_time_of_build_is_the_commits_in_utc_wherever_it_is_built(self):
        if subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True).returncode != 0:
            self.skipTest("this is no checkout")
        seconds = int(subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=REPOSITORY, text=True, capture_output=True, check=True).stdout)
        wanted = subprocess.run(["date", "-u", "-d", f"@{seconds}", "+%Y-%m-%dT%H:%M:%SZ"], text=True, capture_output=True, check=True).stdout.strip()
        self.assertIn(f"BUILD_TIME={wanted}", self.build(push(), "publish", TZ="Asia/Tokyo"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
