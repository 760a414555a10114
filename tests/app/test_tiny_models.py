"""`lucebox logits` on random tiny models against numpy, other seeds than the committed selection: see tools/tiny_models.py."""
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from environment import BINARY, enter_venv

enter_venv(Path(__file__).resolve().parent.parent / "e2e" / "requirements.txt")

sys.exit(subprocess.run([sys.executable, "tools/tiny_models.py", "check", BINARY, "--models", "15", "--seed", "500"]).returncode)
