"""The server with answers from a script (tests/scripted), for clients that a small model cannot keep busy."""
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LUCEBOX_SCRIPTED", str(ROOT / "build/release/tests/scripted_lucebox_server"))


def call(name, /, family="qwen3_5", **arguments):
    """A call as a family's models write it; a family is named as its template."""
    if family == "gemma4":
        def write(value):
            if isinstance(value, str):
                return f'<|"|>{value}<|"|>'
            if isinstance(value, dict):
                return "{" + ",".join(f"{key}:{write(inner)}" for key, inner in value.items()) + "}"
            return "[" + ",".join(map(write, value)) + "]" if isinstance(value, list) else json.dumps(value)
        return f"<|tool_call>call:{name}{write(arguments)}<tool_call|>"
    if family.startswith("laguna"):
        pairs = (f"<arg_key>{key}</arg_key>\n<arg_value>{value if isinstance(value, str) else json.dumps(value)}</arg_value>\n" for key, value in arguments.items())
        return f"<tool_call>{name}\n{''.join(pairs)}</tool_call>"
    text = f"<tool_call>\n<function={name}>\n"
    for key, value in arguments.items():
        value = value if isinstance(value, str) else json.dumps(value)
        text += f"<parameter={key}>\n{value}\n</parameter>\n"
    return text + "</function>\n</tool_call>"


# A family's template, and the vocabulary that goes with it.
FAMILIES = {"qwen3_5": "qwen35", "gemma4": "gemma4", "laguna_xs_2_1": "laguna"}


class ScriptedServer:
    """Answers by `rules`, of which tests/scripted/scripted_backend.h tells; prompts() is what the model was given."""

    def __init__(self, rules, *arguments, template="qwen3_5", tokenizer=None):
        tokenizer = tokenizer or FAMILIES[template]
        self.folder = tempfile.TemporaryDirectory(prefix="scripted-")
        script = Path(self.folder.name) / "script.json"
        script.write_text(json.dumps({"rules": rules}))
        self.prompts_file = Path(self.folder.name) / "prompts.txt"
        self.log = open(Path(self.folder.name) / "log.txt", "w+")
        data = ROOT / "tests/data"
        self.process = subprocess.Popen(
            [BINARY, script, data / f"tokenizers/{tokenizer}.gguf", data / f"templates/{template}.jinja",
             "--prompts", self.prompts_file, *arguments], stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if found := re.search(r"at\s+(http://\S+)", line):
                self.url = found.group(1)
                return
        raise RuntimeError("the scripted server ended: " + self.log_text())

    def log_text(self):
        self.log.flush()
        return Path(self.log.name).read_text()

    def prompts(self):
        """(head line, text) of each."""
        if not self.prompts_file.exists():
            return []
        return [tuple(part.split("\n", 1)) for part in self.prompts_file.read_text().split("===== ")[1:]]

    def release(self):
        """Answers whose rule says `"until": "released"` go on without their pace."""
        Path(self.folder.name, "released").touch()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()
        self.log.close()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
