#!/usr/bin/env python3
"""Pictures of both pages for docs/images, light and dark, on a desktop and on a phone, with scripted answers:

    LUCEBOX_BINARY=build/release/lucebox LUCEBOX_BUILD=build/release tools/screenshots.py [FOLDER]

Needs what tests/clients/test_pages.py needs. Colours are reduced to 64 where Pillow is installed, for size.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
import test_pages  # noqa: E402: goes on in an environment that has playwright

ASKED = "How do I greet somebody in Python?"


def smaller(path):
    try:
        from PIL import Image
    except ImportError:
        return
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


class Pictures(test_pages.Pages):
    def pictures(self, folder):
        for scheme in ("light", "dark"):
            for size in ("desktop", "phone"):
                page = self.open(size=size, scheme=scheme)
                self.say(page, ASKED)
                self.finished(page)
                page.screenshot(path=folder / f"chat-{scheme}-{size}.png")
                page = self.open("/status", size=size, scheme=scheme)
                self.until(page, "document.body.innerText.includes('scripted')")
                background = self.open(size=size, scheme=scheme)
                self.say(background, "Story")  # something to look at
                page.wait_for_timeout(4000)
                page.screenshot(path=folder / f"status-{scheme}-{size}.png")
                background.keyboard.press("Escape")
                self.finished(background)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images"
    folder.mkdir(parents=True, exist_ok=True)
    Pictures.setUpClass()
    try:
        Pictures("pictures").pictures(folder)
    finally:
        Pictures.tearDownClass()
    for path in sorted(folder.glob("*.png")):
        smaller(path)
        print(f"{path.name}: {path.stat().st_size // 1024} KB")


main()
