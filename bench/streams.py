#!/usr/bin/env python3
"""Many at once: streams side by side, the server's own routes meanwhile, and idle connections beside them.

    bench/streams.py build/release/lucebox [--streams 64] [--idle 2000] [--tokens 128] [--model FILE]

Starts a server, lets that many streams run, and says how even their speed was, how soon /health, /v1/models and /metrics
were answered meanwhile, and what that many connections that ask nothing change. Standard library only.

Speed is compared over the time in which all of them write: from the last one's first token to the first one's last. Over its
whole life a stream that begins last is faster, because it ends when others have ended and left it the machine; that is shown,
too, and is no favour. Fails if a stream fails or one's speed is more than a fifth from the median.
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


class Stream:
    def __init__(self, begin, times, tokens):
        self.wait, self.begin, self.end = times[0] - begin, times[0], times[-1]
        self.times, self.tokens = times, tokens

    def rate(self, begin=None, end=None):
        """Tokens a second; of its whole text, or of that between two times."""
        begin, end = begin or self.begin, end or self.end
        per_piece = self.tokens / len(self.times)
        return per_piece * sum(begin < at <= end for at in self.times) / (end - begin)


def spread(rates):
    middle = statistics.median(rates)
    return middle, min(rates) / middle - 1, max(rates) / middle - 1


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
    """Runs one stream; keeps when each piece of text came, or the error."""
    begin = time.monotonic()
    try:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=600)
        body = {"messages": [{"role": "user", "content": f"Tell me story number {index}, please."}], "stream": True, "temperature": 0, "max_tokens": tokens,
                "ignore_eos": True, "stream_options": {"include_usage": True}}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"status {answer.status}: {answer.read(200)}")
        times, used = [], 0
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            data = json.loads(line[6:])
            if data.get("error"):
                raise OSError(str(data["error"]))
            if data["choices"] and data["choices"][0]["delta"].get("content"):
                times.append(time.monotonic())
            used = (data.get("usage") or {}).get("completion_tokens", used)
        results[index] = Stream(begin, times, used)
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
    errors = [result for result in results if not isinstance(result, Stream)]
    good = [result for result in results if isinstance(result, Stream)]
    for error in errors[:3]:
        print(f"  error: {error}")
    if not good:
        return False
    print(f"  {len(good)} of {count} streams finished in {seconds:.1f} s, {sum(one.tokens for one in good) / seconds:.1f} tokens/s in all")
    begin, end = max(one.begin for one in good), min(one.end for one in good)
    fair = begin < end
    if fair:
        middle, slowest, fastest = spread([one.rate(begin, end) for one in good])
        fair = -0.2 <= slowest and fastest <= 0.2
        print(f"  tokens/s of one while all write ({end - begin:.1f} s): median {middle:.2f}, slowest {slowest:+.0%}, fastest {fastest:+.0%}")
    else:
        print("  they never write all at once: more --tokens")
    middle, slowest, fastest = spread([one.rate() for one in good])
    print(f"  tokens/s of one behind its first: median {middle:.2f}, slowest {slowest:+.0%}, fastest {fastest:+.0%}")
    print(f"  first token after {statistics.median(one.wait for one in good):.1f} s (median), {max(one.wait for one in good):.1f} s (last)")
    for path, times in asked.items():
        answered = [value for value in times if value is not None]
        print(f"  {path:<11} {len(times)} times, {len(times) - len(answered)} unanswered, p50 {1000 * percentile(answered, .5):.1f} ms, p99 {1000 * percentile(answered, .99):.1f} ms")
    return not errors and fair


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
    parser.add_argument("--tokens", type=int, default=128)
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
