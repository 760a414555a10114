"""Any bytes as a model file: one line that says what is wrong, exit code 65, within two seconds (of CPU time: other tests run
beside these) and bounded memory."""
import random
import resource
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

from program import BINARY, ORACLES, cpu_seconds_of_children

FILES = sorted(ORACLES.glob("*/model.gguf"))
MOST_SECONDS = 2
MOST_MEMORY = 1 << 30  # address space, of which a sound 2 MB model needs a fraction


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def text(value):
    return struct.pack("<Q", len(value)) + value


class HostileFiles(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name) / "model.gguf"

    def check(self, data):
        """The exit code of `check` on these bytes; whatever it is, the promises on the way are kept."""
        self.path.write_bytes(data)
        start = cpu_seconds_of_children()
        got = subprocess.run([BINARY, "check", self.path], capture_output=True, timeout=20, preexec_fn=limit_memory)
        took = cpu_seconds_of_children() - start
        self.assertIn(got.returncode, (0, 65), got.stderr)
        self.assertLess(took, MOST_SECONDS)
        if got.returncode == 65:
            error = got.stderr.decode("utf-8")
            self.assertTrue(error.startswith("error: "), error)
            sentence = error.splitlines()[0]
            self.assertGreater(len(sentence), 15)
            self.assertTrue(all(" " <= c for c in sentence), sentence)
            self.assertLessEqual(len(error.splitlines()), 2)  # the sentence, and perhaps what to do
        return got.returncode

    def test_what_is_no_model_is_refused(self):
        noise = random.Random(1).randbytes(5000)
        for data in (b"", b"G", b"GGUF", b"GGUF" + b"\xff" * 20, b"GGUF\3\0\0\0" + b"\xff" * 16, noise, b"GGUF\3\0\0\0" + noise,
                     b"GGUF\2\0\0\0" + struct.pack("<QQ", 1 << 62, 1 << 62), b"PK\3\4" + noise, b"\0" * 100000):
            self.assertEqual(self.check(data), 65)

    def test_counts_and_lengths_that_promise_too_much_are_refused(self):
        header = b"GGUF\3\0\0\0"
        huge = 0x7FFFFFFFFFFFFFFF
        for data in (
                header + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<I", 8) + struct.pack("<Q", huge),  # a string
                header + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 0, huge),                 # an array
                header + struct.pack("<QQ", 0, 1) + text(b"k") + struct.pack("<IIQ", 9, 9, 1) * 40,               # of arrays
                header + struct.pack("<QQ", huge, 0),
                header + struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IQQQQIQ", 4, *(1 << 20,) * 4, 0, 0),
                header + struct.pack("<QQ", 1, 0) + text(b"t") + struct.pack("<IQIQ", 1, 32, 0, huge & ~31)):
            self.assertEqual(self.check(data + b"\0" * 64), 65)

    def test_a_model_cut_anywhere_is_refused(self):
        generator = random.Random(2)
        for path in FILES:
            data = path.read_bytes()
            for _ in range(6):
                self.assertEqual(self.check(data[:generator.randrange(len(data))]), 65)

    def test_changed_bytes_never_do_harm(self):
        generator = random.Random(3)
        for path in FILES:
            data = path.read_bytes()
            header = data.index(b"output_norm.weight") + 200
            for _ in range(12):
                changed = bytearray(data)
                for _ in range(generator.choice((1, 1, 2, 8, 64))):
                    changed[generator.randrange(header)] = generator.choice((0, 1, 127, 128, 255, generator.randrange(256)))
                self.check(bytes(changed))

    def test_values_that_no_model_can_have_are_refused_by_name(self):
        data = FILES[0].parent.parent.joinpath("llama/model.gguf").read_bytes()
        for key, value in ((b"llama.attention.head_count", 0), (b"llama.attention.head_count", 0xFFFFFFFF),
                           (b"llama.block_count", 0), (b"llama.block_count", 0x7FFFFFFF),
                           (b"llama.embedding_length", 1), (b"llama.embedding_length", 0xFFFFFFFF),
                           (b"llama.feed_forward_length", 0x80000000), (b"llama.attention.head_count_kv", 5),
                           (b"llama.rope.dimension_count", 63), (b"llama.rope.dimension_count", 1 << 20),
                           (b"llama.attention.key_length", 1 << 30)):
            with self.subTest(key=key, value=value):
                changed = bytearray(data)
                at = data.index(text(key)) + 8 + len(key) + 4
                changed[at:at + 4] = struct.pack("<I", value)
                self.assertEqual(self.check(bytes(changed)), 65)


if __name__ == "__main__":
    unittest.main()
