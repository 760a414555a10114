"""lucebox models: what is here, brought here, checked and taken away. Downloads have tests of their own."""
import hashlib
import http.server
import json
import os
import shutil
import threading
import unittest

from commandline import Home

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/oracle/llama/model.gguf")


class ModelsHome(Home):
    def setUp(self):
        super().setUp()
        self.cache = self.home + "/cache"
        self.folder = self.home + "/mine"
        os.makedirs(self.folder)

    def lucebox(self, *words, **options):
        options["environment"] = {"LUCEBOX_CACHE": self.cache, "LUCEBOX_MODELS": self.folder, "PIP_INDEX_URL": "http://127.0.0.1:1/", **options.get("environment", {})}
        return super().lucebox(*words, **options)


class Models(ModelsHome):
    def test_a_file_is_imported_used_and_removed(self):
        self.assertIn("is here", self.ok("models", "import", MODEL))
        self.assertTrue(os.path.exists(self.cache + "/model.gguf"))
        self.assertIn("model", self.ok("models", "list"))
        self.assertIn("whole", self.ok("models", "verify", "model"))
        self.ok("models", "activate", "model.gguf")
        self.assertIn("model.gguf", self.ok("config", "get", "model"))
        said = self.ok("models", "rm", "model")
        self.assertIn("freed", said)
        self.assertIn("model.model is the default again", said)  # else no server would start
        self.assertEqual(self.ok("config", "get", "model"), " (default)\n")
        self.assertEqual(os.listdir(self.cache), [])

    def test_another_one_stays_configured(self):
        self.ok("models", "import", MODEL)
        self.write('[model]\nmodel = "other.gguf"\n')
        self.assertNotIn("default again", self.ok("models", "rm", "model"))
        self.assertIn("other.gguf", self.ok("config", "get", "model"))

    def test_paths_are_told_as_the_host_knows_them(self):
        shown = {"LUCEBOX_SHOWN_PATHS": f"{self.cache}=/home/me/the models\n{self.home}/.config=/home/me/settings"}
        self.assertIn("/home/me/the models/model.gguf", self.ok("models", "import", MODEL, environment=shown))
        self.assertIn("/home/me/the models/model.gguf", self.ok("models", environment=shown))
        self.assertIn("(/home/me/settings/lucebox/config.toml)", self.ok("models", "activate", "model.gguf", environment=shown))
        self.assertEqual(self.ok("config", "path", environment=shown), "/home/me/settings/lucebox/config.toml\n")
        self.assertIn(self.cache + "/model.gguf", self.ok("models"))

    def test_what_is_no_model_is_not_imported(self):
        half = self.home + "/half.gguf"
        with open(MODEL, "rb") as file, open(half, "wb") as out:
            out.write(file.read()[:100_000])
        self.assertNotEqual(self.lucebox("models", "import", half).returncode, 0)
        self.assertFalse(os.path.exists(self.cache + "/half.gguf"))
        self.refused(66, "nowhere.gguf", "", "models", "import", "/nowhere.gguf")

    def test_nothing_is_overwritten(self):
        self.ok("models", "import", MODEL)
        self.refused(64, "another", "models rm", "models", "import", MODEL)

    def test_folders_of_the_users_own_are_never_written(self):
        shutil.copy(MODEL, self.folder + "/mine.gguf")
        self.refused(64, "in a folder of yours", "delete it there", "models", "rm", "mine")
        self.assertTrue(os.path.exists(self.folder + "/mine.gguf"))

    def test_a_model_that_nobody_named_is_the_one_that_is_there(self):
        shutil.copy(MODEL, self.folder + "/mine.gguf")
        done = self.lucebox("tokenize", "--text", "x")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("no model was named; " + self.folder + "/mine.gguf is taken", done.stderr)
        shutil.copy(MODEL, self.folder + "/other.gguf")
        self.refused(64, self.folder + "/other.gguf", "--model FILE", "tokenize", "--text", "x")
        self.ok("tokenize", "--text", "x", environment={"DFLASH_TARGET": self.folder + "/other.gguf"})

    def test_who_names_none_gets_the_small_one_and_hears_what_a_large_card_could_do(self):
        cached = os.path.expanduser("~/.cache/lucebox/models/SmolLM2-135M-Instruct.Q4_1.gguf")
        if not os.path.exists(cached):
            self.skipTest("the default model is not on this machine: make models")
        os.symlink(cached, self.folder + "/SmolLM2-135M-Instruct.Q4_1.gguf")
        self.assertIn("a card of 24 GB has room for qwen3.6-27b: lucebox models download qwen3.6-27b", self.ok("models", "download", environment={"LUCEBOX_HOST_VRAM_GB": "24"}))
        self.assertIn("smollm2-135m-instruct", self.ok("config", "get", "model"))
        self.assertNotIn("room for", self.ok("models", "download", "smollm2-135m", environment={"LUCEBOX_HOST_VRAM_GB": "24"}))
        if not os.path.exists("/dev/nvidiactl"):
            self.assertNotIn("room for", self.ok("models", "download", environment={"LUCEBOX_HOST_VRAM_GB": "16"}))
        self.ok("models", "use", "smollm2-135m-instruct")
        self.assertIn("as published", self.ok("models", "verify", "smollm2-135m"))

    def test_a_damaged_known_model_is_found(self):
        os.makedirs(self.cache)
        shutil.copy(MODEL, self.folder + "/SmolLM2-135M-Instruct.Q4_1.gguf")
        self.refused(65, "damaged: smollm2-135m-instruct", "models download", "models", "verify")

    def test_wrong_names_and_actions(self):
        self.refused(66, "no model is called smollm2-135m-instrukt", "did you mean smollm2-135m-instruct?", "models", "activate", "smollm2-135m-instrukt")
        self.refused(66, "is not here", "models download", "models", "activate", "smollm2-135m-instruct")
        self.refused(66, "no model is called nothing-like-it", "`lucebox models` lists them", "models", "download", "nothing-like-it")
        self.refused(64, "no action donwload", "download", "models", "donwload")
        self.refused(64, "models rm needs a name", "", "models", "rm")

    def test_activating_keeps_the_rest_of_the_configuration(self):
        self.write("# mine\n[server]\nport = 5\n")
        self.ok("models", "import", MODEL)
        self.ok("models", "activate", "model.gguf")
        self.assertEqual(self.text(), '# mine\n[server]\nport = 5\n\n[model]\nmodel = "model.gguf"\n')


