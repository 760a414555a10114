"""helm itself, where it can be had: the program, or the same code as a library (the package helm-python-sdk, of 75 MB, which is why no
test fetches it by itself; PYTHONPATH may lead to it)."""
import json
import shutil
import subprocess

try:
    import helm_python
except ImportError:
    helm_python = None


def here():
    return bool(shutil.which("helm") or helm_python)


def lint(chart):
    """What it complains of, warnings too."""
    if shutil.which("helm"):
        done = subprocess.run(["helm", "lint", "--strict", chart], text=True, capture_output=True)
        return done.stdout if done.returncode else ""
    report = helm_python.lint(chart, strict=True)
    return "\n".join([*report["errors"], *(each["error"] for each in report["messages"] if each["severity"] > 1)])


def template(chart, values):
    """The chart's texts; ValueError: the values are refused."""
    if shutil.which("helm"):
        done = subprocess.run(["helm", "template", "box", chart, "--namespace", "ai", "--values", "-"], input=json.dumps(values), text=True, capture_output=True)
        if done.returncode:
            raise ValueError(done.stderr)
        return [done.stdout]
    try:
        return list(helm_python.Chart.load(chart).render(values, name="box", namespace="ai").values())
    except helm_python.HelmError as error:
        raise ValueError(str(error)) from error
