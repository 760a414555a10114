"""The documentation against the program: the table of settings, the layers, links, and the length of files."""
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, "tools")
import os

import options_table

BINARY = os.environ["LUCEBOX_BINARY"]
PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


class Docs(unittest.TestCase):
    def test_the_table_of_settings_is_the_programs_own(self):
        page = Path("docs/operations.md").read_text()
        shown = page[page.index(options_table.BEGIN) + len(options_table.BEGIN):page.index(options_table.END)]
        self.assertEqual(shown, options_table.table(BINARY), "run: tools/options_table.py build/release/lucebox --write")

    def test_links_lead_to_files(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), f"{page}: {target}")

    def test_files_that_are_named_exist(self):
        for page in PAGES:
            for name in re.findall(r"`((?:src|tests|tools|bench|docs)/[\w./-]+)`", page.read_text()):
                found = Path(name).exists() or list(Path(name).parent.glob(Path(name).name + ".*"))
                self.assertTrue(found, f"{page} names {name}")

    def test_make_targets_that_are_named_exist(self):
        targets = set(re.findall(r"(?m)^([a-z-]+):", Path("Makefile").read_text()))
        for page in PAGES:
            for target in re.findall(r"(?m)(?:^|`)make ([a-z-]+)", page.read_text()):
                self.assertIn(target, targets, page)

    def test_no_file_of_ours_is_longer_than_a_reader_can_hold(self):
        files = subprocess.run(["git", "ls-files", "*.py", "*.sh", "*.md", "*.txt", "*.cmake", "Makefile"], capture_output=True,
                               text=True).stdout.split()
        for name in files:
            if not name.startswith("tests/data/") and Path(name).exists():
                self.assertLessEqual(len(Path(name).read_text().splitlines()), 800, name)


if __name__ == "__main__":
    unittest.main()
