"""Runs the program in a home of the test's own."""
import os
import shutil
import subprocess
import tempfile
import unittest

BINARY = os.environ["LUCEBOX_BINARY"]


class Home(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)
        self.file = os.path.join(self.home, ".config/lucebox/config.toml")

    def lucebox(self, *words, environment=None, timeout=60):
        variables = {"PATH": os.environ["PATH"], "HOME": self.home, **(environment or {})}
        return subprocess.run([BINARY, *words], env=variables, text=True, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)

    def ok(self, *words, **options):
        done = self.lucebox(*words, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, code, message, hint, *words, **options):
        done = self.lucebox(*words, **options)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertIn(message, done.stderr)
        self.assertIn(hint, done.stderr)

    def write(self, text):
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        with open(self.file, "w") as file:
            file.write(text)

    def text(self):
        with open(self.file) as file:
            return file.read()
