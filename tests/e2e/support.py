"""A lucebox server for a test: started on a free loopback port, stopped at the end."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

BINARY = os.environ["LUCEBOX_BINARY"]


class Server:
    def __init__(self, *arguments, wait=True):
        self.process = subprocess.Popen(
            [BINARY, "serve", "--port", "0", "--log-level", "warning", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.output = []
        self.url = None
        if wait:
            self._wait_for_url()
        self.readers = [threading.Thread(target=self._drain, args=(stream,), daemon=True)
                        for stream in (self.process.stdout, self.process.stderr)]
        for reader in self.readers:
            reader.start()

    def _wait_for_url(self):
        for line in self.process.stdout:
            self.output.append(line)
            found = re.search(r"at\s+(http://\S+)", line)
            if found:
                self.url = found.group(1)
                self.port = int(self.url.rsplit(":", 1)[1])
                return
        raise RuntimeError("the server ended: " + "".join(self.output) + self.process.stderr.read())

    def _drain(self, stream):
        for line in stream:
            self.output.append(line)

    def get(self, path, **headers):
        """(status, body) of a GET."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post(self, path, body, **headers):
        """(status, parsed JSON) of a POST; `body` is sent as JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data,
                                         headers={"Content-Type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def metric(self, name):
        """The sum of a Prometheus metric over its labels; None if there is no such metric."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics")[1].splitlines()
                  if re.match(re.escape(name) + r"[ {]", line)]
        return sum(values) if values else None

    def raw(self, data, timeout=30):
        """Whatever the server answers to these bytes until it closes the connection or `timeout` passes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            return read_all(connection)

    def stop(self, number=signal.SIGTERM, timeout=20):
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for thread in self.readers:
            thread.join(5)
        self.process.stdout.close()
        self.process.stderr.close()


def read_all(connection):
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except (TimeoutError, socket.timeout, ConnectionError):
        pass
    return answer


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False
