#!/usr/bin/env python3
"""lucebox against llama.cpp on the CPU: prefill and decode of one model, same machine, same threads, in one run.

    bench/compare_llama_cpp.py MODEL.gguf [--threads 2] [--rounds 7] [--json]

See bench/README.md for how to build the peer. The two take turns (A B A B ...), each turn in a process of its own that
warms up once and then measures once, so that a busy moment of the machine meets both alike. Shown are the median of all
turns, the fastest and slowest, and the ratio of the medians.
"""
import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def peer_turn(model_path, threads, prompt_tokens, decode_tokens):
    """What `lucebox bench` does, by llama.cpp's own C interface: the same ids, greedy decoding, steps of up to 512 rows.

    With its flash attention and without; the better figure of either counts.
    """
    import llama_cpp as api
    import numpy as np

    # Its log holds nothing that is needed here.
    silent = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(silent, ctypes.c_void_p(0))
    api.llama_backend_init()
    model = api.llama_model_load_from_file(os.fsencode(model_path), api.llama_model_default_params())
    vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    prompt = [(i * 7919 + 13) % vocabulary for i in range(prompt_tokens)]
    best = {"prefill": 0, "decode": 0}
    for flash_attention in (0, 1):
        params = api.llama_context_default_params()
        params.n_ctx = prompt_tokens + decode_tokens
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = flash_attention
        context = api.llama_init_from_model(model, params)

        def feed(tokens):
            array = (api.llama_token * len(tokens))(*tokens)
            if api.llama_decode(context, api.llama_batch_get_one(array, len(tokens))) != 0:
                sys.exit("llama_decode failed")
            return np.ctypeslib.as_array(api.llama_get_logits_ith(context, -1), shape=(vocabulary,))

        for _ in range(2):  # the first one warms up
            api.llama_memory_clear(api.llama_get_memory(context), True)
            start = time.perf_counter()
            for begin in range(0, prompt_tokens, 512):
                logits = feed(prompt[begin:begin + 512])
            middle = time.perf_counter()
            for _ in range(decode_tokens):
                logits = feed([int(np.argmax(logits))])
            end = time.perf_counter()
        best["prefill"] = max(best["prefill"], prompt_tokens / (middle - start))
        best["decode"] = max(best["decode"], decode_tokens / (end - middle))
        api.llama_free(context)
    return best


def our_turn(arguments):
    command = [arguments.lucebox, "bench", "--model", arguments.model, "--threads", str(arguments.threads), "--prompt-tokens",
               str(arguments.prompt_tokens), "--decode-tokens", str(arguments.decode_tokens), "--repetitions", "1", "--json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    return {"prefill": result["prefill_tokens_per_second"]["median"], "decode": result["decode_tokens_per_second"]["median"],
            "bandwidth": result["memory_bytes_per_second"], "weight_bytes": result["weight_bytes"],
            "git_sha": result["git_sha"], "device": result["device"]}


def their_turn(arguments):
    command = [sys.executable, __file__, arguments.model, "--peer", "--threads", str(arguments.threads), "--prompt-tokens",
               str(arguments.prompt_tokens), "--decode-tokens", str(arguments.decode_tokens)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--decode-tokens", type=int, default=128)
    parser.add_argument("--lucebox", default=str(ROOT / "build" / "release" / "lucebox"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)  # one turn of llama.cpp
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(peer_turn(arguments.model, arguments.threads, arguments.prompt_tokens, arguments.decode_tokens)))
        return

    ours, theirs = [], []
    for turn in range(arguments.rounds):
        ours.append(our_turn(arguments))
        theirs.append(their_turn(arguments))
        print(f"round {turn + 1} of {arguments.rounds}: prefill {ours[-1]['prefill']:.0f} / {theirs[-1]['prefill']:.0f}, "
              f"decode {ours[-1]['decode']:.1f} / {theirs[-1]['decode']:.1f} tok/s (lucebox / llama.cpp)", file=sys.stderr)

    result = {"model": pathlib.Path(arguments.model).name, "device": ours[0]["device"], "threads": arguments.threads,
              "git_sha": ours[0]["git_sha"], "rounds": arguments.rounds, "prompt_tokens": arguments.prompt_tokens,
              "decode_tokens": arguments.decode_tokens, "memory_bytes_per_second": max(o["bandwidth"] for o in ours),
              "weight_bytes": ours[0]["weight_bytes"]}
    for what in ("prefill", "decode"):
        a, b = spread([o[what] for o in ours]), spread([t[what] for t in theirs])
        result[what] = {"lucebox": a, "llama_cpp": b, "ratio": a["median"] / b["median"],
                        "ratio_of_best": a["max"] / b["max"]}
    result["share_of_memory_bandwidth"] = (result["decode"]["lucebox"]["median"] * result["weight_bytes"]
                                           / result["memory_bytes_per_second"])
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"\n{result['model']}, {result['device']}, lucebox {result['git_sha'][:12]}")
    for what in ("prefill", "decode"):
        a, b = result[what]["lucebox"], result[what]["llama_cpp"]
        print(f"{what:8} lucebox {a['median']:7.1f} tok/s ({a['min']:.1f} to {a['max']:.1f})   llama.cpp {b['median']:7.1f} "
              f"({b['min']:.1f} to {b['max']:.1f})   {result[what]['ratio']:.2f} x, best against best "
              f"{result[what]['ratio_of_best']:.2f} x")
    print(f"decode reads the weights at {100 * result['share_of_memory_bandwidth']:.0f} % of the "
          f"{result['memory_bytes_per_second'] / 1e9:.1f} GB/s that a plain sum reads")


if __name__ == "__main__":
    main()
