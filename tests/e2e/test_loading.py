"""Start and end: what a server says before it can answer, and how it goes."""
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import unittest

from environment import BINARY, require_model
from support import Server, read_all, wait_until

require_model()


class Starting(unittest.TestCase):
    """The model is fetched from an index of ours that is slow on purpose, so that loading lasts as long as we like."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.index = socket.create_server(("127.0.0.1", 0))
        environment = {**os.environ, "PIP_INDEX_URL": f"http://127.0.0.1:{self.index.getsockname()[1]}/simple",
                       "PIP_CONFIG_FILE": "/dev/null", "XDG_CACHE_HOME": self.folder.name, "LUCEBOX_MODELS": ""}
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            environment.pop(name, None)
        self.process = subprocess.Popen([BINARY, "serve", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = next(int(found[1]) for line in self.process.stderr if (found := re.search(r"listening on http://\S+:(\d+)", line)))
        self.asking, _ = self.index.accept()  # the server is now waiting for the index

    def tearDown(self):
        self.asking.close()
        self.index.close()
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def ask(self, method, path, body=b""):
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
                               f"{len(body)}\r\n\r\n".encode() + body)
            head, _, answer = read_all(connection).partition(b"\r\n\r\n")
        return int(head.split()[1]), answer

    def test_health_says_503_with_progress_while_the_model_is_fetched(self):
        status, answer = self.ask("GET", "/health")
        self.assertEqual(status, 503)
        health = json.loads(answer)
        self.assertIn("load", health["status"])
        self.assertGreaterEqual(health["progress"], 0)
        self.assertLess(health["progress"], 1)

    def test_what_needs_the_model_says_that_it_is_loading(self):
        status, answer = self.ask("POST", "/v1/chat/completions", b'{"messages":[{"role":"user","content":"x"}]}')
        self.assertEqual(status, 503)
        self.assertEqual(json.loads(answer)["error"]["code"], "model_loading")
        self.assertEqual(self.ask("GET", "/props")[0], 200)
        self.assertEqual(self.ask("GET", "/metrics")[0], 200)

    def test_sigterm_stops_a_server_that_still_loads(self):
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(20), 0)  # though the index stays silent
        self.assertLess(time.monotonic() - start, 5)

    def test_a_model_that_cannot_be_had_ends_the_server_with_a_reason(self):
        self.asking.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.asking.close()
        _, said = self.process.communicate(timeout=20)
        self.assertEqual(self.process.returncode, 69)
        self.assertIn("error:", said)
        self.assertIn("404", said)
        self.assertIn("--model FILE", said)


class Running(unittest.TestCase):
    def test_the_port_is_taken_before_anything_is_loaded(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            got = subprocess.run([BINARY, "serve", "--port", str(port)], capture_output=True, text=True, timeout=20)
        self.assertNotEqual(got.returncode, 0)
        self.assertIn(str(port), got.stderr)

    def test_that_prompts_are_logged_is_warned_of_at_start(self):
        for asked in (False, True):
            got = subprocess.run([BINARY, "serve", "--port", "0", "--model", "/gone.gguf"] + asked * ["--log-prompts"], capture_output=True, text=True, timeout=20)
            self.assertEqual("warning prompts are logged" in got.stderr, asked, got.stderr)

    def test_who_can_reach_a_server_without_a_key_is_warned_of(self):
        for words, warned in (([], True), (["--shown-url", "http://box.example:80"], True), (["--shown-url", "http://localhost:8123"], False)):
            got = subprocess.run([BINARY, "serve", "--port", "0", "--host", "0.0.0.0", "--model", "/gone.gguf", *words], capture_output=True, text=True, timeout=20)
            self.assertEqual("without an API key" in got.stderr, warned, got.stderr)

    def test_a_stream_tells_that_it_lives_while_a_long_prompt_is_read(self):
        with Server("--context", "4096", "--threads", "1") as server:
            body = json.dumps({"messages": [{"role": "user", "content": "word " * 3500}], "stream": True,
                               "max_tokens": 1}).encode()
            with socket.create_connection(("127.0.0.1", server.port), timeout=300) as connection:
                connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                   b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                start = time.monotonic()
                first = connection.recv(65536)
                self.assertTrue(first.startswith(b"HTTP/1.1 200"))  # at admission, long before the first token
                headers_after = time.monotonic() - start
                # Meanwhile others are answered at once; the slowest tell of what else this machine does.
                seconds = []
                wait_until(lambda: server.metric("lucebox_running") or server.metric("lucebox_completion_tokens_total"))
                while server.metric("lucebox_running"):
                    begin = time.monotonic()
                    self.assertEqual(server.get("/health")[0], 200)
                    seconds.append(time.monotonic() - begin)
                    time.sleep(0.05)
                whole = first + read_all(connection)
                took = time.monotonic() - start
            self.assertTrue(b"data: [DONE]" in whole, whole[-300:])
            self.assertLess(statistics.median(seconds), 0.2)
            self.assertLess(headers_after, 5)
            if took > 20:  # a fast machine finishes before the first heartbeat is due
                self.assertIn(b"\n:", whole.replace(b"\r\n", b"\n"))

    def test_sigterm_ends_a_stream_within_the_drain_time(self):
        with Server("--context", "1024", "--drain", "1s") as server:
            body = json.dumps({"messages": [{"role": "user", "content": "Count."}], "stream": True, "max_tokens": 900,
                               "ignore_eos": True}).encode()
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Content-Length: %d\r\n\r\n" % len(body) + body)
                connection.recv(4096)
                start = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(server.process.wait(10), 0)
                self.assertLess(time.monotonic() - start, 5)

    def test_sigterm_ends_a_server_whose_threads_do_not(self):
        with tempfile.TemporaryDirectory() as folder:
            variables = {**os.environ, "LD_PRELOAD": os.environ["LUCEBOX_ENDLESS_THREADS"], "ENDLESS_THREADS": folder + "/now"}
            process = subprocess.Popen([BINARY, "serve", "--port", "0", "--context", "512"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(process.kill)
            for line in process.stdout:
                if " at " in line:
                    break
            open(folder + "/now", "w").close()
            start = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, said)
        self.assertLess(time.monotonic() - start, 5)
        self.assertIn("without waiting for what still computes", said)


if __name__ == "__main__":
    unittest.main()
