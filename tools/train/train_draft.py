#!/usr/bin/env python3
"""Trains a DFlash draft for SmolLM2-135M-Instruct (or a like Llama) on one GPU within --seconds: the target writes answers
to prompts made in code and to questions that it invents itself, a small block-diffusion model learns to guess them from five
of the target's layers, and held-out greedy answers tell how many tokens a step would accept.

    python3 tools/train/train_draft.py --model SmolLM2-135M-Instruct.Q4_1.gguf --out OUT --seconds 520
"""
import argparse
import json
import math
import random
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import prompts
from draft import Draft, save
from gguf_numpy import Gguf
from target import Llama
from tokenizer import Tokenizer

START = time.time()
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"


def clock():
    return time.time() - START


def say(text):
    print(f"[{clock():6.1f} s] {text}", flush=True)


def turn(role, text):
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


class Writer:
    """Collects (family, prompt ids, answer ids) that the target writes."""

    def __init__(self, target, tokenizer, args):
        self.target, self.tokenizer, self.args = target, tokenizer, args
        self.stop = tokenizer.ids["<|im_end|>"]

    def answer(self, asked, temperatures, deadline):
        """asked: (family, text of the conversation so far). Returns samples, shortest prompts first."""
        encoded = [(family, self.tokenizer.encode(text + "<|im_start|>assistant\n"), t) for (family, text), t in zip(asked, temperatures)]
        encoded = sorted((e for e in encoded if len(e[1]) <= self.args.length // 2), key=lambda e: len(e[1]))
        if not encoded:
            return []
        answers = self.target.generate([e[1] for e in encoded], [e[2] for e in encoded], self.args.answer, self.stop,
                                       self.args.length, deadline, clock)
        return [(family, ids, answer) for (family, ids, _), answer in zip(encoded, answers) if len(answer) >= 8]

    def invent(self, count, rng, deadline):
        """Questions that the target itself thinks of (the idea of Magpie, Xu et al. 2024)."""
        start = self.tokenizer.encode(SYSTEM + "<|im_start|>user\n")
        out = self.target.generate([start] * count, [rng.choice([0.8, 1.0, 1.1]) for _ in range(count)], 64, self.stop, 256,
                                   deadline, clock)
        questions = [self.tokenizer.decode(ids[:-1]).strip() for ids in out if ids and ids[-1] == self.stop]
        return [q for q in questions if 8 <= len(q) <= 400 and q.isascii() and "<|" not in q]


def temperatures(rng, count, greedy):
    return [0.0 if rng.random() < greedy else rng.choice([0.3, 0.7, 1.0]) for _ in range(count)]


def built_prompts(rng, count, passages):
    out = []
    for _ in range(count):
        family = rng.choice(["chat", "code", "maths", "rewriting"])
        if family == "rewriting":
            text = prompts.rewriting(rng, rng.choice(passages) if passages and rng.random() < 0.7 else prompts.passage(rng))
        else:
            text = prompts.FAMILIES[family](rng)
        out.append((family, (SYSTEM if rng.random() < 0.8 else "") + turn("user", text)))
    return out


def write_corpus(writer, args):
    rng = random.Random(args.seed)
    samples, passages, round_ = [], [], 0
    deadline = args.seconds * args.writing_share
    while clock() < deadline and len(samples) < args.most_samples:
        asked = built_prompts(rng, args.batch_write // 2, passages)
        if clock() < deadline:
            asked += [("invented", SYSTEM + turn("user", q)) for q in writer.invent(args.batch_write // 2, rng, deadline)]
        if samples:  # conversations that go on
            for family, ids, answer in rng.sample(samples, min(len(samples), args.batch_write // 4)):
                if len(ids) + len(answer) < args.length // 2 - 32 and answer[-1] == writer.stop:
                    asked.append((family, (ids + answer, turn("user", rng.choice(prompts.FOLLOW_UPS)))))
        new = writer_answer_mixed(writer, asked, rng, args, deadline)
        samples += new
        for family, _, answer in new[:400]:
            text = writer.tokenizer.decode(answer).strip()
            if text.isascii() and 60 <= len(text) <= 500:
                passages.append(text)
        passages = passages[-4000:]
        round_ += 1
        say(f"corpus: round {round_}, {len(samples)} answers, {sum(len(a) for _, _, a in samples) / 1e6:.2f} M tokens")
    return samples


def writer_answer_mixed(writer, asked, rng, args, deadline):
    """As Writer.answer, but a conversation may be given as (ids so far, text that follows)."""
    flat, started = [], []
    for family, text in asked:
        if isinstance(text, tuple):
            started.append((family, text))
        else:
            flat.append((family, text))
    out = writer.answer(flat, temperatures(rng, len(flat), args.greedy_share), deadline)
    if started and clock() < deadline:
        encoded = [(family, ids + writer.tokenizer.encode("\n" + text + "<|im_start|>assistant\n")) for family, (ids, text) in started]
        encoded = sorted((e for e in encoded if len(e[1]) <= args.length // 2), key=lambda e: len(e[1]))
        if encoded:
            answers = writer.target.generate([e[1] for e in encoded], temperatures(rng, len(encoded), args.greedy_share),
                                             args.answer, writer.stop, args.length, deadline, clock)
            out += [(family, ids, answer) for (family, ids), answer in zip(encoded, answers) if len(answer) >= 8]
    return out


def pack(samples, length, device):
    """Token table [n, length] (padded with 0), prompt lengths and total lengths."""
    tokens = torch.zeros(len(samples), length, dtype=torch.int32)
    begins, ends = [], []
    for i, (_, ids, answer) in enumerate(samples):
        whole = (ids + answer)[:length]
        tokens[i, :len(whole)] = torch.tensor(whole, dtype=torch.int32)
        begins.append(len(ids))
        ends.append(len(whole))
    return tokens.to(device), torch.tensor(begins, device=device), torch.tensor(ends, device=device)


def target_features(target, tokens, layers):
    s = tokens.shape[1]
    mask = torch.ones(s, s, device=tokens.device, dtype=torch.bool).tril()[None, None]
    positions = torch.arange(s, device=tokens.device)[None].expand_as(tokens)
    return target.forward(tokens, positions, mask, capture=layers)[1]


def blocks_at(tokens, anchors, size, mask_token):
    """Inputs [token, mask, ...] and labels of the blocks that begin at anchors [b, n]."""
    at = anchors[:, :, None] + torch.arange(size, device=tokens.device)
    labels = tokens.gather(1, at.clamp(max=tokens.shape[1] - 1).flatten(1)).view(at.shape)
    inputs = torch.full_like(labels, mask_token)
    inputs[:, :, 0] = labels[:, :, 0]
    return inputs, labels, at


def train(target, draft, samples, args, config):
    device = target.device
    tokens, begins, ends = pack(samples, args.length, device)
    usable = (ends - begins >= 4).nonzero()[:, 0]
    order, at = usable[torch.randperm(len(usable), device=device)], 0
    decay = [p for p in draft.parameters() if p.dim() == 2]
    rest = [p for p in draft.parameters() if p.dim() != 2]
    optimiser = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
                                  lr=args.rate, betas=(0.9, 0.95), fused=device.type == "cuda")
    begin, end, step, epoch = clock(), args.seconds * args.training_until, 0, 0
    weight = torch.exp(-torch.arange(config.block - 1, device=device) / 4.0)
    embedding, output = target.embedding, target.output
    while clock() < end and (not args.most_steps or step < args.most_steps):
        progress = (clock() - begin) / max(end - begin, 1e-6)
        rate = args.rate * min(1, progress / 0.04) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1, progress))))
        for group in optimiser.param_groups:
            group["lr"] = rate
        if at + args.batch > len(order):
            order, at, epoch = usable[torch.randperm(len(usable), device=device)], 0, epoch + 1
        rows = order[at:at + args.batch]
        at += args.batch
        most = int(ends[rows].max())
        batch = tokens[rows, :most].long()
        features = target_features(target, batch, config.target_layers)
        # Anchors a with token a and a + 1 both of the answer; a short answer has some twice.
        low, high = begins[rows], ends[rows] - 1
        anchors = low[:, None] + (torch.rand(len(rows), args.anchors, device=device) * (high - low)[:, None]).long()
        inputs, labels, places = blocks_at(batch, anchors, config.block, config.mask)
        valid = (places < ends[rows][:, None, None])[:, :, 1:]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            hidden = draft(features, anchors, inputs, embedding)[:, :, 1:]
        hidden, wanted = hidden[valid], labels[:, :, 1:][valid]
        weights = weight.expand(valid.shape)[valid]
        logits = F.linear(hidden.to(output.dtype), output)
        loss = F.cross_entropy(logits.float(), wanted, reduction="none")
        loss = (loss * weights).sum() / weights.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(draft.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % args.report == 1:
            hits = torch.zeros(valid.shape, device=device)
            hits[valid] = (logits.argmax(-1) == wanted).float()
            running = hits.sum((0, 1)) / valid.sum((0, 1)).clamp(min=1)
            say(f"step {step}, epoch {epoch}, loss {loss.item():.3f}, rate {rate:.2e}, right by position "
                + " ".join(f"{x:.2f}" for x in running.tolist()))
    return step


@torch.no_grad()
def evaluate(target, draft, samples, args, config):
    """Walks held-out greedy answers as a chain decoder would: mean tokens a step, by family and by position."""
    device = target.device
    families, by_position, reached = {}, [0] * (config.block - 1), [0] * (config.block - 1)
    for begin in range(0, len(samples), 16):
        part = samples[begin:begin + 16]
        tokens, begins, ends = pack(part, args.length, device)
        most = int(ends.max())
        batch = tokens[:, :most].long()
        features = target_features(target, batch, config.target_layers)
        right = torch.zeros(len(part), most, config.block - 1, dtype=torch.bool)
        for first in range(int(begins.min()), most - 1, 64):
            anchors = torch.arange(first, min(first + 64, most - 1), device=device)[None].expand(len(part), -1)
            inputs, labels, places = blocks_at(batch, anchors, config.block, config.mask)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                hidden = draft(features, anchors, inputs, target.embedding)[:, :, 1:]
            guess = F.linear(hidden.to(target.output.dtype), target.output).argmax(-1)
            good = (guess == labels[:, :, 1:]) & (places[:, :, 1:] < ends[:, None, None])
            right[:, first:first + anchors.shape[1]] = good.cpu()
        for i, (family, ids, answer) in enumerate(part):
            at, end, steps = len(ids), int(ends[i]), 0
            while at < end - 1:
                accepted = 0
                while accepted < config.block - 1 and right[i, at, accepted]:
                    accepted += 1
                for k in range(min(accepted + 1, config.block - 1)):
                    if at + 1 + k < end:
                        reached[k] += 1
                        by_position[k] += k < accepted
                at += accepted + 1
                steps += 1
            if steps:
                tally = families.setdefault(family, [0, 0])
                tally[0] += end - 1 - len(ids)
                tally[1] += steps
    every = [sum(t[i] for t in families.values()) for i in (0, 1)]
    return {"mean_accepted_length": every[0] / max(every[1], 1), "answers": len(samples), "tokens": every[0], "steps": every[1],
            "by_family": {f: t[0] / max(t[1], 1) for f, t in sorted(families.items())},
            "acceptance_by_position": [a / max(n, 1) for a, n in zip(by_position, reached)]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the target, a GGUF of a Llama")
    parser.add_argument("--out", required=True, help="folder for safetensors, config.json and results.json")
    parser.add_argument("--seconds", type=float, default=520, help="for all of it")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that everything runs")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    args.length, args.answer, args.batch_write, args.most_samples = 512, 320, 2048, 10 ** 9
    args.batch, args.anchors, args.most_steps, args.report = 32, 96, 0, 200
    args.writing_share, args.training_until, args.greedy_share, args.held_out = 0.36, 0.93, 0.6, 64
    if args.smoke:
        args.length, args.answer, args.batch_write, args.most_samples = 160, 24, 16, 24
        args.batch, args.anchors, args.most_steps, args.report, args.held_out = 4, 8, 12, 4, 2
    return args


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gguf = Gguf(args.model)
    tokenizer = Tokenizer(gguf)
    target = Llama(gguf, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    n = target.layers
    config = SimpleNamespace(
        width=target.width, layers=args.layers, heads=target.heads, kv_heads=target.kv_heads, head=target.head,
        inner=gguf.metadata["llama.feed_forward_length"], eps=1e-6, rope_base=10000.0, block=args.block, window=args.window,
        mask=tokenizer.ids["<empty_output>"], target_layers=[round(1 + i * (n - 4) / 4) for i in range(5)])
    draft = Draft(config).to(device)
    parameters = sum(p.numel() for p in draft.parameters())
    say(f"{device}: target {args.model}, draft of {parameters / 1e6:.1f} M parameters reads layers {config.target_layers}")

    writer = Writer(target, tokenizer, args)
    rng = random.Random(args.seed + 1)  # other prompts than those trained on
    asked = []
    for family in ("chat", "code", "maths", "rewriting"):
        make = prompts.FAMILIES.get(family) or (lambda r: prompts.rewriting(r, prompts.passage(r)))
        asked += [(family, SYSTEM + turn("user", make(rng))) for _ in range(args.held_out)]
    asked += [("invented", SYSTEM + turn("user", q)) for q in writer.invent(2 * args.held_out, rng, None)[:args.held_out]]
    held_out = writer.answer(asked, [0.0] * len(asked), None)
    held_prompts = {tuple(ids) for _, ids, _ in held_out}
    say(f"held out: {len(held_out)} greedy answers")
    samples = [s for s in write_corpus(writer, args) if tuple(s[1]) not in held_prompts]
    torch.cuda.empty_cache() if device.type == "cuda" else None

    counts = torch.bincount(torch.tensor([token for _, _, answer in samples for token in answer]), minlength=target.output.shape[0])
    ranked = counts.argsort(descending=True)
    head_tokens = sorted(ranked[:min(16384, int((counts > 0).sum()))].tolist())
    say(f"{len(samples)} answers with {int(counts.sum()) / 1e6:.2f} M tokens of {int((counts > 0).sum())} kinds")
    steps = train(target, draft, samples, args, config)
    results = evaluate(target, draft, held_out, args, config)
    results.update(training_steps=steps, seconds=clock(), corpus_answers=len(samples), corpus_tokens=int(counts.sum()), parameters=parameters,
                   seed=args.seed, target=Path(args.model).name, device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
                   torch=torch.__version__)
    save(draft, args.out, target.output.shape[0], target.layers, gguf.metadata["llama.context_length"], head_tokens)
    (Path(args.out) / "results.json").write_text(json.dumps(results, indent=1))
    say("mean accepted length {:.2f} of {}".format(results["mean_accepted_length"], config.block))
    print(json.dumps(results, indent=1), flush=True)


if __name__ == "__main__":
    main()
