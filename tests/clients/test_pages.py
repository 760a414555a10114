"""The chat and status pages in a real browser: Debian's chromium, driven by the playwright package, against scripted answers.

With LUCEBOX_SCREENSHOTS=FOLDER the screenshots are kept there."""
import os
import shutil
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from environment import enter_venv, skip  # noqa: E402

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    skip("no chromium is installed (tools/install-packages.sh tests)")
enter_venv(Path(__file__).resolve().parents[1] / "e2e/requirements.txt")

from playwright.sync_api import sync_playwright  # noqa: E402: of the environment just entered

from scripted import ScriptedServer  # noqa: E402

ANSWER = """Here is **bold**, *slanted* and `code`:

```python
def greet(name):
    return "<b>Hello</b> " + name
```

1. one
2. two

| a | b |
|---|---|
| 1 | 2 |

<script>document.title = "broken"</script> is only text."""
RULES = [{"last": ["Think"], "think": "The user wants thought.", "say": "Thought about."},
         {"last": ["Story"], "say": "All work and no play. " * 300, "pace": 20},
         {"last": ["Again"], "say": "Once more."}, {"say": ANSWER}]
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ScriptedServer(RULES, "--heartbeat", "500")
        cls.playwright = sync_playwright().start()
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()
        cls.server.stop()

    def open(self, path="/", size="desktop", scheme="light", server=None):
        context = self.browser.new_context(viewport=SIZES[size], color_scheme=scheme, has_touch=size == "phone")
        self.addCleanup(context.close)
        page = context.new_page()
        page.set_default_timeout(90_000)  # of a machine that does much else, too
        self.problems, self.foreign = [], []
        page.on("console", lambda message: self.problems.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        base = (server or self.server).url
        page.on("request", lambda request: self.foreign.append(request.url) if not request.url.startswith(base) else None)
        page.goto(base + path)
        return page

    def fine(self):
        self.assertEqual((self.problems, self.foreign), ([], []))

    def keep(self, page, name):
        if folder := os.environ.get("LUCEBOX_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{name}.png")

    def say(self, page, text):
        page.fill("#input", text)
        page.keyboard.press("Enter")

    def until(self, page, condition):
        """Looked at again and again from outside: the pages allow no code that is made of strings."""
        end = time.monotonic() + 90
        while not page.evaluate(condition):
            self.assertLess(time.monotonic(), end, condition)
            time.sleep(0.02)

    def finished(self, page):
        self.until(page, "document.querySelector('#send').textContent === 'Send'")
        return page.locator("article.assistant").last

    def test_an_answer_is_shown_as_it_is_meant_and_nothing_in_it_runs(self):
        page = self.open()
        self.assertRegex(page.inner_text("#model"), "scripted|connecting")
        self.say(page, "Hello")
        answer = self.finished(page)
        self.assertEqual(answer.locator("strong").inner_text(), "bold")
        self.assertIn('return "<b>Hello</b> " + name', answer.locator("pre code").first.inner_text())
        self.assertEqual(answer.locator("ol li").all_inner_texts(), ["one", "two"])
        self.assertEqual(answer.locator("td").all_inner_texts(), ["1", "2"])
        self.assertIn("is only text", answer.inner_text())
        self.assertNotEqual(page.title(), "broken")
        self.keep(page, "chat-light")
        page.reload()  # the conversation is kept here
        self.assertEqual(page.locator("article").count(), 2)
        self.fine()

    def test_thoughts_are_folded_and_settings_kept(self):
        page = self.open(scheme="dark")
        page.keyboard.press("Alt+s")
        page.select_option("#effort", "low")
        page.fill("#system", "Be brief.")
        page.get_by_text("Done").click()
        self.say(page, "Think")
        answer = self.finished(page)
        self.assertIn("Thought about.", answer.inner_text())
        self.assertNotIn("The user wants thought.", answer.inner_text())
        answer.locator("summary").click()
        self.assertIn("The user wants thought.", answer.inner_text())
        self.assertIn("Be brief.", self.server.prompts()[-1][1])
        self.keep(page, "chat-dark")
        page.reload()
        page.keyboard.press("Alt+s")
        self.assertEqual(page.input_value("#system"), "Be brief.")
        self.fine()

    def test_it_is_used_by_keyboard_alone_and_stops(self):
        page = self.open()
        self.assertEqual(page.evaluate("document.activeElement.id"), "input")
        page.keyboard.type("Story")
        page.keyboard.press("Enter")
        self.until(page, "document.querySelector('article.assistant')?.innerText.includes('All work') ?? false")
        page.keyboard.press("Escape")
        self.assertIn("Stopped.", self.finished(page).inner_text())
        page.keyboard.press("Alt+r")  # another answer
        self.until(page, "document.querySelector('#send').textContent === 'Stop'")
        page.keyboard.press("Escape")
        self.finished(page)
        page.keyboard.press("Alt+n")
        self.assertEqual(page.locator("article").count(), 0)
        self.fine()

    def test_a_message_is_changed_and_asked_again(self):
        page = self.open()
        self.say(page, "Hello")
        self.finished(page)
        page.get_by_title("Change this message and ask again").click()
        self.assertEqual(page.input_value("#input"), "Hello")
        self.say(page, "Again")
        self.assertIn("Once more.", self.finished(page).inner_text())
        self.assertEqual(page.locator("article").count(), 2)
        self.fine()

    def test_nothing_is_cut_off_on_a_phone(self):
        page = self.open(size="phone")
        self.say(page, "Hello")
        self.finished(page)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), SIZES["phone"]["width"])
        box = page.locator("#send").bounding_box()
        self.assertLessEqual(box["x"] + box["width"], SIZES["phone"]["width"])
        self.assertLessEqual(box["y"] + box["height"], SIZES["phone"]["height"])
        self.keep(page, "chat-phone")
        self.fine()

    def test_a_key_is_asked_for_and_used(self):
        with ScriptedServer(RULES, "--key", "secret") as server:
            page = self.open(server=server)
            self.until(page, "document.querySelector('#model').textContent.includes('API key')")
            page.keyboard.press("Alt+s")
            page.fill("#key", "secret")
            page.get_by_text("Done").click()
            self.until(page, "document.querySelector('#model').textContent.includes('scripted')")
            self.say(page, "Again")
            self.assertIn("Once more.", self.finished(page).inner_text())
            self.assertEqual(self.foreign, [])

    def test_the_status_page_shows_numbers(self):
        for scheme in ("light", "dark"):
            page = self.open("/status", scheme=scheme)
            self.until(page, "document.body.innerText.includes('scripted')")
            time.sleep(1.2)  # two looks
            self.keep(page, f"status-{scheme}")
            self.fine()

    def test_the_pages_are_small_and_soon_there(self):
        def first_paint(path):
            page = self.open(path)
            paints = []
            for _ in range(5):
                page.reload()
                paints.append(page.evaluate("new Promise(done => { const look = () => { const p = performance.getEntriesByName('first-contentful-paint')[0];"
                                            " p ? done(p.startTime) : setTimeout(look, 10) }; look() })"))
            return min(paints)
        plain = first_paint("/health")  # a line of text: what this browser takes for anything, on a machine as busy as this
        page = self.open()
        soon = first_paint("/")
        print(f"first paint {soon:.0f} ms, of a line of text {plain:.0f} ms", file=sys.stderr)
        self.assertLess(soon, max(200, 4 * plain))
        size = sum(len(page.request.get(self.server.url + path).body()) for path in ("/", "/status"))
        self.assertLess(size, 150_000)


if __name__ == "__main__":
    unittest.main()
