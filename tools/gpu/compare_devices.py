#!/usr/bin/env python3
"""A model's greedy texts and logits on the GPU beside the CPU's fast kernels and its plain ones (exact but for f32).

    tools/gpu/compare_devices.py LUCEBOX MODEL.gguf [--device cuda] [--tokens 64] [--tie 0.5]

For each prompt the GPU writes a greedy text; every position of it is then computed again on all sides. The GPU must agree with
the plain kernels about the best token wherever the margin is above --tie. That steps of 1, 7 and 64 rows give the same bits
is checked, too. Needs numpy. Exit status 1: something differs that should not.
"""
import argparse, json, os, subprocess, sys, tempfile
import numpy as np

PROMPTS = [
    "The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a small village by the sea,",
    "<|im_start|>user\nExplain why the sky is blue.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a Python function that reverses a linked list.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is 17 * 23? Show your work.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nList five interesting facts about whales.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a letter to a friend about a journey.<|im_end|>\n<|im_start|>assistant\n",
]


def call(*words):
    out = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=300)
    if out.returncode:
        sys.exit(f"{' '.join(map(str, words[:3]))} failed ({out.returncode}):\n{out.stderr[-2000:]}")
    return out.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lucebox")
    parser.add_argument("model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--tie", type=float, default=0.5, help="margins of the plain kernels below this may fall either way")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    args = parser.parse_args()
    folder = tempfile.mkdtemp()
    path = lambda name: os.path.join(folder, name)

    def generate(device, prompt):
        words = [args.lucebox, "generate", "--model", args.model, "--device", device, "--prompt", prompt, "--temperature", 0,
                 "--max-tokens", args.tokens, "--speculation", "off", "--ignore-eos", "--json"]
        return json.loads(call(*words))["tokens"]

    def ids_of(prompt):
        ids = json.loads(call(args.lucebox, "tokenize", "--model", args.model, "--text", prompt, "--special", "--json"))
        return ids["tokens"] if isinstance(ids, dict) else ids

    def logits(*options):
        call(args.lucebox, "logits", "--model", args.model, "--tokens", path("t.npy"), "--out", path("l.npy"), *options)
        return np.load(path("l.npy"))

    good, squares, worst, count, ties, largest_lost = True, {}, {}, 0, 0, 0.0
    same_text = 0
    for prompt in PROMPTS[:args.prompts]:
        text = generate(args.device, prompt)
        other = generate("cpu", prompt)
        first = next((i for i, (a, b) in enumerate(zip(text, other)) if a != b), None)
        same_text += first is None
        start = ids_of(prompt)
        np.save(path("t.npy"), np.array(start + text, dtype=np.int32))
        plain = logits("--device", "cpu", "--reference")
        sides = {"gpu": logits("--device", args.device, "--rows-per-step", 64), "gpu prefill": logits("--device", args.device),
                 "cpu": logits("--device", "cpu")}
        for rows in (1, 7):
            if not np.array_equal(sides["gpu"], logits("--device", args.device, "--rows-per-step", rows)):
                good = False
                print(f"steps of {rows} and 64 rows differ: {prompt!r}")
        for name, values in sides.items():
            if not np.isfinite(values).all():
                sys.exit(f"{name}: not finite")
            squares[name] = squares.get(name, 0) + float(((values - plain) ** 2).mean())
            worst[name] = max(worst.get(name, 0), float(np.abs(values - plain).max()))
        ordered = np.sort(plain, axis=-1)
        margins = ordered[:, -1] - ordered[:, -2]
        for name in ("gpu", "gpu prefill"):
            wrong = sides[name].argmax(-1) != plain.argmax(-1)
            largest_lost = max(largest_lost, float(margins[wrong].max(initial=0)))
        ties += int((margins < args.tie).sum())
        count += len(plain)
        if not np.array_equal(sides["gpu"][len(start) - 1:-1].argmax(-1), np.array(text)):
            good = False
            print(f"the text is not what the logits say: {prompt!r}")
        print(f"{len(start)} + {len(text)} tokens, {'same text as the CPU' if first is None else f'differs from the CPU at {first}, margin {margins[len(start) - 1 + first]:.3f}'}: {prompt[:40]!r}", flush=True)
    n = min(args.prompts, len(PROMPTS))
    for name in squares:
        print(f"{name} against the plain kernels: rms {np.sqrt(squares[name] / n):.5f}, largest {worst[name]:.4f}")
    print(f"{same_text} of {n} texts as the CPU's; {ties} of {count} choices closer than {args.tie}; "
          f"largest margin that fell differently on the GPU {largest_lost:.4f}")
    good = good and largest_lost < args.tie
    print("good" if good else "WRONG")
    sys.exit(0 if good else 1)


main()
