#!/usr/bin/env python3
"""Writes the reference data of tests/data/tokenizers with Hugging Face tokenizers and sentencepiece.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers sentencepiece gguf protobuf
    /tmp/venv/bin/python tools/make_tokenizer_references.py [MODEL.gguf ...]

Without arguments it trains the small vocabularies on corpus.txt, writes them as GGUF files without tensors, and encodes
texts.hex with each; and the seeds of the tokenizer's fuzz target. Each MODEL.gguf (a published model) is encoded too, by a reference tokenizer built from the file's own
vocabulary; only the ids are kept, under the file's name up to the size or quantisation in it.
"""
import io
import json
import pathlib
import random
import re
import sys

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as sp_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/tokenizers"
VOCABULARY = 1500
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MARK = "\u2581"

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?%s+|\p{N}%s| ?[^\s%s\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = CL100K % (r"\p{L}", "{1,3}", r"\p{L}")
QWEN2 = CL100K % (r"\p{L}", "", r"\p{L}")
QWEN35 = CL100K % (r"[\p{L}\p{M}]", "", r"\p{L}\p{M}")


def split(pattern, behavior="isolated"):
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior)


# What each name's tokenizer.json has in front of the byte mapping.
GPT2_SPLIT = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)  # holds the GPT-2 expression itself
BEFORE_BYTES = {
    "gpt-2": [],
    "smollm": [pre_tokenizers.Digits(individual_digits=True)],
    "llama-bpe": [split(LLAMA3)],
    "qwen2": [split(QWEN2)],
    "qwen35": [split(QWEN35)],
    "laguna": [split(r"(?:\r?\n)+(?!\r?\n)", "merged_with_next"), split(QWEN2)],
}
SAME_RULES = {"deepseek-r1-qwen": "qwen2", "llama3": "llama-bpe"}
SPECIAL = {  # name: kind; appended to each trained vocabulary
    "<|endoftext|>": CONTROL, "<|im_start|>": CONTROL, "<|im_end|>": CONTROL, "<|im": CONTROL,
    "<think>": USER_DEFINED, "</think>": USER_DEFINED, "   ===   ": USER_DEFINED, "[PAD7]": UNUSED,
}


def pre_tokenizer(name):
    name = SAME_RULES.get(name, name)
    last = GPT2_SPLIT if name in ("gpt-2", "smollm") else pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence(BEFORE_BYTES[name] + [last])


# ---------------------------------------------------------------------------------------------------- texts

HAND_PICKED = [
    " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n\n", " \n \n ", "\r", "\r\r\n", "\n\r\r\n\n", "a\u0000b\u0001\u001f\u007f",
    "Hello  world", "x=12345;", "a\n\n  b", "  \n  \n x", "tab\t\tend ", "foo(bar)\r\n\r\nbaz", "  'tis", "100km/h",
    "end.\n\n\n  ", " \u00a0x", "\u3000\u3000\u5b57", "x\u0085y\u2028z\u200b\ufeff", "1 22 333 4444 55555 666666", "\u0663\u0664 \u00b2\u00bd\u2167",
    "'S 's 'RE 're 'Ll 'VE 'd'D 'x '", "I\u2019m don\u2019t '\u017f", "'\u017f x'\u017fab '\u017fa", "\u00e9'\u00e9 ''s '''", "a" * 700, " " * 300, "\n" * 100, "1" * 100,
    "ab" * 300, "-" * 200, "\u00e9" * 200, "\u4e2d\u56fd" * 150, "\u0301" * 60, " a" * 150, "\t" * 70, "\n " * 60, "x;\n\n    y", "foo  \nbar", "\n  \n",
    "\t\tif (a) {\n\t\t\treturn;\n", "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n", "<|im", "<|im_", "<|im_end|",
    "<think></think><think", "a   ===   b", " ===   ", "   ===   ===   ", "<|endoftext|><|endoftext|>", "[PAD7]", "<|im_end|>x<|im_end|>",
    "<start_of_turn>user\nTest<end_of_turn>\n<start_of_turn>model\n", "<bos><eos><unused5><0x41><unk>", "</s><h1>t</h1><td>",
    "\u2581", "\u2581\u2581a\u2581b", " \u2581 ", "\U0010ffff\ue000\U000e0041", "\U0001f999.cpp", "w048 7tuijk dsdfhu", "\u0120\u010a\u00c4\u0142",
    "Hello, y'all! How are you \U0001f601 ?\u6211\u60f3\u5728apple\u5de5\u4f5c1314151\u5929\uff5e", ">\u2581</ > </ x> </b>",
]

