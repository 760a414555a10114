"""Random weights in the block formats of GGUF, with the values they stand for, and a small GGUF writer."""
import struct
from pathlib import Path

import numpy as np

# name: (id in the file, values of a block, bytes of a block)
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "BF16": (30, 1, 2)}
ALIGNMENT = 32


def halves(values):
    return np.asarray(values, np.float16)


def q8_0(random, rows, columns, deviation):
    blocks = rows * columns // 32
    scale = halves(random.uniform(0.5, 1.5, blocks) * deviation / 50)
    codes = np.clip(np.rint(random.normal(size=(blocks, 32)) * 50), -128, 127).astype(np.int8)
    data = np.concatenate([scale.view(np.uint8).reshape(blocks, 2), codes.view(np.uint8)], 1)
    return data, scale[:, None].astype(np.float64) * codes


def q4_0(random, rows, columns, deviation):
    blocks = rows * columns // 32
    scale = halves(random.uniform(0.5, 1.5, blocks) * deviation / 3)
    codes = np.clip(np.rint(random.normal(size=(blocks, 32)) * 3 + 8), 0, 15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4  # the low halves are the first 16 values
    data = np.concatenate([scale.view(np.uint8).reshape(blocks, 2), packed], 1)
    return data, scale[:, None].astype(np.float64) * (codes.astype(np.float64) - 8)


def q4_k(random, rows, columns, deviation):
    """256 values: d and dmin, eight 6-bit scales and minima, 4-bit codes; value = d * scale * code - dmin * minimum."""
    blocks = rows * columns // 256
    d = halves(random.uniform(0.5, 1.5, blocks) * deviation / 100)
    dmin = halves(d.astype(np.float64) * 7.5)
    scales = random.integers(20, 44, (blocks, 8)).astype(np.uint8)
    minima = scales  # so that values lie around zero
    codes = random.integers(0, 16, (blocks, 8, 32)).astype(np.uint8)
    packed_scales = np.zeros((blocks, 12), np.uint8)
    packed_scales[:, 0:4] = scales[:, 0:4] | (scales[:, 4:8] >> 4) << 6
    packed_scales[:, 4:8] = minima[:, 0:4] | (minima[:, 4:8] >> 4) << 6
    packed_scales[:, 8:12] = (scales[:, 4:8] & 15) | (minima[:, 4:8] & 15) << 4
    packed = codes[:, 0::2] | codes[:, 1::2] << 4  # a pair of groups shares its bytes
    data = np.concatenate([d.view(np.uint8).reshape(blocks, 2), dmin.view(np.uint8).reshape(blocks, 2), packed_scales,
                           packed.reshape(blocks, 128)], 1)
    wide = lambda x: x.astype(np.float64)
    values = wide(d)[:, None, None] * wide(scales)[:, :, None] * wide(codes) - wide(dmin)[:, None, None] * wide(minima)[:, :, None]
    return data, values


class Weights:
    """Tensors by name, in file order: bytes for the file, values [outputs, inputs] in double for the reference. Described
    first, drawn by draw(), so that a shape can be looked at for nothing."""

    def __init__(self, random, kind):
        self.random, self.kind = random, kind
        self.wanted = {}  # name: what draws it
        self.data, self.types, self.shapes, self.values = {}, {}, {}, {}

    def draw(self):
        for make in self.wanted.values():
            make()

    def bytes(self):
        return sum(len(data) for data in self.data.values())

    def add(self, name, kind, shape, data, values):
        self.data[name], self.types[name], self.shapes[name] = data.tobytes(), kind, shape
        self.values[name] = values

    def raw(self, name, values):
        self.add(name, "F32", values.shape[::-1], np.ascontiguousarray(values, np.float32), values.astype(np.float64))

    def vector(self, name, size, deviation, around=0.0):
        self.wanted[name] = lambda: self.raw(name, (around + self.random.normal(size=size) * deviation).astype(np.float32))

    def norm(self, name, size, around=1.0):
        self.vector(name, size, 0.25, around)

    def uniform(self, name, size, low, high):
        self.wanted[name] = lambda: self.raw(name, self.random.uniform(low, high, size).astype(np.float32))

    def matrix(self, name, inputs, outputs, gain=1.0):
        """Of the model's type where its blocks fit the row, else F16."""
        self.wanted[name] = lambda: self.draw_matrix(name, inputs, outputs, gain)

    def draw_matrix(self, name, inputs, outputs, gain):
        kind = self.kind if inputs % TYPES[self.kind][1] == 0 else "F16"
        deviation = gain / inputs ** 0.5
        if kind in ("Q8_0", "Q4_0", "Q4_K"):
            data, values = {"Q8_0": q8_0, "Q4_0": q4_0, "Q4_K": q4_k}[kind](self.random, outputs, inputs, deviation)
            return self.add(name, kind, (inputs, outputs), data, values.reshape(outputs, inputs))
        plain = (self.random.normal(size=(outputs, inputs)) * deviation).astype(np.float32)
        if kind == "F16":
            data = plain.astype(np.float16)
            values = data.astype(np.float64)
        elif kind == "BF16":
            data = (plain.view(np.uint32) >> 16).astype(np.uint16)
            values = (data.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        else:
            data, values = plain, plain.astype(np.float64)
        return self.add(name, kind, (inputs, outputs), data, values)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def encoded(value):
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<II", 4, value)


def write_gguf(path, keys, weights):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(weights.data), len(keys))
    for key, value in keys.items():
        head += text(key) + encoded(value)
    offset = 0
    body = b""
    for name, data in weights.data.items():
        shape = weights.shapes[name]
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", TYPES[weights.types[name]][0], offset)
        padded = data + b"\0" * (-len(data) % ALIGNMENT)
        body += padded
        offset += len(padded)
    Path(path).write_bytes(head + b"\0" * (-len(head) % ALIGNMENT) + body)
