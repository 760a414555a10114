"""Byte-level BPE from a GGUF's own vocabulary, for prompts of ASCII text (where its pattern needs no Unicode tables)."""
import re

PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def byte_letters():
    """The letters that stand for bytes in GPT-2's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + len(letters) - len(printable))
    return letters


class Tokenizer:
    def __init__(self, gguf):
        self.tokens = gguf.metadata["tokenizer.ggml.tokens"]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.ranks = {tuple(m.split(" ")): i for i, m in enumerate(gguf.metadata["tokenizer.ggml.merges"])}
        self.letters = byte_letters()
        self.bytes_of = {letter: b for b, letter in self.letters.items()}
        types = gguf.metadata["tokenizer.ggml.token_type"]
        self.control = {i for i, t in enumerate(types) if t == 3}
        self.specials = re.compile("(" + "|".join(re.escape(self.tokens[i]) for i in sorted(self.control)) + ")")
        self.cache = {}

    def piece(self, piece):
        if piece not in self.cache:
            parts = list(piece)
            while len(parts) > 1:
                rank, at = min((self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(zip(parts, parts[1:])))
                if rank == 1 << 30:
                    break
                parts[at:at + 2] = [parts[at] + parts[at + 1]]
            self.cache[piece] = [self.ids[part] for part in parts]
        return self.cache[piece]

    def encode(self, text):
        """Control tokens written in the text are read as such."""
        ids = []
        for span in self.specials.split(text):
            if span in self.ids and self.ids[span] in self.control:
                ids.append(self.ids[span])
                continue
            for run in re.split(r"([0-9])", span):  # digits stand alone
                for match in PIECES.finditer(run):
                    ids += self.piece("".join(self.letters[b] for b in match.group().encode()))
        return ids

    def decode(self, ids):
        text = "".join(self.tokens[i] for i in ids if i not in self.control)
        return bytes(self.bytes_of.get(letter, 63) for letter in text).decode("utf-8", "replace")