POOLS = [
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " \t\n\r", "  ", ".,;:!?-_'\"()[]{}<>|/\\@#$%^&*+=~`",
    "\u00a0\u1680\u2000\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u0085\u000b\u000c\u200b\ufeff",
    "\u00e9\u00df\u00f1\u0130\u0131\u01c5\u02b0\u00aa\u00b5\ufb01\u017f\u212a", "\u0301\u0308\u0361\u20dd\u0489\u064b\u05b0\u094d\u0e31\ufe0f\u200d",
    "\u0416\u0436\u03a3\u03c2\u05d0\u05ea\u0627\u0644\u0645\u0915\u0928\u092e\u0938\u0e01\u0e44\u10d0\u0531\u1200",
    "\u4eca\u5929\u5929\u6c14\u6771\u4eac\u3042\u30a2\u30fc\uff71\ud55c\uae00\u1100", "\u00b2\u00bd\u0663\u0967\u2167\u3007\u4e94\uff11\u2460\U0001d7d8",
    "\U0001f600\U0001f44d\U0001f3fd\U0001f1e9\U0001f1ea\u2764\u2713\u20ac\u00a9\u2211\u2190", "\u0000\u0001\u001c\u001f\u007f\u00ad\u200e\ue000\U0010fffe",
    ["'s", "'T", "'re", "'LL", "don't", " the", " of", "\r\n", "\n\n", "    ", "<think>", "<|im_end|>", "</b>", "<h1>", "<unused3>", MARK, "()"],
]


def make_texts(corpus):
    rng = random.Random(20240131)
    texts = corpus + HAND_PICKED
    for _ in range(60):  # pieces of the corpus, put together where no language would
        texts.append("".join(line[i:i + rng.randint(1, 25)] for line in rng.choices(corpus, k=rng.randint(2, 5)) for i in [rng.randrange(len(line))]))
    for _ in range(130):
        pools = rng.choices(POOLS, k=rng.randint(1, 5))
        texts.append("".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 40))))
    return texts


# ---------------------------------------------------------------------------------------------------- references

def specials_of(tokens, types):
    return [(t, k) for t, k in zip(tokens, types) if k in (CONTROL, UNKNOWN, USER_DEFINED) and t]


def cut_specials(text, specials, with_control):
    """[(is_special, part)]: leftmost first, longest of those, as all the tokenizers here do it."""
    names = sorted((t for t, k in specials if with_control or k == USER_DEFINED), key=len, reverse=True)
    if not names:
        return [(False, text)]
    parts = re.split("(" + "|".join(re.escape(n) for n in names) + ")", text)
    return [(i % 2 == 1, part) for i, part in enumerate(parts) if part]


class ByteLevelReference:
    def __init__(self, tokens, types, merges, pre):
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.specials = specials_of(tokens, types)
        vocabulary = {t: i for i, (t, k) in enumerate(zip(tokens, types)) if k == NORMAL}
        model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=SAME_RULES.get(pre, pre) == "llama-bpe")
        self.tokenizer = Tokenizer(model)
        self.tokenizer.pre_tokenizer = pre_tokenizer(pre)

    def encode(self, text, with_control):
        ids = []
        for special, part in cut_specials(text, self.specials, with_control):
            ids += [self.ids[part]] if special else self.tokenizer.encode(part, add_special_tokens=False).ids
        return ids


