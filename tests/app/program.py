"""The program as a test runs it."""
import os
import resource
import subprocess
from pathlib import Path

BINARY = os.environ["LUCEBOX_BINARY"]
ORACLES = Path("tests/data/oracle")


def cpu_seconds_of_children():
    """CPU time of all children that have ended: what a test may bound while other tests run beside it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def clean_environment():
    """Without the caller's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LUCEBOX_")} | {"XDG_CONFIG_HOME": "/nonexistent"}


def run(*arguments, stdin="", timeout=120, environment=None):
    """Runs the program without the caller's own settings; the result has returncode, stdout and stderr."""
    return subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=timeout,
                          env={**clean_environment(), **(environment or {})})
