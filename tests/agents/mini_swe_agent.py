"""mini-swe-agent, which calls through litellm: bash for everything, and a word that ends the task."""
import importlib.metadata
import sys
from pathlib import Path

from task import ANSWER, PROMPT, Task, call

END = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
FAMILY = sys.argv[1] if len(sys.argv) > 1 else "qwen3_5"


def bash(command):
    return call("bash", family=FAMILY, command=command)


RULES = [
    {"has": ["Hello world"], "say": ANSWER + "\n\n" + bash(END)},
    {"has": ["it is spelt"], "say": "Now I run it.\n\n" + bash("python3 greet.py")},
    {"has": ['return \\"Helo'], "say": "I mend it.\n\n" + bash("sed -i s/Helo/Hello/ greet.py && echo it is spelt")},
    {"has": [PROMPT], "say": "I read the file.\n\n" + bash("cat greet.py")}]


def main():
    task = Task(RULES, template=FAMILY)
    config = task.home / "model.yaml"
    config.write_text(f"model:\n  model_name: openai/scripted\n  cost_tracking: ignore_errors\n  model_kwargs:\n    api_base: {task.server.url}/v1\n    api_key: sk-lucebox\n")
    code, out, errors = task.run([Path(sys.executable).with_name("mini"), "--yolo", "--exit-immediately", "-c", "mini.yaml", "-c", config, "-t", PROMPT,
                                  "-o", task.home / "trajectory.json"], MSWEA_CONFIGURED="true", MSWEA_SILENT_STARTUP="1", LITELLM_LOCAL_MODEL_COST_MAP="True", COLUMNS="400")
    trajectory = (task.home / "trajectory.json").read_text() if (task.home / "trajectory.json").exists() else ""
    task.verdict("mini-swe-agent " + importlib.metadata.version("mini-swe-agent") + " with " + FAMILY, trajectory if code == 0 else out + errors)


main()