class Endpoint(http.server.ThreadingHTTPServer):
    """Speaks like Hugging Face, and keeps the files itself."""

    def __init__(self, files):
        self.files, self.seen = files, []
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(None)

    def answer(self, body):
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        content = self.server.files.get(self.path.rsplit("/", 1)[1])
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.end_headers()
        if body is None and content:
            self.wfile.write(content)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def preset(**target):
    """qwen3.6-27b as it would be with other files: those of a test are small. Pinned as far as the words say."""
    files = {"target": {"repository": "unsloth/Qwen3.6-27B-GGUF", "path": Presets.TARGET, **target},
             "draft": {"repository": "Lucebox/Qwen3.6-27B-DFlash-GGUF", "path": Presets.DRAFT}}
    return {"name": "qwen3.6-27b", "licence": "Apache-2.0", "architecture": "qwen35", **files}


def registry(folder, *entries):
    path = os.path.join(folder, "registry.json")
    with open(path, "w") as file:
        json.dump(entries, file)
    return path


class Presets(ModelsHome):
    TARGET, DRAFT = "Qwen3.6-27B-Q4_K_M.gguf", "dflash-draft-3.6-q4_k_m.gguf"

    def setUp(self):
        super().setUp()
        with open(MODEL, "rb") as file:
            self.content = file.read()
        self.endpoint = Endpoint({self.TARGET: self.content, self.DRAFT: b"a draft", "laguna-xs2-Q4_K_M.gguf": self.content})
        self.addCleanup(self.endpoint.server_close)
        self.addCleanup(self.endpoint.shutdown)
        self.online = {"HF_ENDPOINT": self.endpoint.url, "HF_TOKEN": "hf_secret", "LUCEBOX_REGISTRY": registry(self.home, preset())}

    def test_download_makes_it_the_one_that_is_served(self):
        self.write('# mine\n[server]\nport = 5\n')
        done = self.lucebox("models", "download", "qwen3.6-27b", environment=self.online)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("hf_secret", done.stdout + done.stderr)
        self.assertIn(hashlib.sha256(self.content).hexdigest(), done.stderr)
        with open(f"{self.cache}/{self.TARGET}", "rb") as file:
            self.assertEqual(file.read(), self.content)
        draft = f"{self.cache}/draft/{self.DRAFT}"
        self.assertEqual(self.text(), f'# mine\n[server]\nport = 5\n\n[model]\nmodel = "qwen3.6-27b"\n\n[speculation]\ndraft = "{draft}"\n')
        self.assertTrue(all(seen[2] == "Bearer hf_secret" for seen in self.endpoint.seen))
        verified = self.ok("models", "verify", "qwen3.6-27b", environment=self.online)
        self.assertEqual(verified.count("with the hash that the server stated"), 2, verified)  # the draft's, too
        with open(f"{self.cache}/{self.TARGET}", "r+b") as file:
            file.write(b"X")
        self.refused(65, "damaged: qwen3.6-27b", "models rm", "models", "verify", "qwen3.6-27b", environment=self.online)
        self.ok("models", "import", MODEL)
        self.ok("models", "activate", "model.gguf")  # the draft was of the other one
        self.assertNotIn("draft =", self.text())
        self.assertIn("freed", self.ok("models", "rm", "qwen3.6-27b"))
        self.assertFalse(os.path.exists(draft))

    def test_what_this_build_cannot_serve_is_fetched_but_not_made_the_one(self):
        self.refused(65, "lacks models of the laguna architecture", "stays the one", "models", "download", "laguna-xs.2", environment=self.online)
        self.assertFalse(os.path.exists(self.file))
        entry = next(e for e in json.loads(self.ok("models", "--json")) if e["name"] == "laguna-xs.2")
        self.assertFalse(entry["servable"])
        self.assertEqual(entry["bytes"], len(self.content))

    def test_a_pinned_file_is_fetched_at_its_commit_and_must_be_that_file(self):
        pinned = {"revision": COMMIT, "bytes": len(self.content), "sha256": hashlib.sha256(self.content).hexdigest()}
        online = {**self.online, "LUCEBOX_REGISTRY": registry(self.home, preset(**pinned))}
        self.assertIn("is the file that this program knows", self.lucebox("models", "download", "qwen3.6-27b", environment=online).stderr)
        paths = {seen[1] for seen in self.endpoint.seen}
        self.assertEqual(paths, {f"/unsloth/Qwen3.6-27B-GGUF/resolve/{COMMIT}/{self.TARGET}", f"/Lucebox/Qwen3.6-27B-DFlash-GGUF/resolve/main/{self.DRAFT}"})
        self.assertIn("as published", self.ok("models", "verify", "qwen3.6-27b", environment=online))
        entry = next(e for e in json.loads(self.ok("models", "--json", environment=online)) if e["name"] == "qwen3.6-27b")
        self.assertEqual({k: entry["files"][0][k] for k in ("branch", "revision", "bytes", "sha256")}, {"branch": None, **pinned})

        shutil.rmtree(self.cache)
        online["LUCEBOX_REGISTRY"] = registry(self.home, preset(**{**pinned, "sha256": "0" * 64}))
        self.refused(65, "instead of " + "0" * 64, "another file", "models", "download", "qwen3.6-27b", environment=online)
        self.assertFalse(os.path.exists(f"{self.cache}/{self.TARGET}"))
        online["LUCEBOX_REGISTRY"] = registry(self.home, preset(**{**pinned, "bytes": 5}))
        self.refused(65, "instead of 5", "HF_ENDPOINT", "models", "download", "qwen3.6-27b", environment=online)

    def test_what_came_otherwise_cannot_be_verified_without_a_pin_and_is_refused_with_one(self):
        shutil.copy(MODEL, f"{self.folder}/{self.TARGET}")
        self.assertIn("could not be verified", self.ok("models", "verify", "qwen3.6-27b", environment=self.online))
        self.refused(65, "damaged: qwen3.6-27b", "", "models", "verify", "qwen3.6-27b")  # the registry knows the real one

    def test_a_registry_of_ones_own_is_laid_over_and_its_mistakes_are_told(self):
        mine = {"name": "mine", "licence": "MIT", "target": {"repository": "me/mine", "path": "mine.gguf"}}
        path = registry(self.home, mine, {**mine, "name": "evil", "target": {"repository": "me/../x", "path": "x.gguf"}}, {"name": "half"}, 7,
                        {**mine, "name": "short", "target": {**mine["target"], "sha256": "abc"}})
        done = self.lucebox("models", "--json", environment={"LUCEBOX_REGISTRY": path})
        self.assertEqual(done.returncode, 0)
        names = [entry["name"] for entry in json.loads(done.stdout)]
        self.assertIn("mine", names)
        self.assertIn("qwen3.6-27b", names)
        self.assertEqual(set(names) & {"evil", "half", "short"}, set())
        for words in ("model 2 (evil) is left out: target: 'me/../x'", "model 3 (half) is left out: licence is missing", "model 4 is left out: it is no object",
                      "model 5 (short) is left out: target: sha256"):
            self.assertIn(words, done.stderr)
        with open(os.path.join(os.path.dirname(MODEL), "../../../../docs/container.md")) as page:
            example = page.read().split("```json\n")[1].split("```")[0]
        with open(path, "w") as file:
            file.write(example)
        done = self.lucebox("models", environment={"LUCEBOX_REGISTRY": path})
        self.assertEqual(done.stderr, "")
        self.assertIn("8B, chat", done.stdout)
        for text in ("{", "{}", ""):
            with open(path, "w") as file:
                file.write(text)
            done = self.lucebox("models", environment={"LUCEBOX_REGISTRY": path})
            self.assertEqual(done.returncode, 0)
            self.assertIn("no JSON list of models", done.stderr)
            self.assertIn("smollm2-135m-instruct", done.stdout)
        self.assertIn("nowhere.json", self.lucebox("models", environment={"LUCEBOX_REGISTRY": "/nowhere.json"}).stderr)
        os.makedirs(self.home + "/.lucebox")
        os.rename(registry(self.home, mine), self.home + "/.lucebox/models.json")
        self.assertIn("mine ", self.ok("models", environment={"LUCEBOX_HOME": self.home + "/.lucebox"}))

    def test_what_is_pinned_is_told_and_what_is_not_is_null(self):
        entries = {entry["name"]: entry for entry in json.loads(self.ok("models", "--json"))}
        for file in entries["smollm2-135m-instruct"]["files"]:
            self.assertRegex(file["sha256"], "^[0-9a-f]{64}$")
            self.assertGreater(file["bytes"], 0)
        target, draft = entries["qwen3.6-27b"]["files"]
        self.assertEqual((target["repository"], target["path"], target["branch"]), ("unsloth/Qwen3.6-27B-GGUF", self.TARGET, None))
        self.assertEqual(draft["path"], self.DRAFT)
        for file in (target, draft, entries["gemma-4-26b"]["files"][0], entries["qwen3.6-moe"]["files"][0]):
            self.assertRegex(file["revision"], "^[0-9a-f]{40}$")
            self.assertRegex(file["sha256"], "^[0-9a-f]{64}$")
            self.assertGreater(file["bytes"], 1e9)
        for file in (*entries["gemma-4-31b"]["files"], entries["gemma-4-26b"]["files"][1], *entries["laguna-xs.2"]["files"]):
            self.assertEqual((file["branch"], file["revision"], file["bytes"], file["sha256"]), ("main", None, None, None))
        for name in ("gemma-4-26b", "gemma-4-31b", "laguna-xs.2", "qwen3.6-moe"):
            for file in entries[name]["files"]:
                self.assertEqual(set(file), {"repository", "path", "branch", "revision", "bytes", "sha256"})
                self.assertTrue(file["sha256"] is None or len(file["sha256"]) == 64)
        self.assertEqual([len(entries[name]["files"]) for name in ("gemma-4-31b", "laguna-xs.2", "qwen3.6-moe")], [2, 1, 1])

    def test_what_is_not_there_is_explained(self):
        self.refused(66, "google_gemma-4-31B-it-Q4_K_M.gguf", "models import", "models", "download", "gemma-4-31b", environment=self.online)
        self.refused(69, "cannot fetch", "network", "models", "download", "gemma-4-31b", environment={"HF_ENDPOINT": "http://127.0.0.1:1"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
