"""Every command that the documentation shows and marks with "test" is run: ```sh test, ```python test; with "server", while
a server with the default model answers at the address that the page names."""
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from environment import BINARY, enter_venv, require_model

enter_venv(Path(__file__).resolve().parent.parent / "e2e" / "requirements.txt")
require_model()

from support import Server  # noqa: E402

PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
BLOCK = re.compile(r"^```(sh|python) test( server)?\n(.*?)^```$", re.M | re.S)
ADDRESS = "http://127.0.0.1:8080"


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "1024")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def run_block(self, language, code, needs_server):
        if needs_server:
            self.assertIn(ADDRESS, code)
            code = code.replace(ADDRESS, self.server.url)
        program = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
        path = f"{Path(BINARY).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(program, capture_output=True, text=True, timeout=300, env={**os.environ, "PATH": path})
        self.assertEqual(done.returncode, 0, f"{code}\n{done.stdout}\n{done.stderr}")
        self.assertTrue(done.stdout.strip(), f"{code} printed nothing")
        self.assertNotIn('"error"', done.stdout)

    def test_every_marked_command_does_what_it_says(self):
        count = 0
        for page in PAGES:
            for language, server, code in BLOCK.findall(page.read_text()):
                with self.subTest(page=str(page), code=code):
                    self.run_block(language, code, bool(server))
                    count += 1
        self.assertGreaterEqual(count, 6)


if __name__ == "__main__":
    unittest.main()
