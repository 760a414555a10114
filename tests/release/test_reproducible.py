"""The same source gives the same bytes wherever it lies: some of it is compiled again in another folder, and the program linked again.

A sample, because a second build of everything takes minutes; that nothing in the source asks for its place or the time is looked up in all of it.
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD, BINARY = os.environ["LUCEBOX_BUILD"], os.environ["LUCEBOX_BINARY"]
SAMPLE = ["src/base/hash.cpp", "src/base/log.cpp", "src/gguf/tensor_type.cpp", "src/gguf/quantise_mix.cpp", "src/decode/acceptance.cpp"]
WITHOUT_CACHE = {**os.environ, "CCACHE_DISABLE": "1"}


def skip(reason):
    print("skipped:", reason)
    sys.exit(77)


try:
    with open(os.path.join(BUILD, "compile_commands.json")) as file:
        # The program's own libraries come first; a test may compile a file of theirs once more.
        COMMANDS = {os.path.relpath(entry["file"], REPOSITORY): entry for entry in reversed(json.load(file))}
except OSError:
    skip("the build wrote no compile_commands.json")
if any(re.match(r"-g\d?$|-fsanitize|--coverage", word) for word in shlex.split(COMMANDS[SAMPLE[0]]["command"])):
    skip("a build with debug information names its folders in it")


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


class Reproducible(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="another place ")
        self.addCleanup(shutil.rmtree, self.folder)

    def compiled_elsewhere(self, name, source=None):
        """The object file of `name`, from a copy of the source, in this test's folder."""
        elsewhere = os.path.join(self.folder, "tree")
        if not os.path.exists(elsewhere):
            shutil.copytree(os.path.join(REPOSITORY, "src"), elsewhere + "/src")
        if source is not None:
            with open(os.path.join(elsewhere, name), "w") as file:
                file.write(source)
        words = [word.replace(REPOSITORY, elsewhere) for word in shlex.split(COMMANDS[SAMPLE[0]]["command"] if source else COMMANDS[name]["command"])]
        out = os.path.join(self.folder, "out.o")
        words[words.index("-o") + 1], words[words.index("-c") + 1] = out, os.path.join(elsewhere, name)
        subprocess.run(words, cwd=self.folder, env=WITHOUT_CACHE, check=True, capture_output=True, timeout=100)
        return bytes_of(out)

    def test_objects_do_not_depend_on_where_they_are_made(self):
        for name in SAMPLE:
            words = shlex.split(COMMANDS[name]["command"])
            built = os.path.join(COMMANDS[name]["directory"], words[words.index("-o") + 1])
            self.assertTrue(self.compiled_elsewhere(name) == bytes_of(built), name)

    def test_the_comparison_would_find_a_place(self):
        text = 'extern const char* const place; const char* const place = __FILE__;\n'
        first = self.compiled_elsewhere("src/base/probe.cpp", text)
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.assertFalse(first == self.compiled_elsewhere("src/base/probe.cpp", text))

    def test_linking_again_gives_the_same_program(self):
        commands = subprocess.run(["ninja", "-C", BUILD, "-t", "commands", "lucebox"], text=True, capture_output=True)
        if commands.returncode != 0:
            self.skipTest("not a build by ninja")
        link = commands.stdout.strip().split("\n")[-1]
        again, count = re.subn(r" -o lucebox ", f" -o {shlex.quote(self.folder + '/lucebox')} ", link)
        self.assertEqual(count, 1, link)
        subprocess.run(again, shell=True, cwd=BUILD, env=WITHOUT_CACHE, check=True, capture_output=True, timeout=100)
        self.assertTrue(bytes_of(self.folder + "/lucebox") == bytes_of(BINARY))

    def test_nothing_asks_for_its_place_or_the_time_of_the_build(self):
        for folder, _, names in os.walk(os.path.join(REPOSITORY, "src")):
            for name in names:
                text = bytes_of(os.path.join(folder, name))
                self.assertIsNone(re.search(rb"__(DATE|TIME|TIMESTAMP|FILE|BASE_FILE)__|source_location|__builtin_FILE", text), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
