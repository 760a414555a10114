"""The texts that a draft is trained on: answers that the target writes to prompts made in code and to questions of its own."""
import random

import numpy as np
import torch

import more_prompts
import prompts

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
OTHER_SYSTEMS = ["", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "<|im_start|>system\nAnswer briefly.<|im_end|>\n"]
# Shares of the prompts built in code; "more_" are those of more_prompts.py.
SHARES = {"chat": 22, "more_chat": 22, "code": 18, "more_code": 16, "maths": 13, "rewriting": 15, "more_errand": 8}


def turn(role, text):
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def held_out_prompts(count, seed):
    """(family, user's text): the prompts that training leaves out. measure_draft.py makes the same."""
    rng = random.Random(seed + 1)
    asked = []
    for family in ("chat", "code", "maths", "rewriting"):
        make = prompts.FAMILIES.get(family) or (lambda r: prompts.rewriting(r, prompts.passage(r)))
        asked += [(family, make(rng)) for _ in range(count)]
    return asked


class Writer:
    """Collects (family, prompt ids, answer ids) that the target writes."""

    def __init__(self, target, tokenizer, args, clock, say):
        self.target, self.tokenizer, self.args, self.clock, self.say = target, tokenizer, args, clock, say
        self.stop = tokenizer.ids["<|im_end|>"]

    def answer(self, asked, temperatures, deadline=None):
        """asked: (family, prompt ids). Waves of prompts of about one length, in random order."""
        asked = [(family, ids, t) for (family, ids), t in zip(asked, temperatures) if len(ids) <= self.args.length // 2]
        asked.sort(key=lambda e: len(e[1]))
        waves = [asked[i:i + self.args.batch_write] for i in range(0, len(asked), self.args.batch_write)]
        random.Random(len(asked)).shuffle(waves)
        samples = []
        for wave in waves:
            if deadline and self.clock() > deadline:
                break
            answers = self.target.generate([e[1] for e in wave], [e[2] for e in wave], self.args.answer, self.stop,
                                           self.args.length, deadline, self.clock)
            samples += [(family, ids, answer) for (family, ids, _), answer in zip(wave, answers) if len(answer) >= 8]
        return samples

    def invent(self, count, rng, deadline=None):
        """Questions that the target itself thinks of (the idea of Magpie, Xu et al. 2024)."""
        start = self.tokenizer.encode(SYSTEM + "<|im_start|>user\n")
        out = self.target.generate([start] * count, [rng.choice([0.8, 1.0, 1.1]) for _ in range(count)], 64, self.stop, 256,
                                   deadline, self.clock)
        questions = [self.tokenizer.decode(ids[:-1]).strip() for ids in out if ids and ids[-1] == self.stop]
        return [q for q in questions if 8 <= len(q) <= 400 and q.isascii() and "<|" not in q]

    def prompt(self, system, text):
        return self.tokenizer.encode(system + turn("user", text) + "<|im_start|>assistant\n")

    def held_out(self, count, seed):
        """Greedy answers to the prompts left out, and to as many invented questions."""
        asked = held_out_prompts(count, seed)
        asked += [("invented", q) for q in self.invent(4 * count, random.Random(seed + 2))[:count]]
        return self.answer([(family, self.prompt(SYSTEM, text)) for family, text in asked], [0.0] * len(asked)), {t for _, t in asked}

    def round(self, samples, passages, left_out, rng, deadline):
        """One round: new prompts and conversations that go on."""
        args, families, shares = self.args, list(SHARES), list(SHARES.values())
        asked = []
        for family in rng.choices(families, shares, k=args.round):
            if family == "rewriting":
                text = prompts.rewriting(rng, rng.choice(passages) if passages and rng.random() < 0.5 else prompts.passage(rng))
            else:
                text = more_prompts.FAMILIES[family[5:]](rng) if family.startswith("more_") else prompts.FAMILIES[family](rng)
            asked.append((family, text))
        asked += [("invented", q) for q in self.invent(args.round // 3, rng, deadline)]
        ready = [(family, self.prompt(SYSTEM if rng.random() < 0.85 else rng.choice(OTHER_SYSTEMS), text))
                 for family, text in asked if text not in left_out]
        for family, ids, answer in rng.sample(samples, min(len(samples), args.round // 8)):
            if len(ids) + len(answer) < args.length // 2 - 32 and answer[-1] == self.stop:
                more = "\n" + turn("user", rng.choice(prompts.FOLLOW_UPS)) + "<|im_start|>assistant\n"
                ready.append((family, ids + answer + self.tokenizer.encode(more)))
        chosen = [0.0 if rng.random() < args.greedy_share else rng.choice([0.3, 0.7, 1.0]) for _ in ready]
        return self.answer(ready, chosen, deadline)

    def write(self, samples, left_out, seed, deadline):
        """Rounds until the deadline, behind the samples that there are."""
        rng = random.Random(seed + 1000 * len(samples))
        passages, rounds = [], 0
        while self.clock() < deadline and len(samples) < self.args.most_samples:
            new = self.round(samples, passages, left_out, rng, deadline)
            samples += new
            for family, _, answer in rng.sample(new, min(len(new), 2000)):
                text = self.tokenizer.decode(answer).strip()
                if text.isascii() and 60 <= len(text) <= 500:
                    passages.append(text)
            passages = passages[-6000:]
            rounds += 1
            self.say(f"corpus: round {rounds}, {len(samples)} answers, {sum(len(a) for _, _, a in samples) / 1e6:.2f} M tokens")
        return samples


def save_samples(path, samples):
    flat = np.fromiter((t for _, ids, answer in samples for part in (ids, answer) for t in part), np.int32)
    lengths = np.array([(len(ids), len(answer)) for _, ids, answer in samples])
    torch.save({"families": [s[0] for s in samples], "tokens": torch.from_numpy(flat), "lengths": torch.from_numpy(lengths)}, path)


def load_samples(path):
    saved = torch.load(path, weights_only=True)
    flat, samples, at = saved["tokens"].tolist(), [], 0
    for family, (a, b) in zip(saved["families"], saved["lengths"].tolist()):
        samples.append((family, flat[at:at + a], flat[at + a:at + a + b]))
        at += a + b
    return samples
