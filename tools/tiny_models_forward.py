"""Each architecture's forward pass over a whole prompt, in double, as its formulas read. Slow and simple on purpose."""
import numpy as np


def rms(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


class Forward:
    def __init__(self, keys, tensors):
        self.keys, self.tensors = keys, tensors
        self.kind = keys["general.architecture"]
        # As the file holds it: a 32-bit float.
        self.epsilon = float(np.float32(self.key("attention.layer_norm_rms_epsilon")))
        self.heads, self.kv_heads = self.key("attention.head_count"), self.key("attention.head_count_kv")
        self.head_dim = self.key("attention.key_length", self.key("embedding_length") // self.heads)

    def key(self, name, otherwise=None):
        return self.keys.get(f"{self.kind}.{name}", otherwise)

    def weight(self, layer, name):
        return self.tensors[f"blk.{layer}.{name}"]

    def linear(self, x, layer, name):
        bias = self.tensors.get(f"blk.{layer}.{name}.bias", 0)
        return x @ self.weight(layer, name + ".weight").T + bias

    def norm(self, x, layer, name):
        return rms(x, self.weight(layer, name + ".weight"), self.epsilon)

    def frequencies(self, base, scaled=True):
        """Of each rotated pair, and what multiplies sine and cosine."""
        n = self.key("rope.dimension_count", self.head_dim)
        pair = np.arange(n // 2)
        frequency = float(base) ** (-2.0 * pair / n)
        magnitude = 1.0
        kind, factor = self.key("rope.scaling.type"), self.key("rope.scaling.factor", 1.0)
        if scaled and kind == "linear":
            frequency = frequency / factor
        if scaled and kind == "yarn":
            context = self.key("rope.scaling.original_context_length")
            turning = lambda turns: n * np.log(context / (turns * 2 * np.pi)) / (2 * np.log(base))
            low, high = max(0.0, np.floor(turning(32))), min(n - 1.0, np.ceil(turning(1)))
            interpolated = np.clip((pair - low) / max(0.001, high - low), 0, 1)
            frequency = frequency * (interpolated / factor + 1 - interpolated)
            magnitude = (0.1 * np.log(factor) + 1) * float(np.float32(self.key("rope.scaling.attn_factor", 1.0)))
        if scaled and "rope_freqs.weight" in self.tensors:
            frequency = frequency / self.tensors["rope_freqs.weight"]
        return frequency, magnitude

    def rotate(self, x, rotation):
        """x [tokens, heads, dim]; Llama's pairs are neighbours, the others' lie half the rotated part apart."""
        frequency, magnitude = rotation
        angle = np.arange(len(x))[:, None, None] * frequency
        turn = magnitude * np.exp(1j * angle)
        pairs = len(frequency)
        y = x.copy()
        first, second = (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)) if self.kind == "llama" else \
            (slice(0, pairs), slice(pairs, 2 * pairs))
        turned = (x[..., first] + 1j * x[..., second]) * turn
        y[..., first], y[..., second] = turned.real, turned.imag
        return y

    def attention(self, x, layer, rotation, window=0, norms=False, gated=False):
        tokens, dim = len(x), self.head_dim
        q = self.linear(x, layer, "attn_q").reshape(tokens, self.heads, -1)
        k = self.linear(x, layer, "attn_k").reshape(tokens, self.kv_heads, dim)
        v = self.linear(x, layer, "attn_v").reshape(tokens, self.kv_heads, dim)
        q, gate = q[..., :dim], q[..., dim:]
        if norms:
            q, k = self.norm(q, layer, "attn_q_norm"), self.norm(k, layer, "attn_k_norm")
        q, k = self.rotate(q, rotation), self.rotate(k, rotation)
        out = np.empty_like(q)
        for head in range(self.heads):
            own = head * self.kv_heads // self.heads
            for token in range(tokens):
                begin = max(0, token + 1 - window) if window else 0
                score = k[begin:token + 1, own] @ q[token, head] / np.sqrt(dim)
                share = np.exp(score - score.max())
                out[token, head] = share @ v[begin:token + 1, own] / share.sum()
        if gated:
            out = out * sigmoid(gate)
        return self.linear(out.reshape(tokens, -1), layer, "attn_output")

    def delta_net(self, x, layer):
        tokens = len(x)
        key_heads, value_heads, dim = self.key("ssm.group_count"), self.key("ssm.time_step_rank"), self.key("ssm.state_size")
        taps = self.weight(layer, "ssm_conv1d.weight")
        width = taps.shape[1]
        raw = np.concatenate([np.zeros((width - 1, len(taps))), self.linear(x, layer, "attn_qkv")])
        mixed = silu(np.stack([(raw[t:t + width].T * taps).sum(1) for t in range(tokens)]))
        q, k, v = np.split(mixed, [key_heads * dim, 2 * key_heads * dim], axis=1)
        unit = lambda a: a / np.sqrt((a * a).sum(-1, keepdims=True) + 1e-6)
        q, k = unit(q.reshape(tokens, key_heads, dim)) / np.sqrt(dim), unit(k.reshape(tokens, key_heads, dim))
        v = v.reshape(tokens, value_heads, dim)
        step = np.logaddexp(0, self.linear(x, layer, "ssm_alpha") + self.weight(layer, "ssm_dt.bias"))
        decay, strength = np.exp(self.weight(layer, "ssm_a") * step), sigmoid(self.linear(x, layer, "ssm_beta"))
        out = np.empty_like(v)
        for head in range(value_heads):
            own = head % key_heads
            memory = np.zeros((dim, dim))
            for t in range(tokens):
                memory *= decay[t, head]
                memory += np.outer(k[t, own], strength[t, head] * (v[t, head] - k[t, own] @ memory))
                out[t, head] = q[t, own] @ memory
        gate = silu(self.linear(x, layer, "attn_gate")).reshape(out.shape)
        return self.linear((self.norm(out, layer, "ssm_norm") * gate).reshape(tokens, -1), layer, "ssm_out")

    def mlp(self, x, layer, activation=silu):
        return self.linear(activation(self.linear(x, layer, "ffn_gate")) * self.linear(x, layer, "ffn_up"), layer, "ffn_down")

    def run_plain(self, x):
        rotation = self.frequencies(self.key("rope.freq_base"))
        for layer in range(self.key("block_count")):
            x = x + self.attention(self.norm(x, layer, "attn_norm"), layer, rotation, norms=self.kind == "qwen3")
            x = x + self.mlp(self.norm(x, layer, "ffn_norm"), layer)
        return x

    def run_gemma3(self, x):
        everywhere = self.frequencies(self.key("rope.freq_base"))
        nearby = self.frequencies(self.key("rope.freq_base_swa", 1e4), scaled=False)
        x = x * np.sqrt(self.key("embedding_length"))
        for layer in range(self.key("block_count")):
            sees_all = layer % 6 == 5
            mixed = self.attention(self.norm(x, layer, "attn_norm"), layer, everywhere if sees_all else nearby,
                                   0 if sees_all else self.key("attention.sliding_window"), norms=True)
            x = x + self.norm(mixed, layer, "post_attention_norm")
            x = x + self.norm(self.mlp(self.norm(x, layer, "ffn_norm"), layer, gelu), layer, "post_ffw_norm")
        return x

    def run_qwen35(self, x):
        rotation = self.frequencies(self.key("rope.freq_base"))
        for layer in range(self.key("block_count") - self.key("nextn_predict_layers", 0)):
            h = self.norm(x, layer, "attn_norm")
            if (layer + 1) % self.key("full_attention_interval") == 0:
                x = x + self.attention(h, layer, rotation, norms=True, gated=True)
            else:
                x = x + self.delta_net(h, layer)
            x = x + self.mlp(self.norm(x, layer, "post_attention_norm"), layer)
        return x


def forward(keys, tensors, tokens):
    """Logits [tokens, vocabulary]; `keys` and `tensors` (values in double) as the file holds them."""
    model = Forward(keys, tensors)
    embedding = tensors["token_embd.weight"]
    run = {"gemma3": model.run_gemma3, "qwen35": model.run_qwen35}.get(model.kind, model.run_plain)
    x = run(embedding[tokens])
    return rms(x, tensors["output_norm.weight"], model.epsilon) @ tensors.get("output.weight", embedding).T