class SentenceReference:
    """A SentencePiece model assembled from the vocabulary, run by sentencepiece itself."""

    def __init__(self, tokens, types, scores, unknown, space_first):
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.specials = [(t, k) for t, k in specials_of(tokens, types) if k != USER_DEFINED]  # it cuts out those by itself
        self.space_first = space_first
        proto = sp_model.ModelProto()
        for i, (token, kind, score) in enumerate(zip(tokens, types, scores)):
            text = token.replace(" ", MARK) if kind == USER_DEFINED else token
            proto.pieces.add(piece=text, score=score, type=UNKNOWN if i == unknown else kind)
        proto.trainer_spec.model_type = sp_model.TrainerSpec.BPE
        proto.trainer_spec.byte_fallback = True
        proto.trainer_spec.unk_id = unknown
        proto.normalizer_spec.name = "identity"
        proto.normalizer_spec.add_dummy_prefix = space_first
        proto.normalizer_spec.remove_extra_whitespaces = False
        proto.normalizer_spec.escape_whitespaces = True
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())

    def encode(self, text, with_control):
        ids = []
        for special, part in cut_specials(text, self.specials, True) if with_control else [(False, text)]:
            ids += [self.ids[part]] if special else self.processor.encode(part)
        return ids


class MergedSentenceReference:
    """Gemma 4's kind: BPE by ranks over characters, spaces marked, bytes for the unknown, runs of newlines apart."""

    def __init__(self, tokens, types, merges):
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.specials = specials_of(tokens, types)
        vocabulary = {t: i for i, (t, k) in enumerate(zip(tokens, types)) if k in (NORMAL, BYTE)}
        self.tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
        self.tokenizer.normalizer = normalizers.Replace(" ", MARK)
        self.tokenizer.pre_tokenizer = split(r"\n+")

    encode = ByteLevelReference.encode


# ---------------------------------------------------------------------------------------------------- vocabularies

def train_byte_level(name, corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if name == "smollm":  # SmolLM's own vocabulary lacks some bytes too
        alphabet.remove("\u0104")
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, min_frequency=1, show_progress=False)
    tokenizer.train_from_iterator([line + "\n" for line in corpus], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return tokens + list(SPECIAL), [NORMAL] * len(tokens) + list(SPECIAL.values()), merges


def train_sentence(corpus):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe", vocab_size=VOCABULARY, byte_fallback=True,
        character_coverage=0.99, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
        user_defined_symbols=["\n", "\n\n", "\n\n\n", MARK * 2, MARK * 3, "<h1>", "</h1>"],
        control_symbols=["<start_of_turn>", "<end_of_turn>"], minloglevel=2)
    proto = sp_model.ModelProto.FromString(model.getvalue())
    types = [p.type for p in proto.pieces]
    tokens = [p.piece.replace(MARK, " ") if k == USER_DEFINED else p.piece for p, k in zip(proto.pieces, types)]
    return tokens, types, [p.score for p in proto.pieces]


def merges_of_scores(tokens, types, scores):
    """Every way to make a token of two, the best token first: what converters derive from SentencePiece scores."""
    known = {t for t, k in zip(tokens, types) if k == NORMAL}
    pairs = []
    for token, score in sorted(((t, s) for t, k, s in zip(tokens, types, scores) if k == NORMAL), key=lambda e: -e[1]):
        for i in range(1, len(token)):
            if token[:i] in known and token[i:] in known:
                pairs.append((token[:i], token[i:]))
    return pairs


