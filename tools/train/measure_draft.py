#!/usr/bin/env python3
"""Acceptance of a draft on the prompts that training held out: greedy answers of `lucebox generate` with chains and trees.

    python3 tools/train/measure_draft.py LUCEBOX MODEL.gguf DRAFT.gguf [--prompts 12] [--shapes chain:7,tree:22]

For each family and shape: tokens a step (those accepted and the target's own behind them), and how often the guess at each
depth was right where the ones before it were. The texts must be those of plain decoding, or the exit status is 1.
"""
import argparse
import json
import random
import subprocess
import sys

import prompts

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"


def held_out(count, seed):
    """The first prompts of each family, as train_draft.py makes them of its seed."""
    rng = random.Random(seed + 1)
    out = {}
    for family in ("chat", "code", "maths", "rewriting"):
        make = prompts.FAMILIES.get(family) or (lambda r: prompts.rewriting(r, prompts.passage(r)))
        texts = [make(rng) for _ in range(64)]
        out[family] = [f"{SYSTEM}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in texts[:count]]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lucebox")
    parser.add_argument("model")
    parser.add_argument("draft")
    parser.add_argument("--prompts", type=int, default=12, help="of each family")
    parser.add_argument("--seed", type=int, default=42, help="that the draft was trained with")
    parser.add_argument("--shapes", default="chain:7,tree:22")
    parser.add_argument("--max-tokens", type=int, default=320)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    def generate(prompt, *more):
        words = [args.lucebox, "generate", "--model", args.model, "--device", args.device, "--prompt", prompt, "--max-tokens", str(args.max_tokens),
                 "--json", *more]
        return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    equal = True
    total = {}
    for family, texts in held_out(args.prompts, args.seed).items():
        plain = [generate(text, "--speculation", "off")["tokens"] for text in texts]
        for shape in args.shapes.split(","):
            tokens = steps = 0
            tried, right = [0] * 64, [0] * 64
            for text, expected in zip(texts, plain):
                got = generate(text, "--draft", args.draft, "--speculation", shape)
                equal = equal and got["tokens"] == expected
                tokens += len(expected) - 1  # the prompt's own step gives the first
                for step in got["steps"]:
                    steps += 1
                    depth = len(step["proposals"]) if "parents" not in step else 7
                    for k in range(min(step["accepted"] + 1, depth)):
                        tried[k] += 1
                        right[k] += k < step["accepted"]
            sums = total.setdefault(shape, [0, 0])
            sums[0] += tokens
            sums[1] += steps
            print(f"{family:10} {shape:8} {tokens / steps:5.2f} tokens a step; by depth "
                  + " ".join(f"{r / t:.2f}" for r, t in zip(right, tried) if t)[:48], flush=True)
    for shape, (tokens, steps) in total.items():
        print(f"{'all':10} {shape:8} {tokens / steps:5.2f} tokens a step")
    print("all texts are those of plain decoding" if equal else "TEXTS DIFFER")
    sys.exit(0 if equal else 1)


main()
