"""Codex (codex-bin): with the models it is told of, with what it assumes of an unknown one, and as `lucebox codex` starts it."""
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from task import ANSWER, LUCEBOX, PROMPT, Task, call

CODEX = Path(sys.executable).with_name("codex")
RULES = [
    {"has": ["Hello world"], "think": "All is well.", "say": ANSWER},
    {"has": ["sed -i", PROMPT], "think": "Now run it.", "say": "Now I run it.\n\n" + call("exec_command", cmd="python3 greet.py")},
    {"has": ['return "Helo "'], "think": "A typo.", "say": "I mend it.\n\n" + call("exec_command", cmd="sed -i s/Helo/Hello/ greet.py")},
    {"has": [PROMPT, "# Tools"], "think": "I read it first.", "say": "I read the file.\n\n" + call("exec_command", cmd="cat greet.py")}]
SETTINGS = """model = "scripted"
model_provider = "lucebox"
{catalog}
[model_providers.lucebox]
name = "Lucebox"
base_url = "{url}/v1"
env_key = "LUCEBOX_API_KEY"
wire_api = "responses"
"""


def command(*words):
    return [*words, "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "--json", PROMPT]


def main(with_catalog, with_launcher):
    task = Task(RULES)
    home = task.home / ".codex"
    home.mkdir()
    if with_launcher:
        got = task.run(command(LUCEBOX, "codex", "--url", task.server.url, "--"), CODEX_HOME=str(home), PATH=f"{CODEX.parent}:/usr/bin:/bin")
    else:
        got = run_with_settings(task, home, with_catalog)
    tell(task, *got, "through lucebox codex" if with_launcher else f"{'with' if with_catalog else 'without'} the server's models", with_catalog)


def run_with_settings(task, home, with_catalog):
    catalog = home / "models.json"
    if with_catalog:
        with urllib.request.urlopen(task.server.url + "/v1/models?client_version=1") as answer:
            catalog.write_bytes(answer.read())
    (home / "config.toml").write_text(SETTINGS.format(url=task.server.url, catalog=f'model_catalog_json = "{catalog}"' if with_catalog else ""))
    return task.run(command(CODEX), CODEX_HOME=str(home), LUCEBOX_API_KEY="sk-lucebox")


def tell(task, code, out, errors, how, with_catalog):
    items = [event["item"] for event in map(json.loads, out.splitlines()) if event["type"] == "item.completed"]
    said = [item["text"] for item in items if item["type"] == "agent_message"]
    run = [item["command"] for item in items if item["type"] == "command_execution"]
    unknown = any("metadata" in item.get("message", "") for item in items)
    if with_catalog and unknown:
        said.append("Codex does not know the model: " + out)
    version = subprocess.run([CODEX, "--version"], capture_output=True, text=True).stdout.strip()
    task.verdict(f"{version} {how}", said[-1] if said and code == 0 else out + errors, f"{len(run)} commands")


main("--without-models" not in sys.argv, "--launcher" in sys.argv)
