"""Clients that misbehave: what they send must cost nobody else anything."""
import json
import random
import signal
import socket
import threading
import time
import unittest

from environment import require_model
from support import Server, read_all, wait_until

require_model()


def request(method, path, body=b"", *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body and not any(line.lower().startswith("content-length") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(stream=True, tokens=400, text="Tell me a long story."):
    return json.dumps({"messages": [{"role": "user", "content": text}], "stream": stream, "temperature": 0,
                       "max_tokens": tokens, "ignore_eos": True}).encode()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--context", "1024", "--max-body", "1M")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def status(self, data, timeout=30):
        answer = self.server.raw(data, timeout)
        self.assertTrue(answer.startswith(b"HTTP/1.1 "), answer[:80])
        return int(answer.split(b" ", 2)[1])

    def post(self, body, *headers):
        return request("POST", "/v1/chat/completions", body, "Content-Type: application/json", "Connection: close", *headers)

    def test_what_is_not_http_is_refused(self):
        for data in (b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
                     b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n"):
            with self.subTest(data[:20]):
                self.assertIn(self.status(data), (400, 505))

    def test_bodies_that_are_too_large_or_badly_cut_are_refused(self):
        self.assertEqual(self.status(self.post(b"", "Content-Length: 2000000")), 413)
        chunked = ("Transfer-Encoding: chunked",)
        self.assertEqual(self.status(self.post(b"", *chunked) + b"zz\r\n{}\r\n0\r\n\r\n"), 400)
        self.assertEqual(self.status(self.post(b"", *chunked) + b"100000\r\n" + b"x" * 0x100000 + b"\r\n100000\r\n" + b"x" * 100), 413)
        self.assertIn(self.status(request("GET", "/health", b"", "X-Long: " + "y" * 40000)), (400, 431))

    def test_broken_json_is_refused_by_name(self):
        for body in (b"{", b"[]", b"\xff\xfe", b'{"messages": [}', b"[" * 100000, b'{"a":' * 50000, b"null", b'"x"'):
            with self.subTest(body[:12]):
                self.assertEqual(self.status(self.post(body)), 400)

    def test_slow_headers_are_cut_off(self):
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as connection:
            try:
                for byte in request("GET", "/health")[:20]:
                    connection.sendall(bytes([byte]))
                    time.sleep(1)
            except OSError:
                pass
            answer = read_all(connection)
        self.assertLess(time.monotonic() - start, 25)
        self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 408"), answer[:80])

    def test_foreign_hosts_and_origins_are_refused(self):
        self.assertEqual(self.status(b"GET /props HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), 403)
        self.assertEqual(self.status(self.post(chat(False, 1), "Origin: https://evil.example")), 403)

    def test_two_hundred_who_leave_do_not_disturb_one_who_stays(self):
        generator = random.Random(11)
        stop = threading.Event()

        def leave():
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as connection:
                        data = self.post(chat(tokens=300, text="Count to a thousand. " * generator.randrange(1, 20)))
                        connection.sendall(data[:generator.randrange(1, len(data) + 1)])
                        time.sleep(generator.random() * 0.15)
                        if generator.random() < 0.5:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                except OSError:
                    pass
                with lock:
                    left.append(1)
                    if len(left) >= 200:
                        stop.set()

        lock, left = threading.Lock(), []
        threads = [threading.Thread(target=leave) for _ in range(4)]
        alone = self.server.raw(self.post(chat(False, 120)), 120).split(b"\r\n\r\n", 1)[1]
        text_alone = json.loads(alone)["choices"][0]["message"]["content"]
        for thread in threads:
            thread.start()
        rounds = 0
        while not stop.is_set():
            answer = self.server.raw(self.post(chat(False, 120)), 120).split(b"\r\n\r\n", 1)[1]
            self.assertEqual(json.loads(answer)["choices"][0]["message"]["content"], text_alone)
            rounds += 1
        for thread in threads:
            thread.join()
        self.assertGreaterEqual(len(left), 200)
        self.assertGreater(rounds, 0)
        self.assertTrue(wait_until(lambda: self.server.metric("lucebox_running") == 0, 60))
        self.assertEqual(self.server.get("/health")[0], 200)


class Drain(unittest.TestCase):
    def test_sigterm_lets_a_running_answer_finish(self):
        with Server("--context", "1024", "--drain", "60s") as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(request("POST", "/v1/chat/completions", chat(tokens=80), "Content-Type: application/json"))
                first = connection.recv(4096)
                self.assertTrue(first.startswith(b"HTTP/1.1 200"))
                server.process.send_signal(signal.SIGTERM)
                rest = first + read_all(connection)
            self.assertTrue(b"data: [DONE]" in rest, rest[-300:])
            self.assertEqual(server.process.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
