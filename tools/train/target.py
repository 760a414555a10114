"""The target in plain PyTorch: a Llama whose weights come from its GGUF, for generating text and for its features."""
import torch
import torch.nn.functional as F


def rms(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rotate_pairs(x, cos, sin):
    """Adjacent pairs (2i, 2i+1), as Llama files want it; x [..., heads, head]."""
    a, b = x[..., 0::2].float(), x[..., 1::2].float()
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


class Llama:
    def __init__(self, gguf, device, dtype):
        m = lambda key: gguf.metadata["llama." + key]
        self.layers, self.width, self.heads = m("block_count"), m("embedding_length"), m("attention.head_count")
        self.kv_heads, self.eps = m("attention.head_count_kv"), m("attention.layer_norm_rms_epsilon")
        self.head = gguf.metadata.get("llama.attention.key_length", self.width // self.heads)
        self.device, self.dtype = device, dtype
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
                attn_norm=w("attn_norm", torch.float32), ffn_norm=w("ffn_norm", torch.float32),
                qkv=torch.cat([w("attn_q"), w("attn_k"), w("attn_v")]), out=w("attn_output"),
                gate_up=torch.cat([w("ffn_gate"), w("ffn_up")]), down=w("ffn_down")))

    def angles(self, positions):
        a = positions.to(torch.float64)[..., None, None] * self.frequency
        return a.cos().float(), a.sin().float()

    def project(self, block, x, cos, sin):
        q, k, v = F.linear(x, block["qkv"]).split(
            [self.heads * self.head, self.kv_heads * self.head, self.kv_heads * self.head], -1)
        shape = x.shape[:-1]
        q = rotate_pairs(q.view(*shape, self.heads, self.head), cos, sin)
        k = rotate_pairs(k.view(*shape, self.kv_heads, self.head), cos, sin)
        return q, k, v.view(*shape, self.kv_heads, self.head)

    def mlp(self, block, x):
        gate, up = F.linear(rms(x, block["ffn_norm"], self.eps), block["gate_up"]).chunk(2, -1)
        return F.linear(F.silu(gate) * up, block["down"])

    @torch.no_grad()
    def forward(self, tokens, positions, mask, capture=(), cache=None):
        """tokens, positions [b, s]; mask [b, 1, s, s], True where seen. Last hidden [b, s, width] (normed), and the outputs
        of the layers in `capture` side by side. `cache`: list of (k, v) [b, kv, most, head] that receives keys and values."""
        x = F.embedding(tokens, self.embedding)
        cos, sin = self.angles(positions)
        captured = {}
        for i, block in enumerate(self.blocks):
            q, k, v = self.project(block, rms(x, block["attn_norm"], self.eps), cos, sin)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            if cache is not None:
                cache[i][0][:, :, :tokens.shape[1]] = k
                cache[i][1][:, :, :tokens.shape[1]] = v
            repeat = self.heads // self.kv_heads
            a = F.scaled_dot_product_attention(q, k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1), attn_mask=mask)
            x = x + F.linear(a.transpose(1, 2).flatten(2), block["out"])
            x = x + self.mlp(block, x)
            if i in capture:
                captured[i] = x
        features = torch.cat([captured[i] for i in capture], -1) if capture else None
        return rms(x, self.norm, self.eps), features

    @torch.no_grad()
    def decode_step(self, tokens, positions, column, visible, cache):
        """One token for each sequence: tokens, positions [b]; keys go to `column`; visible [b, column + 1]."""
        b, repeat = tokens.shape[0], self.heads // self.kv_heads
        x = F.embedding(tokens, self.embedding)
        cos, sin = self.angles(positions)
        hidden = torch.zeros(visible.shape, device=x.device, dtype=torch.float32).masked_fill_(~visible, float("-inf"))
        hidden = hidden[:, None, None, :]
        for (keys, values), block in zip(cache, self.blocks):
            q, k, v = self.project(block, rms(x, block["attn_norm"], self.eps), cos, sin)
            keys[:, :, column] = k
            values[:, :, column] = v
            q = q.view(b, self.kv_heads, repeat, self.head)
            scores = torch.matmul(q, keys[:, :, :column + 1].transpose(-1, -2)).float() * self.head ** -0.5 + hidden
            a = torch.matmul(scores.softmax(-1).to(x.dtype), values[:, :, :column + 1])
            x = x + F.linear(a.reshape(b, -1), block["out"])
            x = x + self.mlp(block, x)
        return F.linear(rms(x, self.norm, self.eps), self.output)

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
        shape = (b, self.kv_heads, most, self.head)
        cache = [(torch.zeros(shape, device=device, dtype=self.dtype), torch.zeros(shape, device=device, dtype=self.dtype))
                 for _ in range(self.layers)]
        causal = torch.ones(longest, longest, device=device, dtype=torch.bool).tril()
        last = torch.empty(b, self.width, device=device, dtype=self.dtype)
        for begin in range(0, b, 128):  # the prompts' mask and activations in pieces
            part = slice(begin, min(b, begin + 128))
            mask = causal[None, None] & real[part, None, None, :]
            mask = mask | torch.eye(longest, device=device, dtype=torch.bool)  # a padded row sees itself: no row of nothing
            h, _ = self.forward(tokens[part], positions[part], mask, cache=[(k[part], v[part]) for k, v in cache])
            last[part] = h[:, -1]
        logits = F.linear(last, self.output)
        temperature = torch.tensor(temperatures, device=device)
        index = torch.arange(b, device=device)
        visible = torch.cat([real, torch.ones(b, most - longest, dtype=torch.bool, device=device)], 1)
        out = torch.full((b, most - longest), -1, dtype=torch.long, device=device)
        alive = torch.ones(b, dtype=torch.bool, device=device)
        column = longest
        while True:
            scaled = logits.float() / temperature.clamp(min=1e-3)[:, None]
            noise = -torch.log(torch.empty_like(scaled).exponential_().clamp_(min=1e-20))
            chosen = torch.where(temperature > 0, (scaled + noise).argmax(-1), logits.argmax(-1))  # Gumbel: a sample
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
                    index, chosen, lengths, visible, temperature, alive = (
                        t[keep] for t in (index, chosen, lengths, visible, temperature, alive))
                    for i, (k, v) in enumerate(cache):
                        cache[i] = (k[keep], v[keep])
            # Finished ones run on until the next compaction; what they write is cut off below.
            logits = self.decode_step(chosen, lengths + (column - longest), column, visible[:, :column + 1], cache)
            column += 1
        rows = out.tolist()
        results = []
        for row in rows:
            ids = []
            for token in row:
                if token < 0:
                    break
                ids.append(token)
                if token == stop:
                    break
            results.append(ids)
        return results
