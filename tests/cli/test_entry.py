"""The container's start, its health check, and what it says of the machine."""
import json
import os
import socket
import unittest

from commandline import BINARY, Home


class Entry(Home):
    def test_anything_but_serve_is_executed_as_it_stands(self):
        self.assertEqual(self.ok("entry", "echo", "--model", "a  b"), "--model a  b\n")
        self.assertEqual(self.lucebox("entry", "sh", "-c", "exit 7").returncode, 7)
        self.assertIn("version", json.loads(self.ok("entry", BINARY, "version", "--json")))

    def test_shell(self):
        self.assertEqual(self.ok("entry", "shell", "-c", "echo $0"), "/bin/sh\n")

    def test_what_cannot_be_executed_is_explained(self):
        self.refused(66, "cannot execute no-such-program: No such file", "`serve`, `shell`", "entry", "no-such-program")
        self.refused(66, "cannot execute serv: No such file", "did you mean serve?", "entry", "serv")
        self.refused(66, "cannot execute models: No such file", "with its name: lucebox models", "entry", "models", "list")
        self.refused(74, "cannot execute /etc: Permission denied", "", "entry", "/etc")

    def test_options_alone_and_serve_are_the_server(self):
        for words in (["--help"], ["serve", "--help"]):
            self.assertIn("--port", self.ok("entry", *words))
        self.refused(64, "--prot", "--port", "entry", "--prot", "1")

    def test_facts_of_the_machine_are_left_before_the_server_starts(self):
        facts = os.path.join(self.home, "facts.json")
        variables = {"LUCEBOX_HOST_INFO": facts, "LUCEBOX_DEVICE": "cpu", "LUCEBOX_HOST_OS_PRETTY": "Some Linux"}
        done = self.lucebox("entry", "serve", "--port", "0", "--model", "/nowhere.gguf", environment=variables)
        self.assertNotEqual(done.returncode, 0)
        with open(facts) as file:
            self.assertEqual(json.load(file)["os_pretty"], "Some Linux")
        done = self.lucebox("entry", "serve", "--port", "0", "--model", "/nowhere.gguf", environment={**variables, "LUCEBOX_HOST_INFO": "/proc/no"})
        self.assertIn("could not be left", done.stderr)
        self.assertIn("nowhere.gguf", done.stderr)


class HealthCheck(Home):
    def test_nothing_listens(self):
        with socket.socket() as silent:  # it keeps the port, so that nobody else comes to listen there
            silent.bind(("127.0.0.1", 0))
            port = silent.getsockname()[1]
            self.refused(69, f"nothing listens on port {port}", "", "healthcheck", "--port", str(port))

    def test_answers_are_told_apart(self):
        for status, code, message in ((b"200 OK", 0, ""), (b"503 Service Unavailable", 69, "not ready"), (b"404 Not Found", 69, "404")):
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.settimeout(30)
                if os.fork() == 0:
                    connection, _ = server.accept()
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
                    connection.close()
                    os._exit(0)
                done = self.lucebox("healthcheck", "--port", str(server.getsockname()[1]))
                os.wait()
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(message, done.stderr)


MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/oracle/llama/model.gguf")


class Autotune(Home):
    def test_the_plan_is_json(self):
        plan = json.loads(self.ok("autotune", "--json"))
        self.assertEqual(set(plan), {"gpu", "vram_mib", "wsl", "tier", "plan", "model", "with_model", "notes"})
        self.assertGreaterEqual(plan["plan"]["context"], 4096)
        if plan["gpu"] is None:
            self.assertIn("no GPU is visible here", plan["notes"][0])
            self.assertEqual(plan["plan"]["context"], 8192)  # what a server on a CPU takes

    def test_a_card_that_is_not_here_and_a_model_are_planned_with_the_planners_arithmetic(self):
        for vram, tier, context in (("23.6", "24 GB", 4096), ("11.7", "12 to 21 GB", 4096), ("8", "less than 12 GB", 4096)):
            plan = json.loads(self.ok("autotune", "--json", "--vram", vram, "--model", MODEL))
            self.assertEqual(plan["tier"], tier)
            self.assertEqual([choice["value"] for choice in plan["with_model"]], [str(context), "4", "f16"])
        self.assertIn("trained for", plan["with_model"][0]["why"] + json.dumps(json.loads(self.ok("autotune", "--json", "--vram", "23.6", "--model", MODEL))))
        small = json.loads(self.ok("autotune", "--json", "--vram", "0.6", "--model", MODEL))
        self.assertEqual(small["with_model"], [])
        self.assertIn("GiB", small["notes"][-1])

    def test_the_plan_is_text(self):
        self.assertIn("context", self.ok("autotune"))


class Bench(Home):
    def test_the_report_is_what_json_prints(self):
        report = self.home + "/report.json"
        words = ("bench", "--model", MODEL, "--prompt-tokens", "8", "--decode-tokens", "2", "--repetitions", "1", "--report", report)
        self.assertIn("decode behind", self.ok(*words))
        with open(report) as file:
            first = json.load(file)
        self.assertGreater(first["decode_tokens_per_second"]["median"], 0)
        printed = json.loads(self.ok(*words, "--json"))
        with open(report) as file:
            self.assertEqual(json.load(file), printed)
        self.refused(66, "/nowhere/report.json", "", *words[:-1], "/nowhere/report.json")


class Smoke(Home):
    def test_no_server_is_explained(self):
        self.refused(69, "127.0.0.1:1/props", "lucebox serve", "smoke", "--url", "http://127.0.0.1:1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
