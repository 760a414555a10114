"""The target in plain PyTorch: a Llama whose weights come from its GGUF, for generating text and for its features."""
import torch
import torch.nn.functional as F

from packing import masked_attention


def rms(x, weight, eps):
    return F.rms_norm(x.float(), weight.shape, weight, eps).to(x.dtype)


def rotate_pairs(x, turn):
    """Adjacent pairs (2i, 2i+1), as Llama files want it; x [..., heads, head], turn complex [..., 1, head/2]."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def packed_layer(x, cos, sin, mask, heads, kv_heads, eps, attn_norm, qkv, out, ffn_norm, gate_up, down):
    """One layer over packed texts [s, width]; cos, sin [s, 1, head/2]. A function of tensors, so that all layers share its code."""
    head = out.shape[1] // heads
    y = F.linear(rms(x, attn_norm, eps), qkv).view(x.shape[0], -1, head)
    a, b = y[:, :heads + kv_heads, 0::2].float(), y[:, :heads + kv_heads, 1::2].float()
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)
    q, k, v = (t.transpose(0, 1)[None] for t in (turned[:, :heads], turned[:, heads:], y[:, heads + kv_heads:]))
    x = x + F.linear(masked_attention(q, k, v, mask)[0].transpose(0, 1).flatten(1), out)
    gate, up = F.linear(rms(x, ffn_norm, eps), gate_up).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, down)


class Llama:
    def __init__(self, gguf, device, dtype):
        m = lambda key: gguf.metadata["llama." + key]
        self.layers, self.width, self.heads = m("block_count"), m("embedding_length"), m("attention.head_count")
        self.kv_heads, self.eps = m("attention.head_count_kv"), m("attention.layer_norm_rms_epsilon")
        self.head = gguf.metadata.get("llama.attention.key_length", self.width // self.heads)
        self.device, self.dtype, self.layer = device, dtype, packed_layer
        exponent = torch.arange(0, self.head, 2, dtype=torch.float64) / self.head
        self.frequency = (m("rope.freq_base") ** -exponent).to(device)
        load = lambda name, kind: torch.from_numpy(gguf.tensor(name)).to(device, kind)
        self.embedding = load("token_embd.weight", dtype)
        self.output = load("output.weight", dtype) if "output.weight" in gguf.tensors else self.embedding
        self.norm = load("output_norm.weight", torch.float32)
        self.blocks = []
        for i in range(self.layers):
            w = lambda name, kind=dtype: load(f"blk.{i}.{name}.weight", kind)
            self.blocks.append(dict(
                attn_norm=w("attn_norm", torch.float32), qkv=torch.cat([w("attn_q"), w("attn_k"), w("attn_v")]),
                out=w("attn_output"), ffn_norm=w("ffn_norm", torch.float32),
                gate_up=torch.cat([w("ffn_gate"), w("ffn_up")]), down=w("ffn_down")))

    def angles(self, positions):
        return positions.to(torch.float64)[..., None, None] * self.frequency

    def turn(self, positions):
        a = self.angles(positions)
        return torch.polar(torch.ones_like(a), a).to(torch.complex64)

    def project(self, block, x, turn):
        y = F.linear(x, block["qkv"]).view(*x.shape[:-1], -1, self.head)
        turned = rotate_pairs(y[..., :self.heads + self.kv_heads, :], turn)
        return turned[..., :self.heads, :], turned[..., self.heads:, :], y[..., self.heads + self.kv_heads:, :]

    def mlp(self, block, x):
        gate, up = F.linear(rms(x, block["ffn_norm"], self.eps), block["gate_up"]).chunk(2, -1)
        return F.linear(F.silu(gate) * up, block["down"])

    @torch.no_grad()
    def packed(self, tokens, positions, mask, capture):
        """tokens, positions [s] of packed texts. The outputs of the layers in `capture` side by side, and the last hidden
        states (normed) [s, width]."""
        x = F.embedding(tokens, self.embedding)
        a = self.angles(positions)
        cos, sin = a.cos().float(), a.sin().float()
        captured = {}
        for i, block in enumerate(self.blocks):
            x = self.layer(x, cos, sin, mask, self.heads, self.kv_heads, self.eps, *block.values())
            if i in capture:
                captured[i] = x
        return torch.cat([captured[i] for i in capture], -1), rms(x, self.norm, self.eps)

    @torch.no_grad()
    def prefill(self, tokens, positions, mask, cache):
        """tokens, positions [b, s]; mask [b, 1, s, s], True where seen. The last column's hidden states (normed); keys and
        values go to `cache`: a list of (k, v) [b, kv, most, head]."""
        x = F.embedding(tokens, self.embedding)
        turn = self.turn(positions)
        repeat = self.heads // self.kv_heads
        for (keys, values), block in zip(cache, self.blocks):
            q, k, v = (t.transpose(1, 2) for t in self.project(block, rms(x, block["attn_norm"], self.eps), turn))
            keys[:, :, :tokens.shape[1]] = k
            values[:, :, :tokens.shape[1]] = v
            a = F.scaled_dot_product_attention(q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), attn_mask=mask)
            x = x + F.linear(a.transpose(1, 2).flatten(2), block["out"])
            x = x + self.mlp(block, x)
        return rms(x[:, -1], self.norm, self.eps)

    def logits(self, hidden):
        """In float32, so that the best token is not one of several that BF16 makes equal."""
        if hidden.is_cuda:
            return torch.mm(hidden, self.output.t(), out_dtype=torch.float32)
        return F.linear(hidden, self.output).float()

    @torch.no_grad()
    def decode_step(self, tokens, positions, column, bias, cache):
        """One token for each sequence: tokens, positions [b]; keys go to `column`; bias [b, 1, 1, columns] is -inf where
        nothing is to be seen. The query heads of a key head are the rows of one attention."""
        b, repeat = tokens.shape[0], self.heads // self.kv_heads
        x = F.embedding(tokens, self.embedding)
        turn = self.turn(positions)
        columns = bias.shape[-1]
        bias = bias.expand(b, self.kv_heads, repeat, columns)
        for (keys, values), block in zip(cache, self.blocks):
            q, k, v = self.project(block, rms(x, block["attn_norm"], self.eps), turn)
            keys[:, :, column] = k
            values[:, :, column] = v
            a = F.scaled_dot_product_attention(q.reshape(b, self.kv_heads, repeat, self.head), keys[:, :, :columns],
                                               values[:, :, :columns], attn_mask=bias)
            x = x + F.linear(a.reshape(b, -1), block["out"])
            x = x + self.mlp(block, x)
        return self.logits(rms(x, self.norm, self.eps))

    @torch.no_grad()
    def generate(self, prompts, temperatures, most_new, stop, most_columns, deadline=None, clock=None):
        """prompts: lists of ids; temperatures: one each, 0 takes the best token. Lists of new ids, `stop` included if reached;
        what is unfinished at the deadline is returned as far as it came."""
        b, longest = len(prompts), max(map(len, prompts))
        device = self.device
        tokens = torch.zeros(b, longest, dtype=torch.long)
        lengths = torch.tensor([len(p) for p in prompts])
        for i, p in enumerate(prompts):
            tokens[i, longest - len(p):] = torch.tensor(p)
        tokens, lengths = tokens.to(device), lengths.to(device)
        positions = (torch.arange(longest, device=device)[None] - (longest - lengths)[:, None]).clamp(min=0)
        real = torch.arange(longest, device=device)[None] >= (longest - lengths)[:, None]
        most = min(most_columns, longest + most_new)
        room = (most + 15) // 16 * 16  # attention takes its columns by sixteens
        shape = (b, self.kv_heads, room, self.head)
        cache = [(torch.zeros(shape, device=device, dtype=self.dtype), torch.zeros(shape, device=device, dtype=self.dtype))
                 for _ in range(self.layers)]
        causal = torch.ones(longest, longest, device=device, dtype=torch.bool).tril()
        last = torch.empty(b, self.width, device=device, dtype=self.dtype)
        for begin in range(0, b, 256):  # the prompts' mask and activations in pieces
            part = slice(begin, min(b, begin + 256))
            mask = causal[None, None] & real[part, None, None, :]
            mask = mask | torch.eye(longest, device=device, dtype=torch.bool)  # a padded row sees itself: no row of nothing
            last[part] = self.prefill(tokens[part], positions[part], mask, [(k[part], v[part]) for k, v in cache])
        logits = self.logits(last)
        temperature = torch.tensor(temperatures, device=device)
        sampled = (temperature > 0).nonzero()[:, 0]
        index = torch.arange(b, device=device)
        bias = torch.full((b, 1, 1, room), float("-inf"), device=device, dtype=self.dtype)
        bias[:, 0, 0, :longest].masked_fill_(real, 0)
        out = torch.full((b, most - longest), -1, dtype=torch.long, device=device)
        alive = torch.ones(b, dtype=torch.bool, device=device)
        column = longest
        while True:
            chosen = logits.argmax(-1)
            if len(sampled):
                scaled = logits[sampled] / temperature[sampled, None]
                scaled -= torch.empty_like(scaled).exponential_().clamp_(min=1e-20).log_()  # Gumbel: a sample
                chosen[sampled] = scaled.argmax(-1)
            out[index, column - longest] = chosen
            step = column - longest + 1
            if step >= most - longest or (deadline and clock() > deadline):
                break
            alive &= chosen != stop
            if step % 16 == 0:
                count = int(alive.sum())
                if count == 0:
                    break
                if count < 0.8 * len(index):  # give the finished ones' room back
                    keep = alive.nonzero()[:, 0]
                    index, chosen, lengths, bias, temperature, alive = (
                        t[keep] for t in (index, chosen, lengths, bias, temperature, alive))
                    sampled = (temperature > 0).nonzero()[:, 0]
                    for i, (k, v) in enumerate(cache):
                        cache[i] = (k[keep], v[keep])
            # Finished ones run on until the next compaction; what they write is cut off below.
            bias[:, :, :, column] = 0
            logits = self.decode_step(chosen, lengths + (column - longest), column, bias[..., :column // 16 * 16 + 16], cache)
            column += 1
        results = []
        for row in out.tolist():
            end = row.index(stop) + 1 if stop in row else row.index(-1) if -1 in row else len(row)
            results.append(row[:end])
        return results
