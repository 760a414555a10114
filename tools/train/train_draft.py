#!/usr/bin/env python3
"""Trains a DFlash draft for SmolLM2-135M-Instruct (or a like Llama) on one GPU within --seconds: the target writes answers
to prompts made in code and to questions that it invents itself, a small block-diffusion model learns to guess them from five
of the target's layers, and held-out greedy answers tell how many tokens a step would accept.

    python3 tools/train/train_draft.py --model SmolLM2-135M-Instruct.Q4_1.gguf --out OUT --seconds 560

Longer training takes several runs: with --resume DIR a run goes on from what the last one left there (answers, weights,
optimiser), and --training says for how many seconds all of them together will train.
"""
import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from corpus import Writer, load_samples, save_samples
from draft import Draft, save
from gguf_numpy import Gguf
from muon import Muon
from packing import Corpus, Pack, RangeMask, fill
from target import Llama
from tokenizer import Tokenizer

START = time.time()


def clock():
    return time.time() - START


def say(text):
    print(f"[{clock():6.1f} s] {text}", flush=True)


def guesses(hidden, output, labels):
    """Of hidden [rows, width]: logits, their log-sum-exp, the label's logit, whether the label is the best."""
    logits = F.linear(hidden, output)
    exact = logits.float()
    return logits, exact.logsumexp(-1), exact.gather(1, labels[:, None])[:, 0], exact.argmax(-1) == labels


def head_gradient(logits, lse, labels, weight, teacher, teacher_lse, at, output, soft):
    """Gradient by the hidden rows of weight * cross-entropy against soft * the teacher's distribution + (1 - soft) * the label."""
    wanted = soft * (teacher[at].float() - teacher_lse[at][:, None]).exp()
    label = (torch.arange(logits.shape[1], device=logits.device) == labels[:, None]).float() * (1 - soft)
    gradient = ((logits.float() - lse[:, None]).exp() - wanted - label) * weight[:, None]
    return gradient.to(output.dtype) @ output


def depth_weights(right, valid, smooth=0.5):
    """right [n, k]: the probability that the draft gives to each label. The expected accepted length is the sum over j of the
    product of right[:j]; its slope by log right[k] is the sum of those with j >= k. Smoothed so that a first miss does not
    silence all behind it (D-PACE)."""
    reach = torch.where(valid, (1 - smooth) * right + smooth, 1.0).cumprod(1) * valid
    return reach.flip(1).cumsum(1).flip(1) * valid


