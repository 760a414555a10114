"""The examples for compose, Podman and Kubernetes: well-formed, of one mind with the image and the wrapper, and as tight as they."""
import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml
except ImportError:
    print("skipped: python3-yaml is not installed")
    sys.exit(77)

sys.path.insert(0, os.path.dirname(__file__))
import helm  # noqa: E402
import template  # noqa: E402

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHART = REPOSITORY + "/deploy/helm/lucebox"


def read(path):
    with open(os.path.join(REPOSITORY, path)) as file:
        return file.read()


def by_kind(texts):
    objects = [found for text in texts for found in yaml.safe_load_all(text) if found]
    return {found["kind"]: found for found in objects}


def render(values=None):
    """The chart's objects by kind, with `values` laid over its own."""
    merged = yaml.safe_load(read("deploy/helm/lucebox/values.yaml"))
    for key, value in (values or {}).items():
        merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    chart = yaml.safe_load(read("deploy/helm/lucebox/Chart.yaml"))
    scope = {"Values": merged, "Release": {"Name": "box", "Namespace": "ai"},
             "Chart": {"AppVersion": chart["appVersion"], "Name": chart["name"]}}
    return by_kind(template.Renderer(scope).render(read(f"deploy/helm/lucebox/templates/{name}"))
                   for name in sorted(os.listdir(CHART + "/templates")))


def check_schema(value, schema, place="values"):
    """The part of JSON Schema that values.schema.json uses."""
    if "enum" in schema:
        assert value in schema["enum"], f"{place}: {value}"
        return
    kind = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}[schema["type"]]
    assert isinstance(value, kind) and not (kind is int and isinstance(value, bool)), f"{place} is no {schema['type']}"
    if kind is dict:
        for key in schema.get("required", []):
            assert key in value, f"{place} lacks {key}"
        for key, item in value.items():
            if key in schema.get("properties", {}):
                check_schema(item, schema["properties"][key], f"{place}.{key}")
            else:
                assert schema.get("additionalProperties", True), f"{place}.{key} is not known"
    elif kind is list and "items" in schema:
        for item in value:
            check_schema(item, schema["items"], place + "[]")
    elif kind is str:
        assert re.search(schema.get("pattern", ""), value) and len(value) >= schema.get("minLength", 0), f"{place}: {value}"
    elif kind is int:
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value), f"{place}: {value}"


