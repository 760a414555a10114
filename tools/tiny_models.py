#!/usr/bin/env python3
"""Random tiny models of every architecture, in shapes that no published model has, against a plain numpy forward pass.

    tools/tiny_models.py check build/release/lucebox [--models 40] [--seed 1]
    tools/tiny_models.py write tests/data/tiny     # the committed selection, for tests/model/tiny_model_test.cpp

`check` makes models from a seed, runs `lucebox logits` on each with 1, 5, 64 and 256 rows a step, and compares every
logit with double-precision numpy on the same (dequantised) weights. Steps of up to 64 rows must agree with each other to
the bit. Needs numpy.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tiny_models_forward import forward
from tiny_models_gguf import Weights, write_gguf

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "qwen35")


class Recipe:
    """A model's shape, drawn from a seed, and its weights."""

    def __init__(self, seed, architecture=None):
        self.seed = seed
        self.random = np.random.default_rng(seed)
        self.architecture = architecture or self.pick(*ARCHITECTURES)
        self.type = self.pick("F32", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K")
        self.width = self.pick(256, 512) if self.type == "Q4_K" else self.pick(40, 64, 96, 100, 160, 256)
        self.inner = self.pick(256, 512) if self.type == "Q4_K" else self.pick(56, 96, 128, 200, 320)
        self.kv_heads = self.pick(1, 2, 3)
        self.heads = self.kv_heads * self.pick(1, 2, 3, 5)
        self.head_dim = self.pick(16, 24, 32, 48, 64, 80, 96, 128, 256)
        self.layers = 7 if self.architecture == "gemma3" else self.pick(1, 2, 3)
        self.vocabulary = self.pick(61, 128, 300)
        self.tied = bool(self.pick(0, 1)) or self.architecture == "gemma3"
        self.keys = {}
        self.weights = Weights(np.random.default_rng([seed, 1]), self.type)
        self.common()
        getattr(self, self.architecture)()
        length = self.pick(1, 5, 37, 70, 150)
        self.tokens = self.random.integers(0, self.vocabulary, length).astype(np.int32)

    def pick(self, *choices):
        return choices[int(self.random.integers(len(choices)))]

    def set(self, key, value):
        self.keys[f"{self.architecture}.{key}"] = value

    def common(self):
        self.keys["general.architecture"] = self.architecture
        self.keys["general.name"] = f"tiny {self.architecture} {self.seed}"
        self.set("context_length", 4096)
        self.set("embedding_length", self.width)
        self.set("feed_forward_length", self.inner)
        self.set("block_count", self.layers)
        self.set("attention.head_count", self.heads)
        self.set("attention.head_count_kv", self.kv_heads)
        self.set("attention.layer_norm_rms_epsilon", self.pick(1e-5, 1e-6))
        self.set("rope.freq_base", self.pick(1e4, 1e5, 1e6, 1e7))
        w = self.weights
        w.matrix("token_embd.weight", self.width, self.vocabulary, gain=self.width ** 0.5)
        w.norm("output_norm.weight", self.width, around=1.5)
        if not self.tied:
            w.matrix("output.weight", self.width, self.vocabulary, gain=2)

    def attention(self, i, gated=False, norms=False, biases=False, output_bias=False):
        w, prefix = self.weights, f"blk.{i}."
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        w.matrix(prefix + "attn_q.weight", self.width, q * (2 if gated else 1))
        w.matrix(prefix + "attn_k.weight", self.width, kv)
        w.matrix(prefix + "attn_v.weight", self.width, kv)
        w.matrix(prefix + "attn_output.weight", q, self.width)
        if norms:
            w.norm(prefix + "attn_q_norm.weight", self.head_dim)
            w.norm(prefix + "attn_k_norm.weight", self.head_dim)
        if biases:
            for name, size in (("q", q), ("k", kv), ("v", kv)):
                w.vector(f"{prefix}attn_{name}.bias", size, 0.3)
        if output_bias:
            w.vector(prefix + "attn_output.bias", self.width, 0.3)

    def mlp(self, i):
        w, prefix = self.weights, f"blk.{i}."
        w.matrix(prefix + "ffn_gate.weight", self.width, self.inner)
        w.matrix(prefix + "ffn_up.weight", self.width, self.inner)
        w.matrix(prefix + "ffn_down.weight", self.inner, self.width)

    def scaling(self, *kinds):
        kind = self.pick(*kinds)
        if kind in ("linear", "yarn"):
            self.set("rope.scaling.type", kind)
            self.set("rope.scaling.factor", float(self.pick(2, 4, 8)))
        if kind == "yarn":
            self.set("rope.scaling.original_context_length", self.pick(16, 64, 1024))
            if self.pick(0, 1):
                self.set("rope.scaling.attn_factor", 0.8)
        if kind == "llama3":
            self.weights.uniform("rope_freqs.weight", self.rotated() // 2, 1, 8)

    def rotated(self):
        return self.keys.get(f"{self.architecture}.rope.dimension_count", self.head_dim)

    def plain(self, **options):
        for i in range(self.layers):
            self.weights.norm(f"blk.{i}.attn_norm.weight", self.width)
            self.attention(i, **options)
            self.weights.norm(f"blk.{i}.ffn_norm.weight", self.width)
            self.mlp(i)

    def llama(self):
        if self.pick(0, 1) or self.head_dim * self.heads != self.width:
            self.set("attention.key_length", self.head_dim)
            self.set("attention.value_length", self.head_dim)
        self.set("rope.dimension_count", self.pick(self.head_dim, self.head_dim // 2))
        self.scaling("none", "linear", "yarn", "llama3")
        self.plain(biases=bool(self.pick(0, 0, 1)))

    def qwen2(self):
        self.set("attention.key_length", self.head_dim)
        self.scaling("none", "yarn")
        self.plain(biases=True)

    def qwen3(self):
        self.set("attention.key_length", self.head_dim)
        self.set("attention.value_length", self.head_dim)
        self.scaling("none", "linear", "yarn")
        self.plain(norms=True)

    def gemma3(self):
        self.set("attention.key_length", self.head_dim)
        self.set("attention.value_length", self.head_dim)
        self.set("attention.sliding_window", self.pick(3, 16, 33, 64, 512))
        if self.pick(0, 1):
            self.set("rope.freq_base_swa", 5e4)
        self.scaling("none", "linear")
        # Its embedding is multiplied by the square root of the width.
        for i in range(self.layers):
            prefix = f"blk.{i}."
            for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
                self.weights.norm(f"{prefix}{name}.weight", self.width)
            self.attention(i, norms=True)
            self.mlp(i)

    def qwen35(self):
        interval = self.pick(2, 3, 4)
        layers, predictors = self.pick(interval, interval + 1, 2 * interval), self.pick(0, 0, 1)
        key_heads, ratio, dim = self.pick(1, 2, 3), self.pick(1, 2, 3), self.pick(16, 32, 64, 128)
        value_heads, taps = key_heads * ratio, self.pick(4, 4, 2, 3)
        self.layers = layers
        self.set("block_count", layers + predictors)
        if predictors:
            self.set("nextn_predict_layers", predictors)
        self.set("attention.key_length", self.head_dim)
        self.set("attention.value_length", self.head_dim)
        self.set("rope.dimension_count", self.pick(self.head_dim // 4 // 2 * 2, self.head_dim))
        self.set("full_attention_interval", interval)
        self.set("ssm.group_count", key_heads)
        self.set("ssm.time_step_rank", value_heads)
        self.set("ssm.state_size", dim)
        self.set("ssm.inner_size", value_heads * dim)
        self.set("ssm.conv_kernel", taps)
        w, channels = self.weights, (2 * key_heads + value_heads) * dim
        for i in range(layers):
            prefix = f"blk.{i}."
            w.norm(prefix + "attn_norm.weight", self.width)
            w.norm(prefix + "post_attention_norm.weight", self.width)
            self.mlp(i)
            if (i + 1) % interval == 0:
                self.attention(i, gated=True, norms=True)
                continue
            w.matrix(prefix + "attn_qkv.weight", self.width, channels)
            w.matrix(prefix + "attn_gate.weight", self.width, value_heads * dim)
            w.matrix(prefix + "ssm_alpha.weight", self.width, value_heads)
            w.matrix(prefix + "ssm_beta.weight", self.width, value_heads)
            w.matrix(prefix + "ssm_out.weight", value_heads * dim, self.width)
            w.vector(prefix + "ssm_conv1d.weight", (channels, taps), 0.5)
            w.uniform(prefix + "ssm_a", value_heads, -2, -0.05)
            w.vector(prefix + "ssm_dt.bias", value_heads, 1)
            w.norm(prefix + "ssm_norm.weight", dim)

    def describe(self):
        return (f"{self.architecture:7} {self.type:5} width {self.width:3} inner {self.inner:3} heads {self.heads:2}/{self.kv_heads} x "
                f"{self.head_dim:3} layers {self.layers} tokens {len(self.tokens):3}{' tied' if self.tied else ''}")

    def write(self, path):
        write_gguf(path, self.keys, self.weights)


def run_logits(program, model, tokens, rows, *more):
    with tempfile.NamedTemporaryFile(suffix=".npy") as out:
        done = subprocess.run([program, "logits", "--model", model, "--tokens", tokens, "--out", out.name, "--rows-per-step",
                               str(rows), *more], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"lucebox logits failed: {done.stderr}")
        return np.load(out.name)


# Largest rms of the error, in units of the logits' own spread. F32 is judged by the largest error instead, which is that
# of the reference models where logits spread as theirs do (by about 4). Other types keep keys and values in F16; quantised
# ones also round activations to 8 bits.
TOLERANCE = {"F16": 5e-3, "BF16": 5e-3, "Q8_0": 0.05, "Q4_0": 0.05, "Q4_K": 0.05}
LARGEST_F32_ERROR = 1e-3


def compare(program, recipe, folder):
    """What is wrong, or nothing; and the figures."""
    model, tokens = Path(folder) / "model.gguf", Path(folder) / "tokens.npy"
    recipe.weights.draw()
    recipe.write(model)
    np.save(tokens, recipe.tokens)
    expected = forward(recipe.keys, recipe.weights.values, recipe.tokens)
    spread = expected.std()
    answers = {rows: run_logits(program, model, tokens, rows) for rows in (1, 5, 64, 256)}
    plain = run_logits(program, model, tokens, 64, "--reference")
    wrong = []
    for rows, limit in ((5, 0), (64, 0)):
        if not np.array_equal(answers[1], answers[rows]):
            wrong.append(f"{rows} rows a step differ from 1 by {abs(answers[1] - answers[rows]).max():.1e}")
    worst = 0.0
    for name, values in [*answers.items(), ("reference", plain)]:
        error = abs(values - expected)
        rms = float(np.sqrt((error ** 2).mean()) / spread)
        worst = max(worst, rms)
        if recipe.type == "F32":
            if not error.max() < LARGEST_F32_ERROR * max(1, spread / 4):
                wrong.append(f"{name}: off by {error.max():.1e}")
        elif not rms < (5e-3 if name == "reference" else TOLERANCE[recipe.type]):
            wrong.append(f"{name}: rms error {rms:.1e} of the spread")
    return wrong, f"spread {spread:.2f}, rms error {worst:.1e}"


def check(arguments):
    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.models):
        recipe = Recipe(seed, ARCHITECTURES[seed % len(ARCHITECTURES)])
        with tempfile.TemporaryDirectory() as folder:
            wrong, figures = compare(arguments.program, recipe, folder)
        print(f"{'WRONG' if wrong else 'ok':5} {seed:4} {recipe.describe()}: {'; '.join(wrong) or figures}", flush=True)
        failures += bool(wrong)
    print(f"{arguments.models - failures} of {arguments.models} models agree")
    return 1 if failures else 0


# What the committed selection is to cover, each the first seed from 1000 on that is small and fits.
SELECTION = {
    "llama-yarn": lambda r: r.architecture == "llama" and r.keys.get("llama.rope.scaling.type") == "yarn" and
                            "llama.rope.scaling.attn_factor" in r.keys,
    "llama-freqs-odd-heads": lambda r: r.architecture == "llama" and "rope_freqs.weight" in r.weights.wanted and r.heads % 2,
    "qwen2-width-100": lambda r: r.architecture == "qwen2" and r.width == 100,
    "qwen3-linear-f16": lambda r: r.architecture == "qwen3" and r.keys.get("qwen3.rope.scaling.type") == "linear" and r.type == "F16",
    "gemma3-window-3": lambda r: r.architecture == "gemma3" and r.keys["gemma3.attention.sliding_window"] == 3,
    "qwen35-one-key-head": lambda r: r.architecture == "qwen35" and r.keys["qwen35.ssm.group_count"] == 1 and
                                     r.keys["qwen35.ssm.time_step_rank"] == 3,
    "qwen35-q8_0": lambda r: r.architecture == "qwen35" and r.type == "Q8_0",
}
SELECTION_BYTES = 500_000


def write(arguments):
    for name, fits in SELECTION.items():
        for seed in range(1000, 9000):
            recipe = Recipe(seed)
            plain = recipe.type == "F32" or name.endswith(recipe.type.lower())
            if not (plain and fits(recipe) and recipe.width * recipe.inner < 20_000 and len(recipe.tokens) in (37, 70)):
                continue
            recipe.weights.draw()
            if recipe.weights.bytes() < SELECTION_BYTES:
                break
        else:
            sys.exit(f"no seed gives {name}")
        folder = Path(arguments.folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write(folder / "model.gguf")
        np.save(folder / "tokens.npy", recipe.tokens)
        np.save(folder / "logits.npy", forward(recipe.keys, recipe.weights.values, recipe.tokens).astype(np.float32))
        print(f"{name}: seed {seed}, {recipe.describe()}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("check")
    one.add_argument("program")
    one.add_argument("--models", type=int, default=40)
    one.add_argument("--seed", type=int, default=1)
    two = commands.add_parser("write")
    two.add_argument("folder")
    arguments = parser.parse_args()
    sys.exit(check(arguments) if arguments.command == "check" else write(arguments))


if __name__ == "__main__":
    main()
