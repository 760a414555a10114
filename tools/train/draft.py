"""A DFlash draft in PyTorch, for training: blocks of [token, mask, mask, ...] that see features of the target."""
import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from packing import masked_attention


def rms(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rotate_halves(x, cos, sin):
    """Pairs (i, i + head/2); x [..., heads, head], cos and sin [..., 1, head/2]."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def layer_step(x, g, cos, sin, context_cos, context_sin, mask, heads, kv_heads, eps, attn_norm, mlp_norm, q_norm, k_norm,
               q, k, v, o, gate, up, down):
    """x [rows, width]: the blocks' rows; g [s, width]: the projected features of the packed context. A function of tensors, so
    that all layers share its code."""
    linear = lambda t, w: F.linear(t.to(g.dtype), w.to(g.dtype))
    split = lambda t, n: t.view(t.shape[0], n, -1)
    y = rms(x, attn_norm, eps)
    queries = rotate_halves(rms(split(linear(y, q), heads), q_norm, eps), cos, sin)
    near = rotate_halves(rms(split(linear(y, k), kv_heads), k_norm, eps), cos, sin)
    far = rotate_halves(rms(split(linear(g, k), kv_heads), k_norm, eps), context_cos, context_sin)
    keys, values = torch.cat([far, near]), torch.cat([split(linear(g, v), kv_heads), split(linear(y, v), kv_heads)])
    queries, keys, values = (t.to(g.dtype).transpose(0, 1)[None] for t in (queries, keys, values))
    a = masked_attention(queries, keys, values, mask)[0].transpose(0, 1).flatten(1)
    x = x + linear(a, o)
    z = rms(x, mlp_norm, eps)
    return x + linear(F.silu(linear(z, gate)) * linear(z, up), down)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.q, self.k, self.v = (linear(c.width, n * c.head) for n in (c.heads, c.kv_heads, c.kv_heads))
        self.o = linear(c.heads * c.head, c.width)
        self.gate, self.up, self.down = linear(c.width, c.inner), linear(c.width, c.inner), linear(c.inner, c.width)
        self.attn_norm, self.mlp_norm = nn.Parameter(torch.ones(c.width)), nn.Parameter(torch.ones(c.width))
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(c.head)), nn.Parameter(torch.ones(c.head))

    def tensors(self):
        return (self.attn_norm, self.mlp_norm, self.q_norm, self.k_norm,
                *(m.weight for m in (self.q, self.k, self.v, self.o, self.gate, self.up, self.down)))


class Draft(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, self.step = c, layer_step
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

    def forward(self, features, context_positions, block, positions, embedding, mask):
        """features [s, n * width] of packed texts; block, positions [anchors, B]: the blocks' tokens and their places in their
        texts. Normed hidden states [anchors, B, width] for the target's output matrix. `mask` (packing.py) says what a row
        sees: features behind it within the window, and of its block the rows up to itself."""
        c = self.c
        g = rms(F.linear(features, self.fc.weight.to(features.dtype)), self.hidden_norm, c.eps)
        x = F.embedding(block.flatten(), embedding).float()
        angles = *self.angles(positions.flatten()), *self.angles(context_positions)
        for layer in self.layers:
            x = self.step(x, g, *angles, mask, c.heads, c.kv_heads, c.eps, *layer.tensors())
        return rms(x, self.norm, c.eps).to(g.dtype).view(*block.shape, c.width)


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