class Compose(unittest.TestCase):
    def test_it_is_as_tight_as_the_wrapper(self):
        service = yaml.safe_load(read("deploy/compose.yaml"))["services"]["lucebox"]
        self.assertTrue(service["read_only"])
        self.assertEqual(service["cap_drop"], ["ALL"])
        self.assertIn("no-new-privileges:true", service["security_opt"])
        self.assertTrue(all(port.startswith("127.0.0.1:") and port.endswith(":8080") for port in service["ports"]))
        self.assertEqual([(mount["target"], mount["read_only"]) for mount in service["volumes"]], [("/models", True)])
        self.assertNotIn("privileged", service)
        self.assertEqual(service["ulimits"]["memlock"], -1)

    def copy(self, text):
        """The file in a folder of its own: podman-compose makes the folders that it names."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        with open(folder + "/compose.yaml", "w") as file:
            file.write(text)
        return folder

    def test_compose_accepts_it(self):
        programs = [words for words in (["docker", "compose"], ["docker-compose"])
                    if shutil.which(words[0]) and subprocess.run([*words, "version"], capture_output=True).returncode == 0]
        if not programs:
            self.skipTest("neither docker compose nor docker-compose is installed")
        text = read("deploy/compose.yaml")
        for words in programs:
            def problems(text):
                done = subprocess.run([*words, "-f", self.copy(text) + "/compose.yaml", "config", "--quiet"], text=True, capture_output=True)
                return done.stderr if done.returncode else ""
            self.assertEqual(problems(text), "", words)
            self.assertIn("cap_dorp", problems(text.replace("cap_drop", "cap_dorp")))  # it does look
            self.assertNotEqual(problems(text.replace("count: all", "count: [1]")), "")

    @unittest.skipUnless(shutil.which("podman-compose"), "podman-compose is not installed")
    def test_podman_compose_asks_podman_for_the_same(self):
        folder = self.copy(read("deploy/compose.yaml"))
        with open(folder + "/podman", "w") as file:
            file.write(f'#!/bin/sh\n[ "$1" != --version ] || echo podman version 4.3.1\n[ "$1" != run ] || printf "%s\\n" "$@" >{folder}/run\n')
        os.chmod(folder + "/podman", 0o755)
        done = subprocess.run(["podman-compose", "-f", folder + "/compose.yaml", "up", "-d"], text=True, capture_output=True, cwd=folder,
                              env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "LUCEBOX_PORT": "8123", "LUCEBOX_DEVICE": "cpu"})
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(folder + "/run") as file:
            words = file.read().splitlines()
        self.assertEqual(words[-1], "ghcr.io/luce-org/lucebox-hub:cuda12")
        self.assertIn("--read-only", words)
        for pair in (["--cap-drop", "ALL"], ["--security-opt", "no-new-privileges:true"], ["--tmpfs", "/tmp"], ["-p", "127.0.0.1:8123:8080"], ["--ulimit", "memlock=-1"],
                     ["-u", "65532:65532"], ["-e", "LUCEBOX_DEVICE=cpu"]):
            self.assertTrue(any(words[i:i + 2] == pair for i in range(len(words))), f"{pair} is not in {words}")
        self.assertTrue(any(word.endswith("models:/models:ro") for word in words), words)


class Quadlet(unittest.TestCase):
    def setUp(self):
        self.unit = configparser.ConfigParser(strict=False, interpolation=None)
        self.unit.optionxform = str
        self.unit.read_string(read("deploy/lucebox.container"))

    def test_only_keys_that_podman_knows(self):
        known = {"ContainerName", "Image", "AddDevice", "PublishPort", "Volume", "UserNS", "ReadOnly", "Tmpfs", "DropCapability",
                 "NoNewPrivileges", "SecurityLabelDisable", "PodmanArgs"}
        self.assertLessEqual(set(self.unit["Container"]), known)

    def test_it_is_as_tight_as_the_wrapper(self):
        container = self.unit["Container"]
        self.assertEqual(container["PublishPort"], "127.0.0.1:8080:8080")
        self.assertTrue(container["Volume"].endswith(":/models:ro"))
        self.assertEqual((container["ReadOnly"], container["DropCapability"], container["NoNewPrivileges"]), ("true", "ALL", "true"))

    def test_a_wrong_configuration_is_not_tried_for_ever(self):
        self.assertEqual(self.unit["Service"]["RestartPreventExitStatus"].split(), ["64", "65", "66", "78"])
        self.assertIn("StartLimitBurst", self.unit["Unit"])


class Chart(unittest.TestCase):
    def pod(self, values=None):
        return render(values)["Deployment"]["spec"]["template"]["spec"]

    WRONG = ({"gpus": -1}, {"replica": 2}, {"models": {"size": "much"}}, {"ingress": {"affinityHeader": "X Y"}})

    @unittest.skipUnless(helm.here(), "neither helm nor helm-python-sdk is installed; the objects are checked below all the same")
    def test_helm_lint(self):
        self.assertEqual(helm.lint(CHART), "")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(CHART, folder + "/lucebox")
            with open(folder + "/lucebox/templates/service.yaml", "a") as file:
                file.write("{{ if }}\n")
            self.assertIn("service.yaml", helm.lint(folder + "/lucebox"))  # it does look

    @unittest.skipUnless(helm.here(), "neither helm nor helm-python-sdk is installed; the schema is checked below all the same")
    def test_helm_makes_the_same_objects_and_refuses_the_same_values(self):
        for values in ({}, {"gpus": 0}, {"model": 'a "b"', "arguments": ["--sequences", "8"], "apiKeySecret": "keys"}, {"models": {"existingClaim": "disk"}},
                       {"ingress": {"enabled": True, "host": "box.example", "affinityHeader": "X-Session-Id"}}, {"metrics": {"annotations": False}}):
            self.assertEqual(by_kind(helm.template(CHART, values)), render(values), values)
        for values in self.WRONG:
            with self.assertRaises(ValueError, msg=values):
                helm.template(CHART, values)

    def test_the_values_keep_to_their_schema(self):
        import json
        schema = json.loads(read("deploy/helm/lucebox/values.schema.json"))
        values = yaml.safe_load(read("deploy/helm/lucebox/values.yaml"))
        check_schema(values, schema)
        for wrong in self.WRONG:
            with self.assertRaises(AssertionError, msg=wrong):
                check_schema({**values, **wrong}, schema)

    def test_the_defaults(self):
        objects = render()
        self.assertEqual(set(objects), {"Deployment", "Service", "PersistentVolumeClaim"})
        pod = self.pod()
        container = pod["containers"][0]
        self.assertEqual(container["image"], "ghcr.io/luce-org/lucebox-hub:cuda12")
        self.assertEqual(container["args"], ["serve"])
        self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], 1)
        self.assertEqual(objects["Deployment"]["spec"]["selector"]["matchLabels"],
                         {key: value for key, value in objects["Service"]["spec"]["selector"].items()})
        self.assertEqual(pod["volumes"][0]["persistentVolumeClaim"]["claimName"], objects["PersistentVolumeClaim"]["metadata"]["name"])

    def test_probes_ask_what_the_server_answers(self):
        container = self.pod()["containers"][0]
        self.assertEqual(container["readinessProbe"]["httpGet"], {"path": "/ready", "port": "http"})
        self.assertEqual(container["livenessProbe"]["httpGet"], {"path": "/health", "port": "http"})
        startup = container["startupProbe"]
        self.assertGreaterEqual(startup["periodSeconds"] * startup["failureThreshold"], 900)  # a large model loads for minutes

    def test_it_is_as_tight_as_the_wrapper(self):
        pod = self.pod()
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertFalse(pod["automountServiceAccountToken"])
        context = pod["containers"][0]["securityContext"]
        self.assertEqual(context, {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})

    def test_without_a_gpu(self):
        container = self.pod({"gpus": 0})["containers"][0]
        self.assertNotIn("nvidia.com/gpu", container["resources"]["limits"])
        self.assertIn({"name": "LUCEBOX_DEVICE", "value": "cpu"}, container["env"])

    def test_model_arguments_and_keys(self):
        pod = self.pod({"model": 'a "b"', "arguments": ["--sequences", "8"], "apiKeySecret": "keys"})
        container = pod["containers"][0]
        self.assertEqual(container["args"], ["serve", "--model", 'a "b"', "--sequences", "8"])
        self.assertIn({"name": "LUCEBOX_API_KEY_FILE", "value": "/run/keys/api-keys"}, container["env"])
        self.assertIn({"name": "keys", "secret": {"secretName": "keys"}}, pod["volumes"])
        self.assertIn({"name": "keys", "mountPath": "/run/keys", "readOnly": True}, container["volumeMounts"])

    def test_an_existing_claim(self):
        objects = render({"models": {"existingClaim": "disk"}})
        self.assertNotIn("PersistentVolumeClaim", objects)
        self.assertEqual(self.pod({"models": {"existingClaim": "disk"}})["volumes"][0]["persistentVolumeClaim"]["claimName"], "disk")

    def test_conversations_stay_with_their_replica(self):
        ingress = render({"ingress": {"enabled": True, "affinityHeader": "X-Session-Id"}})["Ingress"]
        self.assertEqual(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/upstream-hash-by"], "$http_x_session_id")
        self.assertEqual(ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"], "box")

    def test_metrics(self):
        metadata = render()["Deployment"]["spec"]["template"]["metadata"]
        self.assertEqual(metadata["annotations"]["prometheus.io/path"], "/metrics")
        self.assertNotIn("annotations", render({"metrics": {"annotations": False}})["Deployment"]["spec"]["template"]["metadata"])

    def test_versions_agree(self):
        version = re.search(r"project\(lucebox VERSION ([\d.]+)", read("CMakeLists.txt"))[1]
        chart = yaml.safe_load(read("deploy/helm/lucebox/Chart.yaml"))
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))


if __name__ == "__main__":
    unittest.main(verbosity=2)
