#!/usr/bin/env python3
"""Many at once: streams side by side, the server's own routes meanwhile, and idle connections beside them.

    bench/streams.py build/release/lucebox [--streams 64] [--idle 2000] [--tokens 32] [--model FILE]

Starts a server, lets that many streams run, and says how even their speed was, how soon /health, /v1/models and /metrics
were answered meanwhile, and what that many connections that ask nothing change. Standard library only.
"""
import argparse
import http.client
import json
import resource
import socket
import statistics
import threading
import time

import served


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


class Server(served.Server):
    def get(self, path):
        """Seconds until a GET on a new connection is answered; None if it isn't, or not with 200."""
        begin = time.monotonic()
        try:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return time.monotonic() - begin if answer.status == 200 else None
        except OSError:
            return None


def stream(server, index, tokens, results):
    """Runs one stream; keeps (seconds to the first token, seconds in all, tokens) or the error."""
    begin = time.monotonic()
    try:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
        body = {"messages": [{"role": "user", "content": f"Tell me story number {index}, please."}], "stream": True, "temperature": 0, "max_tokens": tokens,
                "ignore_eos": True, "stream_options": {"include_usage": True}}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}: {answer.read(200)}")
        first, used = None, 0
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            data = json.loads(line[6:])
            if data.get("error"):
                raise OSError(str(data["error"]))
            if first is None and data["choices"] and data["choices"][0]["delta"].get("content"):
                first = time.monotonic() - begin
            used = (data.get("usage") or {}).get("completion_tokens", used)
        results[index] = (first, time.monotonic() - begin, used)
    except OSError as error:
        results[index] = error


def run_streams(server, count, tokens):
    results = [None] * count
    threads = [threading.Thread(target=stream, args=(server, i, tokens, results)) for i in range(count)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    asked = {path: [] for path in ("/health", "/v1/models", "/metrics")}
    while any(thread.is_alive() for thread in threads):
        for path in asked:
            asked[path].append(server.get(path))
        time.sleep(0.02)
    seconds = time.monotonic() - begin
    errors = [result for result in results if isinstance(result, Exception)]
    good = [result for result in results if isinstance(result, tuple)]
    for error in errors[:3]:
        print(f"  error: {error}")
    rates = [used / (whole - first) for first, whole, used in good if first is not None and whole > first]
    print(f"  {len(good)} of {count} streams finished in {seconds:.1f} s, {sum(used for _, _, used in good) / seconds:.1f} tokens/s in all")
    if rates:
        middle = statistics.median(rates)
        print(f"  tokens/s of one behind its first: median {middle:.2f}, slowest {min(rates) / middle - 1:+.0%}, fastest {max(rates) / middle - 1:+.0%}")
        print(f"  first token after {statistics.median(first for first, _, _ in good if first is not None):.1f} s (median), {max(first for first, _, _ in good if first is not None):.1f} s (last)")
    for path, times in asked.items():
        answered = [value for value in times if value is not None]
        print(f"  {path:<11} {len(times)} times, {len(times) - len(answered)} unanswered, p50 {1000 * percentile(answered, .5):.1f} ms, p99 {1000 * percentile(answered, .99):.1f} ms")
    return not errors


def ask_often(server, times=300):
    values = [server.get("/v1/models") for _ in range(times)]
    answered = [value for value in values if value is not None]
    print(f"  /v1/models {times} times, {times - len(answered)} unanswered, p50 {1000 * percentile(answered, .5):.2f} ms, p99 {1000 * percentile(answered, .99):.2f} ms")


def hold(server, count):
    """Connections of which half send nothing and half the beginning of a request."""
    held = []
    for i in range(count):
        connection = socket.socket()
        connection.settimeout(5)
        try:
            connection.connect((server.host, server.port))
            if i % 2:
                connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: local")
            held.append(connection)
        except OSError:
            connection.close()
    return held


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--model")
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, given.idle + 1000)), hard))
    words = [given.program, "serve", "--port", "0", "--context", "512", "--sequences", str(given.streams), "--log-level", "warning"]
    server = Server(words + (["--model", given.model] if given.model else []))
    try:
        print("nothing else:")
        ask_often(server)
        print(f"{given.streams} streams:")
        fine = run_streams(server, given.streams, given.tokens)
        print(f"{given.idle} connections that ask nothing, or half of something:")
        held = hold(server, given.idle)
        ask_often(server)
        print(f"and {given.streams} streams beside them:")
        fine = run_streams(server, given.streams, given.tokens) and fine
        for connection in held:
            connection.close()
    finally:
        server.process.terminate()
        server.process.wait(30)
    raise SystemExit(0 if fine else 1)


main()