class Trainer:
    def __init__(self, target, draft, args, config):
        self.target, self.draft, self.args, self.config = target, draft, args, config
        device = self.device = target.device
        rows = args.anchors * config.block
        self.text_mask = RangeMask(args.pack, args.pack, device)
        self.block_mask = RangeMask(rows, args.pack + rows, device, own_at=args.pack, own=config.block)
        self.guesses, self.head_gradient = guesses, head_gradient
        if device.type == "cuda":
            compile_ = lambda f: torch.compile(f, dynamic=False)
            target.layer, draft.step = compile_(target.layer), compile_(draft.step)
            self.guesses, self.head_gradient = compile_(guesses), compile_(head_gradient)
        matrices = [p for p in draft.parameters() if p.dim() == 2]
        vectors = [p for p in draft.parameters() if p.dim() != 2]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(vectors, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=device.type == "cuda")
        self.steps, self.trained = 0, 0.0

    def save(self, path):
        torch.save({"draft": self.draft.state_dict(), "muon": self.muon.state(), "adam": self.adam.state_dict(), "steps": self.steps,
                    "trained": self.trained}, str(path) + ".part")
        Path(str(path) + ".part").rename(path)

    def load(self, path):
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.draft.load_state_dict(state["draft"])
        self.muon.load(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.steps, self.trained = state["steps"], state["trained"]

    def features(self, pack):
        """The target's features and last hidden states of a pack, and the texts' positions."""
        column = torch.arange(self.args.pack, device=self.device)
        positions = column - pack.start
        return *self.target.packed(pack.tokens, positions, self.text_mask.set(pack.start, column + 1), self.config.target_layers), positions

    def hidden(self, pack, features, positions, anchors):
        """The draft's rows of the blocks at `anchors`; the tokens that they should guess; which of those there are."""
        c = self.config
        depth = torch.arange(c.block, device=self.device)
        places = anchors[:, None] + depth
        labels = pack.tokens[places.clamp(max=self.args.pack - 1)]
        inputs = torch.full_like(labels, c.mask)
        inputs[:, 0] = labels[:, 0]
        start = pack.start[anchors][:, None]
        low = torch.maximum(start, places - c.window + 1)
        high = anchors[:, None].expand_as(low)
        mask = self.block_mask.set(low.flatten(), high.flatten())
        hidden = self.draft(features, positions, inputs, places - start, self.target.embedding, mask)
        return hidden, labels, places < pack.end[anchors][:, None]

    def step(self, pack, rng, rate):
        args, depth = self.args, self.config.block - 1
        features, last, positions = self.features(pack)
        with torch.no_grad():
            teacher = F.linear(last, self.target.output)
            teacher_lse = torch.cat([part.float().logsumexp(-1) for part in teacher.split(2048)])
        anchors = pack.choose(args.anchors, rng)
        hidden, labels, valid = self.hidden(pack, features, positions, anchors)
        gradient = torch.zeros_like(hidden)
        tried, right, loss = (torch.zeros(depth, device=self.device) for _ in range(3))
        with torch.no_grad():
            for begin in range(0, args.anchors, args.chunk):
                part = slice(begin, begin + args.chunk)
                wanted, there = labels[part, 1:].flatten(), valid[part, 1:]
                at = (anchors[part, None] + torch.arange(depth, device=self.device)).flatten().clamp(max=args.pack - 1)
                logits, lse, of_label, hit = self.guesses(hidden[part, 1:].flatten(0, 1), self.target.output, wanted)
                by_depth = lambda t: t.view(-1, depth)
                surprise = by_depth(lse - of_label)
                weight = depth_weights(torch.exp(-surprise), there) / args.anchors
                gradient[part, 1:] = self.head_gradient(logits, lse, wanted, weight.flatten(), teacher, teacher_lse, at,
                                                        self.target.output, args.soft).view(-1, depth, hidden.shape[-1])
                tried += there.sum(0)
                right += (by_depth(hit) & there).sum(0)
                loss += (surprise * there).sum(0)
        hidden.backward(gradient)
        self.muon.step(args.rate * rate)
        for group in self.adam.param_groups:
            group["lr"] = 1e-3 * rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.steps += 1
        return tried, right, loss

    def train(self, corpus, until, planned, state):
        """Until the clock says `until`; the rate falls linearly to nothing at `planned` seconds of training."""
        args = self.args
        rng = np.random.default_rng(args.seed + self.steps)
        begin, before, first, saved, queue = clock(), self.trained, self.steps, clock(), []
        mark = (clock(), self.steps)
        sums = None
        decay = torch.exp(-torch.arange(self.config.block - 1, device=self.device) / 4.0)
        while clock() < until and self.trained < planned and (not args.most_steps or self.steps - first < args.most_steps):
            if not queue:
                queue = fill(rng.permutation(len(corpus)), corpus.lengths, args.pack)
            progress = self.trained / planned
            rate = min(1.0, self.trained / 8 + 0.02) * max(0.01, 1 - progress)
            new = self.step(Pack(corpus, queue.pop(), args.pack), rng, rate)
            sums = new if sums is None else tuple(a + b for a, b in zip(sums, new))
            if self.steps == first + 1:  # its compilation does not count
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                begin = clock()
                say(f"first step done, {begin - mark[0]:.1f} s")
                mark = (begin, self.steps)
            self.trained = before + clock() - begin
            if (self.steps - first) % args.report == 0:
                tried, right, loss = (t.double().cpu() for t in sums)
                share = decay.double().cpu() * tried
                mean = float((loss / tried.clamp(min=1) * share).sum() / share.sum())
                say(f"step {self.steps}, {(self.steps - mark[1]) / (clock() - mark[0]):.1f} a second, {progress:.0%}, loss {mean:.3f}, right by "
                    "depth " + " ".join(f"{x:.2f}" for x in (right / tried.clamp(min=1)).tolist()))
                mark, sums = (clock(), self.steps), None
            if state and clock() - saved > args.save_every:
                self.save(state)
                saved = clock()

    def evaluate(self, samples):
        """Walks held-out greedy answers as a chain decoder would: mean tokens a step, by family and by depth."""
        args, depth = self.args, self.config.block - 1
        corpus = Corpus(samples, args.length, self.device)
        families, by_position, reached = {}, [0] * depth, [0] * depth
        packs = fill(np.arange(len(corpus)), np.append(corpus.lengths, args.pack), args.pack)
        if sum(map(len, packs)) < len(corpus):  # fill() leaves the last one out
            packs.append(list(range(sum(map(len, packs)), len(corpus))))
        for rows in packs:
            pack = Pack(corpus, rows, args.pack)
            features, _, positions = self.features(pack)
            good = np.zeros((args.pack, depth), bool)
            for begin in range(0, len(pack.anchors), args.anchors):
                at = pack.anchors[begin:begin + args.anchors]
                anchors = torch.from_numpy(np.append(at, np.full(args.anchors - len(at), at[-1]))).to(self.device)
                hidden, labels, valid = self.hidden(pack, features, positions, anchors)
                hidden = hidden.detach()
                hit = torch.cat([F.linear(h, self.target.output).argmax(-1) for h in hidden[:, 1:].split(args.chunk)])
                good[at] = ((hit == labels[:, 1:]) & valid[:, 1:]).cpu().numpy()[:len(at)]
            for row, first, end in zip(pack.rows, pack.firsts, pack.ends):
                begin = at = int(first + corpus.begins[row])
                steps = 0
                while at < end - 1:
                    accepted = 0
                    while accepted < depth and good[at, accepted]:
                        accepted += 1
                    for k in range(min(accepted + 1, depth)):
                        if at + 1 + k < end:
                            reached[k] += 1
                            by_position[k] += k < accepted
                    at += accepted + 1
                    steps += 1
                if steps:
                    tally = families.setdefault(samples[row][0], [0, 0])
                    tally[0] += int(end) - 1 - begin
                    tally[1] += steps
        every = [sum(t[i] for t in families.values()) for i in (0, 1)]
        return {"mean_accepted_length": every[0] / max(every[1], 1), "answers": len(samples), "tokens": every[0], "steps": every[1],
                "by_family": {f: t[0] / max(t[1], 1) for f, t in sorted(families.items())},
                "acceptance_by_position": [a / max(n, 1) for a, n in zip(by_position, reached)]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the target, a GGUF of a Llama")
    parser.add_argument("--out", required=True, help="folder for safetensors, config.json and results.json")
    parser.add_argument("--seconds", type=float, default=560, help="for all of this run")
    parser.add_argument("--writing", type=float, help="seconds of this run for writing answers; default: a sixth of it, none where DIR has some")
    parser.add_argument("--training", type=float, help="seconds of training in all runs together; default: what this run has left")
    parser.add_argument("--resume", metavar="DIR", help="go on from what is there, and leave there what is needed to go on")
    parser.add_argument("--smoke", action="store_true", help="tiny, to see that everything runs")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's")
    parser.add_argument("--soft", type=float, default=0.5, help="share of the target's own distribution in what is to be guessed")
    args = parser.parse_args()
    args.length, args.answer, args.batch_write, args.round, args.most_samples = 512, 320, 4096, 9216, 10 ** 9
    args.pack, args.anchors, args.chunk, args.most_steps, args.report, args.save_every = 16384, 4096, 512, 0, 200, 60
    args.greedy_share, args.held_out = 0.65, 64
    if args.smoke:
        args.length, args.answer, args.batch_write, args.round, args.most_samples = 160, 12, 16, 12, 8
        args.pack, args.anchors, args.chunk, args.most_steps, args.report, args.held_out, args.save_every = 384, 16, 16, 6, 2, 2, 5
    return args


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = Path(args.resume) if args.resume else None
    if state:
        state.mkdir(parents=True, exist_ok=True)
    gguf = Gguf(args.model)
    tokenizer = Tokenizer(gguf)
    target = Llama(gguf, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    n = target.layers
    config = SimpleNamespace(
        width=target.width, layers=args.layers, heads=target.heads, kv_heads=target.kv_heads, head=target.head,
        inner=gguf.metadata["llama.feed_forward_length"], eps=1e-6, rope_base=10000.0, block=args.block, window=args.window,
        mask=tokenizer.ids["<empty_output>"], target_layers=[round(1 + i * (n - 4) / 4) for i in range(5)])
    draft = Draft(config).to(device)
    draft.norm.data.copy_(target.norm)  # so that its first outputs are of the size that the output matrix expects
    parameters = sum(p.numel() for p in draft.parameters())
    say(f"{device}: target {args.model}, draft of {parameters / 1e6:.1f} M parameters reads layers {config.target_layers}")

    writer = Writer(target, tokenizer, args, clock, say)
    if state and (state / "samples.pt").exists():
        samples, held_out = load_samples(state / "samples.pt"), load_samples(state / "held_out.pt")
        left_out = set(json.loads((state / "left_out.json").read_text()))
        say(f"resumed: {len(samples)} answers, {len(held_out)} held out")
    else:
        samples = []
        held_out, left_out = writer.held_out(args.held_out, args.seed)
        say(f"held out: {len(held_out)} greedy answers")
    writing = args.writing if args.writing is not None else 0 if samples else args.seconds / 6
    if writing > 0:
        torch.manual_seed(args.seed + len(samples))
        samples = writer.write(samples, left_out, args.seed, float("inf") if args.smoke else clock() + writing)
        if not samples:
            raise SystemExit(f"no answer was written within {writing:.0f} s: give --writing more seconds")
        if state:
            save_samples(state / "samples.pt", samples)
            save_samples(state / "held_out.pt", held_out)
            (state / "left_out.json").write_text(json.dumps(sorted(left_out)))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    counts = torch.bincount(torch.tensor([token for _, _, answer in samples for token in answer]), minlength=target.output.shape[0])
    ranked = counts.argsort(descending=True)
    head_tokens = sorted(ranked[:min(16384, int((counts > 0).sum()))].tolist())
    say(f"{len(samples)} answers with {int(counts.sum()) / 1e6:.2f} M tokens of {int((counts > 0).sum())} kinds")

    trainer = Trainer(target, draft, args, config)
    if state and (state / "state.pt").exists():
        trainer.load(state / "state.pt")
        say(f"resumed: {trainer.steps} steps, {trainer.trained:.0f} s of training")
    until = args.seconds - (0.03 * args.seconds + 5 if not args.smoke else 0)
    planned = args.training or trainer.trained + max(until - clock(), 1)
    corpus = Corpus(samples, args.length, device)
    trainer.train(corpus, until, planned, state / "state.pt" if state else None)
    if state:
        trainer.save(state / "state.pt")
    say(f"trained: {trainer.steps} steps, {trainer.trained:.0f} of {planned:.0f} s")
    save(draft, args.out, target.output.shape[0], target.layers, gguf.metadata["llama.context_length"], head_tokens)
    results = trainer.evaluate(held_out)
    results.update(training_steps=trainer.steps, training_seconds=trainer.trained, planned_seconds=planned, seconds=clock(),
                   corpus_answers=len(samples), corpus_tokens=int(counts.sum()), parameters=parameters, seed=args.seed, soft=args.soft,
                   rate=args.rate, target=Path(args.model).name, torch=torch.__version__,
                   device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu")
    (Path(args.out) / "results.json").write_text(json.dumps(results, indent=1))
    say("mean accepted length {:.2f} of {}".format(results["mean_accepted_length"], config.block))
    print(json.dumps(results, indent=1), flush=True)


if __name__ == "__main__":
    main()
