"""What GitHub would do with a workflow for an event: filters, expressions, the jobs that run, and with what in their environment.

Only what our workflow uses is known; anything else is an error, so that it cannot go untested. The rules are those of GitHub's pages
"Evaluate expressions in workflows and actions" and "Workflow syntax".
"""
import os
import re
import subprocess
import tempfile

TOKEN = re.compile(r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>\d+(?:\.\d+)?)|(?P<operator>&&|\|\||==|!=|[!()])|(?P<path>[A-Za-z_][\w-]*(?:\.[\w-]+)*))")
INTERPOLATION = re.compile(r"\$\{\{(.*?)\}\}", re.S)


class Expression:
    """One expression against contexts; what of the context `secrets` was read is noted."""

    def __init__(self, text, contexts):
        self.contexts, self.secrets, self.words, place = contexts, set(), [], 0
        text = text.strip()
        while place < len(text):
            found = TOKEN.match(text, place)
            if not found:
                raise ValueError(f"not an expression that is known here: {text[place:]}")
            self.words.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()

    def value(self):
        out = self.either()
        if self.words:
            raise ValueError(f"left over: {self.words}")
        return out

    def take(self, *operators):
        if self.words and self.words[0][0] == "operator" and self.words[0][1] in operators:
            return self.words.pop(0)[1]
        return None

    def either(self):
        left = self.both()
        while self.take("||"):
            right = self.both()
            left = left if truth(left) else right
        return left

    def both(self):
        left = self.comparison()
        while self.take("&&"):
            right = self.comparison()
            left = right if truth(left) else left
        return left

    def comparison(self):
        left = self.single()
        operator = self.take("==", "!=")
        return left if not operator else equal(left, self.single()) == (operator == "==")

    def single(self):
        if self.take("!"):
            return not truth(self.single())
        if self.take("("):
            out = self.either()
            if not self.take(")"):
                raise ValueError("a parenthesis is not closed")
            return out
        kind, text = self.words.pop(0)
        if kind == "string":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(text)
        if kind != "path":
            raise ValueError(f"unexpected {text}")
        if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        return self.looked_up(text)

    def looked_up(self, path):
        first, *rest = path.split(".")
        value = self.contexts[first]  # an unknown context is a mistake, an unknown key in one is null
        if first == "secrets":
            self.secrets.add(rest[0])
        for name in rest:
            value = value.get(name) if isinstance(value, dict) else None
        return value


def truth(value):
    return value not in (None, False, 0, "")


def number(value):
    if isinstance(value, str):
        try:
            return float(value.strip() or 0)
        except ValueError:
            return float("nan")
    return float(value or 0)


def equal(left, right):
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    if type(left) is type(right):
        return left == right
    return number(left) == number(right)


def text_of(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


class Run:
    """A workflow's run for one event. `jobs`: success, failure or skipped; `steps`: of those that ran, their environment and commands."""

    def __init__(self, workflow, repository, event, changed=(), execute=("plan",)):
        self.workflow, self.folder, self.execute = workflow, repository, execute
        self.contexts = {"secrets": {"GITHUB_TOKEN": "a token"}, "inputs": {}, "github": {"repository": "Luce-Org/lucebox-hub", "actor": "somebody", **event}}
        if event["event_name"] == "workflow_dispatch":
            self.contexts["inputs"] = event["event"]["inputs"]
        self.jobs, self.outputs, self.steps, self.secrets, self.said = {}, {}, {}, set(), ""
        self.triggered = self.is_triggered(event, changed)
        if self.triggered:
            self.replaces_older = self.evaluated(workflow["concurrency"]["cancel-in-progress"])
            for name in workflow["jobs"]:
                self.run(name)

    def is_triggered(self, event, changed):
        on = self.workflow[True]  # YAML reads the key `on` as true
        name = event["event_name"]
        if name not in on:
            return False
        rule = on[name] or {}
        unknown = set(rule) - {"branches", "paths", "types", "inputs"}
        if unknown:
            raise ValueError(f"{name}: {unknown}")
        if "branches" in rule and event["ref"].removeprefix("refs/heads/") not in rule["branches"]:
            return False
        if "types" in rule and event["event"]["action"] not in rule["types"]:
            return False
        return "paths" not in rule or any(matches(path, pattern) for path in changed for pattern in rule["paths"])

    def evaluated(self, text):
        """A value of the workflow: an expression alone keeps its type, one within a text becomes text."""
        if not isinstance(text, str):
            return text
        alone = INTERPOLATION.fullmatch(text.strip())
        if alone:
            return self.expression(alone[1])
        return INTERPOLATION.sub(lambda found: text_of(self.expression(found[1])), text)

    def expression(self, text):
        expression = Expression(text, self.contexts)
        value = expression.value()
        self.secrets |= expression.secrets
        return value

    def run(self, name):
        if name in self.jobs:
            return
        job = self.workflow["jobs"][name]
        needs = job.get("needs", [])
        needs = [needs] if isinstance(needs, str) else needs
        for other in needs:
            self.run(other)
        self.contexts["needs"] = {other: {"outputs": self.outputs.get(other, {}), "result": self.jobs[other]} for other in needs}
        # Without always() and the like a job runs only if all went well before.
        wanted = all(self.jobs[other] == "success" for other in needs)
        if wanted and "if" in job:
            wanted = truth(self.expression(str(job["if"]).strip().removeprefix("${{").removesuffix("}}")))
        self.jobs[name] = "skipped"
        if wanted:
            self.jobs[name] = "success" if self.run_steps(name, job) else "failure"

    def run_steps(self, name, job):
        self.contexts["steps"], self.steps[name] = {}, []
        for step in job["steps"]:
            unknown = set(step) - {"id", "uses", "with", "run", "env", "shell", "name"}
            if unknown:
                raise ValueError(f"{name}: {unknown}")
            environment = {key: text_of(self.evaluated(value)) for key, value in step.get("env", {}).items()}
            self.steps[name].append((environment, step.get("run", "")))
            if "run" in step and name in self.execute and not self.executed(step, environment):
                return False
        self.outputs[name] = {key: text_of(self.evaluated(value)) for key, value in job.get("outputs", {}).items()}
        return True

    def executed(self, step, environment):
        shell = step.get("shell", self.workflow.get("defaults", {}).get("run", {}).get("shell"))
        # What GitHub runs where nobody named a shell does not notice that the first command of a pipe failed.
        words = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}[shell]
        with tempfile.TemporaryDirectory() as folder:
            output = folder + "/output"
            open(output, "w").close()
            done = subprocess.run([*words, "-c", step["run"]], cwd=self.folder, text=True, capture_output=True,
                                  env={"PATH": os.environ["PATH"], "GITHUB_OUTPUT": output, **environment})
            self.said += done.stderr
            with open(output) as file:
                outputs = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
        if "id" in step:
            self.contexts["steps"][step["id"]] = {"outputs": outputs}
        return done.returncode == 0


def matches(path, pattern):
    """GitHub's patterns: * within one folder, ** across folders."""
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.fullmatch("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts), path) is not None
