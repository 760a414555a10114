#!/usr/bin/env python3
"""Real clients against the server with scripted answers: tests/agents/run.py [NAME...]

Each in an environment of its own under build/agents, made from the package index when it is not there yet (about 1 GB for
all). Needs build/release/tests/scripted_lucebox_server: cmake --build build/release --target scripted_lucebox_server
"""
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parents[1] / "build/agents"
CLIENTS = {"litellm": ("litellm", [["litellm_calls.py"]]),
           "claude": ("claude-agent-sdk", [["claude_code.py"], ["claude_code.py", "--launcher"]]),
           "codex": ("codex-bin", [["codex.py"], ["codex.py", "--without-models"], ["codex.py", "--launcher"]]),
           "aider": ("aider-chat", [["aider.py"]]),
           "mini": ("mini-swe-agent", [["mini_swe_agent.py", family] for family in ("qwen3_5", "gemma4", "laguna_xs_2_1")])}


def main():
    failed = []
    for name in sys.argv[1:] or CLIENTS:
        package, scripts = CLIENTS[name]
        python = ENVIRONMENTS / name / "bin/python"
        if not python.exists():
            print(f"==> installing {package}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", ENVIRONMENTS / name], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package], check=True)
        for script in scripts:
            if subprocess.run([python, HERE / script[0], *script[1:]]).returncode != 0:
                failed.append(" ".join(script))
    print(f"FAILED: {', '.join(failed)}" if failed else "all well")
    sys.exit(bool(failed))


main()
