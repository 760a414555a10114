"""Reads a GGUF file with numpy alone: metadata, and tensors as float32."""
import struct

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def f32(blocks, begin, end):
    """Half-precision fields of blocks [n, bytes] as float32 [n, 1]."""
    return blocks[:, begin:end].copy().view(np.float16).astype(np.float32)


def nibbles(bytes_):
    """[n, 16] bytes -> [n, 32]: first all low halves, then all high ones."""
    return np.concatenate([bytes_ & 15, bytes_ >> 4], axis=1).astype(np.float32)


def q8_0(b):
    return f32(b, 0, 2) * b[:, 2:34].copy().view(np.int8).astype(np.float32)


def q4_0(b):
    return f32(b, 0, 2) * (nibbles(b[:, 2:18]) - 8)


def q4_1(b):
    return f32(b, 0, 2) * nibbles(b[:, 4:20]) + f32(b, 2, 4)


# type: (values a block, bytes a block, function)
BLOCKS = {2: (32, 18, q4_0), 3: (32, 20, q4_1), 8: (32, 34, q8_0)}


class Gguf:
    def __init__(self, path):
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        self.at = 0
        if bytes(self.take(4)) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        version, tensors, keys = self.unpack("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not supported")
        self.metadata = {}
        for _ in range(keys):
            key = self.string()
            self.metadata[key] = self.value(self.unpack("<I")[0])
        self.tensors = {}
        for _ in range(tensors):
            name = self.string()
            dimensions = self.unpack("<%dQ" % self.unpack("<I")[0])
            self.tensors[name] = (dimensions, *self.unpack("<IQ"))
        alignment = self.metadata.get("general.alignment", 32)
        self.start = (self.at + alignment - 1) // alignment * alignment

    def take(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def unpack(self, form):
        return struct.unpack(form, bytes(self.take(struct.calcsize(form))))

    def string(self):
        return bytes(self.take(self.unpack("<Q")[0])).decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, count = self.unpack("<IQ")
            if inner in SCALARS:
                return list(self.unpack(f"<{count}{SCALARS[inner]}"))
            return [self.value(inner) for _ in range(count)]
        return self.unpack("<" + SCALARS[kind])[0]

    def tensor(self, name):
        """float32, slowest dimension first: a matrix is [outputs, inputs]."""
        dimensions, kind, offset = self.tensors[name]
        count = int(np.prod(dimensions))
        begin = self.start + offset
        if kind in (0, 1):
            dtype = np.float32 if kind == 0 else np.float16
            flat = self.data[begin:begin + count * dtype().itemsize].view(dtype).astype(np.float32)
        elif kind == 30:  # BF16: the upper half of a float32
            flat = (self.data[begin:begin + 2 * count].view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif kind in BLOCKS:
            values, size, function = BLOCKS[kind]
            flat = function(np.asarray(self.data[begin:begin + count // values * size]).reshape(-1, size)).reshape(-1)
        else:
            raise ValueError(f"tensor {name} has type {kind}, which this reader lacks")
        return flat.reshape(dimensions[::-1])
