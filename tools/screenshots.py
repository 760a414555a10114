#!/usr/bin/env python3
"""Pictures of both pages for docs/images, light and dark, on a desktop and on a phone: of a chat with scripted answers, and of the
program at work with the default model:

    LUCEBOX_BINARY=build/release/lucebox LUCEBOX_BUILD=build/release tools/screenshots.py [FOLDER]

Needs what tests/clients/test_pages.py needs. Colours are reduced to 64 where Pillow is installed, for size.
"""
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
import test_pages  # noqa: E402: goes on in an environment that has playwright
from support import Server, wait_until  # noqa: E402: from tests/e2e

ASKED = "How do I greet somebody in Python?"
SECONDS = 100  # of two minutes that the plots show


def user(text):
    return [{"role": "user", "content": text}]


def smaller(path):
    try:
        from PIL import Image
    except ImportError:
        return
    Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


class Pictures(test_pages.Pages):
    def chats(self, folder):
        for scheme in ("light", "dark"):
            for size in ("desktop", "phone"):
                page = self.open(size=size, scheme=scheme)
                self.say(page, ASKED)
                self.finished(page)
                page.screenshot(path=folder / f"chat-{scheme}-{size}.png")

    def states(self, folder):
        """Of the real program with the default model, which two clients ask for text without end, and one to read much."""
        server = Server()
        try:
            self.assertTrue(wait_until(lambda: server.get("/ready")[0] == 200, 60))
            pages = {(scheme, size): self.open("/status", size=size, scheme=scheme, server=server) for scheme in ("light", "dark") for size in ("desktop", "phone")}
            end = time.monotonic() + SECONDS

            def write(text, **more):
                while time.monotonic() < end:
                    server.post("/v1/chat/completions", {"messages": user(text), "max_tokens": 400, **more})

            def read():
                server.post("/v1/chat/completions", {"messages": user("word " * 7000), "max_tokens": 1})
            clients = [threading.Thread(target=write, args=("Tell a long story.",)),
                       threading.Thread(target=write, args=("Count from one to a hundred.",), kwargs={"temperature": 0})]
            for client in clients:
                client.start()
            pages["light", "desktop"].wait_for_timeout(1000 * (SECONDS - 8))
            clients.append(threading.Thread(target=read))
            clients[-1].start()
            for page in pages.values():
                self.until(page, "document.querySelector('progress') !== null")
            for (scheme, size), page in pages.items():
                page.screenshot(path=folder / f"status-{scheme}-{size}.png")
            for client in clients:
                client.join()
        finally:
            server.stop()


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/images"
    folder.mkdir(parents=True, exist_ok=True)
    Pictures.setUpClass()
    try:
        Pictures("chats").chats(folder)
        Pictures("states").states(folder)
    finally:
        Pictures.tearDownClass()
    for path in sorted(folder.glob("*.png")):
        smaller(path)
        print(f"{path.name}: {path.stat().st_size // 1024} KB")


main()
