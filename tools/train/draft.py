"""A DFlash draft in PyTorch, for training: blocks of [token, mask, mask, ...] that see features of the target."""
import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


def rms(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rotate_halves(x, cos, sin):
    """Pairs (i, i + head/2); x [..., heads, head], cos and sin [..., 1, head/2]."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.q, self.k, self.v = (linear(c.width, n * c.head) for n in (c.heads, c.kv_heads, c.kv_heads))
        self.o = linear(c.heads * c.head, c.width)
        self.gate, self.up, self.down = linear(c.width, c.inner), linear(c.width, c.inner), linear(c.inner, c.width)
        self.attn_norm, self.mlp_norm = nn.Parameter(torch.ones(c.width)), nn.Parameter(torch.ones(c.width))
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(c.head)), nn.Parameter(torch.ones(c.head))


class Draft(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.fc = nn.Linear(len(c.target_layers) * c.width, c.width, bias=False)
        self.hidden_norm, self.norm = nn.Parameter(torch.ones(c.width)), nn.Parameter(torch.ones(c.width))
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
        exponent = torch.arange(0, c.head, 2, dtype=torch.float64) / c.head
        self.register_buffer("frequency", c.rope_base ** -exponent, persistent=False)

    def angles(self, positions):
        a = positions.to(torch.float64)[..., None, None] * self.frequency
        return a.cos().float(), a.sin().float()

    def forward(self, features, anchors, block, embedding):
        """features [b, s, n * width]; anchors [b, n]: positions of the blocks' first tokens; block [b, n, B] token ids.
        Normed hidden states [b, n, B, width] for the target's output matrix. Every layer slides: row k of a block at anchor
        a sees features p < a with p > a + k - window, and of the block the rows up to itself."""
        c = self.c
        b, s, _ = features.shape
        n, size, group = anchors.shape[1], block.shape[2], c.heads // c.kv_heads
        g = rms(self.fc(features), self.hidden_norm, c.eps)
        x = F.embedding(block, embedding)
        depth = torch.arange(size, device=x.device)
        positions = anchors[:, :, None] + depth
        cos, sin = self.angles(positions)
        context = torch.arange(s, device=x.device)
        context_cos, context_sin = self.angles(context)
        seen = (context < anchors[:, :, None, None]) & (context > positions[..., None] - c.window)  # [b, n, B, s]
        bias = torch.zeros(seen.shape, device=x.device, dtype=x.dtype).masked_fill_(~seen, float("-inf"))
        bias = bias.view(b, 1, 1, n * size, s)
        causal = torch.full((size, size), float("-inf"), device=x.device, dtype=x.dtype).triu(1)
        for layer in self.layers:
            y = rms(x, layer.attn_norm, c.eps)
            q = rotate_halves(rms(layer.q(y).view(b, n, size, c.heads, c.head), layer.q_norm, c.eps), cos, sin)
            k = rotate_halves(rms(layer.k(y).view(b, n, size, c.kv_heads, c.head), layer.k_norm, c.eps), cos, sin)
            v = layer.v(y).view(b, n, size, c.kv_heads, c.head)
            kc = rotate_halves(rms(layer.k(g).view(b, s, c.kv_heads, c.head), layer.k_norm, c.eps), context_cos, context_sin)
            vc = layer.v(g).view(b, s, c.kv_heads, c.head)
            # [b, kv, group, n * B, .] against the context, [b, n, kv, group, B, .] within the block
            qg = q.view(b, n, size, c.kv_heads, group, c.head)
            qc = qg.permute(0, 3, 4, 1, 2, 5).reshape(b, c.kv_heads, group * n * size, c.head)
            far = torch.matmul(qc, kc.permute(0, 2, 3, 1)).view(b, c.kv_heads, group, n * size, s) * c.head ** -0.5 + bias
            qb, kb, vb = qg.permute(0, 1, 3, 4, 2, 5), k.permute(0, 1, 3, 4, 2), v.permute(0, 1, 3, 2, 4)
            near = torch.matmul(qb, kb[:, :, :, None]) * c.head ** -0.5 + causal  # [b, n, kv, group, B, B]
            near = near.permute(0, 2, 3, 1, 4, 5).reshape(b, c.kv_heads, group, n * size, size)
            weights = torch.cat([far, near], -1).float().softmax(-1).to(x.dtype)
            far, near = weights[..., :s], weights[..., s:]
            a = torch.matmul(far.reshape(b, c.kv_heads, group * n * size, s), vc.permute(0, 2, 1, 3))
            a = a.view(b, c.kv_heads, group, n, size, c.head).permute(0, 3, 4, 1, 2, 5)  # [b, n, B, kv, group, head]
            near = near.view(b, c.kv_heads, group, n, size, size).permute(0, 3, 1, 2, 4, 5)
            a = a + torch.matmul(near, vb[:, :, :, None]).permute(0, 1, 4, 2, 3, 5)
            x = x + layer.o(a.reshape(b, n, size, c.heads * c.head))
            z = rms(x, layer.mlp_norm, c.eps)
            x = x + layer.down(F.silu(layer.gate(z)) * layer.up(z))
        return rms(x, self.norm, c.eps)


def published_names(draft):
    """Parameters under the names in which DFlash drafts are published."""
    out = {"fc.weight": draft.fc.weight, "hidden_norm.weight": draft.hidden_norm, "norm.weight": draft.norm}
    for i, layer in enumerate(draft.layers):
        p = f"layers.{i}."
        for ours, theirs in dict(attn_norm="input_layernorm", mlp_norm="post_attention_layernorm", q_norm="self_attn.q_norm",
                                 k_norm="self_attn.k_norm").items():
            out[f"{p}{theirs}.weight"] = getattr(layer, ours)
        for ours, theirs in dict(q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj", o="self_attn.o_proj",
                                 gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj").items():
            out[f"{p}{theirs}.weight"] = getattr(layer, ours).weight
    return out


def save(draft, folder, vocabulary, target_layers_total, context, head_tokens, shard_bytes=15 << 20):
    """BF16 safetensors in shards with their index, and config.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards, size = [[]], 0
    for name, p in published_names(draft).items():
        data = p.detach().to(torch.bfloat16).contiguous().cpu()
        raw = data.view(torch.uint8).numpy().tobytes()
        if size + len(raw) > shard_bytes and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((name, list(data.shape), raw))
        size += len(raw)
    places = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        header, at = {}, 0
        for name, shape, raw in shard:
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + len(raw)]}
            at += len(raw)
            places[name] = file
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in shard))
    total = sum(p.numel() for p in published_names(draft).values()) * 2
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=1))
    c = draft.c
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["DFlashDraftModel"], "model_type": "qwen3", "dtype": "bfloat16", "attention_bias": False,
        "hidden_size": c.width, "num_hidden_layers": c.layers, "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads, "head_dim": c.head, "intermediate_size": c.inner, "hidden_act": "silu",
        "rms_norm_eps": c.eps, "rope_theta": c.rope_base, "rope_scaling": None, "vocab_size": vocabulary,
        "max_position_embeddings": context, "block_size": c.block, "num_target_layers": target_layers_total,
        "layer_types": ["sliding_attention"] * c.layers, "use_sliding_window": True, "sliding_window": c.window,
        "tie_word_embeddings": False,
        "dflash_config": {"mask_token_id": c.mask, "target_layer_ids": c.target_layers, "head_token_ids": head_tokens},
    }, indent=1))
