"""Texts of different lengths side by side in one row of tokens, and attention that keeps them apart: block-sparse on a GPU,
where the masks' tensors stay where they are so that compiled code can be used again; dense on a CPU."""
import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

TILE = 128


def masked_attention(q, k, v, mask):
    """q [1, heads, rows, head]; k, v [1, kv heads, columns, head]."""
    if isinstance(mask, BlockMask):
        return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)
    repeat = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), attn_mask=mask)


class RangeMask:
    """Row r sees the columns [low[r], high[r]) and, where own_at is given, those from own_at + (r rounded down to `own`) up to
    own_at + r. set() changes the ranges in place."""

    def __init__(self, rows, columns, device, own_at=None, own=1):
        self.rows, self.columns, self.own_at, self.own = rows, columns, own_at, own
        self.low = torch.zeros(rows, dtype=torch.int32, device=device)
        self.high = torch.zeros(rows, dtype=torch.int32, device=device)
        self.sparse = device.type == "cuda"
        self.mask = None
        low, high = self.low, self.high

        def sees(batch, head, row, column):
            seen = (column >= low[row]) & (column < high[row])
            if own_at is not None:
                seen = seen | ((column >= own_at + row - row % own) & (column <= own_at + row))
            return seen

        self.sees = sees

    def tiles(self):
        """For each tile of rows, which tiles of columns it touches: those of its range, then its own."""
        low, high = self.low.view(-1, TILE).amin(1).long(), self.high.view(-1, TILE).amax(1).long()
        first = low // TILE
        count = ((high + TILE - 1) // TILE - first).clamp(min=0)
        index = first[:, None] + torch.arange(self.columns // TILE, device=low.device)
        if self.own_at is not None:
            own = self.own_at // TILE + torch.arange(len(low), device=low.device)
            index.scatter_(1, count[:, None], own[:, None])
            count = count + 1
        index = index.clamp(max=self.columns // TILE - 1)
        return BlockMask.from_kv_blocks(count.int()[None, None], index.int()[None, None], BLOCK_SIZE=TILE, mask_mod=self.sees,
                                        seq_lengths=(self.rows, self.columns))

    def set(self, low, high):
        self.low.copy_(low)
        self.high.copy_(high)
        if not self.sparse:
            row, column = torch.arange(self.rows)[:, None], torch.arange(self.columns)[None]
            self.mask = self.sees(0, 0, row, column)
            return self.mask
        new = self.tiles()
        if self.mask is None:
            self.mask = new
        else:
            for name in ("kv_num_blocks", "kv_indices", "q_num_blocks", "q_indices"):
                getattr(self.mask, name).copy_(getattr(new, name))
        return self.mask


def send(array, device):
    """To the device without waiting for what it does at the moment."""
    t = torch.from_numpy(np.ascontiguousarray(array))
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else t


class Corpus:
    """The samples (family, prompt ids, answer ids), flat: `tokens` on the device, the rest in numpy."""

    def __init__(self, samples, length, device):
        whole = [(ids + answer)[:length] for _, ids, answer in samples]
        self.lengths = np.array([len(w) for w in whole])
        self.begins = np.minimum(np.array([len(ids) for _, ids, _ in samples]), self.lengths)  # of the answers
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.tokens = torch.from_numpy(np.fromiter((t for w in whole for t in w), np.int32, self.offsets[-1])).to(device)

    def __len__(self):
        return len(self.lengths)


class Pack:
    """Some samples of a corpus in `size` tokens: `tokens`, `start` (where each token's text begins), and anchors' choice."""

    def __init__(self, corpus, rows, size):
        rows = np.asarray(rows)
        lengths = corpus.lengths[rows]
        ends = np.cumsum(lengths)
        self.rows, self.firsts, self.ends = rows, ends - lengths, ends
        used = int(ends[-1])
        assert used <= size
        within = np.arange(used) - np.repeat(self.firsts, lengths)
        source = np.repeat(corpus.offsets[rows], lengths) + within
        device = corpus.tokens.device
        whole = np.zeros(size, np.int64)
        whole[:used] = source
        self.tokens = corpus.tokens[send(whole, device)].long()
        start, end = np.full(size, used), np.full(size, size)
        start[:used], end[:used] = np.repeat(self.firsts, lengths), np.repeat(ends, lengths)
        # An anchor's token and the one behind it are both of the answer.
        anchor = np.zeros(size, bool)
        anchor[:used] = (within >= np.repeat(corpus.begins[rows], lengths)) & (within < np.repeat(lengths, lengths) - 1)
        self.anchors = anchor.nonzero()[0]
        self.start, self.end = send(start, device), send(end, device)

    def choose(self, count, rng):
        """`count` anchors, in order; some twice if there are too few."""
        chosen = rng.choice(self.anchors, count, replace=len(self.anchors) < count)
        chosen.sort()
        return send(chosen, self.tokens.device)


def fill(order, lengths, size):
    """Cuts `order` into lists of samples that fit into `size` tokens each."""
    packs, used = [[]], 0
    for row in order:
        if used + lengths[row] > size:
            packs.append([])
            used = 0
        packs[-1].append(row)
        used += lengths[row]
    return packs[:-1] if len(packs) > 1 else packs
