#!/usr/bin/env python3
"""What llama.cpp answers on the two real models of the tests: tests/data/real/*.json.

    python3 -m venv /tmp/peer
    CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" /tmp/peer/bin/pip install --no-binary llama-cpp-python llama-cpp-python numpy gguf
    /tmp/peer/bin/python tools/make_real_model_references.py FOLDER_WITH_MODELS

For each prompt: its ids, the 64 greedy ids that follow (the end of the text does not stop them), the margin of each
(best logit minus second best), and some logits at the end of the prompt. Beside them the same (`exact_...`) of the weights
expanded to F32, which llama.cpp multiplies without rounding activations. llama.cpp is used here and in bench/ only.
"""
import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

GREEDY = 64
SAMPLES = 256
EXACT = (0, 4, 11)  # prompts that have some logits of F32 weights too

LONG = ("The harbour town woke slowly that morning. Fishermen mended their nets on the quay while gulls argued over scraps, "
        "and the baker's boy carried warm loaves up the hill. Nobody noticed the small grey boat that drifted in with the tide, "
        "its sail torn and its name painted over. ")

QUESTIONS = [
    "What is the capital of France?",
    "Explain why the sky is blue in two sentences.",
    "Write a short poem about the sea.",
    "List five uses for a paper clip.",
    "What is 17 times 23? Show your work.",
    "Translate 'good morning' into Spanish, French and German.",
    "Give me a recipe for pancakes.",
    "Who wrote Romeo and Juliet, and when?",
    "Summarise the plot of Cinderella.",
    "Write a Python function that reverses a string.",
]

TEXTS = [
    "Once upon a time, in a village at the edge of a dark forest,",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "The three laws of thermodynamics state that",
    "Die Hauptstadt von Deutschland ist",
    "1, 1, 2, 3, 5, 8, 13,",
    "SELECT name, COUNT(*) FROM orders WHERE",
    "La Révolution française commença en",
    "<html>\n<head>\n<title>",
    "The mitochondria is the powerhouse of the cell. It",
    LONG * 9 + "The harbour master",
]

MODELS = {
    "smollm2-135m-instruct": ("SmolLM2-135M-Instruct.Q4_1.gguf",
                              [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in QUESTIONS] + TEXTS),
    "gemma-3-270m": ("gemma-3-270m-q4_k_m.gguf", [f"Question: {q}\nAnswer:" for q in QUESTIONS] + TEXTS),
}


def logits_behind(model, ids):
    model.eval(ids)
    return np.array(model.scores[model.n_tokens - 1], dtype=np.float32)


def greedy_text(model, logits, digits):
    """The ids that follow, and the margin of each."""
    ids, margins = [], []
    for _ in range(GREEDY):
        best = int(np.argmax(logits))
        ids.append(best)
        margins.append(round(float(logits[best] - np.max(np.delete(logits, best))), digits))
        logits = logits_behind(model, [best])
    return ids, margins


def reference(model, text):
    ids = model.tokenize(text.encode(), add_bos=True, special=True)
    model.reset()
    logits = logits_behind(model, ids)
    step = len(logits) // SAMPLES
    case = {"text": text, "prompt": ids, "sample_step": step, "samples": [round(float(x), 4) for x in logits[::step]]}
    case["greedy"], case["margins"] = greedy_text(model, logits, 4)
    return case


def expand(path, to):
    """The same model with F32 weights."""
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(to, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=field.types[-1] if is_array else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_exact(path, cases):
    with tempfile.TemporaryDirectory() as folder:
        expanded = pathlib.Path(folder) / "expanded.gguf"
        expand(path, expanded)
        model = llama_cpp.Llama(str(expanded), n_ctx=1024, n_threads=2, n_threads_batch=2, logits_all=True, verbose=False,
                                type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)
        for index, case in enumerate(cases):
            model.reset()
            logits = logits_behind(model, case["prompt"])
            if index in EXACT:
                case["exact_samples"] = [round(float(x), 5) for x in logits[::case["sample_step"]]]
            case["exact_greedy"], case["exact_margins"] = greedy_text(model, logits, 5)
            print(f"exact {index + 1}/{len(cases)}: smallest margin {min(case['exact_margins'])}", flush=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    out = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "real"
    out.mkdir(parents=True, exist_ok=True)
    for name, (file, prompts) in MODELS.items():
        model = llama_cpp.Llama(str(folder / file), n_ctx=1024, n_batch=512, n_threads=2, n_threads_batch=2,
                                logits_all=True, verbose=False)
        cases = []
        for i, prompt in enumerate(prompts):
            cases.append(reference(model, prompt))
            print(f"{name} {i + 1}/{len(prompts)}: {len(cases[-1]['prompt'])} prompt tokens, smallest margin "
                  f"{min(cases[-1]['margins'])}", flush=True)
        model.close()
        add_exact(folder / file, cases)
        about = {"model": name, "file": file, "made_by": f"llama.cpp of llama-cpp-python {llama_cpp.__version__}, CPU, f16 KV"}
        # One case a line, so that a change of one shows as one.
        text = json.dumps(about, ensure_ascii=False)[:-1] + ', "cases": [\n'
        text += ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]}\n"
        (out / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