def write_gguf(name, architecture, model, tokens, types, merges=None, scores=None, pre=None, extra=()):
    writer = gguf.GGUFWriter(str(OUT / f"{name}.gguf"), architecture)
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    if scores:
        writer.add_token_scores(scores)
    writer.add_token_types(types)
    if merges:
        writer.add_token_merges(merges)
    for key, value in extra:
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)("tokenizer.ggml." + key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def write_ids(name, reference, texts):
    plain = [" ".join(map(str, reference.encode(t, False))) for t in texts]
    trusted = [" ".join(map(str, reference.encode(t, True))) for t in texts]
    (OUT / f"{name}.ids").write_text("".join(line + "\n" for line in plain))
    differing = (f"{i} {b}\n" for i, (a, b) in enumerate(zip(plain, trusted)) if a != b)
    (OUT / f"{name}.special.ids").write_text("".join(differing))


def write_pieces(name, texts):
    def lengths(text):
        pieces = pre_tokenizer(name).pre_tokenize_str(text)
        return [len(text[begin:end].encode()) for _, (begin, end) in pieces]
    (OUT / f"pieces-{name}.txt").write_text("".join(" ".join(map(str, lengths(t))) + "\n" for t in texts))


def make_small_vocabularies(corpus, texts):
    for name in BEFORE_BYTES:
        write_pieces(name, texts)
        tokens, types, merges = train_byte_level(name, corpus)
        ids = {t: i for i, t in enumerate(tokens)}
        extra = [("bos_token_id", ids["<|im_start|>"]), ("eos_token_id", ids["<|im_end|>"]), ("add_bos_token", name == "llama-bpe")]
        write_gguf(name, "llama", "gpt2", tokens, types, merges=merges, pre=name, extra=extra)
        write_ids(name, ByteLevelReference(tokens, types, [tuple(m.split(" ")) for m in merges], name), texts)
    tokens, types, scores = train_sentence(corpus)
    ids = {t: i for i, t in enumerate(tokens)}
    common = [("bos_token_id", ids["<s>"]), ("eos_token_id", ids["</s>"]), ("unknown_token_id", ids["<unk>"])]
    for name, space_first in (("spm", False), ("spm-space", True)):
        write_gguf(name, "gemma3", "llama", tokens, types, scores=scores, pre="default",
                   extra=common + [("add_bos_token", True), ("add_space_prefix", space_first)])
        write_ids(name, SentenceReference(tokens, types, scores, ids["<unk>"], space_first), texts)
    pairs = merges_of_scores(tokens, types, scores)
    kinds = [NORMAL if k == USER_DEFINED and not t.strip() else k for t, k in zip(tokens, types)]
    tokens = [t.replace(" ", MARK) for t in tokens]
    for run in ("\n", MARK):  # in this kind, runs are ordinary tokens, reached by merges
        pairs += [(run, run), (run * 2, run)]
    write_gguf("gemma4", "gemma4", "gemma4", tokens, kinds, merges=[" ".join(p) for p in pairs], extra=common)
    write_ids("gemma4", MergedSentenceReference(tokens, kinds, pairs), texts)


def make_fuzz_seeds():
    """One tiny vocabulary of each kind, for tests/fuzz/tokenizer_fuzz.cpp."""
    letters = [*"abt", "\u0120", "\u010a", "ab", "\u0120t", "<|im_end|>", "<think>", "<pad>"]
    kinds = [NORMAL] * 7 + [CONTROL, USER_DEFINED, UNUSED]
    seeds = "../../fuzz/corpus/tokenizer/"
    (OUT / seeds).mkdir(parents=True, exist_ok=True)
    for pre in BEFORE_BYTES:
        write_gguf(seeds + pre, "llama", "gpt2", letters, kinds, merges=["a b", "\u0120 t"], pre=pre, extra=[("eos_token_id", 7)])
    words = ["<unk>", "<s>", "</s>", "<0x41>", "<0x0A>", "\n", MARK, *"abt", "ab", MARK + "t", "<b>"]
    kinds = [UNKNOWN, CONTROL, CONTROL, BYTE, BYTE, NORMAL] + [NORMAL] * 6 + [USER_DEFINED]
    extra = [("unknown_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 2), ("add_bos_token", True)]
    write_gguf(seeds + "spm", "gemma3", "llama", words, kinds, scores=[0.0] * 10 + [-1.0, -2.0, 0.0], extra=extra)
    write_gguf(seeds + "gemma4", "gemma4", "gemma4", words, kinds, merges=["a b", MARK + " t"], extra=extra)


def make_published(path, texts):
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
    tokens, types = get("tokens"), get("token_type")
    if get("model") == "gpt2":
        reference = ByteLevelReference(tokens, types, [(m[:i], m[i + 1:]) for m in get("merges") for i in [m.index(" ", 1)]], get("pre"))
    else:
        reference = SentenceReference(tokens, types, get("scores"), get("unknown_token_id"), get("add_space_prefix"))
    name = re.match(r"(?i)(.*?\d+[mb])\b|[^.]*", pathlib.Path(path).stem).group(0)
    write_ids(name, reference, texts)


def main():
    corpus = (OUT / "corpus.txt").read_text().splitlines()
    texts = make_texts(corpus)
    (OUT / "texts.hex").write_text("".join(t.encode().hex() + "\n" for t in texts))
    make_small_vocabularies(corpus, texts)
    make_fuzz_seeds()
    for path in sys.argv[1:]:
        make_published(path, texts)


main()
