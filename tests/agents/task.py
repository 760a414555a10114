"""The task every agent gets: a small repository with a slip in it, to be read, mended, run and told about."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))
from scripted import ROOT, ScriptedServer, call  # noqa: E402,F401: for the agents' scripts

LUCEBOX = Path(os.environ.get("LUCEBOX_BINARY", str(ROOT / "build/release/lucebox")))
PROMPT = "Fix the greeting in greet.py, then run it."
WRONG = 'def greet(name):\n    return "Helo " + name\n\n\nif __name__ == "__main__":\n    print(greet("world"))\n'
RIGHT = WRONG.replace("Helo", "Hello")
ANSWER = "Done: the greeting is spelt right."


class Task:
    """A repository, a home of its own for the agent, and the scripted server."""

    def __init__(self, rules, *arguments, **settings):
        self.folder = tempfile.TemporaryDirectory(prefix="agent-")
        self.repository, self.home = Path(self.folder.name) / "repository", Path(self.folder.name) / "home"
        self.repository.mkdir()
        self.home.mkdir()
        self.file = self.repository / "greet.py"
        self.file.write_text(WRONG)
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "Begin"]):
            subprocess.run(["git", *command], cwd=self.repository, check=True)
        self.server = ScriptedServer(rules(self.file) if callable(rules) else rules, *arguments, **settings)

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "NO_PROXY": "127.0.0.1", "LANG": "C.UTF-8", **more}

    def run(self, command, timeout=90, **variables):
        """(exit status, standard output, errors); 124 if it took too long."""
        process = subprocess.Popen([str(word) for word in command], cwd=self.repository, env=self.environment(**variables),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            return 124, out, errors
        return process.returncode, out, errors

    def verdict(self, name, answer, detail=""):
        """Says how it went and ends; the answer must be there, the file right, every request answered with 200."""
        log = self.server.log_text()
        requests = [line for line in log.splitlines() if " access " in line]
        refused = [line for line in requests if " 200 " not in line]
        faults = []
        if ANSWER not in answer:
            faults.append(f"no answer: {answer[-2000:]}")
        if self.file.read_text() != RIGHT:
            faults.append(f"the file: {self.file.read_text()}")
        faults += [f"refused: {line}" for line in refused]
        print(f"{'ok' if not faults else 'FAILED'}: {name}, {len(requests)} requests{', ' + detail if detail else ''}")
        if faults:
            print("\n".join(faults))
            print("\n".join(head for head, _ in self.server.prompts()))
        self.server.stop()
        self.folder.cleanup()
        sys.exit(bool(faults))
