"""lucebox config, the file it changes, and the names by which settings are known elsewhere."""
import json
import os
import unittest

from commandline import Home


class Config(Home):
    def effective(self, **options):
        return json.loads(self.ok("config", "--json", **options))

    def test_set_get_and_unset(self):
        self.ok("config", "set", "port=9000", "server.host=127.0.0.2")
        self.assertEqual(self.text(), '[server]\nport = 9000\nhost = "127.0.0.2"\n')
        self.assertEqual(self.effective()["port"], {"value": "9000", "origin": "file", "where": f"{self.file}:2"})
        self.assertIn("9000 (", self.ok("config", "get", "port"))
        self.ok("config", "unset", "port")
        self.assertEqual(self.effective()["port"]["origin"], "default")
        self.assertEqual(self.text(), '[server]\nhost = "127.0.0.2"\n')

    def test_comments_and_the_wrappers_sections_stay(self):
        self.write('# mine\n[runtime]\nport = 1 # of the host\n\n[server]\n# why\nport = 2\n')
        self.ok("config", "set", "port=3")
        self.assertEqual(self.text(), '# mine\n[runtime]\nport = 1 # of the host\n\n[server]\n# why\nport = 3\n')
        self.assertEqual(self.effective()["port"]["value"], "3")

    def test_every_type_is_read_back_as_it_was_set(self):
        for pair in ("temperature=0.5", "reference=yes", "allowed-hosts=a,b", "drain=5s", "max-body=1M", "log-level=debug", "model=/m/a \"b\".gguf"):
            self.ok("config", "set", pair)
            name, value = pair.split("=", 1)
            shown = self.effective()[name]
            self.assertEqual(shown["origin"], "file", pair)
            self.assertEqual(shown["value"], {"yes": "true"}.get(value, value), pair)

    def test_wrong_values_are_refused_before_anything_is_written(self):
        for pair in ("port=0x", "port=65536", "temperature=-1", "device=gpu", "reference=maybe", "drain=soon"):
            self.refused(64, pair.split("=")[0], "", "config", "set", pair)
            self.assertFalse(os.path.exists(self.file), pair)
        self.refused(64, "needs KEY=VALUE", "config set port=", "config", "set", "port")
        self.refused(64, "no value", "unset port", "config", "set", "port=")
        self.refused(64, "there is no key prot", "did you mean", "config", "set", "prot=1")
        self.refused(64, "no action sett", "unset", "config", "sett", "port=1")
        self.refused(64, "setting of the host wrapper", "on the host", "config", "set", "runtime.container_name=x")

    def test_a_broken_file_can_be_repaired(self):
        self.write("[server]\nport = 99999\n")
        self.assertEqual(self.lucebox("config").returncode, 64)
        self.ok("config", "set", "port=1")
        self.ok("config")
        self.write("[server\n")
        self.refused(65, "line 1", "", "config", "set", "port=1")
        self.ok("config", "reset")
        self.assertFalse(os.path.exists(self.file))
        self.assertTrue(os.path.exists(self.file + ".previous"))

    def test_reset_and_restore_go_to_and_fro(self):
        self.refused(66, "no earlier configuration", "config reset", "config", "restore")
        self.write("[server]\nport = 1\n")
        os.chmod(self.file, 0o600)
        self.ok("config", "reset")
        self.ok("config", "set", "port=2")
        self.ok("config", "restore")
        self.assertEqual(self.text(), "[server]\nport = 1\n")
        self.ok("config", "restore")
        self.assertEqual(self.text(), "[server]\nport = 2\n")

    def test_all_that_one_command_sets_is_there_or_nothing(self):
        self.write("[server]\nport = 1\n")
        self.refused(64, "temperature", "", "config", "set", "port=2", "temperature=-1")
        self.refused(64, "no key prot", "", "config", "unset", "port", "prot")
        self.assertEqual(self.text(), "[server]\nport = 1\n")

    def test_permissions_and_links_stay(self):
        real = self.home + "/dotfiles.toml"
        with open(real, "w") as file:
            file.write("[server]\nport = 1\n")
        os.chmod(real, 0o600)
        os.makedirs(os.path.dirname(self.file))
        os.symlink(real, self.file)
        self.ok("config", "set", "api-keys=secret-key-of-mine")
        self.assertTrue(os.path.islink(self.file))
        self.assertEqual(os.stat(real).st_mode & 0o777, 0o600)
        with open(real) as file:
            self.assertIn("secret-key-of-mine", file.read())
        os.unlink(real)
        self.refused(66, "leads nowhere", "keep the file itself there", "config")

    def test_what_cannot_be_changed_safely_is_left_alone(self):
        self.write('server = { port = 1 }\n')
        self.refused(65, "cannot be changed safely", "config edit", "config", "set", "port=2")
        self.assertEqual(self.text(), 'server = { port = 1 }\n')

    def test_path_and_edit(self):
        self.assertEqual(self.ok("config", "path").strip(), self.file)
        self.write("")
        self.ok("config", "edit", environment={"EDITOR": "touch"})
        self.refused(74, "editor no-such-editor failed", "EDITOR", "config", "edit", environment={"EDITOR": "no-such-editor"})

    def test_the_file_is_found_where_the_wrapper_keeps_it(self):
        os.makedirs(self.home + "/.lucebox")
        with open(self.home + "/.lucebox/config.toml", "w") as file:
            file.write("[server]\nport = 5\n")
        self.assertEqual(self.effective()["port"]["value"], "5")
        self.write("[server]\nport = 6\n")
        self.assertEqual(self.effective()["port"]["value"], "6")
        self.assertEqual(self.effective(environment={"LUCEBOX_HOME": self.home + "/.lucebox"})["port"]["value"], "5")


