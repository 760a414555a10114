"""/props against its published schema, while the model loads and once it is there; and what every answer says of the build."""
import copy
import json
import os
import re
import subprocess
import time
import unittest
import urllib.error
import urllib.request

import schema
from commandline import BINARY, Home

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
with open(os.path.join(REPOSITORY, "docs/props.schema.json")) as published:
    SCHEMA = json.load(published)


def default_model():
    done = subprocess.run([BINARY, "models", "--json"], text=True, capture_output=True, check=True)
    return next(entry["path"] for entry in json.loads(done.stdout) if entry["default"])


class Props(Home):
    def serve(self, model):
        self.process = subprocess.Popen([BINARY, "serve", "--port", "0", "--model", model], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={"PATH": os.environ["PATH"], "HOME": self.home, "LUCEBOX_HOST_OS_PRETTY": "Some Linux", "NO_COLOR": "1",
                                             "DFLASH_MODEL_NAME": "house", "DFLASH_DEFAULT_MAX_TOKENS": "3"})
        self.addCleanup(self.stop)
        for line in self.process.stderr:
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                return found[1]
        self.fail("it does not listen")

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=30)

    def get(self, path):
        try:
            answer = urllib.request.urlopen(self.url + path, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers, json.loads(answer.read())

    def test_api_14_it_keeps_to_the_schema_from_the_start_on(self):
        model = default_model()
        if model is None:
            self.skipTest("the default model is not on this machine: make models")
        self.url = self.serve(model)
        status, headers, props = self.get("/props")
        if status == 200:
            self.assertEqual(schema.problems(props, SCHEMA), [])
        for _ in range(600):
            if self.get("/ready")[0] == 200:
                break
            time.sleep(0.1)
        status, headers, props = self.get("/props")
        self.assertEqual(status, 200)
        self.assertEqual(schema.problems(props, SCHEMA), [])
        version = json.loads(self.ok("version", "--json"))
        self.assertEqual(props["build"]["server_version"], version["version"])
        self.assertEqual(props["build"]["git_sha"], version["git_sha"])
        self.assertTrue(headers["x-lucebox-build"].startswith(version["version"]))
        self.assertEqual(props["host"]["os_pretty"], "Some Linux")
        self.assertEqual(props["host"]["source"], "lucebox.sh")
        self.assertEqual([choice["setting"] for choice in props["tuning"]], ["context", "sequences", "keys and values"])
        self.assertTrue(all(choice["why"] for choice in props["tuning"]))
        held = props["tuning"][2]["value"]
        self.assertEqual((props["runtime"]["kv_cache_k"], props["runtime"]["kv_cache_v"]), (held, held))
        self.assertEqual(self.get("/v1/models")[2]["data"][0]["id"], "house")
        request = urllib.request.Request(self.url + "/v1/chat/completions", data=b'{"messages": [{"role": "user", "content": "Count to a hundred."}], "temperature": 0, "ignore_eos": true}')
        with urllib.request.urlopen(request, timeout=60) as answer:
            self.assertEqual(json.loads(answer.read())["usage"]["completion_tokens"], 3)
        self.assertIn("PASS", self.ok("smoke", "--url", self.url, timeout=120))
        self.check_the_checker(props)

    def check_the_checker(self, props):
        """The schema finds what is wrong, else it proves nothing."""
        for damage in (lambda p: p.pop("build"), lambda p: p["build"].pop("git_sha"), lambda p: p["host"].update(nproc="2"),
                       lambda p: p.update(speculative_mode="on"), lambda p: p["host"].update(gpus={}), lambda p: p.update(uptime_s=None)):
            damaged = copy.deepcopy(props)
            damage(damaged)
            self.assertEqual(len(schema.problems(damaged, SCHEMA)), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
