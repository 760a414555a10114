"""lucebox models: what is here, brought here, checked and taken away. Downloads have tests of their own."""
import os
import shutil
import unittest

from commandline import Home

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/oracle/llama/model.gguf")


class Models(Home):
    def setUp(self):
        super().setUp()
        self.cache = self.home + "/cache"
        self.folder = self.home + "/mine"
        os.makedirs(self.folder)

    def lucebox(self, *words, **options):
        options["environment"] = {"LUCEBOX_CACHE": self.cache, "LUCEBOX_MODELS": self.folder, "PIP_INDEX_URL": "http://127.0.0.1:1/", **options.get("environment", {})}
        return super().lucebox(*words, **options)

    def test_a_file_is_imported_used_and_removed(self):
        self.assertIn("is here", self.ok("models", "import", MODEL))
        self.assertTrue(os.path.exists(self.cache + "/model.gguf"))
        self.assertIn("model", self.ok("models", "list"))
        self.assertIn("whole", self.ok("models", "verify", "model"))
        self.ok("models", "activate", "model.gguf")
        self.assertIn("model.gguf", self.ok("config", "get", "model"))
        self.assertIn("freed", self.ok("models", "rm", "model"))
        self.assertEqual(os.listdir(self.cache), [])

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


if __name__ == "__main__":
    unittest.main(verbosity=2)
