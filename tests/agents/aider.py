"""aider: no tools; it sends the file, and edits it by the blocks of the answer."""
import importlib.metadata
import sys
from pathlib import Path

from task import ANSWER, PROMPT, Task

BLOCK = f"""{ANSWER}

greet.py
```python
<<<<<<< SEARCH
    return "Helo " + name
=======
    return "Hello " + name
>>>>>>> REPLACE
```
"""
RULES = [{"has": ["commit message"], "say": "fix: Spell the greeting"}, {"last": [PROMPT], "say": BLOCK}, {"say": "Nothing to add."}]


def main():
    task = Task(RULES)
    code, out, errors = task.run([Path(sys.executable).with_name("aider"), "--model", "openai/scripted", "--weak-model", "openai/scripted", "--edit-format", "diff",
                                  "--yes-always", "--no-check-update", "--no-show-model-warnings", "--analytics-disable", "--no-gitignore", "--no-show-release-notes",
                                  "--test-cmd", "python3 greet.py", "--auto-test", "--message", PROMPT, "greet.py"],
                                 OPENAI_API_BASE=task.server.url + "/v1", OPENAI_API_KEY="sk-lucebox", AIDER_DISABLE_PLAYWRIGHT="1")
    task.verdict("aider " + importlib.metadata.version("aider-chat"), out if code == 0 else out + errors)


main()
