"""What an end-to-end test needs from outside: a package of the index, a model. Where it cannot be had the test is skipped
with the reason (exit code 77), never passed."""
import fcntl
import os
import subprocess
import sys
from pathlib import Path

BINARY = os.environ["LUCEBOX_BINARY"]
BUILD = Path(os.environ["LUCEBOX_BUILD"])

# What pip says when the index cannot be reached, as opposed to a mistake of ours.
UNREACHABLE = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "Network is unreachable", "ProxyError",
               "Temporary failure in name resolution", "Connection refused", "SSLError", "Connection reset")


def skip(reason):
    print(f"skipped: {reason}", flush=True)
    sys.exit(77)


def enter_venv(requirements):
    """Goes on in a virtual environment with these packages, made once in the build folder."""
    venv = BUILD / "venv"
    python = venv / "bin" / "python"
    wanted = Path(requirements).read_text()
    made_of = venv / "made-of.txt"
    if Path(sys.prefix) == venv.resolve():
        return
    lock = open(BUILD / "venv.lock", "w")  # tests run side by side: one makes it, the others wait
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not made_of.exists() or made_of.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2",
                              "-r", requirements], capture_output=True, text=True)
        if pip.returncode != 0:
            print(pip.stdout + pip.stderr)
            if any(sign in pip.stderr + pip.stdout for sign in UNREACHABLE):
                skip("the package index cannot be reached, so the openai package is not here")
            sys.exit(1)
        made_of.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def require_model(name=""):
    """The path of a known model, fetched if need be."""
    arguments = ["--model", name] if name else []
    got = subprocess.run([BINARY, "tokenize", "--text", "x", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                         text=True)
    if got.returncode == 69:  # unavailable
        skip(f"the model cannot be fetched: {got.stderr.strip().splitlines()[-2:]}")
    if got.returncode != 0:
        sys.exit(f"the model cannot be used: {got.stderr}")