class Aliases(Home):
    def test_variables_of_earlier_images_are_honoured(self):
        effective = json.loads(self.ok("config", "--json", environment={"DFLASH_MAX_CTX": "4096", "DFLASH_PORT": "7", "LUCE_PORT": "8"}))
        self.assertEqual(effective["context"], {"value": "4096", "origin": "environment", "where": "DFLASH_MAX_CTX"})
        self.assertEqual(effective["port"]["where"], "LUCE_PORT")
        effective = json.loads(self.ok("config", "--json", environment={"DFLASH_BUDGET": "16"}))
        self.assertEqual(effective["speculation"], {"value": "tree:16", "origin": "environment", "where": "DFLASH_BUDGET"})
        done = self.lucebox("config", "--json", environment={"DFLASH_MODEL_NAME": "house", "DFLASH_DEFAULT_MAX_TOKENS": "99", "LUCE_THINK_MAX": "15488"})
        effective = json.loads(done.stdout)
        self.assertEqual([effective[name]["value"] for name in ("model-name", "default-max-tokens", "think-max-tokens")], ["house", "99", "15488"])
        self.assertEqual(done.stderr, "")
        self.refused(64, "said in another way", "speculation.speculation=tree:NUMBER", "config", "set", "dflash.budget=16")
        effective = json.loads(self.ok("config", "--json", environment={"LUCE_PORT": "8", "LUCEBOX_PORT": "9"}))
        self.assertEqual(effective["port"]["where"], "LUCEBOX_PORT")

    def test_unknown_ones_are_warned_about_with_the_nearest(self):
        done = self.lucebox("config", environment={"DFLASH_MAX_CTXX": "1", "LUCE_SOMETHING_ELSE": "1", "DFLASH_HOST_INFO_PATH": "/x"})
        self.assertIn("DFLASH_MAX_CTXX is not known and has no effect; did you mean DFLASH_MAX_CTX?", done.stderr)
        self.assertIn("LUCE_SOMETHING_ELSE is not known", done.stderr)
        self.assertNotIn("HOST_INFO", done.stderr)

    def test_known_ones_without_effect_say_so(self):
        done = self.lucebox("config", environment={"DFLASH27B_DRAFT_SWA": "2048", "PFLASH_DRAFTER_EARLY_EXIT_N": "7"})
        for name in ("DFLASH27B_DRAFT_SWA", "PFLASH_DRAFTER_EARLY_EXIT_N"):
            self.assertIn(f"{name} (of the engine of earlier images) has no effect", done.stderr)
        done = self.lucebox("config", environment={"DFLASH_DEBUG_THINKING_LOGITS": "1"})
        self.assertIn("DFLASH_DEBUG_THINKING_LOGITS (a diagnosis that was removed) has no effect in this build", done.stderr)

    def test_keys_of_earlier_files(self):
        self.write('[dflash]\nmax_ctx = 2048\ndebug_thinking_logits = true\n\n[model]\npreset = "smollm2-135m"\n')
        done = self.lucebox("config", "--json")
        effective = json.loads(done.stdout)
        self.assertEqual(effective["context"]["value"], "2048")
        self.assertEqual(effective["model"]["value"], "smollm2-135m")
        self.assertIn("dflash.debug_thinking_logits has no effect", done.stderr)
        self.write("[dflash]\nmax_ctxx = 1\n")
        self.refused(64, "unknown key dflash.max_ctxx", "", "config")


if __name__ == "__main__":
    unittest.main(verbosity=2)
