"""The commands that the documentation shows. Each block of a shell or of Python says how it is tried:

  sh test            as it stands, by tests/docs/test_commands.py; "test server": while a server answers at the address named in it;
                     "test mirror": with a mirror of Hugging Face that holds small files
  sh test image      with the built image, by tests/image/first_hour.py
  sh test service    against a machine that fakes play, by tests/host/docs.bats
  sh untested: WHY   by nobody here; the commands and flags in it are looked up all the same
"""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.M | re.S)
WAYS = {"test", "test server", "test mirror", "test image", "test service"}


class Block:
    def __init__(self, page, language, way, code):
        self.page, self.language, self.way, self.code = page, language, way, code

    @property
    def lines(self):
        """Commands without their comments; one that goes on over several lines is one."""
        joined = self.code.replace("\\\n", " ")
        return [line for line in (re.sub(r"\s+#.*$", "", line).strip() for line in joined.splitlines()) if line]


def blocks(pages=PAGES):
    for page in pages:
        for info, code in FENCE.findall(page.read_text()):
            language, _, way = info.partition(" ")
            yield Block(page.relative_to(ROOT), language, way, code)
