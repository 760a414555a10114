#!/usr/bin/env python3
"""How soon the second turn of a long conversation begins, when its first is still in memory.

    bench/second_turn.py build/release/lucebox [--tokens 4000] [--turns 3] [--model FILE]

Starts a server, sends a message of about that many tokens, then goes on for some turns; says how long each waited for its
first token, how much of its prompt was found in memory, and what share of the cold wait that is. Then it starts anew and
sends the last turn cold: its log-probabilities must be the same to the last digit. Fails if a turn takes more than a tenth
of the cold wait, or if a number differs. Standard library only.
"""
import argparse
import http.client
import json
import time

import served

LONGEST_SHARE = 0.1


class Server(served.Server):
    def turn(self, messages):
        """(seconds to the first token, text, [log-probability], usage)"""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=600)
        body = {"messages": messages, "stream": True, "temperature": 0, "max_tokens": 24, "ignore_eos": True, "logprobs": True, "stream_options": {"include_usage": True}}
        begin = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"status {answer.status}: {answer.read(300)}")
        first, text, logprobs, usage = None, "", [], {}
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            data = json.loads(line[6:])
            usage = data.get("usage") or usage
            for choice in data["choices"]:
                text += choice["delta"].get("content") or ""
                logprobs += [(entry["token"], entry["logprob"]) for entry in (choice.get("logprobs") or {}).get("content") or []]
                if first is None and choice["delta"].get("content"):
                    first = time.monotonic() - begin
        connection.close()
        return first, text, logprobs, usage


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model")
    given = parser.parse_args()
    words = [given.program, "serve", "--port", "0", "--context", "8192", "--log-level", "warning", *(["--model", given.model] if given.model else [])]
    server = Server(words)
    fine = True
    try:
        server.turn([{"role": "user", "content": "Hello"}])  # what is done once is done
        story = " ".join(f"On day {i} the keeper of the lighthouse wrote down the wind." for i in range(given.tokens // 14))
        messages = [{"role": "user", "content": story + "\nWhat is this about?"}]
        cold = None
        for turn in range(given.turns):
            first, text, logprobs, usage = server.turn(messages)
            cached, prompt = usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]
            cold = cold or first
            print(f"turn {turn + 1}: {prompt} tokens, {cached} of them in memory, first token after {1000 * first:.0f} ms" + (f", {first / cold:.1%} of the cold wait" if turn else ""))
            fine = fine and (turn == 0 or first <= LONGEST_SHARE * cold)
            last, warm = list(messages), logprobs
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": f"And then? Tell me part {turn + 2}."}]
    finally:
        server.stop()
    server = Server(words)
    try:
        first, text, logprobs, usage = server.turn(last)
    finally:
        server.stop()
    same = logprobs == warm
    print(f"the last turn cold: first token after {1000 * first:.0f} ms; {len(warm)} log-probabilities {'are the same' if same else 'DIFFER'}")
    raise SystemExit(0 if fine and same else 1)


main()
